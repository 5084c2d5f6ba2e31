//! Who may ask: everybody on this machine, or whoever knows the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Form, Router, routing};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::error::{Error, Result};

/// The variable of the environment that holds the token.
pub const TOKEN_VARIABLE: &str = "NEURONLAKE_TOKEN";

const COOKIE_NAME: &str = "neuronlake_token";

/// A shared secret. It is never shown.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A token of this text.
    ///
    /// # Errors
    /// [`Error::Argument`] for one of fewer than 16 characters or with characters that no header takes.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() < 16 || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',') {
            return Err(Error::Argument {
                argument: TOKEN_VARIABLE.to_owned(),
                expected: "at least 16 printable ASCII characters without blanks, commas and semicolons".to_owned(),
                got: format!("{} bytes", text.len()),
            });
        }
        Ok(Self(text.into()))
    }

    /// The token of the environment, where it is set.
    ///
    /// # Errors
    /// As [`Token::new`].
    pub fn from_environment() -> Result<Option<Self>> {
        std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.is_empty()).map(|text| Self::new(&text)).transpose()
    }

    /// Whether this is it, in a time that does not tell how much of it was right.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// Whether a header `Authorization: Bearer …` holds it.
    pub(crate) fn in_header(&self, value: &str) -> bool {
        value
            .split_once(' ')
            .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && self.is(given.trim()))
    }
}

/// Lets through who may ask.
pub(crate) async fn admit(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    // What programs ask for is refused in their way.
    let program = request.uri().path().starts_with("/api/") || request.uri().path() == "/metrics";
    let page = request.method() == Method::GET && !program;
    // The page that asks for the token, and what it looks like.
    let login = request.uri().path() == "/login" || request.uri().path().starts_with("/assets/");
    if let Err(problem) = same_site(request.method(), request.headers()) {
        return problem.into_response();
    }
    match &token {
        None if !local_host(request.headers()) => Problem::new(
            "host",
            StatusCode::MISDIRECTED_REQUEST,
            "expected a request to localhost or a loopback address: without a token the server answers no other name",
        )
        .into_response(),
        Some(token) if !login && !knows(token, request.headers()) => match page {
            true => (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response(),
            false => {
                let problem = Problem::new(
                    "unauthorized",
                    StatusCode::UNAUTHORIZED,
                    "expected the server's token in a header 'Authorization: Bearer …'",
                );
                ([("www-authenticate", "Bearer")], problem).into_response()
            }
        },
        _ => next.run(request).await,
    }
}

fn knows(token: &Token, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    text(AUTHORIZATION).is_some_and(|value| token.in_header(value))
        || text(COOKIE).is_some_and(|cookies| {
            let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.any(|(name, given)| name == COOKIE_NAME && token.is(given))
        })
}

/// Whether the name asked for is this machine's: a page elsewhere may have its own name lead here, and then read the answers.
fn local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether what changes something, or may cost something, comes from our own pages or from no page.
fn same_site(method: &Method, headers: &HeaderMap) -> std::result::Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let foreign = match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, of)| of != host),
        (Some(_), None) => true,
        (None, _) => text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")),
    };
    match foreign {
        true => Err(cross_site()),
        false => Ok(()),
    }
}

/// Where a query may cost something: turns away what another site's page has a browser ask by GET. Browsers say where a request comes
/// from; programs say nothing.
pub(crate) async fn own_pages(request: Request, next: Next) -> Response {
    let from = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let foreign = from.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    match foreign && request.uri().query().is_some() {
        true => cross_site().into_response(),
        false => next.run(request).await,
    }
}

fn cross_site() -> Problem {
    Problem::new("cross-site", StatusCode::FORBIDDEN, "refused: the request comes from another site's page")
}

#[derive(serde::Deserialize)]
struct Login {
    token: String,
}

/// Where a browser shows its token once.
pub(crate) fn login(token: Option<Token>) -> Router {
    let form = || async { axum::response::Html(include_str!("login.html")) };
    let check = |State(token): State<Option<Token>>, Form(login): Form<Login>| async move {
        match token {
            Some(token) if !token.is(login.token.trim()) => {
                (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response()
            }
            Some(_) => {
                let cookie = format!("{COOKIE_NAME}={}; HttpOnly; SameSite=Strict; Path=/", login.token.trim());
                (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)]).into_response()
            }
            None => (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response(),
        }
    };
    Router::new().route("/login", routing::get(form).post(check)).with_state(token)
}

#[cfg(test)]
mod tests;
