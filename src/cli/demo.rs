//! `neuronlake demo`: everything, on the model and corpus inside the program.

use std::io::IsTerminal;
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};

use super::arguments::{Arguments, Demo};
use super::escape::escape;
use super::heatmap::{Palette, heatmap};
use super::print;
use super::run::{pipeline_session, run_pipeline};
use super::sql::{columns, print_rows};
use super::table::Format;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::{Error, Result};
use crate::pipeline::settings::Settings;
use crate::session::Session;
use crate::tables::lake::Lake;

/// Queries to go on with.
const NEXT: [&str; 3] = [
    "SELECT layer, neuron, text, value FROM best_explanations WHERE mentions(text, 'king') ORDER BY value DESC LIMIT 10",
    "SELECT layer, count(*) AS n, avg(value) AS value, avg(control) AS control FROM best_explanations GROUP BY layer ORDER BY layer",
    "SELECT rank, heatmap(tokens, activations) FROM record_tokens WHERE layer = {layer} AND neuron = {neuron} AND sample = 'top' AND split = 'valid' ORDER BY rank",
];

pub(crate) async fn demo(arguments: &Arguments, command: &Demo) -> Result<()> {
    let start = Instant::now();
    let session = pipeline_session(Lake::reach(&command.lake).await?, LanguageModelOptions::default())?;
    let reports = run_pipeline(arguments, &session, &Settings::default()).await?;
    let n_rows: usize = reports.iter().map(|report| report.n_rows).sum();
    print(&format!("\n{}\n", what_was_done(&session, n_rows, start).await?))?;

    print(
        "\nThe ten best-explained neurons, by the correlation of simulated with real activations on held-out text,\nbeside that of another neuron's explanation:\n\n",
    )?;
    print_rows(
        &session,
        "SELECT layer, neuron, round(value, 2) AS correlation, round(control, 2) AS control_correlation, \
         text AS explanation FROM best_explanations ORDER BY value DESC, layer, neuron LIMIT 10",
        Format::Table,
    )
    .await?;

    let best = best(&session).await?;
    print(&show_window(&best)?)?;
    print("\nGo on with:\n\n")?;
    // As it was called, so that the lines can be pasted.
    let program = std::env::args().next().unwrap_or_else(|| "neuronlake".to_owned());
    for query in NEXT {
        let query = query.replace("{layer}", &best.layer).replace("{neuron}", &best.neuron);
        print(&format!("  {program} sql --lake {} \"{query}\"\n\n", command.lake))?;
    }
    Ok(())
}

async fn what_was_done(session: &Session, n_rows: usize, start: Instant) -> Result<String> {
    let batch = one_row(
        session,
        "SELECT (SELECT count(*) FROM documents) AS documents, (SELECT count(*) FROM token_sequences) AS windows, \
         (SELECT CAST(sum(array_length(token_ids)) AS BIGINT) FROM token_sequences) AS tokens, \
         (SELECT count(*) FROM neurons) AS neurons, (SELECT count(*) FROM activation_records) AS records, \
         (SELECT count(*) FROM explanations) AS explanations, (SELECT count(*) FROM simulations) AS simulations, \
         (SELECT count(*) FROM scores) AS scores, (SELECT avg(value) FROM best_explanations) AS value, \
         (SELECT avg(control) FROM best_explanations) AS control",
    )
    .await?;
    let cell = |index| text(&batch, index);
    let number = |index| -> Result<f64> { Ok(cell(index)?.parse().unwrap_or(f64::NAN)) };
    Ok(format!(
        "Read {} documents as {} windows ({} tokens), ran the subject model over them, and kept for each of {} neurons its \
         statistics and its windows ({} records). Wrote {} explanations, simulated each and a control on held-out windows \
         ({} simulations), and computed {} scores: {:.2} on average, {:.2} for the controls. {} rows written in {:.1} s.",
        cell(0)?,
        cell(1)?,
        cell(2)?,
        cell(3)?,
        cell(4)?,
        cell(5)?,
        cell(6)?,
        cell(7)?,
        number(8)?,
        number(9)?,
        n_rows,
        start.elapsed().as_secs_f64()
    ))
}

struct Best {
    layer: String,
    neuron: String,
    explanation: String,
    row: RecordBatch,
}

/// The best-explained neuron's strongest held-out window.
async fn best(session: &Session) -> Result<Best> {
    let row = one_row(
        session,
        "SELECT b.layer, b.neuron, b.text, r.tokens, r.activations FROM best_explanations b JOIN record_tokens r \
         ON r.model = b.model AND r.hook_point = b.hook_point AND r.neuron = b.neuron AND r.corpus = b.corpus \
         WHERE r.sample = 'top' AND r.split = 'valid' AND r.rank = 0 ORDER BY b.value DESC, b.layer, b.neuron LIMIT 1",
    )
    .await?;
    Ok(Best { layer: text(&row, 0)?, neuron: text(&row, 1)?, explanation: text(&row, 2)?, row })
}

fn show_window(best: &Best) -> Result<String> {
    let tokens = cast(best.row.column(3).as_list::<i32>().values(), &DataType::Utf8)?;
    let tokens: Vec<&str> = tokens.as_string::<i32>().iter().flatten().collect();
    let activations = best.row.column(4).as_list::<i32>().values();
    let activations = activations.as_primitive::<Float32Type>().values();
    let palette = match std::io::stdout().is_terminal() {
        true => Palette::of_terminal(|name| std::env::var(name).ok()),
        false => Palette::Plain,
    };
    Ok(format!(
        "\nLayer {}, neuron {}: {}\n\n{}\n",
        best.layer,
        best.neuron,
        escape(&best.explanation),
        heatmap(&tokens, activations, None, palette, columns())
    ))
}

async fn one_row(session: &Session, sql: &str) -> Result<RecordBatch> {
    let batches = session.sql(sql).await?.collect().await?;
    batches.into_iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| Error::internal(format!("no row from: {sql}")))
}

fn text(batch: &RecordBatch, column: usize) -> Result<String> {
    let texts = cast(batch.column(column), &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    Ok(if texts.is_null(0) { String::new() } else { texts.value(0).to_owned() })
}
