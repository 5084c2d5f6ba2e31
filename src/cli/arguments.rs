//! What the command line takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::language::LanguageArguments;
use super::likeness::{Fires, Like};
use super::progress::Verbosity;
use super::search_arguments::{Index, Search};
use super::table::Format;
use crate::error::Result;
use crate::functions::FirstToken;
use crate::session::Engine;
use crate::tables::lake::Lake;

/// The lakes looked for, in this order, when none is named.
const DEFAULT_LAKES: [&str; 2] = ["./lake", "./neuronlake-demo"];

/// Automated interpretability as tables and SQL.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  neuronlake demo
  neuronlake sql \"SELECT layer, neuron, text, value FROM best_explanations WHERE mentions(text, 'king') ORDER BY value DESC LIMIT 10\"
  neuronlake run --model ./gpt2 --corpus './texts/*.txt' --lake ./lake"
)]
pub(crate) struct Arguments {
    /// Threads of the engine and of the model; all cores by default.
    #[arg(long, global = true, value_name = "N", value_parser = positive)]
    pub(crate) threads: Option<usize>,
    /// No progress on stderr.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// How log lines on stderr are written; NEURONLAKE_LOG says which, such as info or neuronlake=debug.
    #[arg(
        long,
        global = true,
        env = "NEURONLAKE_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: super::logging::LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take the model and corpus inside the program through every stage, and show what came out.
    Demo(Demo),
    /// Collect, explain, simulate and score the neurons of a model.
    Run(Box<Run>),
    /// Query a lake, or open a prompt when no query is given.
    Sql(Sql),
    /// List, show or run the queries that come with the program.
    Query(Query),
    /// Find explanations by their words and by their meaning.
    Search(Search),
    /// Bring the search index up to date, with the vectors that searches by meaning compare.
    Index(Index),
    /// List the hook points of a model.
    Hooks(Hooks),
    /// Find units like one unit, by weights or activations.
    Like(Like),
    /// Find the units that fire on a text.
    Fires(Fires),
    /// Serve the viewer, an HTTP interface and Flight SQL.
    Serve(Box<super::serve::Serve>),
    /// Take queries of other machines and hand their parts to workers.
    Scheduler(super::cluster::Scheduler),
    /// Compute parts of queries for a scheduler.
    Worker(super::cluster::Worker),
    /// Ask methods about planted neurons, whose true explanations are known.
    Selftest(Box<Selftest>),
    /// Show what language models were asked and what it cost.
    Cost(Cost),
    /// Bring explanations, records and scores of other programs into a lake.
    Import(Box<super::import::Import>),
    /// Write what a lake holds of units in the formats of other programs.
    Export(Box<super::export::Export>),
    /// Write activations of a model to disk, in the order of the corpus and in a random one.
    Activations(super::activations::Activations),
    /// Train, import, evaluate and encode with sparse autoencoders.
    Sae(Box<super::sae::Sae>),
    /// Run a pipeline that a file describes, or check the file.
    Pipeline(super::pipeline::Pipeline),
    /// Run pipelines at their times.
    Schedule(super::schedule::Schedule),
    /// List the versions of a table.
    History(super::history::History),
    /// Show what two versions of a table differ in, and why.
    Diff(super::history::Diff),
    /// Make few sorted files of many small ones, and remove files that no version in keeping needs.
    Maintain(super::maintain::Maintain),
    /// Fetch a model from the Hugging Face hub.
    Pull(Pull),
    /// Print a script that completes commands in a shell.
    #[command(
        after_help = "Example:\n  neuronlake completions bash > ~/.local/share/bash-completion/completions/neuronlake"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuronlake demo --lake ./neuronlake-demo")]
pub(crate) struct Demo {
    /// Where to put the lake; a demo that was cut short goes on there.
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./neuronlake-demo")]
    pub(crate) lake: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake run --model ./gpt2 --corpus './texts/*.txt' --hook 'blocks.*.mlp.hook_post' --lake ./lake
  neuronlake run --model ./SmolLM2-135M-Instruct.Q4_1.gguf --corpus texts.jsonl.gz --field body --layers 9,21 --neurons 0-99
  neuronlake run --model ./gpt2 --corpus s3://bucket/texts/ --from scores
  neuronlake run --model ./gpt2 --neurons 0-99 --explainer openai:gpt-4o --simulator embedding --scorer detection@openai:gpt-4o-mini --budget 5usd")]
pub(crate) struct Run {
    /// Subject model: 'default' (inside the program), a Hugging Face folder, a .gguf or a llama2.c .bin file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    pub(crate) model: String,
    /// Corpus: 'default' (inside the program), a file, pattern, folder or URL of .txt, .jsonl or .parquet, compressed or not.
    #[arg(long, default_value = "default", value_name = "URL")]
    pub(crate) corpus: String,
    /// Where queries over tables are computed: 'local', or the workers of a scheduler, as in 'ballista://127.0.0.1:50050'.
    #[arg(long, default_value = "local", value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// JSON field or Parquet column that holds the text.
    #[arg(long, value_name = "NAME")]
    pub(crate) field: Option<String>,
    /// Read at most so many documents.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Cut a plain-text file longer than this into documents at blank lines; 0 never cuts [default: 4000].
    #[arg(long, value_name = "CHARS")]
    pub(crate) document_chars: Option<usize>,
    /// Hook points to read, by TransformerLens name; * stands for anything. May be repeated.
    #[arg(long = "hook", default_value = "blocks.*.mlp.hook_post", value_name = "PATTERN")]
    pub(crate) hooks: Vec<String>,
    /// Only these layers, e.g. 0,3 or 0-5.
    #[arg(long, value_name = "LIST", value_parser = layers)]
    pub(crate) layers: Option<Layers>,
    /// Only these neurons of every hook point, e.g. 0-99,512.
    #[arg(long, default_value = "all", value_name = "LIST")]
    pub(crate) neurons: String,
    /// Where the tables are [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    pub(crate) lake: String,
    /// First stage: a table's name.
    #[arg(long, value_name = "STAGE")]
    pub(crate) from: Option<String>,
    /// Last stage: a table's name.
    #[arg(long, value_name = "STAGE")]
    pub(crate) to: Option<String>,
    /// Tokens of a window.
    #[arg(long = "window", default_value_t = 64, value_name = "TOKENS")]
    pub(crate) window_length: usize,
    /// How documents are split: 'document' (by hash of the text) or 'paper' (records interleaved by rank).
    #[arg(long, default_value = "document", value_name = "STRATEGY", value_parser = ["document", "paper"])]
    pub(crate) split: String,
    /// The first token of a window: 'keep' counts it, 'mask' leaves it out [default: mask for Llama, keep for GPT-2].
    #[arg(long, value_name = "POLICY")]
    pub(crate) first_token: Option<FirstToken>,
    /// Windows of each sample (top, random) that a score is made of.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = positive)]
    pub(crate) windows: usize,
    /// What writes explanations: token_lookup, n2g, or a language model as engine:model or method@engine:model with the methods
    /// token_activation, summary, max_activation, logits and contrastive. May be repeated.
    #[arg(long = "explainer", default_value = "token_lookup", value_name = "METHOD")]
    pub(crate) explainers: Vec<String>,
    /// What simulates explanations: token_lookup, n2g, embedding, or a language model as engine:model or method@engine:model with the
    /// methods all_at_once, one_at_a_time and log_probability_free. May be repeated [default: what goes with the explainer].
    #[arg(long = "simulator", value_name = "METHOD")]
    pub(crate) simulators: Vec<String>,
    /// What else judges explanations: embedding, or detection, fuzzing, intruder and surprisal as method@engine:model. May be repeated.
    #[arg(long = "scorer", value_name = "METHOD")]
    pub(crate) scorers: Vec<String>,
    /// Explanations that a language model writes of each neuron; the one that scores best on split calibration is scored.
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = positive)]
    pub(crate) samples: usize,
    /// Rounds of revision: sentences from the explanation are run through the subject, and counterexamples shown.
    #[arg(long = "revise", default_value_t = 0, value_name = "ROUNDS")]
    pub(crate) revisions: usize,
    /// How simulated values are brought to the neuron's units, fitted on split calibration.
    #[arg(long, default_value = "none", value_name = "KIND", value_parser = ["none", "linear", "percentile"])]
    pub(crate) calibration: String,
    /// Also compute ablation scores: the subject model is run with simulated activations in place of the real ones.
    #[arg(long)]
    pub(crate) ablation: bool,
    /// Also write every activation above this quantile of its neuron to table activations, e.g. 0.99.
    #[arg(long, value_name = "QUANTILE")]
    pub(crate) firings_above: Option<f64>,
    /// Also write every firing of the latents of sparse autoencoders to table activations.
    #[arg(long)]
    pub(crate) encode: bool,
    /// Memory for the state of a pass, in GiB; hook points that do not fit take another pass.
    #[arg(long, default_value = "4", value_name = "GIB", value_parser = gib)]
    pub(crate) memory: usize,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Folder whose pipeline queries replace those inside the program.
    #[arg(long, value_name = "DIR")]
    pub(crate) queries: Option<PathBuf>,
    /// Print what language models would be asked and what it may cost, and ask nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on with simulators and scorers that could not tell true from false explanations of planted neurons.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

/// Where a lake is, for commands that read one.
#[derive(Debug, Args)]
pub(crate) struct ExistingLake {
    /// Where the tables are [default: ./lake, else ./neuronlake-demo].
    #[arg(long, env = "NEURONLAKE_LAKE")]
    lake: Option<String>,
}

impl ExistingLake {
    pub(crate) async fn open(&self) -> Result<Lake> {
        match &self.lake {
            Some(lake) => Lake::existing(lake).await,
            None => match default_lake().await {
                Some(lake) => Ok(lake),
                None => Lake::existing(DEFAULT_LAKES[0]).await,
            },
        }
    }
}

/// Where a lake is, for commands that answer without one too.
#[derive(Debug, Args)]
pub(crate) struct LakeIfAny {
    /// Where explanations and scores are [default: ./lake, else ./neuronlake-demo, else none].
    #[arg(long, env = "NEURONLAKE_LAKE")]
    lake: Option<String>,
}

impl LakeIfAny {
    pub(crate) async fn open(&self) -> Result<Lake> {
        match &self.lake {
            Some(lake) => Lake::existing(lake).await,
            None => match default_lake().await {
                Some(lake) => Ok(lake),
                None => Lake::at(DEFAULT_LAKES[0]),
            },
        }
    }
}

/// The first of the default lakes that is there.
async fn default_lake() -> Option<Lake> {
    for lake in DEFAULT_LAKES {
        if let Ok(lake) = Lake::existing(lake).await {
            return Some(lake);
        }
    }
    None
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake sql \"SELECT layer, neuron, text, value FROM best_explanations WHERE mentions(text, 'king') ORDER BY value DESC LIMIT 10\"
  neuronlake sql --file scores.sql --format csv > scores.csv
  neuronlake sql --format parquet \"SELECT * FROM neuron_summary\" > neurons.parquet
  neuronlake sql")]
pub(crate) struct Sql {
    /// The query; a prompt opens when there is none.
    pub(crate) query: Option<String>,
    /// Read the query from a file; - is standard input.
    #[arg(long, value_name = "PATH", conflicts_with = "query")]
    pub(crate) file: Option<PathBuf>,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Where the query is computed: 'local', or the workers of a scheduler, as in 'ballista://127.0.0.1:50050'.
    #[arg(long, default_value = "local", value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// GiB that sorts, joins and aggregates may hold; sorts and aggregates that need more go through the disk, joins end with an error.
    #[arg(long, default_value = "2", value_name = "GIB", value_parser = gib)]
    pub(crate) memory: usize,
    #[command(flatten)]
    pub(crate) lake: ExistingLake,
    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake query list
  neuronlake query show best_explained
  neuronlake query run explanations_mentioning words='the sea' limit=5")]
pub(crate) struct Query {
    #[command(subcommand)]
    pub(crate) action: QueryAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueryAction {
    /// List every query with what it answers.
    List,
    /// Print a query.
    Show {
        /// Its name.
        name: String,
    },
    /// Run an example or show a view.
    Run {
        /// Its name.
        name: String,
        /// Parameters, as name=value.
        parameters: Vec<String>,
        /// How rows are written.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        #[command(flatten)]
        lake: ExistingLake,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake selftest
  neuronlake selftest --simulator local:./model.gguf --scorer detection@openai:gpt-4o-mini --budget 1usd
  neuronlake selftest --explainer openai:gpt-4o-mini --simulator embedding")]
pub(crate) struct Selftest {
    /// Explainers to try; what they write is shown beside the truth. May be repeated.
    #[arg(long = "explainer", value_name = "METHOD")]
    pub(crate) explainers: Vec<String>,
    /// Simulators to try [default: embedding]. May be repeated.
    #[arg(long = "simulator", value_name = "METHOD")]
    pub(crate) simulators: Vec<String>,
    /// Other scorers to try. May be repeated.
    #[arg(long = "scorer", value_name = "METHOD")]
    pub(crate) scorers: Vec<String>,
    /// Only eight units, as before a run.
    #[arg(long)]
    pub(crate) small: bool,
    /// Where the planted tables are put and replies are kept.
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./neuronlake-selftest")]
    pub(crate) lake: String,
    /// Seed of every draw.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake cost --lake ./lake
  neuronlake cost --table neurons --format csv > neurons.csv")]
pub(crate) struct Cost {
    /// Which table [default: calls and models; all three in one object with --format json].
    #[arg(long = "table", value_enum, value_name = "TABLE")]
    pub(crate) account: Option<super::cost::Account>,
    /// How rows are written; csv, jsonl and parquet hold one table.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) lake: ExistingLake,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neuronlake hooks ./gpt2")]
pub(crate) struct Hooks {
    /// The model: 'default', a folder or a file.
    #[arg(default_value = "default")]
    pub(crate) model: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake pull gpt2
  neuronlake pull HuggingFaceTB/SmolLM2-135M --revision main

HF_ENDPOINT, HF_HOME and HF_TOKEN are honoured.")]
pub(crate) struct Pull {
    /// smollm2, minilm, gpt2, or a repository such as owner/name.
    pub(crate) repository: String,
    /// Branch, tag or commit.
    #[arg(long, default_value = "main")]
    pub(crate) revision: String,
}

/// Layers of a list such as `0,3-5`.
#[derive(Debug, Clone)]
pub(crate) struct Layers(pub(crate) Vec<usize>);

pub(crate) fn layers(text: &str) -> Result<Layers, String> {
    let fault = |_| format!("expected a list such as 0,3 or 0-5, got '{text}'");
    crate::pipeline::file::layers(text).map(Layers).map_err(fault)
}

pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("expected a whole number above 0, got '{text}'")),
    }
}

/// Bytes of a number of GiB.
pub(crate) fn gib(text: &str) -> Result<usize, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib < 1e6 => Ok((gib * f64::from(1 << 30)) as usize),
        _ => Err(format!("expected a number of GiB above 0, got '{text}'")),
    }
}

impl Arguments {
    pub(crate) fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Quiet } else { Verbosity::of_stderr() }
    }
}
