//! `/compare`: two explanations of a neuron, two neurons, or two versions of the score table.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::heat_row::{self, HeatCell, Hue, heat_row};
use super::render::{Fault, render, shown};
use super::text;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::gate::Asked;

/// What two versions are compared by, where nothing else is asked for.
const USUAL_METRIC: &str = "ev_correlation";
const USUAL_SAMPLE_SET: &str = "top_and_random";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    /// explanations, neurons or versions.
    of: String,
    model: String,
    hook_point: String,
    neuron: String,
    /// An explanation's id, or a neuron as hook_point:neuron.
    a: String,
    b: String,
    /// Versions of the score table.
    before: String,
    after: String,
    change: String,
    metric: String,
    sample_set: String,
}

/// The page.
pub(crate) async fn compare(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    let compared = match wanted.of.as_str() {
        "explanations" => explanations(&app, &wanted).await,
        "versions" => versions(&app, &wanted).await,
        "neurons" | "" => neurons(&app, &wanted).await,
        other => Err(Fault::argument(format!("of: expected explanations, neurons or versions, got '{other}'"))),
    };
    let of = if wanted.of.is_empty() { "neurons" } else { wanted.of.as_str() };
    let (status, found, asked, problem) = match compared {
        Ok((found, asked)) => (StatusCode::OK, found, asked, None),
        Err(fault) => (fault.status(), Value::Null, Vec::new(), Some(fault.detail().to_owned())),
    };
    let metric = if wanted.metric.is_empty() { USUAL_METRIC } else { wanted.metric.as_str() };
    let sample_set = if wanted.sample_set.is_empty() { USUAL_SAMPLE_SET } else { wanted.sample_set.as_str() };
    let context = json!({
        "here": "/compare",
        "of": of,
        "model": wanted.model,
        "hook_point": wanted.hook_point,
        "neuron": wanted.neuron,
        "a": wanted.a,
        "b": wanted.b,
        "metric": metric,
        "sample_set": sample_set,
        "problem": problem,
        "found": found,
        "queries": shown(&asked),
    });
    match render("compare.html", context) {
        Ok(page) => (status, page).into_response(),
        Err(fault) => fault.into_response(),
    }
}

type Compared = Result<(Value, Vec<Asked>), Fault>;

fn words(text: &str) -> Parameter {
    Parameter::Text(text.to_owned())
}

/// Two explanations of one neuron: the two that score best where none are chosen.
async fn explanations(app: &App, wanted: &Wanted) -> Compared {
    if wanted.hook_point.is_empty() && wanted.neuron.is_empty() {
        return Ok((Value::Null, Vec::new()));
    }
    let name = format!("{}:{}", wanted.hook_point, wanted.neuron);
    let (hook_point, neuron) = text::unit(&name)?.ok_or_else(|| Fault::argument("expected a neuron"))?;
    let model = words(&wanted.model);
    let unit = [("model", model.clone()), ("hook_point", words(&hook_point)), ("neuron", Parameter::Integer(neuron))];
    let all = app.gate.ask("compare_explanations", &unit).await?;
    let texts = all.objects()?;
    let chosen = |id: &str, place: usize| -> Result<Option<Map<String, Value>>, Fault> {
        match id {
            "" => Ok(texts.get(place).cloned()),
            id => match texts.iter().find(|text| text.get("explanation").and_then(Value::as_str) == Some(id)) {
                Some(text) => Ok(Some(text.clone())),
                None => Err(Fault::not_found(format!(
                    "neuron {name} of model '{}' has no explanation '{id}'",
                    wanted.model
                ))),
            },
        }
    };
    let (a, b) = (chosen(&wanted.a, 0)?, chosen(&wanted.b, 1)?);
    let (Some(a), Some(b)) = (a, b) else {
        let found = json!({ "all": texts, "too_few": true });
        return Ok((found, vec![all]));
    };
    let id = |of: &Map<String, Value>| words(of.get("explanation").and_then(Value::as_str).unwrap_or_default());
    let sides = [("a", id(&a)), ("b", id(&b))];
    let mut values = unit.to_vec();
    values.extend(sides.clone());
    let scores = [&[("model", model)], &sides[..]].concat();
    let (scores, windows) =
        futures::try_join!(app.gate.ask("compare_scores", &scores), app.gate.ask("compare_windows", &values))?;
    let found = json!({
        "all": texts,
        "a": a,
        "b": b,
        "scores": scores.objects()?,
        "windows": simulated_windows(&windows.objects()?),
    });
    Ok((found, vec![all, scores, windows]))
}

/// Windows with three lines each: what the neuron does, and what each explanation has it do. Each line has its own scale over all
/// windows: simulated values need not be in the neuron's units.
fn simulated_windows(rows: &[Map<String, Value>]) -> Vec<Value> {
    let columns = ["activations", "a_expected", "b_expected"];
    let most = columns.map(|column| {
        let all: Vec<Option<f64>> = rows.iter().flat_map(|row| numbers(row, column)).collect();
        heat_row::most(&all)
    });
    let window = |row: &Map<String, Value>| {
        let tokens = texts(row, "tokens");
        let line = |place: usize| -> Option<Vec<HeatCell>> {
            let values = numbers(row, columns[place]);
            let hue = if place == 0 { Hue::Real } else { Hue::Simulated };
            (!values.is_empty()).then(|| heat_row(tokens.iter().map(String::as_str), &values, most[place], hue))
        };
        json!({
            "sample": row.get("sample"),
            "rank": row.get("rank"),
            "split": row.get("split"),
            "corpus": row.get("corpus"),
            "real": line(0),
            "a": line(1),
            "b": line(2),
            "a_simulator": row.get("a_simulator"),
            "b_simulator": row.get("b_simulator"),
        })
    };
    rows.iter().map(window).collect()
}

fn numbers(row: &Map<String, Value>, column: &str) -> Vec<Option<f64>> {
    let values = row.get(column).and_then(Value::as_array);
    values.map_or_else(Vec::new, |values| values.iter().map(Value::as_f64).collect())
}

fn texts(row: &Map<String, Value>, column: &str) -> Vec<String> {
    let values = row.get(column).and_then(Value::as_array);
    values.map_or_else(Vec::new, |values| {
        values.iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
    })
}

/// Two neurons of one model.
async fn neurons(app: &App, wanted: &Wanted) -> Compared {
    let (Some((a_hook, a)), Some((b_hook, b))) = (text::unit(&wanted.a)?, text::unit(&wanted.b)?) else {
        return Ok((Value::Null, Vec::new()));
    };
    let values = [
        ("model", words(&wanted.model)),
        ("a_hook_point", words(&a_hook)),
        ("a_neuron", Parameter::Integer(a)),
        ("b_hook_point", words(&b_hook)),
        ("b_neuron", Parameter::Integer(b)),
    ];
    let (units, windows) =
        futures::try_join!(app.gate.ask("compare_units", &values), app.gate.ask("compare_unit_windows", &values))?;
    let rows = units.objects()?;
    let is = |row: &Map<String, Value>, hook: &str, neuron: i64| {
        row.get("hook_point").and_then(Value::as_str) == Some(hook)
            && row.get("neuron").and_then(Value::as_i64) == Some(neuron)
    };
    let side = |hook: &str, neuron: i64| rows.iter().find(|row| is(row, hook, neuron)).cloned();
    let (side_a, side_b) = (side(&a_hook, a), side(&b_hook, b));
    let mut asked = vec![units];
    let best = |side: &Option<Map<String, Value>>| {
        side.as_ref().and_then(|side| side.get("explanation")?.as_str().map(str::to_owned))
    };
    let scores = match (best(&side_a), best(&side_b)) {
        (None, None) => Vec::new(),
        (a, b) => {
            let ids = [("a", words(&a.unwrap_or_default())), ("b", words(&b.unwrap_or_default()))];
            let scores = app.gate.ask("compare_scores", &[&values[..1], &ids[..]].concat()).await?;
            let rows = scores.objects()?;
            asked.push(scores);
            rows
        }
    };
    let source = source_of(app, &wanted.model).await;
    let mut lines: Vec<Lines> = Vec::new();
    for row in windows.objects()? {
        let tokens = texts(&row, "tokens");
        let own = numbers(&row, "activations");
        let of_a = is(&row, &a_hook, a);
        let (hook, neuron) = if of_a { (&b_hook, b) } else { (&a_hook, a) };
        let other = match (&source, (&a_hook, a) == (&b_hook, b)) {
            (_, true) => Some(own.clone()),
            (None, _) => None,
            (Some(source), _) => {
                let (values, query) = on_window(app, source, &tokens, hook, neuron).await?;
                if !asked.iter().any(|asked| asked.name == query.name) {
                    asked.push(query);
                }
                values
            }
        };
        let (a, b) = if of_a { (Some(own), other) } else { (other, Some(own)) };
        lines.push(Lines { of: if of_a { "a" } else { "b" }, row, tokens, a, b });
    }
    asked.push(windows);
    let scale = |side: fn(&Lines) -> &Option<Vec<Option<f64>>>| {
        let all: Vec<Option<f64>> = lines.iter().flat_map(|lines| side(lines).iter().flatten().copied()).collect();
        heat_row::most(&all)
    };
    let (most_a, most_b) = (scale(|lines| &lines.a), scale(|lines| &lines.b));
    let windows: Vec<Value> = lines
        .iter()
        .map(|lines| {
            let cells = |values: &Option<Vec<Option<f64>>>, most| {
                let tokens = lines.tokens.iter().map(String::as_str);
                values.as_ref().map(|values| heat_row(tokens, values, most, Hue::Real))
            };
            json!({
                "of": lines.of,
                "split": lines.row.get("split"),
                "corpus": lines.row.get("corpus"),
                "a": cells(&lines.a, most_a),
                "b": cells(&lines.b, most_b),
            })
        })
        .collect();
    let name = |hook: &str, neuron: i64| json!({ "hook_point": hook, "neuron": neuron });
    let found = json!({
        "a_name": name(&a_hook, a),
        "b_name": name(&b_hook, b),
        "a": side_a,
        "b": side_b,
        "scores": scores,
        "windows": windows,
        "runnable": source.is_some(),
    });
    Ok((found, asked))
}

/// One window under two neurons.
struct Lines {
    /// Whose window it is.
    of: &'static str,
    row: Map<String, Value>,
    tokens: Vec<String>,
    a: Option<Vec<Option<f64>>>,
    b: Option<Vec<Option<f64>>>,
}

/// The source of the model that the server can run under this id.
async fn source_of(app: &App, id: &str) -> Option<String> {
    let models = Arc::clone(app.gate.session().models());
    let (sources, id) = (app.models.clone(), id.to_owned());
    let found = app.gate.on_engine(async move {
        sources.into_iter().find(|source| models.get(source).is_ok_and(|model| model.id() == id))
    });
    // Without the model the page has fewer lines, and says so.
    found.await.ok().flatten()
}

/// A neuron's values on a window's text. `None` where the text is cut into other tokens than the window had.
async fn on_window(
    app: &App,
    source: &str,
    tokens: &[String],
    hook_point: &str,
    neuron: i64,
) -> Result<(Option<Vec<Option<f64>>>, Asked), Fault> {
    let values = [
        ("model", words(source)),
        ("text", words(&tokens.concat())),
        ("hook_point", words(hook_point)),
        ("neuron", Parameter::Integer(neuron)),
    ];
    let asked = app.gate.ask("text_unit", &values).await?;
    let rows = asked.objects()?;
    let same = rows.iter().all(|row| {
        let place = row.get("position").and_then(Value::as_u64).map(|place| place as usize);
        place.and_then(|place| tokens.get(place)).map(String::as_str) == row.get("token").and_then(Value::as_str)
    });
    // A masked first token may be missing, nothing else.
    let whole = same && rows.len() + 1 >= tokens.len();
    Ok((whole.then(|| text::by_position(&rows, tokens.len())), asked))
}

/// Two versions of the score table.
async fn versions(app: &App, wanted: &Wanted) -> Compared {
    let list = app.gate.ask("compare_versions", &[]).await?;
    let versions = list.objects()?;
    let number = |row: &Map<String, Value>| row.get("version").and_then(Value::as_i64);
    let readable = |row: &&Map<String, Value>| row.get("readable") == Some(&Value::Bool(true));
    let there: Vec<i64> = versions.iter().filter(readable).filter_map(number).collect();
    let asked = |text: &str, usual: Option<&i64>| match text {
        "" => Ok(usual.copied()),
        digits => digits
            .parse::<u32>()
            .map(|number| Some(i64::from(number)))
            .map_err(|_| Fault::argument(format!("expected the number of a version of scores, got '{digits}'"))),
    };
    // Newest first: the newest is compared with the one before it.
    let (before, after) = (asked(&wanted.before, there.get(1))?, asked(&wanted.after, there.first())?);
    let (Some(before), Some(after)) = (before, after) else {
        return Ok((json!({ "versions": versions, "too_few": true }), vec![list]));
    };
    let metric = if wanted.metric.is_empty() { USUAL_METRIC } else { wanted.metric.as_str() };
    let sample_set = if wanted.sample_set.is_empty() { USUAL_SAMPLE_SET } else { wanted.sample_set.as_str() };
    let values = [
        ("before", Parameter::Integer(before)),
        ("after", Parameter::Integer(after)),
        ("metric", words(metric)),
        ("sample_set", words(sample_set)),
    ];
    let counts = app.gate.ask("compare_version_counts", &values).await?;
    let rows = counts.objects()?;
    let has = |change: &str| rows.iter().any(|row| row.get("change").and_then(Value::as_str) == Some(change));
    let change = match wanted.change.as_str() {
        "" => ["rose", "fell", "appeared", "vanished", "undefined"].into_iter().find(|change| has(change)),
        known @ ("rose" | "fell" | "appeared" | "vanished" | "undefined" | "same") => Some(known),
        other => {
            return Err(Fault::argument(format!(
                "change: expected rose, fell, appeared, vanished, undefined or same, got '{other}'"
            )));
        }
    };
    let mut asked = vec![list, counts];
    let changes = match change {
        None => Vec::new(),
        Some(change) => {
            let changes =
                app.gate.ask("compare_version_changes", &[&values[..], &[("change", words(change))]].concat()).await?;
            let rows = changes.objects()?;
            asked.push(changes);
            rows
        }
    };
    let found = json!({
        "versions": versions,
        "before": before,
        "after": after,
        "counts": rows,
        "change": change,
        "changes": changes,
    });
    Ok((found, asked))
}

#[cfg(test)]
mod tests;
