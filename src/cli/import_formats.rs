//! `neuronlake import` of Neuronpedia's, delphi's and the observatory's files, and of lines of text.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::arguments::Arguments;
use super::import::{ImportArguments, import_all, import_with, name};
use crate::error::Result;
use crate::exchange::delphi::read::{Delphi, Latents, Settings as DelphiSettings};
use crate::exchange::neuronpedia::layout::Selection;
use crate::exchange::neuronpedia::read::Neuronpedia;
use crate::exchange::source::Source;
use crate::exchange::tabular::{Defaults, TextFormat, TextReader};
use crate::exchange::transluce::read::{Exemplars, Settings as TransluceSettings, Transluce};

#[derive(Debug, Args)]
pub(crate) struct ImportNeuronpedia {
    /// A dump (all of it, one model or one source), or a folder with SAEDashboard's batches.
    #[arg(value_name = "DIR|URL")]
    address: String,
    /// Model to take, by its id there, where the dump has several.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Only these sources, e.g. 7-res-jb,8-res-jb [default: all there are].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    sources: Vec<String>,
    /// Hook point that a source's latents read, where the dump does not tell; for every source, or SOURCE=HOOK.
    #[arg(long = "hook", value_name = "[SOURCE=]HOOK")]
    hooks: Vec<String>,
    /// Name for the corpus [default: the source's data set].
    #[arg(long, value_name = "NAME")]
    corpus: Option<String>,
    #[command(flatten)]
    common: ImportArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ImportDelphi {
    /// The folder of one run.
    #[arg(value_name = "DIR|URL")]
    address: String,
    /// Subject model [default: the run's].
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Name for the corpus [default: the run's data set].
    #[arg(long, value_name = "NAME")]
    corpus: Option<String>,
    /// Id of the sparse coder in hook points [default: the last part of the run's sparse_model].
    #[arg(long, value_name = "ID")]
    sae: Option<String>,
    /// Hook point of a module's values, where its name stands for none or for another.
    #[arg(long = "hook", value_name = "MODULE=HOOK")]
    hooks: Vec<String>,
    /// The subject model's tokenizer.json, or a folder with it: cached latents name tokens by number.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Leave cached latents out; explanations and scores need no tokenizer.
    #[arg(long)]
    no_latents: bool,
    #[command(flatten)]
    common: ImportArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ImportTransluce {
    /// A folder with explanations, exemplars or both below it.
    #[arg(value_name = "DIR|URL")]
    address: String,
    /// Subject model [default: the one in the folder's settings].
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Name for the corpus [default: the data sets' names].
    #[arg(long, value_name = "NAME")]
    corpus: Option<String>,
    /// The subject model's tokenizer.json, or a folder with it: exemplars name tokens by number.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Id of the token that windows are filled up with on the left.
    #[arg(long, value_name = "ID")]
    pad: Option<u32>,
    /// Leave exemplars out; explanations and scores need no tokenizer.
    #[arg(long)]
    no_exemplars: bool,
    #[command(flatten)]
    common: ImportArguments,
}

/// The explainer of lines that name none.
const IMPORTED: &str = "imported";

#[derive(Debug, Args)]
pub(crate) struct ImportText {
    /// A file, packed with gzip or not.
    #[arg(value_name = "FILE|URL")]
    file: String,
    /// Subject model of rows that name none.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Hook point of rows that name none.
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Corpus of rows that name none.
    #[arg(long, value_name = "NAME")]
    corpus: Option<String>,
    /// Who wrote the explanations of rows that do not say: a method of ours, or any name.
    #[arg(long, value_name = "METHOD[@MODEL]", default_value = IMPORTED)]
    explainer: String,
    #[command(flatten)]
    common: ImportArguments,
}

pub(crate) async fn neuronpedia(arguments: &Arguments, command: &ImportNeuronpedia) -> Result<()> {
    let folder = Source::open(&command.address, command.common.concurrency)?;
    let selection = Selection {
        model: command.model.clone(),
        sources: command.sources.clone(),
        hooks: command.hooks.clone(),
        corpus: command.corpus.clone(),
    };
    let importer = Neuronpedia::open(folder, selection).await?;
    import_with(arguments, &command.common, Arc::new(importer)).await.map(drop)
}

pub(crate) async fn delphi(arguments: &Arguments, command: &ImportDelphi) -> Result<()> {
    let folder = Source::open(&command.address, command.common.concurrency)?;
    let settings = DelphiSettings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        sae: command.sae.clone(),
        hooks: command.hooks.clone(),
        tokenizer: command.tokenizer.clone(),
        latents: if command.no_latents { Latents::LeaveOut } else { Latents::Read },
    };
    let importer = Delphi::open(folder, settings).await?;
    import_with(arguments, &command.common, Arc::new(importer)).await.map(drop)
}

pub(crate) async fn transluce(arguments: &Arguments, command: &ImportTransluce) -> Result<()> {
    let folder = Source::open(&command.address, command.common.concurrency)?;
    let settings = TransluceSettings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        tokenizer: command.tokenizer.clone(),
        pad: command.pad,
        exemplars: if command.no_exemplars { Exemplars::LeaveOut } else { Exemplars::Read },
    };
    let importer = Transluce::open(folder, settings).await?;
    import_with(arguments, &command.common, Arc::new(importer)).await.map(drop)
}

pub(crate) async fn text(arguments: &Arguments, command: &ImportText, format: TextFormat) -> Result<()> {
    let (folder, file) = command.file.rsplit_once('/').unwrap_or((".", &command.file));
    let folder = Source::open(if folder.is_empty() { "/" } else { folder }, command.common.concurrency)?;
    let (mut explainer, mut explainer_model) = (IMPORTED.to_owned(), None);
    name(&command.explainer, &mut explainer, &mut explainer_model);
    let defaults = Defaults {
        model: command.model.clone(),
        hook_point: command.hook.clone(),
        corpus: command.corpus.clone(),
        explainer,
        explainer_model,
    };
    let readers = TextReader::open(&folder, file, format, defaults).await?;
    import_all(arguments, &command.common, readers.into_iter().map(Arc::new).collect()).await.map(drop)
}
