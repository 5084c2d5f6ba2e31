//! Pages kept until the lake changes: a hundred people who look at one neuron cost one look.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

use super::App;
use crate::error::Result;
use crate::hash;
use crate::tables::definition::tables;
use crate::tables::lake::Lake;

/// Bytes of all kept pages.
const CAPACITY: u64 = 256 << 20;

/// Bytes of a page that is kept at most.
const LARGEST: u64 = 1 << 20;

/// How long the lake is taken to be as it was when last looked at.
const TRUSTED: Duration = Duration::from_millis(250);

/// The same for a lake in an object store, where a look is a request a table, each of which is paid for.
const TRUSTED_REMOTE: Duration = Duration::from_secs(2);

/// What a page is kept under: the state of the lake, the address, and the form asked for.
type Key = (u64, String, String);

#[derive(Debug, Clone)]
struct Page {
    headers: HeaderMap,
    body: Bytes,
    tag: HeaderValue,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Page>> for Bytewise {
    fn weight(&self, key: &Key, page: &Arc<Page>) -> u64 {
        (key.1.len() + key.2.len() + page.body.len() + 512) as u64
    }
}

/// Pages by their key. One caller makes a page, those who ask meanwhile wait for it.
#[derive(Debug)]
pub(crate) struct KeptPages {
    lake: Lake,
    trusted: Duration,
    pages: Cache<Key, Arc<Page>, Bytewise>,
    state: Mutex<Option<(Instant, u64)>>,
}

impl KeptPages {
    pub(crate) fn of(lake: &Lake) -> Self {
        // The number of pages only sizes the table of keys.
        let pages = Cache::with_weighter(1_024, CAPACITY, Bytewise);
        let trusted = if lake.local_path().is_some() { TRUSTED } else { TRUSTED_REMOTE };
        Self { lake: lake.clone(), trusted, pages, state: Mutex::default() }
    }

    /// A number that changes with any table of the lake.
    async fn state(&self) -> Result<u64> {
        let mut known = self.state.lock().await;
        if let Some((at, state)) = *known
            && at.elapsed() < self.trusted
        {
            return Ok(state);
        }
        // At the same time: in an object store each is a round trip.
        let versions = try_join_all(tables().iter().map(|table| self.lake.version(table))).await?;
        let state = hash::number(format!("{versions:?}").as_bytes());
        *known = Some((Instant::now(), state));
        Ok(state)
    }
}

/// Answers what was answered before, while the lake is the same.
pub(crate) async fn keep(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some((address, accept, known)) = asked(&request) else { return next.run(request).await };
    // A lake that cannot be read is the page's own fault to tell.
    let Ok(state) = app.kept.state().await else { return next.run(request).await };
    match app.kept.pages.get_value_or_guard_async(&(state, address, accept)).await {
        Ok(page) => page.answer(&known),
        Err(place) => match whole(next.run(request).await).await {
            Ok(page) => {
                let page = Arc::new(page);
                // It fails only for a page that was put there meanwhile.
                let _ = place.insert(Arc::clone(&page));
                page.answer(&known)
            }
            Err(response) => response,
        },
    }
}

/// Address, form and tag of a request that a kept page may answer.
fn asked(request: &Request) -> Option<(String, String, String)> {
    let text = |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    // Assets never change, and a query of one's own may ask for the time of day.
    let runs_anew = path.starts_with("/assets/") || path.starts_with("/sql");
    if request.method() != Method::GET || text(CACHE_CONTROL) == "no-cache" || runs_anew {
        return None;
    }
    let address = request.uri().path_and_query()?.to_string();
    Some((address, text(ACCEPT).to_owned(), text(IF_NONE_MATCH).to_owned()))
}

impl Page {
    fn answer(&self, known: &str) -> Response {
        if known.as_bytes() == self.tag.as_bytes() {
            return (StatusCode::NOT_MODIFIED, [(ETAG, self.tag.clone())]).into_response();
        }
        let mut response = Response::new(Body::from(self.body.clone()));
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

/// The page of a response, where it may be kept: a good one, all there, not made for one caller.
async fn whole(response: Response) -> std::result::Result<Page, Response> {
    let private = response.headers().get(CACHE_CONTROL).is_some_and(|value| value == "no-store");
    let small = response.body().size_hint().exact().is_some_and(|bytes| bytes <= LARGEST);
    if response.status() != StatusCode::OK || private || !small || !response.headers().contains_key(CONTENT_TYPE) {
        return Err(response);
    }
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    match to_bytes(body, LARGEST as usize).await {
        Ok(body) => {
            let tag = format!("\"{:016x}\"", hash::number(&body));
            let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
            headers.insert(ETAG, tag.clone());
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
            Ok(Page { headers, body, tag })
        }
        // Bytes in memory do not fail to be read.
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}
