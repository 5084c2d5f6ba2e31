//! `neuronlake export`: what a lake holds, in the formats of other programs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::ExistingLake;
use super::import::summary;
use super::{open, print};
use crate::error::Result;
use crate::exchange::delphi::write::Delphi;
use crate::exchange::delphi::write_latents::write as write_latents;
use crate::exchange::export::{export, session_options};
use crate::exchange::neuronpedia::write::Neuronpedia;
use crate::exchange::openai::write::Writer;
use crate::exchange::tabular::{TextFormat, TextWriter, check_new, write_parquet};

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(subcommand)]
    pub(crate) format: ExportFormat,
}

/// What every format takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A new folder or file.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Only units that fit this condition over the columns of the view exchange_units: model, hook_point, layer, neuron, corpus, mean,
    /// variance, max, density, explainer, explainer_model, text, score, random_only.
    #[arg(long = "where", value_name = "SQL")]
    pub(crate) condition: Option<String>,
    #[command(flatten)]
    pub(crate) lake: ExistingLake,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportFormat {
    /// The layout of OpenAI's neuron explanations: a folder of JSON files.
    #[command(after_help = "Example:\n  neuronlake export openai ./out --where \"layer = 5 AND score > 0.5\"")]
    Openai(ExportArguments),
    /// A dump in Neuronpedia's layout, with the scores that its own have not.
    #[command(after_help = "Example:\n  neuronlake export neuronpedia ./out --where \"hook_point LIKE '%/8-res-jb'\"")]
    Neuronpedia(ExportArguments),
    /// The folder of a delphi run: explanations, judged and simulated windows, and cached latents where there are firings.
    #[command(after_help = "Example:\n  neuronlake export delphi ./out --where \"layer = 3\"")]
    Delphi(ExportArguments),
    /// A folder with a Parquet file for each table that has rows of the units.
    #[command(after_help = "Example:\n  neuronlake export parquet ./out --where \"score IS NOT NULL\"")]
    Parquet(ExportArguments),
    /// A line for each explanation, its scores as columns.
    #[command(after_help = "Example:\n  neuronlake export csv explanations.csv --where \"layer < 4\"")]
    Csv(ExportArguments),
    /// A JSON object for each explanation, its scores as fields.
    #[command(after_help = "Example:\n  neuronlake export jsonl explanations.jsonl --records")]
    Jsonl {
        #[command(flatten)]
        common: ExportArguments,
        /// Also write the unit's activation records into every object.
        #[arg(long)]
        records: bool,
    },
}

pub(crate) async fn run(command: &Export) -> Result<()> {
    let (ExportFormat::Openai(common)
    | ExportFormat::Neuronpedia(common)
    | ExportFormat::Delphi(common)
    | ExportFormat::Parquet(common)
    | ExportFormat::Csv(common)
    | ExportFormat::Jsonl { common, .. }) = &command.format;
    let ExportArguments { out, condition, lake } = common;
    let condition = condition.as_deref();
    check_new(out)?;
    let session = open(lake.open().await?, session_options())?;
    let nobody = |_: u64, _: u64| {};
    let text = match &command.format {
        ExportFormat::Csv(_) => Some(TextFormat::Csv),
        ExportFormat::Jsonl { records: false, .. } => Some(TextFormat::JsonLines),
        ExportFormat::Jsonl { records: true, .. } => Some(TextFormat::JsonLinesWithRecords),
        ExportFormat::Openai(_) | ExportFormat::Neuronpedia(_) | ExportFormat::Delphi(_) | ExportFormat::Parquet(_) => {
            None
        }
    };
    let report = match (&command.format, text) {
        (ExportFormat::Parquet(_), _) => Box::pin(write_parquet(&session, condition, out)).await?,
        (_, Some(format)) => {
            let mut writer = TextWriter::open(&session, condition, out, format).await?;
            Box::pin(export(&session, condition, &mut writer, &nobody)).await?
        }
        (ExportFormat::Neuronpedia(_), _) => {
            Box::pin(export(&session, condition, &mut Neuronpedia::new(out), &nobody)).await?
        }
        (ExportFormat::Delphi(_), _) => {
            let mut writer = Delphi::new(out);
            let mut report = Box::pin(export(&session, condition, &mut writer, &nobody)).await?;
            report.merge(Box::pin(write_latents(&session, &writer)).await?);
            report
        }
        (_, None) => Box::pin(export(&session, condition, &mut Writer::new(out), &nobody)).await?,
    };
    print(&summary(&report))
}
