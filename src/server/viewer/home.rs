//! `/`: the lake at a glance.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use serde_json::json;

use super::render::{Fault, render, shown};
use crate::server::App;

/// The home page.
pub(crate) async fn home(State(app): State<Arc<App>>) -> Result<Html<String>, Fault> {
    let (counts, hook_points) =
        tokio::try_join!(app.gate.ask("lake_counts", &[]), app.gate.ask("lake_hook_points", &[]))?;
    let context = json!({
        "here": "/",
        "counts": counts.objects()?,
        "hook_points": hook_points.objects()?,
        "queries": shown([&counts, &hook_points]),
    });
    render("home.html", context)
}
