//! Units as plain tables: the lake's own rows as Parquet, explanations with their scores as CSV or JSON lines.

use std::path::Path;

use super::fault::ExchangeError;
use crate::error::Result;

mod read_parquet;
mod read_text;
mod score_columns;
mod write_parquet;
mod write_text;

pub use read_parquet::read_parquet;
pub use read_text::{Defaults, TextReader};
pub use write_parquet::write_parquet;
pub use write_text::{TextFormat, TextWriter};

/// Columns of a text file that stand before the scores.
const COLUMNS: [&str; 9] =
    ["model", "hook_point", "layer", "neuron", "corpus", "explainer", "explainer_model", "sample_no", "text"];

/// Refuses a place that holds anything, before work is done for it.
///
/// # Errors
/// [`ExchangeError::OutputExists`].
pub fn check_new(path: &Path) -> Result<()> {
    let taken = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
        Ok(_) => true,
        Err(_) => false,
    };
    match taken {
        true => Err(ExchangeError::OutputExists { file: path.display().to_string() }.into()),
        false => Ok(()),
    }
}
