//! Styles, scripts and pictures, inside the program: `/assets/…`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::palette;
use super::render::Fault;
use crate::hash;

/// A file of its kind with a name that its content gives it.
struct Asset {
    kind: &'static str,
    content: String,
    hash: String,
}

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    const CSS: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let files = [
        ("viewer.css", CSS, include_str!("assets/viewer.css").to_owned()),
        ("heat.css", CSS, palette::style_sheet()),
        ("viewer.js", SCRIPT, include_str!("assets/viewer.js").to_owned()),
        ("favicon.svg", "image/svg+xml", include_str!("assets/favicon.svg").to_owned()),
    ];
    files.into_iter().map(|(name, kind, content)| (name, Asset { kind, hash: hash::text(&content), content })).collect()
});

/// The address of an asset, which changes with its content; one that is not there keeps its name.
pub(crate) fn address(name: &str) -> String {
    match ASSETS.get(name) {
        Some(asset) => format!("/assets/{name}?v={}", asset.hash),
        None => format!("/assets/{name}"),
    }
}

/// `/assets/{name}`: for a year by an address with the hash, else until it changes.
pub(crate) async fn asset(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let asset = ASSETS.get(name.as_str()).ok_or_else(|| Fault::not_found("there is no such asset"))?;
    let caching = match query.is_some_and(|query| query == format!("v={}", asset.hash)) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let tag = format!("\"{}\"", asset.hash);
    let same = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let head = [(CONTENT_TYPE, asset.kind.to_owned()), (CACHE_CONTROL, caching.to_owned()), (ETAG, tag)];
    Ok(match same {
        true => (StatusCode::NOT_MODIFIED, head).into_response(),
        false => (head, asset.content.as_str()).into_response(),
    })
}
