//! `neuronlake index`: the search index, brought up to date beforehand.

use std::time::Instant;

use super::arguments::Arguments;
use super::search::{recall, tell, vectors};
use super::search_arguments::Index;
use super::{open, print};
use crate::error::{Error, Result};
use crate::session::SessionOptions;

pub(crate) async fn index(arguments: &Arguments, command: &Index) -> Result<()> {
    let started = Instant::now();
    let languages = command.language.options()?;
    let session = open(command.lake.open().await?, SessionOptions { languages, ..SessionOptions::default() })?;
    if command.rebuild {
        session.search().clear().await?;
    }
    let index = session.search().current(session.context()).await?;
    let mut text = format!("{} explanations, {} words", index.n_rows(), index.n_words());
    let encoders: Vec<Option<&str>> = match command.encoders.as_slice() {
        [] if command.keyword_only => Vec::new(),
        [] => vec![None],
        named => named.iter().map(|name| Some(name.as_str())).collect(),
    };
    for encoder in encoders {
        match vectors(&session, encoder, arguments.verbosity()).await {
            Ok(_) => {
                let name = session.methods().text_encoder(encoder)?.name().to_owned();
                let index = session.search().current(session.context()).await?;
                text.push_str(&format!(", vectors of {name}"));
                tell(arguments, &recall(&index, &name).unwrap_or_default())?;
            }
            Err(error @ Error::ModelNotFound { .. }) if encoder.is_none() => {
                tell(arguments, &format!("note: indexed by words only: {error}"))?;
            }
            Err(error) => return Err(error),
        }
    }
    if arguments.quiet {
        return Ok(());
    }
    print(&format!("{text}; {:.1} s\n", started.elapsed().as_secs_f64()))
}
