//! Pages kept until the lake changes: a hundred people who look at one neuron cost one look.
//!
//! They are kept as browsers take them, compressed: a page of heat maps to a tenth.

use std::io::{Read, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::App;
use super::ahead::Ahead;
use super::lake_state::LakeState;
use crate::hash;
use crate::metrics::metrics;

/// Bytes of all kept pages.
const CAPACITY: u64 = 256 << 20;

/// Bytes of a page that is kept at most.
const LARGEST: u64 = 1 << 20;

/// Where else the page of a response stands: what is kept under its own address is kept there too.
#[derive(Debug, Clone)]
pub(crate) struct AlsoAt(pub(crate) String);

/// What a page is kept under: the state of the lake, the address, and the form asked for, where there is more than one.
type Key = (u64, String, String);

#[derive(Debug, Clone)]
struct Page {
    headers: HeaderMap,
    /// The body in gzip's form.
    packed: Bytes,
    tag: HeaderValue,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Page>> for Bytewise {
    fn weight(&self, key: &Key, page: &Arc<Page>) -> u64 {
        (key.1.len() + key.2.len() + page.packed.len() + 512) as u64
    }
}

/// Pages by their key. One caller makes a page, those who ask meanwhile wait for it.
#[derive(Debug)]
pub(crate) struct KeptPages {
    state: Arc<LakeState>,
    pages: Cache<Key, Arc<Page>, Bytewise>,
}

impl KeptPages {
    pub(crate) fn of(state: &Arc<LakeState>) -> Self {
        // The number of pages only sizes the table of keys.
        let pages = Cache::with_weighter(1_024, CAPACITY, Bytewise);
        Self { state: Arc::clone(state), pages }
    }

    /// Whether half of the room is taken: what nobody asked for yet takes no more.
    pub(crate) fn is_half_full(&self) -> bool {
        self.pages.weight() > CAPACITY / 2
    }
}

/// Answers what was answered before, while the lake is the same.
pub(crate) async fn keep(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // Who finds a page kept disturbs nobody; everybody else comes before the pages that nobody asked for.
    let ahead = request.extensions().get::<Ahead>().is_some();
    let visit = || (!ahead).then(|| app.visitors.enter());
    // A lake that cannot be read is the page's own fault to tell.
    let (asked, state) = match Asked::of(&request) {
        Some(asked) => (asked, app.kept.state.number().await),
        None => {
            let _visit = visit();
            return next.run(request).await;
        }
    };
    let Ok(state) = state else { return next.run(request).await };
    let key = (state, asked.address.clone(), asked.form.clone());
    if let Some(page) = app.kept.pages.get(&key) {
        return page.answer(&asked);
    }
    let _visit = visit();
    match app.kept.pages.get_value_or_guard_async(&key).await {
        Ok(page) => page.answer(&asked),
        Err(place) => {
            let mut response = next.run(request).await;
            let also = response.extensions_mut().remove::<AlsoAt>();
            match whole(response).await {
                Ok(page) => {
                    let page = Arc::new(page);
                    metrics().page(if ahead { "nobody" } else { "visitor" });
                    // It fails only for a page that was put there meanwhile.
                    let _ = place.insert(Arc::clone(&page));
                    if let Some(AlsoAt(address)) = also {
                        app.kept.pages.insert((state, address, asked.form.clone()), Arc::clone(&page));
                    }
                    page.answer(&asked)
                }
                Err(response) => response,
            }
        }
    }
}

/// A request that a kept page may answer.
struct Asked {
    address: String,
    /// The form asked for, of what has several: programs choose one by `Accept`, a page has one whatever a browser says it reads.
    form: String,
    /// The tag of the page that the caller has.
    known: String,
    /// Whether the caller reads gzip.
    packed: bool,
}

impl Asked {
    fn of(request: &Request) -> Option<Self> {
        let text = |name| request.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let path = request.uri().path();
        // Assets never change, and a query of one's own may ask for the time of day.
        let runs_anew = path.starts_with("/assets/") || path.starts_with("/sql");
        if request.method() != Method::GET || text(CACHE_CONTROL) == "no-cache" || runs_anew {
            return None;
        }
        Some(Self {
            address: request.uri().path_and_query()?.to_string(),
            form: if path.starts_with("/api/") { text(ACCEPT).to_owned() } else { String::new() },
            known: text(IF_NONE_MATCH).to_owned(),
            packed: takes_gzip(text(ACCEPT_ENCODING)),
        })
    }
}

/// Whether a list of encodings names gzip, and not to rule it out.
fn takes_gzip(encodings: &str) -> bool {
    encodings.split(',').any(|encoding| {
        let (name, weight) = encoding.split_once(";q=").unwrap_or((encoding, "1"));
        name.trim().eq_ignore_ascii_case("gzip") && weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

impl Page {
    fn answer(&self, asked: &Asked) -> Response {
        if asked.known.as_bytes() == self.tag.as_bytes() {
            return (StatusCode::NOT_MODIFIED, [(ETAG, self.tag.clone())]).into_response();
        }
        let body = match asked.packed {
            true => self.packed.clone(),
            false => match unpacked(&self.packed) {
                Ok(body) => body.into(),
                // What was packed here is unpacked here.
                Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            },
        };
        let mut response = Response::new(Body::from(body));
        response.headers_mut().clone_from(&self.headers);
        if asked.packed {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn packed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    packer.write_all(body)?;
    packer.finish()
}

fn unpacked(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(packed.len() * 8);
    GzDecoder::new(packed).read_to_end(&mut body)?;
    Ok(body)
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
    let page =
        to_bytes(body, LARGEST as usize).await.ok().and_then(|body| Some((hash::number(&body), packed(&body).ok()?)));
    // Bytes in memory do not fail to be read or packed.
    let Some((number, packed)) = page else { return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()) };
    // Weak: the same page in two encodings.
    let tag = HeaderValue::from_str(&format!("W/\"{number:016x}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
    headers.insert(ETAG, tag.clone());
    headers.remove(CONTENT_LENGTH);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(Page { headers, packed: packed.into(), tag })
}

#[cfg(test)]
mod tests;
