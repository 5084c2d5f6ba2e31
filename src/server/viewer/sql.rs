//! `/sql`: an editor, what the statement in the address returns, and what there is to ask.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures::StreamExt;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::links;
use super::render::{Fault, render};
use super::sql_chart::{self, Chart};
use super::sql_help::help;
use crate::error::Result;
use crate::server::App;
use crate::server::problem::Problem;

/// Rows that the page shows.
const SHOWN_ROWS: usize = 1_000;
/// Rows that a chart is drawn from.
const CHART_ROWS: usize = 100_000;
/// Characters of a cell that the page shows.
const SHOWN_CHARACTERS: usize = 300;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    q: String,
    chart: String,
    x: String,
    y: String,
}

/// The page. A statement that is refused or fails is told in it, with its status.
pub(crate) async fn sql(
    State(app): State<Arc<App>>,
    Query(wanted): Query<Wanted>,
) -> std::result::Result<Response, Fault> {
    let help = help(&app.gate).await;
    let asked = !wanted.q.trim().is_empty();
    let (status, result, problem) = match asked {
        false => (StatusCode::OK, None, None),
        true => match answer(&app, &wanted).await {
            Ok(result) => (StatusCode::OK, Some(result), None),
            Err(error) => {
                let problem = Problem::from(&error);
                (problem.status(), None, Some(Complaint::new(&wanted.q, problem.detail())))
            }
        },
    };
    let downloads = ["csv", "parquet", "json"]
        .map(|format| json!({ "format": format, "address": links::with_query("/sql/download", &[("format", format), ("q", &wanted.q)]) }));
    let page = render(
        "sql.html",
        json!({
            "here": "/sql",
            "q": wanted.q,
            "asked": asked,
            "chosen": { "chart": wanted.chart, "x": wanted.x, "y": wanted.y },
            "result": result,
            "problem": problem,
            "downloads": downloads,
            "help": help,
            "shown_rows": SHOWN_ROWS,
            "queries": [],
        }),
    )?;
    // now() and random() return something else the next time.
    let head = asked.then_some([(CACHE_CONTROL, "no-store")]);
    Ok(match head {
        Some(head) => (status, head, page).into_response(),
        None => (status, page).into_response(),
    })
}

/// What a statement returned, as the page shows it.
#[derive(Debug, Serialize)]
struct Shown {
    columns: Vec<ShownColumn>,
    rows: Vec<Vec<Cell>>,
    n_rows: usize,
    /// Whether there are more rows than are shown.
    more: bool,
    milliseconds: u64,
    chart: Option<Chart>,
    /// Why there is no chart where one was asked for.
    no_chart: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownColumn {
    name: String,
    data_type: String,
    number: bool,
}

#[derive(Debug, Serialize)]
struct Cell {
    /// `None` for NULL.
    text: Option<String>,
    /// Whether the value goes on.
    cut: bool,
    /// The page of the unit that the row is about.
    link: Option<String>,
}

async fn answer(app: &App, wanted: &Wanted) -> Result<Shown> {
    let begun = Instant::now();
    let kind = sql_chart::Kind::parse(&wanted.chart);
    let mut answer = app.gate.read(&wanted.q).await?;
    let schema = answer.schema();
    let drawn: Vec<usize> = [&wanted.x, &wanted.y].into_iter().filter_map(|name| schema.index_of(name).ok()).collect();
    let limit = if kind.is_some() { CHART_ROWS } else { SHOWN_ROWS };
    let (mut shown, mut for_chart, mut n_read) = (Vec::new(), Vec::new(), 0);
    while n_read <= limit {
        let Some(batch) = answer.next().await.transpose()? else { break };
        if n_read < SHOWN_ROWS {
            shown.push(batch.slice(0, batch.num_rows().min(SHOWN_ROWS - n_read)));
        }
        if kind.is_some() {
            // Only what is drawn is kept: rows may be wide.
            let part = batch.slice(0, batch.num_rows().min(limit.saturating_sub(n_read)));
            for_chart.push(part.project(&drawn)?);
        }
        n_read += batch.num_rows();
    }
    // Dropping it stops the query.
    drop(answer);
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let cut = n_read > limit;
    let (chart, no_chart) =
        match kind.map(|kind| sql_chart::draw(kind, &for_chart, &wanted.x, &wanted.y)).transpose()? {
            None => (None, None),
            Some(Ok(mut chart)) => {
                if cut {
                    chart.note_cut(CHART_ROWS);
                }
                (Some(chart), None)
            }
            Some(Err(reason)) => (None, Some(reason)),
        };
    let rows = cells(&schema, &shown)?;
    Ok(Shown {
        columns: columns(&schema),
        n_rows: rows.len(),
        more: n_read > rows.len(),
        rows,
        milliseconds,
        chart,
        no_chart,
    })
}

fn columns(schema: &SchemaRef) -> Vec<ShownColumn> {
    let fields = schema.fields().iter();
    fields
        .map(|field| ShownColumn {
            name: field.name().clone(),
            data_type: crate::docs::sql_type(field.data_type()),
            number: sql_chart::is_number(field.data_type()),
        })
        .collect()
}

fn cells(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>> {
    let place = |name: &str| schema.index_of(name).ok();
    let unit = place("model").zip(place("hook_point")).zip(place("neuron"));
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns();
        let formatters = columns.iter().map(|column| ArrayFormatter::try_new(column, &options));
        let formatters = formatters.collect::<std::result::Result<Vec<_>, _>>()?;
        // A column of the type NULL has no values, and no mask that says so.
        let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
        for row in 0..batch.num_rows() {
            let null = |column: usize| nulls[column].as_ref().is_some_and(|nulls| nulls.is_null(row));
            let text = |column: usize| match null(column) {
                true => None,
                false => Some(formatters[column].value(row).to_string()),
            };
            let link = unit.and_then(|((model, hook_point), neuron)| {
                let index = text(neuron)?.parse().ok()?;
                Some((neuron, links::neuron(&text(model)?, &text(hook_point)?, index, "")))
            });
            let cell = |column: usize| {
                let (text, cut) = match text(column) {
                    None => (None, false),
                    Some(text) => match text.char_indices().nth(SHOWN_CHARACTERS) {
                        Some((end, _)) => (Some(text[..end].to_owned()), true),
                        None => (Some(text), false),
                    },
                };
                let link = link.as_ref().filter(|(of, _)| *of == column).map(|(_, address)| address.clone());
                Cell { text, cut, link }
            };
            rows.push((0..columns.len()).map(cell).collect());
        }
    }
    Ok(rows)
}

/// What is wrong with a statement, and where.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Complaint {
    detail: String,
    place: Option<Place>,
}

/// A place in a statement, both numbers from 1.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Place {
    line: usize,
    column: usize,
    /// The line up to the place.
    before: String,
    /// The line from the place on.
    after: String,
}

impl Complaint {
    fn new(sql: &str, detail: &str) -> Self {
        static PLACE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?: at)? ?Line: (\d+), Column:? (\d+)"));
        let told = PLACE.captures(detail).and_then(|found| Some((found[1].parse().ok()?, found[2].parse().ok()?)));
        let place = told.or_else(|| place_of_name(sql, detail));
        let detail = PLACE.replace(detail, "");
        Self { detail: in_plain_words(&detail), place: place.and_then(|(line, column)| Place::new(sql, line, column)) }
    }
}

impl Place {
    fn new(sql: &str, line: usize, column: usize) -> Option<Self> {
        let text = sql.lines().nth(line.checked_sub(1)?)?;
        let at = text.char_indices().nth(column.checked_sub(1)?).map_or(text.len(), |(at, _)| at);
        let (before, after) = text.split_at(at);
        Some(Self { line, column, before: before.to_owned(), after: after.to_owned() })
    }
}

/// Where the name that the engine complains of stands first: planning knows names, not places.
fn place_of_name(sql: &str, detail: &str) -> Option<(usize, usize)> {
    static NAMES: LazyLock<[Regex; 4]> = LazyLock::new(|| {
        [
            pattern(r"table '([^']+)' not found"),
            pattern(r"table function '([^']+)' not found"),
            pattern(r"No field named ([^\s]+?)\.(?:\s|$)"),
            pattern(r"Invalid function '([^']+)'"),
        ]
    });
    let found = NAMES.iter().find_map(|name| name.captures(detail))?;
    let name = found[1].replace('"', "");
    let name = name.rsplit('.').next()?;
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().ok()?;
    let token = tokens.iter().find(|token| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    })?;
    let start = token.span.start;
    Some((usize::try_from(start.line).ok()?, usize::try_from(start.column).ok()?))
}

/// The engine's words without what it files them under.
fn in_plain_words(detail: &str) -> String {
    let mut words = detail.trim();
    for heading in
        ["SQL error: ", "sql parser error: ", "Error during planning: ", "Schema error: ", "Execution error: "]
    {
        words = words.strip_prefix(heading).unwrap_or(words);
    }
    words.to_owned()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns are literals: a test uses each")
}

#[cfg(test)]
mod tests;
