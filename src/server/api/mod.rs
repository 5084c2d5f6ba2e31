//! The interface for programs: `/api/v1`.

use std::sync::Arc;

use axum::Router;

use super::App;

/// What is below `/api/v1`.
pub(crate) fn router(_: Arc<App>) -> Router {
    Router::new()
}
