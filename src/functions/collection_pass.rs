//! One pass of the subject model over the token sequences of a corpus, its findings kept on disk until the run is over.
//!
//! Three tables come out of one pass. The pass writes one file a hook point, whole or not at all, under a key made of
//! everything that decides the values; whoever asks for the same collection again reads the file. A checkpoint lets a
//! killed pass go on.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::unit_schema::{UnitContext, unit_batch, unit_schema};
use crate::error::collector::CollectorError;
use crate::error::{Error, Result};
use crate::hash;
use crate::models::config::Family;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::collector::{Collector, CollectorConfig, HookUnits};
use crate::neurons::lanes::BLOCK;
use crate::neurons::pass::{ForwardPass, OwnedWindow, PassProgress};
use crate::neurons::selection::NeuronSelection;
use crate::pipeline::queries::Parameter;
use crate::session::Engine;
use crate::tables::lease::lock_file;
use crate::token_sequences::split::SplitStrategy;

mod scratch;
mod sequences;
mod workers;
pub use scratch::Scratch;
use sequences::tracked_tokens;
pub(crate) use sequences::{SequenceReader, windows as sequence_windows};
use workers::{Computed, Workers};

/// Units of a batch of the collection's file.
const UNITS_PER_BATCH: usize = 64;
/// Part of the memory limit that the table of token means may take.
const TOKEN_MEANS_SHARE: usize = 4;
/// Shortest time between two checkpoints.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(20);
/// A checkpoint may take this share of the time, one in so many.
const CHECKPOINT_SHARE: u32 = 20;

/// What is done with the first token of every window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FirstToken {
    /// Counted like any other.
    Keep,
    /// Written as 0 and left out of the statistics: in Llama-family models it is an attention sink with huge activations.
    Mask,
}

/// What decides a collection beside model, corpus, hook point and neurons; JSON in SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectionOptions {
    /// Seed of every draw.
    pub seed: u64,
    /// Split strategy of the token sequences, `document` or `paper`.
    pub split: String,
    /// What is done with the first token of a window; by the model's family when absent.
    pub first_token: Option<FirstToken>,
    /// Hook points collected in the same pass; the one asked for is always among them.
    pub hook_points: Vec<String>,
    /// Bytes that the state of a pass may take; more hook points than fit are collected in several passes.
    pub memory_limit: usize,
}

impl Default for CollectionOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            split: "document".to_owned(),
            first_token: None,
            hook_points: Vec::new(),
            memory_limit: 4 << 30,
        }
    }
}

impl CollectionOptions {
    /// First position of a window that is counted.
    pub(crate) fn first_counted(&self, model: &SubjectModel) -> usize {
        match self.first_token.unwrap_or_else(|| FirstToken::default_of(model)) {
            FirstToken::Keep => 0,
            FirstToken::Mask => 1,
        }
    }
}

impl FirstToken {
    /// `keep` or `mask`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Mask => "mask",
        }
    }

    /// The policy for a model that the user left open.
    pub fn default_of(model: &SubjectModel) -> Self {
        if model.config().family == Family::Llama { Self::Mask } else { Self::Keep }
    }
}

/// Everything that a pass needs to know.
#[derive(Clone)]
pub(crate) struct Collection {
    pub(crate) context: SessionContext,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) model: Arc<SubjectModel>,
    /// What SQL calls the model.
    pub(crate) model_name: String,
    /// Where the model is run.
    pub(crate) engine: Engine,
    pub(crate) corpus: String,
    pub(crate) neurons: NeuronSelection,
    pub(crate) options: CollectionOptions,
    /// Version of the table of token sequences.
    pub(crate) version: Option<u64>,
    pub(crate) progress: Arc<PassProgress>,
}

impl Collection {
    /// Folder of this collection's files: the same for the same values only.
    fn folder(&self) -> Result<PathBuf> {
        let mut options = self.options.clone();
        options.hook_points.clear();
        let key = serde_json::json!({
            "code": env!("CARGO_PKG_VERSION"),
            "weights": self.model.weights_hash(),
            "corpus": self.corpus,
            "neurons": self.neurons.to_string(),
            "options": options,
            "token_sequences": self.version,
        });
        self.scratch.folder(&hash::text(&key.to_string()))
    }

    /// The file with what was found out about a hook point's units, made by a pass over all hook points of the options
    /// that have none yet.
    pub(crate) async fn file(&self, hook_point: &HookPoint) -> Result<PathBuf> {
        let folder = self.folder()?;
        let wanted = folder.join(file_name(hook_point.name()));
        if wanted.exists() {
            return Ok(wanted);
        }
        // Of several processes that ask for the same, one computes; the others find the files.
        let _alone = lock_file(folder.join("pass.lock"), "collect_activations").await?;
        if wanted.exists() {
            return Ok(wanted);
        }
        let mut missing = vec![hook_point.clone()];
        for name in &self.options.hook_points {
            for hook in self.model.select_hook_points(name)? {
                if !missing.contains(&hook) && !folder.join(file_name(hook.name())).exists() {
                    missing.push(hook);
                }
            }
        }
        // In order of computation, so that a checkpoint of the same set is found again.
        let order = self.model.hook_points();
        missing.sort_by_key(|hook| order.iter().position(|other| other == hook));
        let groups = self.groups(missing).await?;
        for group in &groups {
            if group.part.is_none() || !group.file(&folder, 0).exists() {
                self.pass(&folder, group).await?;
            }
        }
        join_parts(&folder, &groups)?;
        Ok(wanted)
    }

    /// Hook points in groups whose state fits the memory limit, each with its configuration. One that does not fit alone, as the
    /// latents of a large autoencoder, is taken in parts.
    async fn groups(&self, hooks: Vec<HookPoint>) -> Result<Vec<Group>> {
        let reader = SequenceReader::new(&self.context, self.model.id(), &self.corpus);
        let window = reader.longest().await?;
        let strategy = SplitStrategy::parse(&self.options.split, self.options.seed)?;
        let mut config = CollectorConfig::new(&strategy, self.options.seed, window);
        let mut groups: Vec<Vec<(HookPoint, HookUnits)>> = vec![Vec::new()];
        let mut parts: Vec<(usize, HookPoint, HookUnits)> = Vec::new();
        let mut held = 0;
        let limit = self.options.memory_limit - self.options.memory_limit / TOKEN_MEANS_SHARE;
        for hook in hooks {
            let units = self.neurons.units(&hook)?;
            let bytes = units.units().len() * config.state_bytes();
            if bytes > limit && hook.latents().is_some() {
                let at_once = (limit / config.state_bytes() / BLOCK * BLOCK).max(BLOCK);
                for (number, some) in units.units().chunks(at_once).enumerate() {
                    parts.push((number, hook.clone(), HookUnits::selected(hook.name(), hook.width(), some.to_vec())?));
                }
                continue;
            }
            if held > 0 && held + bytes > limit {
                groups.push(Vec::new());
                held = 0;
            }
            held += bytes;
            if let Some(group) = groups.last_mut() {
                group.push((hook, units));
            }
        }
        groups.retain(|group| !group.is_empty());
        let of_parts = parts.iter().map(|(_, _, units)| units.units().len());
        let of_groups = groups.iter().map(|group| group.iter().map(|(_, units)| units.units().len()).sum());
        let most: usize = of_groups.chain(of_parts).max().unwrap_or_default();
        let n_tokens = self.options.memory_limit / TOKEN_MEANS_SHARE / (4 * most.max(1));
        config.tracked_token_ids = tracked_tokens(&self.context, self.model.id(), &self.corpus, n_tokens).await?;
        let whole = groups.into_iter().map(|group| {
            let (hooks, units) = group.into_iter().unzip();
            Group { hooks, units, config: config.clone(), part: None }
        });
        let parts = parts.into_iter().map(|(number, hook, units)| Group {
            hooks: vec![hook],
            units: vec![units],
            config: config.clone(),
            part: Some(number),
        });
        Ok(whole.chain(parts).collect())
    }

    async fn pass(&self, folder: &Path, group: &Group) -> Result<()> {
        let checkpoint = Checkpoint::at(folder, group);
        let collector = match checkpoint.restore(group)? {
            Some(collector) => collector,
            None => Collector::new(group.config.clone(), group.units.clone())?,
        };
        let reader = SequenceReader::new(&self.context, self.model.id(), &self.corpus);
        self.progress.start(collector.n_windows(), reader.count().await?);
        let rows = reader.after(collector.last_sequence()).await?;

        let (sender, receiver) = mpsc::channel(2);
        let cancelled = Arc::new(AtomicBool::new(false));
        // Dropped when the query is: the working thread then stops at its next batch.
        let _guard = CancelOnDrop(Arc::clone(&cancelled));
        let worker = {
            let this = self.clone();
            let (group, folder) = (group.clone(), folder.to_owned());
            tokio::task::spawn_blocking(move || {
                let mut work = Work { collection: &this, group: &group, checkpoint, cancelled };
                let collector = work.collect(collector, receiver)?;
                work.write(&folder, &collector)
            })
        };
        feed(self.arriving(&reader, rows, group), sender).await?;
        worker.await.map_err(|e| Error::internal(format!("the collecting thread died: {e}")))?
    }

    /// The windows, with their activations where workers compute them.
    fn arriving(
        &self,
        reader: &SequenceReader<'_>,
        rows: BoxStream<'static, Result<RecordBatch>>,
        group: &Group,
    ) -> BoxStream<'static, Result<Arrived>> {
        let windows = rows.map(|batch| sequences::windows(&batch?));
        let workers = match self.engine {
            Engine::Local => None,
            Engine::Ballista(_) => {
                let n_tokens = group.config.max_window_tokens;
                Workers::new(&self.context, &self.model_name, reader.condition(), &group.hooks, n_tokens)
            }
        };
        match workers {
            Some(workers) => workers.compute(windows.boxed()).map(|computed| computed.map(Arrived::Computed)).boxed(),
            None => windows.map(|windows| windows.map(Arrived::Windows)).boxed(),
        }
    }
}

async fn feed(mut arriving: BoxStream<'static, Result<Arrived>>, sender: mpsc::Sender<Arrived>) -> Result<()> {
    while let Some(arrived) = arriving.next().await {
        // A closed channel means that the worker failed; its own error tells why.
        if sender.send(arrived?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What the collecting thread is handed.
enum Arrived {
    /// Windows to run the model over.
    Windows(Vec<OwnedWindow>),
    /// Windows that the model was run over.
    Computed(Computed),
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Hook points of one pass.
#[derive(Clone)]
struct Group {
    hooks: Vec<HookPoint>,
    units: Vec<HookUnits>,
    config: CollectorConfig,
    /// Number of the part, where the group is a part of one hook point's units.
    part: Option<usize>,
}

impl Group {
    /// The file of a hook point, or of the part of it.
    fn file(&self, folder: &Path, hook: usize) -> PathBuf {
        let path = folder.join(file_name(self.hooks[hook].name()));
        match self.part {
            None => path,
            Some(number) => path.with_extension(format!("arrow-{number}")),
        }
    }
}

/// Puts the parts of hook points together, in order, into their files.
fn join_parts(folder: &Path, groups: &[Group]) -> Result<()> {
    let mut names: Vec<&str> = groups.iter().filter(|group| group.part.is_some()).map(|g| g.hooks[0].name()).collect();
    names.dedup();
    for name in names {
        let parts: Vec<PathBuf> = groups
            .iter()
            .filter(|group| group.part.is_some() && group.hooks[0].name() == name)
            .map(|group| group.file(folder, 0))
            .collect();
        replace_file(&folder.join(file_name(name)), |file| {
            let mut writer = FileWriter::try_new(file, &unit_schema())?;
            for part in &parts {
                let open = File::open(part).map_err(|source| Error::File { path: part.clone(), source })?;
                for batch in FileReader::try_new_buffered(open, None)? {
                    writer.write(&batch?)?;
                }
            }
            writer.finish()?;
            Ok(())
        })?;
        for part in parts {
            std::fs::remove_file(&part).map_err(|source| Error::File { path: part.clone(), source })?;
        }
    }
    Ok(())
}

struct Work<'a> {
    collection: &'a Collection,
    group: &'a Group,
    checkpoint: Checkpoint,
    cancelled: Arc<AtomicBool>,
}

impl Work<'_> {
    fn collect(&mut self, mut collector: Collector, mut receiver: mpsc::Receiver<Arrived>) -> Result<Collector> {
        let model = &self.collection.model;
        let first_counted = self.collection.options.first_counted(model);
        let mut pass = ForwardPass::new(model, self.group.hooks.clone());
        let n_windows = pass.batch_windows(self.group.config.max_window_tokens);
        let mut waiting: Vec<OwnedWindow> = Vec::new();
        loop {
            let received = receiver.blocking_recv();
            let ended = received.is_none();
            match received {
                Some(Arrived::Computed(Computed { windows, tiles })) => {
                    let tiles: Vec<&[f32]> = tiles.iter().map(Vec::as_slice).collect();
                    self.take(&mut collector, &windows, &tiles, first_counted)?;
                }
                Some(Arrived::Windows(windows)) => waiting.extend(windows),
                None => {}
            }
            let mut from = 0;
            while waiting.len() - from >= n_windows || (ended && from < waiting.len()) {
                let to = (from + n_windows).min(waiting.len());
                let tiles = pass.run(&waiting[from..to])?;
                self.take(&mut collector, &waiting[from..to], &tiles, first_counted)?;
                from = to;
            }
            waiting.drain(..from);
            if ended {
                return Ok(collector);
            }
        }
    }

    /// Takes windows and their activations into the collection.
    fn take(
        &mut self,
        collector: &mut Collector,
        windows: &[OwnedWindow],
        tiles: &[&[f32]],
        first_counted: usize,
    ) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let windows: Vec<_> = windows.iter().map(|window| window.as_window(first_counted)).collect();
        collector.observe(&windows, tiles)?;
        self.collection.progress.advance(collector.n_windows());
        self.checkpoint.write_if_due(collector)
    }

    /// One file a hook point, each under its name only when it is whole; then the checkpoint has served.
    fn write(&self, folder: &Path, collector: &Collector) -> Result<()> {
        for (index, hook) in self.group.hooks.iter().enumerate() {
            let context = UnitContext {
                model: self.collection.model.id().to_owned(),
                corpus: self.collection.corpus.clone(),
                hook_point: hook.clone(),
                quantile_levels: self.group.config.quantiles.clone(),
            };
            replace_file(&self.group.file(folder, index), |file| {
                let mut writer = FileWriter::try_new(file, &unit_schema())?;
                let mut units = collector.finish(index);
                loop {
                    let some: Vec<_> = units.by_ref().take(UNITS_PER_BATCH).collect();
                    if some.is_empty() {
                        break;
                    }
                    writer.write(&unit_batch(&context, &some)?)?;
                }
                writer.finish()?;
                Ok(())
            })?;
        }
        self.checkpoint.remove();
        Ok(())
    }
}

/// The state of a pass under way.
struct Checkpoint {
    path: PathBuf,
    written_at: Instant,
    took: Duration,
}

impl Checkpoint {
    fn at(folder: &Path, group: &Group) -> Self {
        let names: Vec<&str> = group.hooks.iter().map(HookPoint::name).collect();
        let part = group.part.map_or(String::new(), |number| format!(" {number}"));
        let path = folder.join(format!("{}.checkpoint", hash::text(&(names.join(" ") + &part))));
        Self { path, written_at: Instant::now(), took: Duration::ZERO }
    }

    fn restore(&self, group: &Group) -> Result<Option<Collector>> {
        match File::open(&self.path) {
            Ok(file) => {
                let restored = Collector::restore(group.config.clone(), group.units.clone(), BufReader::new(file));
                // A checkpoint is only ever a short cut: one that does not fit is started over.
                Ok(restored.inspect_err(|e| tracing::warn!(error = %e, "checkpoint not used")).ok())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path: self.path.clone(), source }),
        }
    }

    fn write_if_due(&mut self, collector: &Collector) -> Result<()> {
        if self.written_at.elapsed() < CHECKPOINT_AFTER.max(self.took * CHECKPOINT_SHARE) {
            return Ok(());
        }
        let start = Instant::now();
        replace_file(&self.path, |file| collector.checkpoint(file))?;
        self.took = start.elapsed();
        self.written_at = Instant::now();
        Ok(())
    }

    fn remove(&self) {
        // It may never have been written.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes beside the file and renames, so that the name never stands for half a file.
fn replace_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let fault = |source| Error::File { path: path.to_owned(), source };
    // Another process may be writing the same.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut file = BufWriter::new(File::create(&partial).map_err(fault)?);
    // A full disk is told with the name of the file, whichever layer met it.
    write(&mut file).map_err(|error| match error {
        Error::Arrow(ArrowError::IoError(_, source)) => fault(source),
        Error::Collector(CollectorError::CheckpointIo { source }) => fault(source),
        other => other,
    })?;
    file.flush().map_err(fault)?;
    file.get_ref().sync_all().map_err(fault)?;
    std::fs::rename(&partial, path).map_err(fault)
}

fn file_name(hook_point: &str) -> String {
    format!("{}.arrow", hook_point.replace('/', "~"))
}

/// A value as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    Parameter::Text(text.to_owned()).to_sql()
}
