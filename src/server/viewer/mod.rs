//! The viewer: HTML made on the server, with a little script.
//!
//! A page asks queries of `queries/viewer` through the gate and fills a template with their rows ([`render`]); the SQL that ran
//! stands below it.

pub(crate) mod arguments;
pub(crate) mod assets;
mod browse;
pub(crate) mod charts;
pub(crate) mod heat_map;
mod home;
pub(crate) mod links;
mod neuron;
pub(crate) mod numbers;
mod palette;
pub(crate) mod render;
mod search;

use std::sync::Arc;

use axum::{Router, routing};

use super::App;

/// The pages.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", routing::get(home::home))
        .route("/browse", routing::get(browse::browse))
        .route("/lucky", routing::get(browse::lucky))
        .route("/search", routing::get(search::search))
        .route("/neuron/{model}/{hook_point}/{neuron}", routing::get(neuron::neuron))
        .route("/neuron/{model}/{hook_point}/{neuron}/score", routing::post(neuron::own_score::score))
        .route("/assets/{name}", routing::get(assets::asset))
        .with_state(app)
}
