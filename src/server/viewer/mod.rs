//! The viewer: HTML made on the server, with a little script.
//!
//! A page asks queries of `queries/viewer` through the gate and fills a template with their rows ([`render`]); the SQL that ran
//! stands below it.

pub(crate) mod arguments;
pub(crate) mod assets;
pub(crate) mod browse;
pub(crate) mod charts;
mod compare;
pub(crate) mod heat_map;
mod heat_row;
mod home;
pub(crate) mod links;
mod neuron;
pub(crate) mod numbers;
mod palette;
pub(crate) mod render;
mod search;
mod sql;
mod sql_chart;
mod sql_download;
mod sql_help;
mod text;

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
        .route("/text", routing::get(text::text).post(text::sent))
        .route("/compare", routing::get(compare::compare))
        .route("/sql", routing::get(sql::sql))
        .route("/sql/download", routing::get(sql_download::download))
        .with_state(app)
}
