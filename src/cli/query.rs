//! `neuronlake query list|show|run`: the files of `queries/`.

use super::arguments::{Query, QueryAction};
use super::{Arguments, open, print, sql};
use crate::error::{Error, Result};
use crate::pipeline::queries::{self, Kind, Parameter};
use crate::session::SessionOptions;

pub(crate) async fn query(_: &Arguments, command: &Query) -> Result<()> {
    match &command.action {
        QueryAction::List => print(&list()),
        QueryAction::Show { name } => print(&show(name)?),
        QueryAction::Run { name, parameters, format, lake } => {
            let query = queries::find(name)?;
            if query.kind == Kind::Pipeline {
                return Err(Error::Argument {
                    argument: "query run".to_owned(),
                    expected: "an example or a view ('neuronlake run' runs the stages)".to_owned(),
                    got: name.clone(),
                });
            }
            let values = parameters.iter().map(|text| parameter(text)).collect::<Result<Vec<_>>>()?;
            let session = open(lake.open().await?, SessionOptions::default())?;
            sql::print_rows(&session, &query.bind(&values)?, *format).await
        }
    }
}

fn list() -> String {
    let mut text = String::new();
    for kind in [Kind::Example, Kind::Search, Kind::View, Kind::Pipeline] {
        text.push_str(&format!("{}\n", kind.folder()));
        for query in queries::of_kind(kind) {
            text.push_str(&format!("  {:<26} {}\n", query.name, query.summary));
        }
    }
    text
}

fn show(name: &str) -> Result<String> {
    let query = queries::find(name)?;
    let mut text = format!("-- {}\n", query.summary);
    for (param, default) in &query.params {
        let default = default.as_ref().map(|value| format!(" = {value}")).unwrap_or_default();
        text.push_str(&format!("-- param ${param}{default}\n"));
    }
    text.push_str(&query.sql);
    Ok(text)
}

fn parameter(text: &str) -> Result<(String, Parameter)> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), Parameter::parse(value))),
        None => Err(Error::Argument {
            argument: "query run".to_owned(),
            expected: "parameters as name=value".to_owned(),
            got: text.to_owned(),
        }),
    }
}
