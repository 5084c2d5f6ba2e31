//! `/neuron/…/score`: an explanation that somebody typed, simulated and scored at once.

use std::sync::Arc;

use axum::extract::rejection::RawFormRejection;
use axum::extract::{RawForm, State};
use axum::response::Html;
use serde_json::{Map, Value, json};

use super::{Rows, UnitPath, as_windows, explanations, text, unit};
use crate::error::Error;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::limits::LONGEST_EXPLANATION;
use crate::server::viewer::arguments::Arguments;
use crate::server::viewer::heat_map::heat_maps;
use crate::server::viewer::render::{Fault, render, shown};

/// Scores a typed explanation. Nothing is written into the lake's tables.
pub(crate) async fn score(
    State(app): State<Arc<App>>,
    path: UnitPath,
    form: Result<RawForm, RawFormRejection>,
) -> Result<Html<String>, Fault> {
    let RawForm(form) = form.map_err(|rejection| Fault::argument(rejection.body_text()))?;
    let form = Arguments::parse(Some(&String::from_utf8_lossy(&form)));
    let Some(simulator) = app.simulator.clone() else {
        return Err(Fault::argument(
            "the server has no simulator to score explanations with: start it with --simulator, such as \
             --simulator embedding or --simulator openai:gpt-4o",
        ));
    };
    let typed = form.text("text").ok_or_else(|| Fault::argument("text: expected an explanation, got nothing"))?;
    if typed.chars().count() > LONGEST_EXPLANATION {
        return Err(Fault::argument(format!("text: expected at most {LONGEST_EXPLANATION} characters")));
    }
    let (unit, corpora) = unit::find(&app, path, &form).await?;
    let mut own_values = unit.values().to_vec();
    own_values.push(("text", Parameter::Text(typed.to_owned())));
    own_values.push(("simulator", Parameter::Text(simulator.clone())));
    let corpus = unit.corpus();
    let (own, explained, scores) = tokio::try_join!(
        app.gate.ask("neuron_own_score", &own_values),
        unit.ask(&app, "neuron_explanations", &corpus),
        unit.ask(&app, "neuron_scores", &corpus),
    )?;
    let rows = own.objects()?;
    let windows = match set(&rows, "top_and_random") {
        Some(row) => windows(row)?,
        None => Vec::new(),
    };
    let (explanations, _) = explanations::joined(explained.objects()?, &scores.objects()?, &Rows::new());
    let context = json!({
        "unit": unit.shown(),
        "switches": json!({ "view": "overlaid", "scale": "own", "values": false }),
        "typed": typed,
        "simulator": simulator,
        "own": own_score(&rows),
        "maps": heat_maps(&windows),
        "explanations": explanations,
        "queries": shown([&corpora, &own, &explained, &scores]),
    });
    render("own_score.html", context)
}

fn set<'a>(rows: &'a Rows, sample_set: &str) -> Option<&'a Map<String, Value>> {
    rows.iter().find(|row| text(row, "sample_set") == sample_set)
}

/// A metric of a set of windows.
fn summary<'a>(rows: &'a Rows, sample_set: &str, metric: &str) -> Option<&'a Map<String, Value>> {
    let summaries = set(rows, sample_set)?.get("summaries")?.as_array()?;
    summaries.iter().filter_map(Value::as_object).find(|summary| text(summary, "metric") == metric)
}

/// The score in the form of a row of `neuron_scores`; there is no control.
fn own_score(rows: &Rows) -> Option<Value> {
    let main = summary(rows, "top_and_random", "ev_correlation")?;
    let value =
        |sample_set, metric| summary(rows, sample_set, metric).and_then(|summary| summary.get("value")).cloned();
    let mut score = main.clone();
    score.insert("control".to_owned(), Value::Null);
    score.insert("random_only".to_owned(), json!(value("random_only", "ev_correlation")));
    score.insert("top_only".to_owned(), json!(value("top_only", "ev_correlation")));
    score.insert("explained_variance".to_owned(), json!(value("top_and_random", "explained_variance")));
    Some(explanations::with_line(&score))
}

fn windows(row: &Map<String, Value>) -> Result<Vec<crate::server::viewer::heat_map::Window>, Error> {
    let scale = row.get("scale").cloned().unwrap_or_default();
    let windows = row.get("windows").and_then(Value::as_array).cloned().unwrap_or_default();
    let with_scale = |window: Value| match window {
        Value::Object(mut window) => {
            window.insert("scale".to_owned(), scale.clone());
            window
        }
        _ => Map::new(),
    };
    as_windows(windows.into_iter().map(with_scale).collect())
}
