//! `neuronlake sql`: one query, a file of queries, or a prompt.

use std::io::{BufReader, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::StreamExt;

use super::arguments::{Arguments, Sql};
use super::open;
use super::prompt::{Executor, Names, View, history_path, run_prompt, run_script};
use super::table::{Format, Layout, ResultWriter, TableWidth};
use crate::error::{Error, Result};
use crate::server::limits::LimitReached;
use crate::session::{Session, SessionOptions};

/// The option that says what a query may hold.
const MEMORY: &str = "--memory";

pub(crate) async fn sql(_: &Arguments, command: &Sql) -> Result<()> {
    let options = SessionOptions {
        languages: command.language.options()?,
        engine: command.engine.clone(),
        memory_limit: command.memory,
        ..SessionOptions::default()
    };
    // One query reads a table once.
    let options = if command.query.is_some() { options } else { options.asked_again() };
    let session = open(command.lake.open().await?, options)?;
    let view = View { format: command.format, layout: Layout::Rows };
    let mut executor = Engine { session, memory: command.memory };
    match (&command.query, &command.file) {
        (Some(query), _) => {
            let printed = print_rows(&executor.session, query, command.format).await;
            printed.map_err(|error| LimitReached::of_memory(error, command.memory, MEMORY))
        }
        (None, Some(path)) => run_script(&mut executor, view, BufReader::new(read(path)?.as_bytes())).await,
        (None, None) if std::io::stdin().is_terminal() => {
            let history = history_path(|name| std::env::var(name).ok());
            run_prompt(&mut executor, view, history.as_deref()).await
        }
        (None, None) => run_script(&mut executor, view, BufReader::new(read(Path::new("-"))?.as_bytes())).await,
    }
}

fn read(path: &Path) -> Result<String> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Runs a query and streams its rows to stdout.
pub(crate) async fn print_rows(session: &Session, query: &str, format: Format) -> Result<()> {
    let written = write_rows(session, query, View { format, layout: Layout::Rows }).await;
    // A query that failed may have calls under way that are paid for.
    session.methods().models().settled().await;
    written
}

async fn write_rows(session: &Session, query: &str, view: View) -> Result<()> {
    let rows = session.sql(query).await?;
    let schema = Arc::new(rows.schema().as_arrow().clone());
    let mut stream = rows.execute_stream().await?;
    let stdout = std::io::stdout();
    if view.format == Format::Parquet && stdout.is_terminal() {
        return Err(Error::Argument {
            argument: "--format parquet".to_owned(),
            expected: "a file or pipe as standard output".to_owned(),
            got: "a terminal".to_owned(),
        });
    }
    let width = match stdout.is_terminal() {
        true => TableWidth::Terminal(columns()),
        false => TableWidth::Unlimited,
    };
    // Statements such as CREATE VIEW have no columns and no rows to show.
    let silent = schema.fields().is_empty();
    let mut writer = ResultWriter::new(std::io::stdout(), schema, view.format, view.layout, width)?;
    while let Some(batch) = stream.next().await {
        writer.write(&batch?)?;
    }
    if !silent {
        writer.finish()?;
    }
    Ok(())
}

/// Columns of the terminal, 100 when they cannot be told.
pub(crate) fn columns() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

struct Engine {
    session: Session,
    memory: usize,
}

impl Executor for Engine {
    async fn execute(&mut self, statement: &str, view: View) -> Result<()> {
        write_rows(&self.session, statement, view)
            .await
            .map_err(|error| LimitReached::of_memory(error, self.memory, MEMORY))
    }

    async fn names(&mut self) -> Names {
        let list = async |sql: &str| -> Result<Vec<String>> {
            let batches = self.session.sql(sql).await?.collect().await?;
            let mut names = Vec::new();
            for batch in &batches {
                let column = cast(batch.column(0), &DataType::Utf8)?;
                names.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
            }
            Ok(names)
        };
        // Completion is a convenience: a lake that cannot be listed has no names to offer.
        Names {
            tables: list("SELECT DISTINCT table_name FROM information_schema.tables").await.unwrap_or_default(),
            columns: list("SELECT DISTINCT column_name FROM information_schema.columns").await.unwrap_or_default(),
            functions: list("SELECT DISTINCT routine_name FROM information_schema.routines").await.unwrap_or_default(),
        }
    }
}
