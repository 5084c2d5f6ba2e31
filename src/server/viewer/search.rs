//! `/search`: explanations by words and by meaning.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Html;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::browse::with_addresses;
use super::links;
use super::neuron::integer;
use super::render::{Fault, render, shown};
use crate::error::Result;
use crate::pipeline::queries::Parameter;
use crate::search::bm25::KeywordQuery;
use crate::server::App;
use crate::server::gate::Asked;

/// Explanations found, unless asked for fewer or more.
const TOP: i64 = 30;
const MOST: i64 = 500;

/// Longest words to search for, in bytes.
const LONGEST_WORDS: usize = 2_000;

/// Ways of searching, the usual one first.
const MODES: [&str; 3] = ["hybrid", "keyword", "semantic"];

/// What was found.
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> std::result::Result<Html<String>, Fault> {
    let arguments = Arguments::parse(query.as_deref());
    let mode = arguments.choice("mode", &MODES)?;
    let top = arguments.integer("top", 1..=MOST)?.unwrap_or(TOP);
    let typed = arguments.text("where").unwrap_or_default();
    let parsed = if typed.is_empty() { None } else { Some(Parameter::condition("condition", typed)?) };
    let words = arguments.name("q")?.unwrap_or_default();
    if words.len() > LONGEST_WORDS {
        return Err(Fault::argument(format!("q: expected at most {LONGEST_WORDS} bytes, got {}", words.len())));
    }
    let mut note = None;
    let mut asked: Vec<Asked> = Vec::new();
    let mut found = Vec::new();
    let mut way = mode;
    if !words.is_empty() {
        if way != "keyword" {
            note = no_vectors(&app, &mut asked).await?.map(|why| match why {
                NoVectors::Encoder => {
                    "Searched by words only: the server has no sentence encoder ('neuronlake pull minilm' fetches one)."
                        .to_owned()
                }
                NoVectors::Vectors => {
                    "Searched by words only: explanations have no vectors yet ('neuronlake index' computes them)."
                        .to_owned()
                }
            });
            if note.is_some() {
                way = "keyword";
            }
        }
        if way != "semantic" && KeywordQuery::new(words).is_none() {
            note = Some("Type a word with a letter or a digit.".to_owned());
        } else {
            let mut values = vec![("words", Parameter::Text(words.to_owned())), ("top", Parameter::Integer(top))];
            values.extend(parsed.map(|condition| ("condition", condition)));
            let matches = app.gate.ask(way, &values).await?;
            found = with_addresses(matches.objects()?);
            asked.push(matches);
        }
    }
    let other_modes: Vec<Value> = MODES
        .iter()
        .map(|other| {
            let pairs = [("q", words), ("mode", *other), ("where", typed)];
            json!({ "name": *other, "here": *other == mode, "address": links::with_query("/search", &pairs) })
        })
        .collect();
    let full = found.len() as i64 == top && top < MOST;
    let more = full.then(|| {
        let top = (top * 4).min(MOST).to_string();
        links::with_query("/search", &[("q", words), ("mode", mode), ("where", typed), ("top", &top)])
    });
    let context = json!({
        "words": words,
        "mode": mode,
        "way": way,
        "modes": other_modes,
        "where": typed,
        "found": found,
        "more": more,
        "note": note,
        "browse": links::with_query("/browse", &[("q", words), ("where", typed)]),
        "queries": shown(&asked),
    });
    render("search.html", context)
}

/// Texts whose vectors a page may have computed: what that takes, a person waits for.
const FEW_TEXTS: i64 = 256;

/// Why there is no search by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoVectors {
    /// The server has no sentence encoder.
    Encoder,
    /// More texts have no vector than a page computes.
    Vectors,
}

/// What keeps a page from searching by meaning; `None` where nothing does. A page does not compute the vectors of a whole lake.
pub(super) async fn no_vectors(app: &App, asked: &mut Vec<Asked>) -> Result<Option<NoVectors>> {
    let methods = Arc::clone(app.gate.session().methods());
    if app.gate.on_engine(async move { methods.text_encoder(None).is_err() }).await? {
        return Ok(Some(NoVectors::Encoder));
    }
    let vectors = app.rows.ask_once(&app.gate, "vector_counts", &[]).await?;
    let rows = vectors.objects()?;
    let count = |name: &str| rows.first().map(|row| integer(row, name)).unwrap_or_default();
    let missing = count("n_texts") - count("n_vectors");
    asked.push(vectors);
    Ok((missing > FEW_TEXTS).then_some(NoVectors::Vectors))
}
