//! `/text`: a text of the reader's own, and the units that fire on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::heat_row::{self, HeatCell, Hue, heat_row};
use super::links;
use super::numbers::significant;
use super::render::{Fault, ShownQuery, render, shown};
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::gate::Asked;

/// Characters of a text at most.
const LONGEST_TEXT: usize = 20_000;
/// Bytes of an address that every browser and server between takes.
const LONGEST_ADDRESS: usize = 6_000;
/// Hook points that are read where none are named.
const USUAL_HOOK: &str = "blocks.*.mlp.hook_post";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    q: String,
    model: String,
    hook: String,
    /// The chosen token, 0-based.
    position: String,
    /// The chosen unit, as hook_point:neuron.
    unit: String,
}

/// The page of a text in the address.
pub(crate) async fn text(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    page(&app, wanted, "get").await
}

/// The page of a text that was sent: at an address of its own where one can hold it.
pub(crate) async fn sent(State(app): State<Arc<App>>, Form(wanted): Form<Wanted>) -> Response {
    // A form's line ends are CR LF, the text's are not.
    let wanted = Wanted { q: wanted.q.replace("\r\n", "\n"), ..wanted };
    let Wanted { q, model, hook, position, unit } = &wanted;
    let pairs = [("q", q), ("model", model), ("hook", hook), ("position", position), ("unit", unit)];
    let address = links::with_query("/text", &pairs.map(|(name, value)| (name, value.as_str())));
    match address.len() <= LONGEST_ADDRESS {
        true => (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response(),
        false => page(&app, wanted, "post").await,
    }
}

/// The form with what was asked for below it, or with what is wrong with it.
async fn page(app: &App, wanted: Wanted, method: &str) -> Response {
    let model =
        if wanted.model.is_empty() { app.models.first().cloned().unwrap_or_default() } else { wanted.model.clone() };
    let hook = if wanted.hook.is_empty() { USUAL_HOOK.to_owned() } else { wanted.hook.clone() };
    let (status, found, problem) = match wanted.q.is_empty() {
        true => (StatusCode::OK, None, None),
        false => match find(app, &wanted, &model, &hook).await {
            Ok(found) => (StatusCode::OK, Some(found), None),
            Err(fault) => (fault.status(), None, Some(fault.detail().to_owned())),
        },
    };
    let queries: Vec<ShownQuery> = found.as_ref().map_or_else(Vec::new, |found| shown(&found.asked));
    let context = json!({
        "here": "/text",
        "q": wanted.q,
        "model": model,
        "models": app.models,
        "hook": hook,
        "hooks": hooks(app, &model).await,
        "position": wanted.position,
        "unit": wanted.unit,
        "method": method,
        "longest": LONGEST_TEXT,
        "problem": problem,
        "found": found,
        "queries": queries,
    });
    match render("text.html", context) {
        Ok(page) => (status, page).into_response(),
        Err(fault) => fault.into_response(),
    }
}

/// Patterns to choose from: each kind of hook point over all layers, and one by one.
async fn hooks(app: &App, model: &str) -> Vec<String> {
    let models = Arc::clone(app.gate.session().models());
    let source = model.to_owned();
    let hooks = app.gate.on_engine(async move { models.get(&source)?.select_hook_points("*") }).await;
    // A model that cannot be had is told where the text is run.
    let Ok(Ok(hooks)) = hooks else { return Vec::new() };
    let names: Vec<String> = hooks.iter().map(|hook| hook.name().to_owned()).collect();
    let mut patterns: Vec<String> = Vec::new();
    for name in &names {
        let parts: Vec<&str> =
            name.split('.').map(|part| if part.parse::<u32>().is_ok() { "*" } else { part }).collect();
        let pattern = parts.join(".");
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    patterns.extend(names.into_iter().filter(|name| !name.starts_with("blocks.") || name.ends_with("mlp.hook_post")));
    patterns.dedup();
    patterns
}

/// What a text moves.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(skip)]
    asked: Vec<Asked>,
    tokens: Vec<Token>,
    layers: Vec<Layer>,
    /// Whether colours are shares of what the lake knows; else of the strongest activation of the layer in this text.
    known: bool,
    /// The units that the whole text moves.
    strongest: Vec<Map<String, Value>>,
    /// The chosen token with its units.
    at: Option<At>,
    /// The chosen unit over the text.
    unit: Option<Unit>,
}

#[derive(Debug, Serialize)]
struct Token {
    position: i64,
    cell: HeatCell,
}

#[derive(Debug, Serialize)]
struct Layer {
    hook_point: String,
    layer: Option<i64>,
    cells: Vec<HeatCell>,
}

#[derive(Debug, Serialize)]
struct At {
    position: i64,
    token: String,
    units: Vec<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
struct Unit {
    name: String,
    cells: Vec<HeatCell>,
}

async fn find(app: &App, wanted: &Wanted, model: &str, hook: &str) -> Result<Found, Fault> {
    let n_characters = wanted.q.chars().count();
    if n_characters > LONGEST_TEXT {
        return Err(Fault::argument(format!("text: expected at most {LONGEST_TEXT} characters, got {n_characters}")));
    }
    let position = number(&wanted.position, "position: expected the number of a token")?;
    let unit = unit(&wanted.unit)?;
    let text = |text: &str| Parameter::Text(text.to_owned());
    let values = |hook: &str| [("model", text(model)), ("text", text(&wanted.q)), ("hook_point", text(hook))];
    let usual = values(hook);
    let (tokens, layers, strongest) = futures::try_join!(
        app.gate.ask("text_tokens", &usual),
        app.gate.ask("text_layers", &usual),
        app.gate.ask("text_units", &usual),
    )?;
    let names: Vec<String> = tokens.objects()?.iter().map(|token| field(token, "token")).collect();
    let by_layer = by_layer(&layers.objects()?, names.len());
    let known = by_layer.values().any(|rows| rows.iter().flatten().any(|strength| strength.of_max.is_some()));
    let mut found = Found {
        tokens: strongest_tokens(&names, &by_layer, known),
        layers: by_layer.iter().map(|(key, rows)| layer(key, rows, &names, known)).collect(),
        known,
        strongest: strongest.objects()?,
        at: None,
        unit: None,
        asked: vec![tokens, layers, strongest],
    };
    if let Some(position) = position {
        let token = usize::try_from(position).ok().and_then(|place| names.get(place)).ok_or_else(|| {
            Fault::argument(format!(
                "position: expected a token of the text, 0 to {}, got {position}",
                names.len().max(1) - 1
            ))
        })?;
        let mut values = usual.to_vec();
        values.push(("position", Parameter::Integer(position)));
        let units = app.gate.ask("text_units_at", &values).await?;
        found.at = Some(At { position, token: heat_row::shown(token), units: units.objects()? });
        found.asked.push(units);
    }
    if let Some((hook_point, neuron)) = unit {
        let mut values = values(&hook_point).to_vec();
        values.push(("neuron", Parameter::Integer(neuron)));
        let rows = app.gate.ask("text_unit", &values).await?;
        let values = by_position(&rows.objects()?, names.len());
        let cells = heat_row(names.iter().map(String::as_str), &values, heat_row::most(&values), Hue::Real);
        found.unit = Some(Unit { name: format!("{hook_point}:{neuron}"), cells });
        found.asked.push(rows);
    }
    Ok(found)
}

/// The activations of rows of `text_unit` by token.
pub(super) fn by_position(rows: &[Map<String, Value>], n: usize) -> Vec<Option<f64>> {
    let mut values = vec![None; n];
    for row in rows {
        let place = row.get("position").and_then(Value::as_u64).and_then(|place| values.get_mut(place as usize));
        if let Some(place) = place {
            *place = row.get("activation").and_then(Value::as_f64);
        }
    }
    values
}

/// How strongly a token moves the unit of a layer that it moves most.
#[derive(Debug, Clone, PartialEq)]
struct Strength {
    activation: f64,
    of_max: Option<f64>,
    neuron: i64,
}

/// Layer, `None` last, and hook point.
type Key = (i64, String);
type ByLayer = BTreeMap<Key, Vec<Option<Strength>>>;

fn by_layer(rows: &[Map<String, Value>], n: usize) -> ByLayer {
    let mut layers = ByLayer::new();
    for row in rows {
        let layer = row.get("layer").and_then(Value::as_i64).unwrap_or(i64::MAX);
        let places = layers.entry((layer, field(row, "hook_point"))).or_insert_with(|| vec![None; n]);
        let strength = || {
            Some(Strength {
                activation: row.get("activation")?.as_f64()?,
                of_max: row.get("of_max").and_then(Value::as_f64),
                neuron: row.get("neuron")?.as_i64()?,
            })
        };
        let place = row.get("position").and_then(Value::as_u64).and_then(|place| places.get_mut(place as usize));
        if let Some(place) = place {
            *place = strength();
        }
    }
    layers
}

/// Shares that colour a layer: of each unit's own largest activation where the lake knows it.
fn shares(rows: &[Option<Strength>], known: bool) -> Vec<Option<f64>> {
    let most = heat_row::most(&rows.iter().map(|row| row.as_ref().map(|row| row.activation)).collect::<Vec<_>>());
    rows.iter()
        .map(|row| {
            let row = row.as_ref()?;
            if known { row.of_max } else { most.map(|most| row.activation / most) }
        })
        .collect()
}

fn layer((number, hook_point): &Key, rows: &[Option<Strength>], names: &[String], known: bool) -> Layer {
    let shares = shares(rows, known);
    let cells = names.iter().enumerate().map(|(place, token)| {
        let title = rows[place].as_ref().map_or_else(
            || "–".to_owned(),
            |row| format!("neuron {}: {}{}", row.neuron, significant(row.activation), of_max(row.of_max)),
        );
        HeatCell::titled(token, shares[place], title)
    });
    Layer { cells: cells.collect(), hook_point: hook_point.clone(), layer: (*number != i64::MAX).then_some(*number) }
}

fn of_max(share: Option<f64>) -> String {
    share.map_or_else(String::new, |share| format!(", {} % of its largest", (share * 100.0).round()))
}

/// The tokens by the strongest of all layers.
fn strongest_tokens(names: &[String], layers: &ByLayer, known: bool) -> Vec<Token> {
    let all: Vec<_> =
        layers.iter().map(|((_, hook), rows)| (hook.as_str(), rows.as_slice(), shares(rows, known))).collect();
    let token = |(place, token): (usize, &String)| {
        let best = all.iter().filter_map(|(hook, rows, shares)| Some((hook, rows[place].as_ref()?, shares[place]?)));
        let best = best.max_by(|a, b| a.2.total_cmp(&b.2));
        let title = best.map_or_else(
            || "–".to_owned(),
            |(hook, row, _)| format!("{hook}:{}: {}{}", row.neuron, significant(row.activation), of_max(row.of_max)),
        );
        Token { position: place as i64, cell: HeatCell::titled(token, best.map(|best| best.2), title) }
    };
    names.iter().enumerate().map(token).collect()
}

fn field(row: &Map<String, Value>, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number of a form, if one was given.
fn number(text: &str, expected: &str) -> Result<Option<i64>, Fault> {
    match text.trim() {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| Fault::argument(format!("{expected}, got '{digits}'"))),
    }
}

/// A unit written as hook_point:neuron, if one was given.
pub(super) fn unit(text: &str) -> Result<Option<(String, i64)>, Fault> {
    let fault = || {
        Fault::argument(format!(
            "expected a neuron as hook_point:neuron, such as blocks.3.mlp.hook_post:7, got '{text}'"
        ))
    };
    match text.trim() {
        "" => Ok(None),
        text => {
            let (hook_point, neuron) = text.rsplit_once(':').ok_or_else(fault)?;
            let neuron: u32 = neuron.trim().parse().map_err(|_| fault())?;
            match hook_point.trim() {
                // A pattern is no unit.
                pattern if pattern.is_empty() || pattern.contains('*') => Err(fault()),
                hook_point => Ok(Some((hook_point.to_owned(), neuron.into()))),
            }
        }
    }
}

#[cfg(test)]
mod tests;
