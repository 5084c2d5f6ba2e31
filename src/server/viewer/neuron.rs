//! `/neuron/{model}/{hook_point}/{neuron}`: everything that the lake holds of one unit.

mod alike;
mod explanations;
mod neighbours;
pub(super) mod own_score;
mod unit;

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use self::unit::Unit;
use super::arguments::Arguments;
use super::charts;
use super::heat_map::{Window, heat_maps, shown as shown_token};
use super::links;
use super::render::{Fault, render, shown};
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::gate::Asked;
use crate::server::kept_pages::AlsoAt;
use crate::server::kept_rows::InPlace;

/// Rows as objects.
pub(super) type Rows = Vec<Map<String, Value>>;

/// The three parts of a unit's address.
pub(super) type UnitPath = std::result::Result<Path<(String, String, String)>, PathRejection>;

/// The page of a unit.
pub(crate) async fn neuron(
    State(app): State<Arc<App>>,
    path: UnitPath,
    RawQuery(query): RawQuery,
) -> std::result::Result<Response, Fault> {
    let arguments = Arguments::parse(query.as_deref());
    let switches = Switches::new(&arguments)?;
    let simulation = arguments.name("simulation")?;
    let (unit, corpora) = unit::find(&app, path, &arguments).await?;
    let corpus = unit.corpus();
    let (statistics, explained, scores, judges, simulators, records, tokens, effects) = tokio::try_join!(
        unit.ask(&app, "neuron_statistics", &corpus),
        unit.ask(&app, "neuron_explanations", &corpus),
        unit.ask(&app, "neuron_scores", &corpus),
        unit.ask(&app, "neuron_judges", &corpus),
        unit.ask(&app, "neuron_simulators", &corpus),
        unit.ask(&app, "neuron_records", &corpus),
        unit.ask(&app, "neuron_tokens", &corpus),
        unit.ask(&app, "neuron_effects", &[]),
    )?;
    let (links, neighbours) =
        tokio::try_join!(unit.ask(&app, "neuron_connections", &[]), unit.ask(&app, "neuron_neighbours", &[]))?;
    let (explanations, best) = explanations::joined(explained.objects()?, &scores.objects()?, &judges.objects()?);
    let (options, chosen) =
        explanations::simulations(simulators.objects()?, &scores.objects()?, &explanations, simulation);
    let (link_rows, effect_rows) = (links.objects()?, effects.objects()?);
    let (simulated, by_weights, alike) = tokio::try_join!(
        simulations(&app, &unit, chosen.as_ref()),
        ByWeights::of(&app, &unit, !link_rows.is_empty(), !effect_rows.is_empty()),
        alike::alike(&app, &unit, best.as_deref()),
    )?;

    let mut queries = vec![
        &corpora,
        &explained,
        &scores,
        &judges,
        &statistics,
        &records,
        &simulators,
        &tokens,
        &effects,
        &links,
        &neighbours,
    ];
    let ByWeights { links: weight_links, tokens: weight_tokens, promoted } = &by_weights;
    let more = simulated.iter().chain(weight_links).chain(weight_tokens).chain(promoted);
    queries.extend(more.chain(&alike.asked));
    let link_rows = weight_links.as_ref().map_or(Ok(link_rows), Asked::objects)?;
    let effect_rows = weight_tokens.as_ref().map_or(Ok(effect_rows), Asked::objects)?;
    let (scored, samples) = maps(simulated.as_ref(), &records)?;
    let statistics = statistics.objects()?.pop();
    let link = |row: &mut Map<String, Value>| {
        if row.get("present").and_then(Value::as_bool).unwrap_or_default() {
            let (hook_point, neuron) = (text(row, "other_hook_point"), integer(row, "other_neuron"));
            row.insert("address".to_owned(), json!(links::neuron(&unit.model, &hook_point, neuron, &unit.corpus)));
        }
    };
    let neighbours_shown = neighbours::chosen(&unit, &neighbours.objects()?);
    let context = json!({
        "unit": unit.shown(),
        "compare": unit.compare(&explanations, &neighbours.objects()?),
        "switches": switches.context(),
        "corpora": unit.corpora(&corpora.objects()?),
        "neighbours": neighbours_shown,
        "explanations": explanations,
        "best": best,
        "simulations": options,
        "scored": scored,
        "samples": samples,
        "histogram": statistics.as_ref().and_then(histogram),
        "quantiles": statistics.as_ref().map(quantile_rows),
        "statistics": statistics,
        "tokens": with_shown_tokens(tokens.objects()?),
        "effects": with_shown_tokens(effect_rows),
        "promoted": promoted.as_ref().map(promoted_tokens).transpose()?,
        "links": link_rows.into_iter().map(|mut row| { link(&mut row); row }).collect::<Vec<_>>(),
        "alike": alike.rows,
        "alike_note": alike.note,
        "simulator": app.simulator,
        "queries": shown(queries),
    });
    let page = render("neuron.html", context)?;
    // Without arguments it is the page of its own address too.
    Ok(match query {
        None => (Extension(AlsoAt(unit.address())), page).into_response(),
        Some(_) => page.into_response(),
    })
}

/// How heat maps are shown: it stands in the address, and the script changes both.
#[derive(Debug, Clone, Copy)]
struct Switches {
    view: &'static str,
    scale: &'static str,
    values: bool,
}

impl Switches {
    fn new(arguments: &Arguments) -> std::result::Result<Self, Fault> {
        Ok(Self {
            view: arguments.choice("view", &["overlaid", "stacked"])?,
            scale: arguments.choice("scale", &["shared", "own"])?,
            values: arguments.choice("values", &["no", "yes"])? == "yes",
        })
    }

    fn context(self) -> Value {
        json!({ "view": self.view, "scale": self.scale, "values": self.values })
    }
}

/// The windows that one explanation was scored on.
async fn simulations(app: &App, unit: &Unit, chosen: Option<&explanations::Simulated>) -> Result<Option<Asked>> {
    let Some(chosen) = chosen else { return Ok(None) };
    let text = |value: &str| Parameter::Text(value.to_owned());
    let [corpus] = unit.corpus();
    let simulator = ("simulator", text(&chosen.simulator));
    let values = [corpus, simulator, ("simulator_model", text(&chosen.simulator_model))];
    let mut asked = unit.ask(app, "neuron_simulations", &values).await?;
    asked.keep_text("explanation", &chosen.explanation)?;
    Ok(Some(asked))
}

/// What the weights of the unit's model tell of it, where the server has the model and the unit stands in it.
#[derive(Debug, Default)]
struct ByWeights {
    links: Option<Asked>,
    tokens: Option<Asked>,
    /// Of a latent: what it promotes, by the logit lens.
    promoted: Option<Asked>,
}

impl ByWeights {
    /// Asks for what the lake does not have.
    async fn of(app: &App, unit: &Unit, has_links: bool, has_tokens: bool) -> Result<Self> {
        let models = Arc::clone(app.gate.session().models());
        let (sources, id) = (app.models.clone(), unit.model.clone());
        // They were loaded when the server started.
        let source = sources.into_iter().find(|source| models.get(source).is_ok_and(|model| model.id() == id));
        let Some(source) = source else { return Ok(Self::default()) };
        if unit.hook_point.contains('/') {
            let [_, hook_point, neuron, _] = unit.values();
            let source = ("model_source", Parameter::Text(source));
            let promoted = known(app.gate.ask("neuron_promoted", &[source, hook_point, neuron]).await)?;
            return Ok(Self { promoted, ..Self::default() });
        }
        let (end, widest) = reach(&*models.get(&source)?, &unit.hook_point);
        // The function's rows are as the table's would be, so the page's own query reads either.
        let ask = async |has: bool, name, table, function, top: i64| {
            if has {
                return Ok(None);
            }
            let [of_source, of_hook] = [&source, &unit.hook_point].map(|text| Parameter::Text(text.clone()).to_sql());
            let call = |first: i64, last: i64| {
                let units = if first == last { first.to_string() } else { format!("{first}-{last}") };
                format!("{function}({of_source}, {of_hook}, '{units}', {top})")
            };
            let [model, hook_point, ..] = unit.values();
            let values = [model, hook_point, ("top", Parameter::Integer(top))];
            let in_place = InPlace { table, call: &call, end, widest };
            known(app.rows.ask_of(&app.gate, name, &values, unit.neuron, in_place).await)
        };
        let (links, tokens) = tokio::try_join!(
            ask(has_links, "neuron_connections", "neuron_links", "weight_links", 10),
            ask(has_tokens, "neuron_effects", "token_effects", "weight_tokens", 20),
        )?;
        Ok(Self { links, tokens, promoted: None })
    }
}

/// Multiplications that a page may ask of weights for its unit's neighbours: a fraction of what a query's plan takes.
const MOMENT: i64 = 1 << 27;

/// How many units a hook point has, and how many of them are related to all others, and to all tokens, in a moment.
fn reach(model: &SubjectModel, hook_point: &str) -> (i64, i64) {
    let units = model.hook_points().iter().find(|hook| hook.name() == hook_point).map_or(0, HookPoint::width);
    let config = model.config();
    let others = (config.n_layers * config.d_mlp).max(config.n_vocab) * config.d_model;
    (units as i64, MOMENT / others.max(1) as i64)
}

/// `None` for a unit of a file that the model knows nothing of.
fn known(asked: Result<Asked>) -> Result<Option<Asked>> {
    match asked {
        Err(error) if matches!(error.itself(), Error::HookPointUnknown { .. } | Error::NeuronOutOfRange { .. }) => {
            Ok(None)
        }
        asked => asked.map(Some),
    }
}

fn promoted_tokens(asked: &Asked) -> Result<Vec<String>> {
    let rows = asked.objects()?;
    let tokens = rows.first().and_then(|row| row.get("tokens")).and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(tokens.iter().filter_map(Value::as_str).map(|token| shown_token(token).0).collect())
}

/// Heat maps of the scored windows and of every sample, all on one shared scale.
fn maps(simulated: Option<&Asked>, records: &Asked) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut windows = match simulated {
        Some(asked) => as_windows(asked.objects()?)?,
        None => Vec::new(),
    };
    let n_scored = windows.len();
    let mut samples = as_windows(records.objects()?)?;
    samples.sort_by_key(|window| place(&window.sample));
    windows.extend(samples);
    let maps = heat_maps(&windows);
    let (scored, rest) = maps.split_at(n_scored);
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for (window, map) in windows[n_scored..].iter().zip(rest) {
        let map = json!(map);
        match groups.last_mut().filter(|(sample, _)| *sample == window.sample) {
            Some((_, maps)) => maps.push(map),
            None => groups.push((window.sample.clone(), vec![map])),
        }
    }
    let groups = groups
        .into_iter()
        .map(|(sample, maps)| {
            let first = if sample == "top" { 4 } else { 2 };
            json!({ "title": title(&sample), "sample": sample, "first": first, "maps": maps })
        })
        .collect();
    Ok((scored.iter().map(|map| json!(map)).collect(), groups))
}

fn as_windows(rows: Rows) -> Result<Vec<Window>> {
    let window = |row| {
        serde_json::from_value(Value::Object(row))
            .map_err(|error| Error::internal(format!("a window of a page: {error}")))
    };
    rows.into_iter().map(window).collect()
}

/// Top windows first, then quantiles from the highest, then random ones, then what else an import has.
fn place(sample: &str) -> (u8, i64) {
    match (sample, sample.strip_prefix("quantile_").and_then(|number| number.parse::<i64>().ok())) {
        ("top", _) => (0, 0),
        (_, Some(number)) => (1, -number),
        ("random", _) => (2, 0),
        _ => (3, 0),
    }
}

fn title(sample: &str) -> String {
    match sample {
        "top" => "Top windows".to_owned(),
        "random" => "Random windows".to_owned(),
        "quantile_4" => "Windows whose largest activation is among the highest thousandth".to_owned(),
        "quantile_3" => "Windows from quantile .99 to .999 of largest activations".to_owned(),
        "quantile_2" => "Windows from quantile .9 to .99 of largest activations".to_owned(),
        "quantile_1" => "Windows from quantile .5 to .9 of largest activations".to_owned(),
        "quantile_0" => "Windows below the median of largest activations".to_owned(),
        other => format!("Windows of sample {other}"),
    }
}

fn histogram(statistics: &Map<String, Value>) -> Option<charts::Histogram> {
    let (levels, values): (Vec<f64>, Vec<f64>) = quantile_pairs(statistics).into_iter().unzip();
    charts::quantiles(&levels, &values)
}

/// Levels with their values, from the smallest to the largest activation.
fn quantile_pairs(statistics: &Map<String, Value>) -> Vec<(f64, f64)> {
    let numbers = |name: &str| -> Vec<Option<f64>> {
        statistics.get(name).and_then(Value::as_array).into_iter().flatten().map(Value::as_f64).collect()
    };
    let end = |name: &str| statistics.get(name).and_then(Value::as_f64);
    let inner = numbers("quantile_levels").into_iter().zip(numbers("quantiles"));
    let pairs = [(Some(0.0), end("min"))].into_iter().chain(inner).chain([(Some(1.0), end("max"))]);
    let mut known: Vec<(f64, f64)> = pairs.filter_map(|(level, value)| Some((level?, value?))).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A sketch may put a quantile a little past the largest value.
    let most = end("max").unwrap_or(f64::INFINITY);
    let mut before = f64::NEG_INFINITY;
    for (_, value) in &mut known {
        *value = value.max(before).min(most);
        before = *value;
    }
    known
}

fn quantile_rows(statistics: &Map<String, Value>) -> Vec<Value> {
    quantile_pairs(statistics).into_iter().map(|(level, value)| json!({ "level": level, "value": value })).collect()
}

/// Rows whose token is as heat maps show it.
fn with_shown_tokens(mut rows: Rows) -> Rows {
    for row in &mut rows {
        let token = row.get("token").and_then(Value::as_str).map(|token| shown_token(token).0);
        row.insert("token".to_owned(), json!(token));
    }
    rows
}

/// A text of a row; empty where it is NULL.
pub(super) fn text(row: &Map<String, Value>, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A whole number of a row; 0 where it is NULL.
pub(super) fn integer(row: &Map<String, Value>, name: &str) -> i64 {
    row.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// A number of a row.
pub(super) fn float(row: &Map<String, Value>, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

#[cfg(test)]
mod tests;
