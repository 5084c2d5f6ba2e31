//! `neuronlake cost`: what language models were asked and what it cost.

use super::arguments::Cost;
use super::{open, print, sql};
use crate::error::Result;
use crate::session::SessionOptions;

/// Dollars a neuron, over the neurons that have a row paid for.
const PER_NEURON: &str = "SELECT model, count(*) AS n_neurons, sum(n_calls) AS n_calls, sum(cost) AS cost, \
     sum(cost) / count(*) AS cost_a_neuron FROM neuron_costs GROUP BY model ORDER BY model";

pub(crate) async fn cost(command: &Cost) -> Result<()> {
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    // What a run that was cut short had paid for is still in its files.
    session.methods().models().fold().await?;
    let by = "SELECT model, purpose, day, n_calls, prompt_tokens, completion_tokens, cost, n_unpriced FROM costs \
              ORDER BY day, model, purpose";
    sql::print_rows(&session, by, command.format).await?;
    if command.format == super::table::Format::Table {
        print("\n")?;
        sql::print_rows(&session, PER_NEURON, command.format).await?;
    }
    Ok(())
}
