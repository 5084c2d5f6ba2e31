//! `/browse`: a table of units. The address holds all of its state.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::links;
use super::neuron::{Rows, integer, text};
use super::render::{Fault, render, shown};
use crate::pipeline::queries::Parameter;
use crate::server::App;

/// Rows of a page, unless asked for fewer or more.
const PAGE: i64 = 50;
const LARGEST_PAGE: i64 = 500;

/// Rows that a page may skip: a reader who goes farther filters better.
const FARTHEST: i64 = 10_000_000;

/// Scores that no limit keeps out.
const NO_LOW: &str = "-1000";
const NO_HIGH: &str = "1000";

/// What the table can be sorted by: name in the address, head of the column, whether the largest come first.
const COLUMNS: [Column; 13] = [
    Column { name: "score", head: "score", largest_first: true },
    Column { name: "neuron", head: "neuron", largest_first: false },
    Column { name: "hook_point", head: "hook point", largest_first: false },
    Column { name: "layer", head: "layer", largest_first: false },
    Column { name: "text", head: "explanation", largest_first: false },
    Column { name: "control", head: "control", largest_first: true },
    Column { name: "random_only", head: "random only", largest_first: true },
    Column { name: "density", head: "density", largest_first: true },
    Column { name: "max", head: "largest", largest_first: true },
    Column { name: "model", head: "model", largest_first: false },
    Column { name: "corpus", head: "corpus", largest_first: false },
    Column { name: "low", head: "lower end", largest_first: true },
    Column { name: "explainer", head: "explainer", largest_first: false },
];

/// A column to sort by.
#[derive(Debug, Clone, Copy)]
struct Column {
    name: &'static str,
    head: &'static str,
    largest_first: bool,
}

/// All that an address says.
#[derive(Debug, Clone)]
struct Wanted {
    model: String,
    hook_point: String,
    layer: Option<i64>,
    words: String,
    low: Option<f64>,
    high: Option<f64>,
    condition: String,
    sort: Column,
    largest_first: bool,
    page: i64,
    size: i64,
}

impl Wanted {
    fn new(arguments: &Arguments) -> Result<Self, Fault> {
        let name = |name: &str| arguments.name(name).map(|text| text.unwrap_or_default().to_owned());
        let names = COLUMNS.map(|column| column.name);
        let sort = arguments.choice("sort", &names)?;
        let sort = *COLUMNS.iter().find(|column| column.name == sort).unwrap_or(&COLUMNS[0]);
        let order =
            arguments.choice("order", &[if sort.largest_first { "falling" } else { "rising" }, "rising", "falling"])?;
        Ok(Self {
            model: name("model")?,
            hook_point: name("hook_point")?,
            layer: arguments.integer("layer", 0..=i64::from(i32::MAX))?,
            words: name("q")?,
            low: arguments.number("low")?,
            high: arguments.number("high")?,
            condition: arguments.text("where").unwrap_or_default().to_owned(),
            sort,
            largest_first: order == "falling",
            size: arguments.integer("size", 1..=LARGEST_PAGE)?.unwrap_or(PAGE),
            page: arguments.integer("page", 1..=FARTHEST)?.unwrap_or(1),
        })
    }

    /// Values of the filters.
    fn filters(&self) -> Result<Vec<(&'static str, Parameter)>, Fault> {
        let text = |value: &str| Parameter::Text(value.to_owned());
        let limit = |value: Option<f64>, none: &str| {
            Parameter::Number(value.map_or_else(|| none.to_owned(), |v| v.to_string()))
        };
        let mut values = vec![
            ("model", text(&self.model)),
            ("hook_point", text(&self.hook_point)),
            ("layer", Parameter::Integer(self.layer.unwrap_or(-1))),
            ("words", text(&self.words)),
            ("low", limit(self.low, NO_LOW)),
            ("high", limit(self.high, NO_HIGH)),
        ];
        if !self.condition.is_empty() {
            values.push(("condition", Parameter::condition("condition", &self.condition)?));
        }
        Ok(values)
    }

    /// The value of the order, where the page is not too far.
    fn order(&self) -> Result<(&'static str, Parameter), Fault> {
        let skip = (self.page - 1).saturating_mul(self.size);
        if skip > FARTHEST {
            return Err(Fault::argument(format!(
                "page: expected one of the first {FARTHEST} units, got page {}",
                self.page
            )));
        }
        let by = if self.largest_first { "falling" } else { "rising" };
        // A name of ours, never one of the address.
        Ok((by, Parameter::Expression(self.sort.name.to_owned())))
    }

    /// The address of another order or page with the same filters.
    fn address(&self, sort: Column, largest_first: bool, page: i64) -> String {
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let other = |value: String, usual: bool| if usual { String::new() } else { value };
        links::with_query(
            "/browse",
            &[
                ("model", &self.model),
                ("hook_point", &self.hook_point),
                ("layer", &self.layer.map(|layer| layer.to_string()).unwrap_or_default()),
                ("q", &self.words),
                ("low", &number(self.low)),
                ("high", &number(self.high)),
                ("where", &self.condition),
                ("sort", &other(sort.name.to_owned(), sort.name == COLUMNS[0].name)),
                (
                    "order",
                    &other(
                        if largest_first { "falling" } else { "rising" }.to_owned(),
                        largest_first == sort.largest_first,
                    ),
                ),
                ("size", &other(self.size.to_string(), self.size == PAGE)),
                ("page", &other(page.to_string(), page == 1)),
            ],
        )
    }

    /// Heads of the columns by name, each with the address that sorts by it.
    fn heads(&self) -> Value {
        let head = |column: &Column| {
            let here = column.name == self.sort.name;
            let largest_first = if here { !self.largest_first } else { column.largest_first };
            let sorted = match (here, self.largest_first) {
                (false, _) => Value::Null,
                (true, true) => json!("descending"),
                (true, false) => json!("ascending"),
            };
            let head =
                json!({ "name": column.head, "address": self.address(*column, largest_first, 1), "sorted": sorted });
            (column.name.to_owned(), head)
        };
        Value::Object(COLUMNS.iter().map(head).collect::<Map<_, _>>())
    }

    /// What the form shows.
    fn form(&self) -> Value {
        json!({
            "model": self.model,
            "hook_point": self.hook_point,
            "layer": self.layer,
            "q": self.words,
            "low": self.low,
            "high": self.high,
            "where": self.condition,
            "sort": self.sort.name,
            "order": if self.largest_first { "falling" } else { "rising" },
            "size": self.size,
            "filtered": self.address(self.sort, self.largest_first, 1) != "/browse",
        })
    }
}

/// The table of units.
pub(crate) async fn browse(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Html<String>, Fault> {
    let arguments = Arguments::parse(query.as_deref());
    let wanted = Wanted::new(&arguments)?;
    let filters = wanted.filters()?;
    let ordered: Vec<_> = filters.iter().cloned().chain([wanted.order()?]).collect();
    let (units, count, places) = tokio::try_join!(
        app.rows.ask_page(&app.gate, "browse_units", &ordered, (wanted.page - 1, wanted.size)),
        app.rows.ask_once(&app.gate, "browse_count", &filters),
        app.rows.ask_once(&app.gate, "browse_hook_points", &[]),
    )?;
    let n_units = count.objects()?.first().map(|row| integer(row, "n_units")).unwrap_or_default();
    let n_pages = (n_units + wanted.size - 1) / wanted.size;
    let to_page =
        |page: i64| (1..=n_pages).contains(&page).then(|| wanted.address(wanted.sort, wanted.largest_first, page));
    let places = places.objects()?;
    let mut models: Vec<String> = places.iter().map(|row| text(row, "model")).collect();
    models.dedup();
    let mut hook_points: Vec<String> = places.iter().map(|row| text(row, "hook_point")).collect();
    hook_points.sort();
    hook_points.dedup();
    let rows = with_addresses(units.objects()?);
    let context = json!({
        "here": "/browse",
        "form": wanted.form(),
        "heads": wanted.heads(),
        "columns": COLUMNS.map(|column| json!({ "name": column.name, "head": column.head })),
        "models": models,
        "hook_points": hook_points,
        "many_models": models.len() > 1,
        "many_corpora": rows.windows(2).any(|pair| pair[0].get("corpus") != pair[1].get("corpus")),
        "units": rows,
        "n_units": n_units,
        "page": wanted.page,
        "n_pages": n_pages,
        "first": (wanted.page - 1) * wanted.size + 1,
        "previous": to_page(wanted.page - 1),
        "next": to_page(wanted.page + 1),
        "start": wanted.address(wanted.sort, wanted.largest_first, 1),
        "queries": shown([&units, &count]),
    });
    render("browse.html", context)
}

/// The address of a page of the table as it is when nothing is chosen, counted from 0.
pub(crate) fn address(place: i64) -> String {
    match place {
        0 => "/browse".to_owned(),
        place => format!("/browse?page={}", place + 1),
    }
}

/// The addresses of each unit on such a page: the short one, and the one with its corpus.
///
/// # Errors
/// As the page.
pub(crate) async fn units(app: &App, place: i64) -> Result<Vec<[String; 2]>, Fault> {
    let wanted = Wanted::new(&Arguments::parse(None))?;
    let ordered: Vec<_> = wanted.filters()?.into_iter().chain([wanted.order()?]).collect();
    let units = app.rows.ask_page(&app.gate, "browse_units", &ordered, (place, wanted.size)).await?;
    let addresses = |row: &Map<String, Value>| {
        [String::new(), text(row, "corpus")]
            .map(|corpus| links::neuron(&text(row, "model"), &text(row, "hook_point"), integer(row, "neuron"), &corpus))
    };
    Ok(units.objects()?.iter().map(addresses).collect())
}

/// `/lucky`: on to any unit.
pub(crate) async fn lucky(State(app): State<Arc<App>>) -> Result<Response, Fault> {
    let asked = app.gate.ask("lucky_unit", &[]).await?;
    let Some(unit) = with_addresses(asked.objects()?).pop() else {
        return Err(Fault::not_found("the lake has no neurons yet: 'neuronlake run' collects some"));
    };
    Ok((StatusCode::SEE_OTHER, [(LOCATION, text(&unit, "address")), (CACHE_CONTROL, "no-store".to_owned())])
        .into_response())
}

/// Rows of units with the address of each one's page.
pub(super) fn with_addresses(mut rows: Rows) -> Rows {
    for row in &mut rows {
        let address =
            links::neuron(&text(row, "model"), &text(row, "hook_point"), integer(row, "neuron"), &text(row, "corpus"));
        row.insert("address".to_owned(), json!(address));
    }
    rows
}

#[cfg(test)]
mod tests;
