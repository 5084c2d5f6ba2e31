//! `neuronlake search`: explanations by words and meaning.

use std::io::Write;

use super::arguments::Arguments;
use super::progress::{StageProgress, Verbosity};
use super::search_arguments::{Mode, Search};
use super::{open, sql};
use crate::error::{Error, Result};
use crate::pipeline::queries::{self, Parameter};
use crate::search::bm25::KeywordQuery;
use crate::search::error::SearchError;
use crate::search::index::Index;
use crate::session::{Session, SessionOptions};

pub(crate) async fn search(arguments: &Arguments, command: &Search) -> Result<()> {
    let condition = command
        .condition
        .as_deref()
        .map_or(Ok(Parameter::everything()), |text| Parameter::condition("--where", text))?;
    let has_words = match command.mode {
        Mode::Semantic => !command.words.trim().is_empty(),
        Mode::Hybrid | Mode::Keyword => KeywordQuery::new(&command.words).is_some(),
    };
    if !has_words {
        let got = command.words.chars().take(60).collect();
        return Err(SearchError::NoWords { place: "search".to_owned(), got }.into());
    }
    let languages = command.language.options()?;
    let session = open(command.lake.open().await?, SessionOptions { languages, ..SessionOptions::default() })?;
    let mut mode = command.mode;
    if mode != Mode::Keyword {
        match vectors(&session, command.encoder.as_deref(), arguments.verbosity()).await {
            Ok(notes) => tell(arguments, &notes)?,
            // Who names an encoder wants that one.
            Err(error @ Error::ModelNotFound { .. }) if mode == Mode::Hybrid && command.encoder.is_none() => {
                tell(arguments, &format!("note: searched by words only: {error}"))?;
                mode = Mode::Keyword;
            }
            Err(error) => return Err(error),
        }
    }
    let mut values = vec![
        ("words".to_owned(), Parameter::Text(command.words.clone())),
        ("condition".to_owned(), condition),
        ("top".to_owned(), Parameter::Integer(i64::try_from(command.top).unwrap_or(i64::MAX))),
    ];
    if mode != Mode::Keyword {
        let encoder = command.encoder.clone().unwrap_or_default();
        values.push(("encoder".to_owned(), Parameter::Text(encoder)));
    }
    let sql = queries::find(mode.query())?.bind(&values)?;
    sql::print_rows(&session, &sql, command.format).await
}

/// Computes vectors that are missing, with a bar; what a person should know about them.
pub(super) async fn vectors(session: &Session, encoder: Option<&str>, verbosity: Verbosity) -> Result<String> {
    let encoder = session.methods().text_encoder(encoder)?;
    let stages = StageProgress::new(1, verbosity);
    let bar = std::sync::Mutex::new((None, 0));
    let show = |done: usize, total: usize| {
        let mut bar = bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (stage, shown) = &mut *bar;
        let stage = stage.get_or_insert_with(|| stages.stage("explanation_vectors", "texts", Some(total as u64)));
        stage.advance((done - *shown) as u64);
        *shown = done;
    };
    let index = session.search().with_vectors(session.context(), encoder.as_ref(), &show).await;
    session.methods().models().fold().await?;
    let index = index?;
    if let (Some(stage), _) = bar.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        stage.finish();
    }
    Ok(recall(&index, encoder.name()).unwrap_or_default())
}

/// What is known of an approximate search.
pub(super) fn recall(index: &Index, encoder: &str) -> Option<String> {
    let recall = index.recall(encoder)?;
    Some(format!(
        "note: more than {} explanations: the nearest are found approximately, recall@20 {recall:.3} as measured when they were indexed",
        crate::search::nearest::EXACT_ROWS
    ))
}

/// A line on stderr, where one is wanted.
pub(super) fn tell(arguments: &Arguments, note: &str) -> Result<()> {
    if note.is_empty() || arguments.quiet {
        return Ok(());
    }
    writeln!(std::io::stderr(), "{note}").map_err(|source| Error::Output { source })
}
