//! `neuronlake activations`: activations of hook points on disk, and their random order.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};

use super::arguments::{Arguments, ExistingLake, gib};
use super::print;
use super::progress::StageProgress;
use super::run::{pipeline_session, run_pipeline};
use crate::activation_store::ingest::{StoreSettings, Stored, store};
use crate::activation_store::manifest::StoreFolder;
use crate::activation_store::parts::{RowForm, ValueType};
use crate::activation_store::shuffle::{ShuffleOptions, Shuffled, shuffle};
use crate::completions::language_models::LanguageModelOptions;
use crate::error::{Error, Result};
use crate::functions::FirstToken;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::pass::PassProgress;
use crate::pipeline::settings::Settings;
use crate::tables::lake::Lake;
use crate::token_sequences::split::Split;

/// How often a bar is brought up to date.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Activations {
    #[command(subcommand)]
    action: ActivationsAction,
}

#[derive(Debug, Subcommand)]
enum ActivationsAction {
    /// Run the model over a corpus and write every token's activations at a hook point.
    #[command(after_help = "Examples:
  neuronlake activations store --model ./gpt2 --hook blocks.8.hook_resid_post --corpus './texts/*.txt' --values bf16
  neuronlake activations store --hook 'blocks.*.hook_resid_post' --window 64

A store that was cut short goes on where it stopped. Lies in _activation_rows/ inside the lake.")]
    Store(Box<StoreCommand>),
    /// Bring the rows of a store into one exact random order, in bounded memory.
    #[command(after_help = "Example:
  neuronlake activations shuffle --name blocks.8.hook_resid_post --memory 8")]
    Shuffle(ShuffleCommand),
    /// List the stores of a lake.
    List {
        #[command(flatten)]
        lake: ExistingLake,
    },
}

#[derive(Debug, Args)]
struct StoreCommand {
    /// Subject model: 'default' (inside the program), a Hugging Face folder, a .gguf or a llama2.c .bin file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// Corpus: 'default' (inside the program), a file, pattern, folder or URL of .txt, .jsonl or .parquet, compressed or not.
    #[arg(long, default_value = "default", value_name = "URL")]
    corpus: String,
    /// JSON field or Parquet column that holds the text.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Read at most so many documents.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Hook points, by TransformerLens name; * stands for anything. May be repeated; all are read in one pass.
    #[arg(long = "hook", required = true, value_name = "PATTERN")]
    hooks: Vec<String>,
    /// Name of the store, where there is one hook point [default: the hook point].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Tokens of a window.
    #[arg(long = "window", default_value_t = 64, value_name = "TOKENS")]
    window_length: usize,
    /// Splits whose documents are read, so that the others are left to evaluate on.
    #[arg(long, default_value = "train", value_name = "LIST", value_delimiter = ',')]
    splits: Vec<Split>,
    /// The first token of a window: 'keep' gives it a row, 'mask' does not [default: mask for Llama, keep for GPT-2].
    #[arg(long, value_name = "POLICY")]
    first_token: Option<FirstToken>,
    /// Leave out rows whose norm is above this multiple of the median norm; 0 keeps all.
    #[arg(long, default_value_t = 10.0, value_name = "MULTIPLE")]
    max_norm: f64,
    /// How values are stored: bf16 takes half the space and has 3 decimal digits.
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    values: ValueType,
    /// Mebibytes of activations after which a file ends: what a kill costs.
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = super::arguments::positive)]
    part: usize,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Where the tables are [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    lake: String,
}

#[derive(Debug, Args)]
struct ShuffleCommand {
    /// The store [default: the only one].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Seed of the order.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Memory that the shuffle may take, in GiB.
    #[arg(long, default_value = "2", value_name = "GIB", value_parser = gib)]
    memory: usize,
    #[command(flatten)]
    lake: ExistingLake,
}

pub(crate) async fn activations(arguments: &Arguments, command: &Activations) -> Result<()> {
    match &command.action {
        ActivationsAction::Store(command) => store_rows(arguments, command).await,
        ActivationsAction::Shuffle(command) => shuffle_rows(arguments, command).await,
        ActivationsAction::List { lake } => list(&lake.open().await?),
    }
}

async fn store_rows(arguments: &Arguments, command: &StoreCommand) -> Result<()> {
    if !(command.max_norm == 0.0 || command.max_norm >= 1.0) {
        return Err(Error::Argument {
            argument: "--max-norm".to_owned(),
            expected: "0, or 1 and more".to_owned(),
            got: command.max_norm.to_string(),
        });
    }
    let session = pipeline_session(Lake::reach(&command.lake).await?, LanguageModelOptions::default())?;
    let settings = Settings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        field: command.field.clone(),
        limit: command.limit,
        window_length: command.window_length,
        hooks: command.hooks.clone(),
        seed: command.seed,
        to: Some("token_sequences".to_owned()),
        ..Settings::default()
    };
    let model = session.models().get(&command.model)?;
    let hooks = hook_points(&model, &command.hooks)?;
    run_pipeline(arguments, &session, &settings).await?;
    let settings = StoreSettings {
        model: command.model.clone(),
        corpus: settings.corpus_id(),
        hooks,
        name: command.name.clone(),
        splits: command.splits.clone(),
        first_token: command.first_token,
        norm_multiple: (command.max_norm > 0.0).then_some(command.max_norm),
        values: command.values,
        part_bytes: command.part << 20,
    };
    let progress = Arc::new(PassProgress::default());
    let stage = StageProgress::new(1, arguments.verbosity()).stage("activation rows", "windows", None);
    let work = store(&session, &settings, &progress);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done?,
            () = tokio::time::sleep(TICK) => {
                let (done, total) = progress.read();
                stage.set_total(total);
                stage.resume_at(done);
            }
        }
    };
    let (n_windows, _) = progress.read();
    stage.resume_at(n_windows);
    stage.finish();
    if !arguments.quiet {
        print(&stored(&done))?;
    }
    Ok(())
}

fn hook_points(model: &SubjectModel, patterns: &[String]) -> Result<Vec<HookPoint>> {
    let mut hooks = Vec::new();
    for pattern in patterns {
        for hook in model.select_hook_points(pattern)? {
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
    }
    // A pass hands values over in the order in which they are computed.
    hooks.sort_by_key(|hook| model.hook_points().iter().position(|other| other == hook));
    Ok(hooks)
}

/// What is in each store, in lines.
fn stored(stores: &[Stored]) -> String {
    let mut text = String::new();
    for Stored { store, manifest, n_new } in stores {
        let contents = &manifest.contents;
        let n_rows = manifest.n_rows.unwrap_or_default();
        let bytes = n_rows * RowForm { width: contents.width, values: contents.values }.bytes() as u64;
        text.push_str(&format!(
            "store '{}': {} rows of {} values ({}), {} written now, {} left out for their norm\n",
            store.name(),
            HumanCount(n_rows),
            contents.width,
            HumanBytes(bytes),
            HumanCount(*n_new),
            HumanCount(manifest.n_dropped.unwrap_or_default()),
        ));
        if let Some(statistics) = &manifest.statistics {
            let gamma = statistics.gamma.map_or("undefined".to_owned(), |gamma| format!("{gamma:.3}"));
            text.push_str(&format!("  mean norm {:.3}, gamma = |mean| / |sigma| {gamma}\n", statistics.mean_norm));
        }
    }
    text
}

async fn shuffle_rows(arguments: &Arguments, command: &ShuffleCommand) -> Result<()> {
    let store = chosen(&command.lake.open().await?, command.name.as_deref())?;
    let options = ShuffleOptions { seed: command.seed, memory_limit: command.memory };
    let done = shuffle_store(arguments, store.clone(), options).await?;
    if !arguments.quiet {
        let (n_rows, n_files) = (HumanCount(done.n_rows()), done.rows.len());
        print(&format!(
            "store '{}': {n_rows} rows in the random order of seed {}, {n_files} files\n",
            store.name(),
            done.seed
        ))?;
    }
    Ok(())
}

/// Shuffles under a progress bar, off the threads that wait.
pub(crate) async fn shuffle_store(
    arguments: &Arguments,
    store: StoreFolder,
    options: ShuffleOptions,
) -> Result<Shuffled> {
    let stage = StageProgress::new(1, arguments.verbosity()).stage("shuffle", "rows", None);
    let progress = Arc::new(PassProgress::default());
    let told = Arc::clone(&progress);
    let mut work = tokio::task::spawn_blocking(move || {
        shuffle(&store, options, &mut |done, total| {
            told.start(done, total);
        })
    });
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(TICK) => {
                // A row is dealt, and then it is written.
                let (done, total) = progress.read();
                stage.set_total(total / 2);
                stage.resume_at(done / 2);
            }
        }
    };
    let done = done.map_err(|error| Error::internal(format!("the shuffling thread died: {error}")))??;
    stage.resume_at(done.n_rows());
    stage.finish();
    Ok(done)
}

/// The store of that name, or the only one.
pub(crate) fn chosen(lake: &Lake, name: Option<&str>) -> Result<StoreFolder> {
    match name {
        Some(name) => StoreFolder::existing(lake, name),
        None => match StoreFolder::list(lake)?.as_slice() {
            [one] => Ok(one.clone()),
            several => Err(Error::Argument {
                argument: "--name".to_owned(),
                expected: match several.iter().map(StoreFolder::name).collect::<Vec<_>>().join(", ") {
                    none if none.is_empty() => "a store; 'neuronlake activations store' makes one".to_owned(),
                    names => format!("one of {names}"),
                },
                got: String::new(),
            }),
        },
    }
}

fn list(lake: &Lake) -> Result<()> {
    let mut text =
        format!("{:<40} {:>12} {:>7} {:>6}  {:<9} {}\n", "store", "rows", "width", "values", "state", "corpus");
    for store in StoreFolder::list(lake)? {
        let Some(manifest) = store.manifest()? else { continue };
        let contents = &manifest.contents;
        let state = match (manifest.n_rows, is_shuffled(&store)?) {
            (None, _) => "cut short",
            (Some(_), false) => "whole",
            (Some(_), true) => "shuffled",
        };
        let values = format!("{:?}", contents.values).to_lowercase();
        let n_rows = manifest.n_rows.map_or("?".to_owned(), |n_rows| n_rows.to_string());
        let name = store.name();
        text.push_str(&format!(
            "{name:<40} {n_rows:>12} {:>7} {values:>6}  {state:<9} {}\n",
            contents.width, contents.corpus
        ));
    }
    print(&text)
}

fn is_shuffled(store: &StoreFolder) -> Result<bool> {
    Ok(!store.shuffled_seeds()?.is_empty())
}
