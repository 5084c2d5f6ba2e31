//! `neuronlake cost`: what language models were asked and what it cost.

use clap::ValueEnum;

use super::arguments::Cost;
use super::table::Format;
use super::{open, print, sql};
use crate::error::{Error, Result};
use crate::session::SessionOptions;

/// One of the tables of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Account {
    /// Calls, tokens and dollars by model, purpose and day
    Calls,
    /// Dollars a neuron, on average over the neurons that something was paid for, by model
    Models,
    /// Calls, tokens and dollars of each neuron, by model
    Neurons,
}

impl Account {
    const ALL: [Self; 3] = [Self::Calls, Self::Models, Self::Neurons];

    fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Models => "models",
            Self::Neurons => "neurons",
        }
    }

    fn query(self) -> &'static str {
        match self {
            Self::Calls => {
                "SELECT model, purpose, day, n_calls, prompt_tokens, completion_tokens, cost, n_unpriced FROM costs \
                 ORDER BY day, model, purpose"
            }
            Self::Models => {
                "SELECT model, count(*) AS n_neurons, sum(n_calls) AS n_calls, sum(cost) AS cost, \
                 sum(cost) / count(*) AS cost_a_neuron FROM neuron_costs GROUP BY model ORDER BY model"
            }
            Self::Neurons => {
                "SELECT subject, hook_point, neuron, model, n_calls, prompt_tokens, completion_tokens, cost FROM neuron_costs \
                 ORDER BY subject, hook_point, neuron, model"
            }
        }
    }
}

pub(crate) async fn cost(command: &Cost) -> Result<()> {
    // One stream of rows cannot hold three tables of different columns.
    if command.account.is_none() && matches!(command.format, Format::Csv | Format::Jsonl | Format::Parquet) {
        return Err(Error::Argument {
            argument: "--table".to_owned(),
            expected: format!("calls, models or neurons with --format {}", command.format.as_str()),
            got: "none".to_owned(),
        });
    }
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    // What a run that was cut short had paid for is still in its files.
    session.methods().models().fold().await?;
    match (command.account, command.format) {
        (Some(account), format) => sql::print_rows(&session, account.query(), format).await,
        (None, Format::Json) => {
            for (i, account) in Account::ALL.into_iter().enumerate() {
                let before = if i == 0 { "{" } else { "," };
                print(&format!("{before}\"{}\":", account.name()))?;
                sql::print_rows(&session, account.query(), Format::Json).await?;
            }
            print("}\n")
        }
        (None, format) => {
            // Neurons may be many thousand: they are shown when they are asked for.
            sql::print_rows(&session, Account::Calls.query(), format).await?;
            print("\n")?;
            sql::print_rows(&session, Account::Models.query(), format).await
        }
    }
}
