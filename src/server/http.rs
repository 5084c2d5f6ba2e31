//! Everything that speaks HTTP/1.1 and HTTP/2: pages, the interface for programs, and what holds for both.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::App;
use super::auth::{self, Token};
use super::problem::Problem;
use super::{api, kept_pages, metrics, viewer};

/// Scripts, styles and requests come from this server only, nothing is inline, and nobody frames its pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Bytes of a request's body at most.
const LONGEST_BODY: usize = 2 << 20;

/// The answer where there is nothing: a page for people, a problem for programs.
async fn nothing(headers: HeaderMap) -> Response {
    let problem = Problem::not_found("there is no such page");
    match headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
    {
        true => viewer::render::problem_page(&problem),
        false => problem.into_response(),
    }
}

/// What is kept: pages, and the interface for programs.
pub(crate) fn pages(app: &Arc<App>) -> Router {
    Router::new()
        .merge(viewer::router(Arc::clone(app)))
        .merge(api::router(Arc::clone(app)))
        .layer(middleware::from_fn_with_state(Arc::clone(app), kept_pages::keep))
}

/// The whole of what the HTTP address answers.
pub(crate) fn router(app: Arc<App>, token: Option<Token>) -> Router {
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let spends = app.spends;
    let queries = pages(&app);
    let queries = if spends { queries.layer(middleware::from_fn(auth::own_pages)) } else { queries };
    queries
        .merge(auth::login(token.clone()))
        .merge(metrics::router())
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(token, auth::admit))
        .layer(CompressionLayer::new())
        .layer(header(CONTENT_SECURITY_POLICY, POLICY))
        .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(REFERRER_POLICY, "same-origin"))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST_BODY))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| -> Response {
            Problem::new("internal", StatusCode::INTERNAL_SERVER_ERROR, "a bug of ours: the log has it").into_response()
        }))
}
