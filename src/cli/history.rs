//! `neuronlake history` and `neuronlake diff`: versions of tables, and what they differ in.

use clap::Args;

use super::arguments::{ExistingLake, positive};
use super::table::Format;
use super::{open, print, sql};
use crate::error::Result;
use crate::pipeline::history::{TableAt, named, row_changes};
use crate::pipeline::queries::{self, Parameter};
use crate::session::SessionOptions;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake history scores
  neuronlake history explanations --top 5 --format json")]
pub(crate) struct History {
    /// The table.
    table: String,
    /// Versions at most, the newest first.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = positive)]
    top: usize,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    lake: ExistingLake,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake diff scores@12 scores@15
  neuronlake diff scores@12 scores@15 --where \"layer = 3 AND abs(difference) > 0.1\" --format csv
  neuronlake diff explanations@4 explanations@7")]
pub(crate) struct Diff {
    /// The older version, such as scores@12.
    before: String,
    /// The newer one.
    after: String,
    /// Only rows that meet this condition on the columns shown.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = positive)]
    top: usize,
    /// Of scores: the metric compared.
    #[arg(long, default_value = "ev_correlation", value_name = "METRIC")]
    metric: String,
    /// Of scores: the windows compared.
    #[arg(long, default_value = "top_and_random", value_name = "SET")]
    sample_set: String,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    lake: ExistingLake,
}

pub(crate) async fn history(command: &History) -> Result<()> {
    let definition = named(&command.table)?;
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    let values = [
        ("table".to_owned(), Parameter::Text(definition.name.clone())),
        ("top".to_owned(), Parameter::Integer(command.top as i64)),
    ];
    sql::print_rows(&session, &queries::find("versions")?.bind(&values)?, command.format).await
}

pub(crate) async fn diff(command: &Diff) -> Result<()> {
    let (before, after) = (TableAt::parse(&command.before)?, TableAt::parse(&command.after)?);
    let condition = match &command.condition {
        Some(text) => Parameter::condition("--where", text)?,
        None => Parameter::everything(),
    };
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    // Said of both kinds of difference: two versions of one table.
    let rows = row_changes(&before, &after, &condition, command.top)?;
    if before.definition.name != "scores" {
        return sql::print_rows(&session, &rows, command.format).await;
    }
    let mut values = vec![
        ("before".to_owned(), Parameter::Integer(before.version)),
        ("after".to_owned(), Parameter::Integer(after.version)),
        ("metric".to_owned(), Parameter::Text(command.metric.clone())),
        ("sample_set".to_owned(), Parameter::Text(command.sample_set.clone())),
    ];
    if command.format == Format::Table {
        sql::print_rows(&session, &queries::find("score_change_counts")?.bind(&values)?, command.format).await?;
        print("\n")?;
    }
    values.push(("where".to_owned(), condition));
    values.push(("top".to_owned(), Parameter::Integer(command.top as i64)));
    sql::print_rows(&session, &queries::find("score_changes")?.bind(&values)?, command.format).await
}
