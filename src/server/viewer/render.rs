//! Templates filled with what queries found, and faults as pages.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::json;

use super::assets;
use super::links::percent;
use super::numbers;
use crate::error::Error;
use crate::server::gate::Asked;
use crate::server::problem::Problem;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$((concat!($name, ".html"), include_str!(concat!("templates/", $name, ".html")))),*]
    };
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(whitespace.expect("the usual delimiters do not clash"));
    for (name, text) in templates![
        "base",
        "parts",
        "problem",
        "home",
        "neuron",
        "own_score",
        "browse",
        "search",
        "heat_row",
        "text",
        "compare",
        "sql",
    ] {
        environment.add_template(name, text).expect("the embedded templates parse: a test renders each");
    }
    environment.add_function("asset", |name: &str| assets::address(name));
    environment.add_filter("percent", |text: &str| percent(text));
    environment.add_filter("count", numbers::count);
    environment.add_filter("number", numbers::number);
    environment.add_filter("score", numbers::score);
    environment.add_filter("dollars", numbers::dollars);
    environment.add_filter("time", |text: &str| numbers::time(text));
    environment.set_formatter(|out, _, value| match value.as_str() {
        // What a template made itself, by a macro or a block.
        Some(text) if value.is_safe() => Ok(out.write_str(text)?),
        Some(text) => Ok(out.write_str(&escaped(text))?),
        // An `if` without `else`; what the context lacks does not come here.
        None if value.is_undefined() => Ok(()),
        None => Ok(out.write_str(&escaped(&value.to_string()))?),
    });
    environment
});

/// A query of a page, as the page shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownQuery {
    name: String,
    sql: String,
}

impl From<&Asked> for ShownQuery {
    fn from(asked: &Asked) -> Self {
        Self { name: asked.name.to_owned(), sql: asked.sql.trim().to_owned() }
    }
}

/// The queries of a page in the order in which it shows them.
pub(crate) fn shown<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> Vec<ShownQuery> {
    asked.into_iter().map(ShownQuery::from).collect()
}

/// A page from a template below `templates/`.
///
/// # Errors
/// When the template and the context do not fit: a bug of ours.
pub(crate) fn render(template: &str, context: impl Serialize) -> Result<Html<String>, Fault> {
    let context = serde_json::to_value(context)
        .map_err(|error| Error::internal(format!("context of template '{template}': {error}")))?;
    let page = TEMPLATES.get_template(template).and_then(|template| template.render(value(context)));
    Ok(Html(page.map_err(|error| Error::internal(format!("template '{template}': {error:#}")))?))
}

/// What went wrong, as a page.
#[derive(Debug)]
pub(crate) struct Fault(Problem);

impl Fault {
    /// Nothing of that name.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self(Problem::not_found(detail))
    }

    /// A value that cannot be used.
    pub(crate) fn argument(detail: impl Into<String>) -> Self {
        Self(Problem::argument(detail))
    }
}

impl Fault {
    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// What happened, for a page that tells it in its own place.
    pub(crate) fn detail(&self) -> &str {
        self.0.detail()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        problem_page(&self.0)
    }
}

/// A fault as a page with its status.
pub(crate) fn problem_page(problem: &Problem) -> Response {
    let status = problem.status();
    let title = status.canonical_reason().unwrap_or("Error");
    let context = json!({ "title": title, "status": status.as_u16(), "detail": problem.detail(), "queries": [] });
    let mut response = match render("problem.html", context) {
        Ok(page) => (status, page).into_response(),
        Err(_) => problem.clone().into_response(),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
    }
    response
}

/// JSON as the templates' own values; a NaN was null before it came here.
fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(()),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::from(items.into_iter().map(value).collect::<Vec<_>>()),
        serde_json::Value::Object(fields) => {
            Value::from(fields.into_iter().map(|(name, field)| (name, value(field))).collect::<BTreeMap<_, _>>())
        }
    }
}

/// A text that a browser shows as it is, inside an element or a quoted attribute.
///
/// What has no picture of its own gets one: a browser drops NUL and takes some controls for others. Marks that turn the text after
/// them around are taken out: they would do it outside of their own text too.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 8);
    escape(text, &mut html);
    html
}

/// The same, written behind what there is.
pub(crate) fn escape(text: &str, html: &mut String) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' | '\r' | '\t' => html.push(character),
            _ => html.push(visible(character)),
        }
    }
}

/// The character, or a picture of one that has none.
pub(crate) fn visible(character: char) -> char {
    match character {
        '\0'..='\u{1F}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{FFFD}'),
        '\u{7F}' => '\u{2421}',
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        _ if character.is_control() => '\u{FFFD}',
        _ => character,
    }
}

#[cfg(test)]
mod tests;
