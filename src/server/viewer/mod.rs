//! The viewer: HTML made on the server, with a little script.

use std::sync::Arc;

use axum::Router;

use super::App;

/// The pages.
pub(crate) fn router(_: Arc<App>) -> Router {
    Router::new()
}
