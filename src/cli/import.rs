//! `neuronlake import`: other people's files into a lake.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;

use super::arguments::{Arguments, Layers, layers, positive};
use super::import_formats::{self, ImportDelphi, ImportNeuronpedia, ImportText, ImportTransluce};
use super::progress::{Stage, StageProgress, Verbosity};
use super::{open, print};
use crate::error::Result;
use crate::exchange::import::{ImportOptions, import};
use crate::exchange::importer::{Importer, OnBadFile};
use crate::exchange::openai::dataset::{Dataset, DatasetOptions, Distributions};
use crate::exchange::openai::verify::verify;
use crate::exchange::report::Report;
use crate::exchange::tabular::{TextFormat, read_parquet};
use crate::neurons::selection::NeuronSelection;
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(subcommand)]
    pub(crate) format: ImportFormat,
}

/// What every format takes.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Where the tables are, or are to be [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    pub(crate) lake: String,
    /// Count files that cannot be read and go on, instead of ending at the first.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Files asked for at the same time from a web server or store.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = positive)]
    pub(crate) concurrency: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportFormat {
    /// OpenAI's neuron explanations: collated-activations, explanations, related-neurons and related-tokens.
    #[command(after_help = "Examples:
  neuronlake import openai ./neuron-explainer --layers 0-47 --lake ./lake
  neuronlake import openai https://openaipublic.blob.core.windows.net/neuron-explainer --layers 5 --neurons 0-99
  neuronlake import openai ./gpt2_small_data --model gpt2 --verify

Importing again adds what is missing and changes nothing else.")]
    Openai(Box<ImportOpenai>),
    /// Neuronpedia's dumps, or SAEDashboard's batches.
    #[command(after_help = "Examples:
  neuronlake import neuronpedia ./v1/gpt2-small/8-res-jb --lake ./lake
  neuronlake import neuronpedia ./v1 --model gpt2-small --sources 7-res-jb,8-res-jb
  neuronlake import neuronpedia ./dashboards --hook 3-transcoder-x=blocks.3.ln2.hook_normalized")]
    Neuronpedia(Box<ImportNeuronpedia>),
    /// The folder of one run of delphi: cached latents, explanations, scores.
    #[command(after_help = "Examples:
  neuronlake import delphi results/my-run --tokenizer ./model/tokenizer.json --lake ./lake
  neuronlake import delphi results/my-run --no-latents")]
    Delphi(Box<ImportDelphi>),
    /// Explanations and exemplars of Transluce's observatory.
    #[command(after_help = "Examples:
  neuronlake import transluce ./results --tokenizer ./model/tokenizer.json --pad 128004 --lake ./lake
  neuronlake import transluce ./results --no-exemplars")]
    Transluce(Box<ImportTransluce>),
    /// The folder of 'export parquet': a lake's own rows, with the runs that wrote them.
    #[command(after_help = "Example:\n  neuronlake import parquet ./tables --lake ./lake")]
    Parquet(ImportParquet),
    /// A line for each explanation, whoever wrote it; columns as 'export csv' has them, of which neuron and text are needed.
    #[command(after_help = "Examples:
  neuronlake import csv labels.csv --model gpt2 --hook blocks.5.mlp.hook_post --corpus webtext --explainer human
  neuronlake import csv explanations.csv --lake ./lake")]
    Csv(ImportText),
    /// A JSON object for each explanation, with the same fields, and activation records where there are any.
    #[command(after_help = "Example:\n  neuronlake import jsonl explanations.jsonl --lake ./lake")]
    Jsonl(ImportText),
}

#[derive(Debug, Args)]
pub(crate) struct ImportParquet {
    /// A folder with a Parquet file for each table.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where the tables are, or are to be [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    pub(crate) lake: String,
}

#[derive(Debug, Args)]
pub(crate) struct ImportOpenai {
    /// The dataset: a folder or URL, with or without its data/ or gpt2_small_data/.
    #[arg(value_name = "DIR|URL")]
    pub(crate) address: String,
    /// Only these layers, e.g. 0,3 or 0-47 [default: all there are].
    #[arg(long, value_name = "LIST", value_parser = layers)]
    pub(crate) layers: Option<Layers>,
    /// Only these neurons of each layer, e.g. 0-99,512 [default: all there are].
    #[arg(long, default_value = "all", value_name = "LIST", hide_default_value = true)]
    pub(crate) neurons: String,
    /// Subject model the files are about: gpt2-xl (data/), gpt2 (gpt2_small_data/), or another with the same layout.
    #[arg(long, default_value = "gpt2-xl", value_name = "ID")]
    pub(crate) model: String,
    /// Name for the corpus that the windows come from.
    #[arg(long, default_value = "webtext", value_name = "NAME")]
    pub(crate) corpus: String,
    /// What wrote the explanations [default: token_activation, by openai:gpt-4 for gpt2-xl].
    #[arg(long, value_name = "METHOD")]
    pub(crate) explainer: Option<String>,
    /// What simulated them [default: all_at_once, by openai:gpt-4 for gpt2-xl].
    #[arg(long, value_name = "METHOD")]
    pub(crate) simulator: Option<String>,
    /// Keep all digits of simulators' distributions, not to 1/4096: takes two to five times their room.
    #[arg(long)]
    pub(crate) exact_distributions: bool,
    /// Compute every stored score again from the imported simulations, and show the largest difference.
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) common: ImportArguments,
}

pub(crate) async fn run(arguments: &Arguments, command: &Import) -> Result<()> {
    take_small_pages();
    match &command.format {
        ImportFormat::Openai(openai) => import_openai(arguments, openai).await,
        ImportFormat::Neuronpedia(command) => import_formats::neuronpedia(arguments, command).await,
        ImportFormat::Delphi(command) => import_formats::delphi(arguments, command).await,
        ImportFormat::Transluce(command) => import_formats::transluce(arguments, command).await,
        ImportFormat::Parquet(command) => import_parquet(arguments, command).await,
        ImportFormat::Csv(command) => import_formats::text(arguments, command, TextFormat::Csv).await,
        ImportFormat::Jsonl(command) => import_formats::text(arguments, command, TextFormat::JsonLines).await,
    }
}

/// Has the kernel give this process small pages from now on. The rows of an import are built in buffers that come and go, and a huge page is
/// cleared whole for what touches a part of it: a fourteenth of the time and a fifth of the memory. Models, which no import runs, want huge ones.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the call has numbers for arguments, and changes nothing about memory that is there.
        let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0;
        if refused {
            tracing::debug!("huge pages stay");
        }
    }
}

async fn import_openai(arguments: &Arguments, command: &ImportOpenai) -> Result<()> {
    let mut options = DatasetOptions::new(&command.address, &command.model);
    options.corpus.clone_from(&command.corpus);
    options.concurrency = command.common.concurrency;
    options.layers = command.layers.iter().flat_map(|layers| &layers.0).map(|layer| *layer as i32).collect();
    if let NeuronSelection::Ranges(ranges) = NeuronSelection::parse(&command.neurons)? {
        options.neurons = ranges.iter().map(|range| bound(*range.start())..=bound(*range.end())).collect();
    }
    if command.exact_distributions {
        options.distributions = Distributions::Exact;
    }
    if let Some(explainer) = &command.explainer {
        name(explainer, &mut options.explainer, &mut options.explainer_model);
    }
    if let Some(simulator) = &command.simulator {
        name(simulator, &mut options.simulator, &mut options.simulator_model);
    }
    let dataset = Arc::new(Dataset::open(options).await?);
    let session = import_with(arguments, &command.common, Arc::clone(&dataset)).await?;
    if command.verify {
        print(&verify(&session, dataset.model(), dataset.corpus()).await?.to_string())?;
    }
    Ok(())
}

/// Imports, shows progress on stderr, and prints what was counted.
pub(crate) async fn import_with<I: Importer>(
    arguments: &Arguments,
    common: &ImportArguments,
    importer: Arc<I>,
) -> Result<Session> {
    import_all(arguments, common, vec![importer]).await
}

/// As [`import_with`], of what one source has of several models.
pub(crate) async fn import_all<I: Importer>(
    arguments: &Arguments,
    common: &ImportArguments,
    importers: Vec<Arc<I>>,
) -> Result<Session> {
    let session = open(Lake::reach(&common.lake).await?, SessionOptions::default())?;
    let on_bad_file = if common.keep_going { OnBadFile::KeepGoing } else { OnBadFile::Stop };
    let options = ImportOptions { on_bad_file, ..ImportOptions::default() };
    let mut report = Report::default();
    for importer in importers {
        let stage = progress(arguments, "parts");
        let watch = |done: u64, total: u64, _: &Report| {
            stage.set_total(total);
            stage.resume_at(done);
        };
        report.merge(Box::pin(import(&session, importer, options, &watch)).await?);
        stage.finish();
    }
    print(&summary(&report))?;
    Ok(session)
}

/// Progress of an import on stderr.
fn progress(arguments: &Arguments, counted: &str) -> Stage {
    let verbosity = match arguments.verbosity() {
        // The counts say it all.
        Verbosity::Lines => Verbosity::Quiet,
        other => other,
    };
    StageProgress::new(1, verbosity).stage("import", counted, Some(0))
}

async fn import_parquet(arguments: &Arguments, command: &ImportParquet) -> Result<()> {
    let session = open(Lake::reach(&command.lake).await?, SessionOptions::default())?;
    let stage = progress(arguments, "tables");
    let watch = |done: u64, total: u64, _: &Report| {
        stage.set_total(total);
        stage.resume_at(done);
    };
    let report = Box::pin(read_parquet(&session, &command.folder, &watch)).await?;
    stage.finish();
    print(&summary(&report))
}

/// The counts of an import or export in lines.
pub(crate) fn summary(report: &Report) -> String {
    let mut lines = vec![format!("files    {}  ({})", report.n_files, HumanBytes(report.n_bytes))];
    lines.push(format!("units    {}", report.n_units));
    if report.n_skipped > 0 {
        lines.push(format!("skipped  {}  (there already)", report.n_skipped));
    }
    lines.extend(report.rows.iter().map(|(table, n_rows)| format!("  {table:<20} {n_rows}")));
    lines.extend(report.missing.iter().map(|(kind, count)| format!("missing  {count}  {kind}")));
    lines.extend(report.not_kept.iter().map(|(what, count)| format!("not kept {count}  {what}")));
    if report.n_faults > 0 {
        lines.push(format!("failed   {}", report.n_faults));
        lines.extend(report.faults.iter().map(|fault| format!("  {fault}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn bound(index: u32) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// Replaces what a name gives of a method and the model behind it: `method@engine:model`, a method alone, or a model alone.
pub(super) fn name(given: &str, method: &mut String, model: &mut Option<String>) {
    match given.split_once('@') {
        Some((named, behind)) => {
            named.clone_into(method);
            *model = Some(behind.to_owned());
        }
        None if given.contains(':') => *model = Some(given.to_owned()),
        None => {
            given.clone_into(method);
            *model = None;
        }
    }
}
