//! `neuronlake sae`: sparse autoencoders of a lake.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use sparse_autoencoders::autoencoder::RowMean;
use sparse_autoencoders::formats::saelens::export::{Metadata, write};

use super::arguments::{Arguments, ExistingLake};
use super::run::{pipeline_session, run_pipeline};
use super::sql::print_rows;
use super::table::Format;
use super::{open, print};
use crate::autoencoders::import::{ImportSettings, InLake, import};
use crate::autoencoders::publish::folder;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::Result;
use crate::error::autoencoder::AutoencoderError;
use crate::exchange::fault::ExchangeError;
use crate::models::latents::Autoencoders;
use crate::neurons::selection::NeuronSelection;
use crate::pipeline::settings::Settings;
use crate::pipeline::steps::ENCODED;
use crate::session::SessionOptions;
use crate::tables::lake::Lake;

mod crosscoder;
mod evaluate;
mod train;

#[derive(Debug, Args)]
pub(crate) struct Sae {
    #[command(subcommand)]
    action: SaeAction,
}

#[derive(Debug, Subcommand)]
enum SaeAction {
    /// Train autoencoders on a store of activations, several from one reading.
    #[command(after_help = "Examples:
  neuronlake sae train --latents 24576 --k 32 --tokens 400M
  neuronlake sae train --store blocks.8.hook_resid_post --latents 2048,8192 --k 8,32 --seed 0,1 --epochs 4
  neuronlake sae train --architecture jump_relu --latents 8192 --l0 0.01
  neuronlake sae train --store blocks.8.hook_resid_mid --target-store blocks.8.hook_mlp_out --latents 8192

One autoencoder for every combination of the lists. A training that was cut short goes on when the same command is given again.")]
    Train(Box<train::Train>),
    /// Bring an autoencoder of OpenAI, SAELens, dictionary_learning, sparsify or Gemma Scope into a lake.
    #[command(after_help = "Examples:
  neuronlake sae import ./v5_32k/autoencoders/8.pt --model ./gpt2 --hook blocks.8.hook_resid_post --id oai-8
  neuronlake sae import ./gpt2-small-res-jb/blocks.8.hook_resid_pre --model ./gpt2

Files whose configuration leaves open how they compute are refused.")]
    Import(Import),
    /// Bring the decoder norms of a crosscoder into a lake, to see which latents are of one model only.
    #[command(after_help = "Examples:
  neuronlake sae import-crosscoder ./cc --models gemma-2-2b,gemma-2-2b-it --hook blocks.14.hook_resid_pre --id diff
  neuronlake query run model_differences

Its latents are rows of table crosscoder_latents and view latent_differences. They are no units: encoding takes all its models at once.")]
    ImportCrosscoder(crosscoder::ImportCrosscoder),
    /// Write an autoencoder in the format of another program.
    #[command(after_help = "Example:
  neuronlake sae export saelens ./out --autoencoder my_sae")]
    Export(Export),
    /// List the autoencoders of a lake.
    List {
        /// How rows are written.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        #[command(flatten)]
        lake: ExistingLake,
    },
    /// Measure what an autoencoder reconstructs, and what the model loses by it.
    #[command(after_help = "Example:
  neuronlake sae evaluate my_sae --windows 512

Rows of table autoencoder_metrics; docs/sparse-autoencoders.md defines each metric.")]
    Evaluate(Box<evaluate::Evaluate>),
    /// Write every firing of every latent over a corpus to table activations.
    #[command(after_help = "Example:
  neuronlake sae encode my_sae --corpus './texts/*.txt'")]
    Encode(Encode),
}

/// Whether rows lose their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowMeanChoice {
    Removed,
    Kept,
}

#[derive(Debug, Args)]
struct Import {
    /// The file or folder.
    path: PathBuf,
    /// Subject model: 'default' (inside the program), a Hugging Face folder, a .gguf or a llama2.c .bin file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// Hook point that it reads [default: what its files say].
    #[arg(long = "hook", value_name = "NAME")]
    hook_point: Option<String>,
    /// Hook point whose values it gives, of a transcoder [default: the one it reads].
    #[arg(long = "output-hook", value_name = "NAME")]
    output_hook_point: Option<String>,
    /// Its id [default: the name of the file or folder].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Whether rows lose their mean before they are encoded: 'removed' for one of a model whose writing weights were centred [default: what its files say].
    #[arg(long, value_name = "removed|kept")]
    row_mean: Option<RowMeanChoice>,
    /// Refuse any other format [default: what the files are].
    #[arg(long, value_name = "NAME", value_parser = ["openai", "saelens", "dictionary_learning", "sparsify", "gemma_scope"])]
    format: Option<String>,
    /// Where the tables are, or are to be [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    lake: String,
}

#[derive(Debug, Args)]
struct Export {
    /// The format.
    #[arg(value_parser = ["saelens"])]
    format: String,
    /// Folder to write, which must not be there yet.
    folder: PathBuf,
    /// The autoencoder's id.
    #[arg(long, value_name = "ID")]
    autoencoder: String,
    #[command(flatten)]
    lake: ExistingLake,
}

#[derive(Debug, Args)]
struct Encode {
    /// The autoencoder's id.
    autoencoder: String,
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
    /// Only these latents, e.g. 0-99,512.
    #[arg(long, default_value = "all", value_name = "LIST")]
    latents: String,
    /// Tokens of a window.
    #[arg(long = "window", default_value_t = 64, value_name = "TOKENS")]
    window_length: usize,
    /// Where the tables are [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    lake: String,
}

pub(crate) async fn sae(arguments: &Arguments, command: &Sae) -> Result<()> {
    match &command.action {
        SaeAction::Train(command) => train::train(arguments, command).await,
        SaeAction::Import(command) => import_one(command).await,
        SaeAction::ImportCrosscoder(command) => crosscoder::import_crosscoder(command).await,
        SaeAction::Export(command) => export(command).await,
        SaeAction::List { format, lake } => list(lake.open().await?, *format).await,
        SaeAction::Evaluate(command) => evaluate::evaluate(arguments, command).await,
        SaeAction::Encode(command) => encode(arguments, command).await,
    }
}

async fn import_one(command: &Import) -> Result<()> {
    let session = open(Lake::reach(&command.lake).await?, SessionOptions::default())?;
    let settings = ImportSettings {
        path: command.path.clone(),
        model: command.model.clone(),
        hook_point: command.hook_point.clone(),
        output_hook_point: command.output_hook_point.clone(),
        id: command.id.clone(),
        row_mean: command.row_mean.map(|choice| match choice {
            RowMeanChoice::Removed => RowMean::Removed,
            RowMeanChoice::Kept => RowMean::Kept,
        }),
        format: command.format.clone(),
    };
    let InLake { id, hook_point, format } = import(&session, &settings).await?;
    print(&format!("{id}: read as {format}, its latents are units of '{hook_point}'\n"))
}

async fn export(command: &Export) -> Result<()> {
    let folder = folder(&command.lake.open().await?)?;
    let latents = Autoencoders::in_folder(folder).get(&command.autoencoder)?;
    if command.folder.exists() {
        let file = command.folder.display().to_string();
        return Err(ExchangeError::OutputExists { file }.into());
    }
    let metadata = Metadata {
        model_name: Some(latents.place.model.clone()),
        hook_name: Some(latents.place.input_hook_point.clone()),
        hook_name_out: (latents.place.output_hook_point != latents.place.input_hook_point)
            .then(|| latents.place.output_hook_point.clone()),
    };
    write(&latents.autoencoder, &metadata, &command.folder).map_err(AutoencoderError::from)?;
    print(&format!("{}: written to '{}' as {}\n", latents.id, command.folder.display(), command.format))
}

async fn list(lake: Lake, format: Format) -> Result<()> {
    let session = open(lake, SessionOptions::default())?;
    let sql = "SELECT autoencoder, model, input_hook_point, architecture, n_inputs, n_latents, k, source_format, n_tokens \
               FROM sparse_autoencoders ORDER BY autoencoder";
    print_rows(&session, sql, format).await
}

async fn encode(arguments: &Arguments, command: &Encode) -> Result<()> {
    let session = pipeline_session(Lake::reach(&command.lake).await?, LanguageModelOptions::default())?;
    let settings = Settings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        field: command.field.clone(),
        limit: command.limit,
        window_length: command.window_length,
        hooks: vec![format!("*/{}", command.autoencoder)],
        neurons: NeuronSelection::parse(&command.latents)?,
        encode: true,
        to: Some("token_sequences".to_owned()),
        ..Settings::default()
    };
    run_pipeline(arguments, &session, &settings).await?;
    let encode = Some(ENCODED.to_owned());
    let reports = run_pipeline(arguments, &session, &Settings { from: encode.clone(), to: encode, ..settings }).await?;
    if !arguments.quiet {
        let n_rows: usize = reports.iter().map(|report| report.n_rows).sum();
        print(&format!("{n_rows} firings of '{}' written to table activations\n", command.autoencoder))?;
    }
    Ok(())
}
