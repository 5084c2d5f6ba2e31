//! `/`: the lake at a glance.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use serde_json::{Map, Value, json};

use super::browse::with_addresses;
use super::charts::{self, Bin};
use super::links;
use super::neuron::{Rows, float, integer, text};
use super::render::{Fault, render, shown};
use crate::server::App;

/// Bins of a score: twentieths.
const BINS: f64 = 20.0;

/// The home page.
pub(crate) async fn home(State(app): State<Arc<App>>) -> Result<Html<String>, Fault> {
    let gate = &app.gate;
    let (counts, hook_points, bins, overview, best, worst, costs, runs) = tokio::try_join!(
        gate.ask("lake_counts", &[]),
        gate.ask("lake_hook_points", &[]),
        gate.ask("score_histogram", &[]),
        gate.ask("score_overview", &[]),
        gate.ask("best_units", &[]),
        gate.ask("worst_units", &[]),
        gate.ask("lake_costs", &[]),
        gate.ask("newest_runs", &[]),
    )?;
    let overview_row = overview.objects()?.pop().unwrap_or_default();
    let median = float(&overview_row, "median_score");
    let counted = counts.objects()?;
    let empty = counted.iter().all(|row| integer(row, "n_rows") == 0);
    let costs_rows = costs.objects()?;
    let total: f64 = costs_rows.iter().filter_map(|row| float(row, "cost")).sum();
    let context = json!({
        "here": "/",
        "empty": empty,
        "counts": counted,
        "hook_points": with_browse(hook_points.objects()?),
        "histogram": charts::counts(&score_bins(&bins.objects()?), median.map(|median| (median, "median"))),
        "overview": overview_row,
        "best": with_addresses(best.objects()?),
        "worst": with_addresses(worst.objects()?),
        "costs": costs_rows,
        "total_cost": total,
        "runs": runs.objects()?,
        "queries": shown([&counts, &hook_points, &bins, &overview, &best, &worst, &costs, &runs]),
    });
    render("home.html", context)
}

/// Bins from the lowest that has a unit, but at least from 0, up to 1.
fn score_bins(rows: &Rows) -> Vec<Bin> {
    let lowest = rows.iter().map(|row| integer(row, "bin")).min().unwrap_or_default().min(0);
    let count = |bin: i64| rows.iter().find(|row| integer(row, "bin") == bin).map_or(0, |row| integer(row, "n_units"));
    (lowest..BINS as i64)
        .map(|bin| Bin { low: bin as f64 / BINS, high: (bin + 1) as f64 / BINS, count: count(bin) as f64 })
        .collect()
}

/// Hook points, each with the address of its units.
fn with_browse(mut rows: Rows) -> Rows {
    let address = |row: &Map<String, Value>| {
        links::with_query("/browse", &[("model", &text(row, "model")), ("hook_point", &text(row, "hook_point"))])
    };
    for row in &mut rows {
        let address = address(row);
        row.insert("address".to_owned(), json!(address));
    }
    rows
}

#[cfg(test)]
mod tests;
