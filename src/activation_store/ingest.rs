//! One pass of the subject model that writes every token's activations at some hook points to their stores.
//!
//! A file ends after so many rows, between two token sequences; its footer tells the last one. A pass that was cut short goes on after
//! the last sequence that every store of the pass has a file of.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use tokio::sync::mpsc;

use super::manifest::{Contents, Manifest, StoreFolder};
use super::parts::{Footer, PartWriter, RowForm, Rows, ValueType, count_parts, footer, part_path};
use super::statistics::Sums;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::functions::{FirstToken, SequenceReader, sequence_windows};
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::neurons::pass::{ForwardPass, OwnedWindow, PassProgress};
use crate::session::Session;
use crate::tables::definition::table;
use crate::token_sequences::split::Split;

/// What is stored.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Subject model: `default`, a folder or a file.
    pub model: String,
    /// Corpus id, whose token sequences are in the lake.
    pub corpus: String,
    /// Hook points, each with a store of its own.
    pub hooks: Vec<HookPoint>,
    /// Name of the only store; by the hook point where `None`.
    pub name: Option<String>,
    /// Splits whose token sequences are read.
    pub splits: Vec<Split>,
    /// What is done with the first token of a window; by the model's family when `None`.
    pub first_token: Option<FirstToken>,
    /// Rows with a norm above this multiple of the median norm are left out.
    pub norm_multiple: Option<f64>,
    /// How values are stored.
    pub values: ValueType,
    /// Bytes of activations after which a file ends.
    pub part_bytes: usize,
}

/// What a store holds at the end of a pass.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name.
    pub store: StoreFolder,
    /// What `store.json` says.
    pub manifest: Manifest,
    /// Rows that were written now.
    pub n_new: u64,
}

/// Writes the stores of some hook points; what is there already stays, and whole stores are left as they are.
///
/// Memory: one batch of the model's pass, and a row group a hook point.
///
/// # Errors
/// [`AutoencoderError::StoreSettings`] for a store of other contents, [`Error::SequencesMissing`], and what the model and the disk report.
pub async fn store(session: &Session, settings: &StoreSettings, progress: &Arc<PassProgress>) -> Result<Vec<Stored>> {
    if settings.name.is_some() && settings.hooks.len() > 1 {
        return Err(Error::Argument {
            argument: "--name".to_owned(),
            expected: "one hook point".to_owned(),
            got: format!("{} hook points", settings.hooks.len()),
        });
    }
    let model = session.models().get(&settings.model)?;
    let definition = table("token_sequences").ok_or_else(|| Error::internal("no table token_sequences"))?;
    let version = session.lake().open(definition).await?.and_then(|stored| stored.version());
    let mut targets = Vec::new();
    for hook in &settings.hooks {
        targets.push(Target::open(session, settings, &model, hook, version)?);
    }
    let mut open: Vec<Target> = targets.iter().filter(|target| target.manifest.n_rows.is_none()).cloned().collect();
    let rows_before: Vec<u64> = open.iter().map(|target| target.n_stored).collect();
    if !open.is_empty() {
        let n_parts = open.iter().map(|target| count_parts(&target.store.rows_path())).min().unwrap_or_default();
        let mut after = None;
        for target in &mut open {
            after = target.cut(n_parts)?;
        }
        let reader = SequenceReader::new(session.context(), model.id(), &settings.corpus);
        // Says what is missing.
        let longest = reader.longest().await?;
        let total = reader.count().await?;
        let mut rows = reader.after(after).await?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _guard = CancelOnDrop(Arc::clone(&cancelled));
        let (sender, receiver) = mpsc::channel(2);
        let work = Work {
            model: Arc::clone(&model),
            settings: settings.clone(),
            first_counted: usize::from(first_token(settings, &model) == FirstToken::Mask),
            longest,
            n_parts,
            cancelled,
            progress: Arc::clone(progress),
            total,
        };
        let worker = tokio::task::spawn_blocking(move || work.run(open, receiver));
        while let Some(batch) = rows.next().await {
            // A closed channel means that the worker failed; its own error tells why.
            if sender.send(sequence_windows(&batch?)?).await.is_err() {
                break;
            }
        }
        drop(sender);
        let done = worker.await.map_err(|error| Error::internal(format!("the storing thread died: {error}")))??;
        for (done, before) in done.into_iter().zip(rows_before) {
            if let Some(target) = targets.iter_mut().find(|target| target.store == done.store) {
                let n_stored = done.manifest.n_rows.unwrap_or_default();
                *target = Target { n_new: n_stored.saturating_sub(before), ..done };
            }
        }
    }
    Ok(targets
        .into_iter()
        .map(|target| Stored { store: target.store, manifest: target.manifest, n_new: target.n_new })
        .collect())
}

fn first_token(settings: &StoreSettings, model: &SubjectModel) -> FirstToken {
    settings.first_token.unwrap_or_else(|| FirstToken::default_of(model))
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One hook point and its store.
#[derive(Debug, Clone)]
struct Target {
    hook: HookPoint,
    store: StoreFolder,
    manifest: Manifest,
    form: RowForm,
    /// Sums over the files that are whole, and the number of their rows when the pass began.
    sums: Sums,
    n_stored: u64,
    n_new: u64,
}

impl Target {
    fn open(
        session: &Session,
        settings: &StoreSettings,
        model: &SubjectModel,
        hook: &HookPoint,
        token_sequences: Option<u64>,
    ) -> Result<Self> {
        let name = settings.name.clone().unwrap_or_else(|| hook.name().replace('/', "~"));
        let store = StoreFolder::at(session.lake(), &name)?;
        let contents = Contents {
            model: model.id().to_owned(),
            weights_hash: model.weights_hash().to_owned(),
            hook_point: hook.name().to_owned(),
            width: hook.width(),
            corpus: settings.corpus.clone(),
            splits: settings.splits.iter().map(|split| split.as_str().to_owned()).collect(),
            first_token: first_token(settings, model).name().to_owned(),
            norm_multiple: settings.norm_multiple,
            values: settings.values,
            token_sequences,
        };
        let manifest = match store.manifest()? {
            Some(manifest) => {
                same(store.name(), &manifest.contents, &contents)?;
                manifest
            }
            None => Manifest::new(contents),
        };
        let form = RowForm { width: hook.width(), values: settings.values };
        let sums = Sums::new(hook.width());
        Ok(Self { hook: hook.clone(), store, manifest, form, sums, n_stored: 0, n_new: 0 })
    }

    /// Removes what goes beyond the files that all stores of the pass have, reads the sums of the others, and says which token
    /// sequence they end with.
    fn cut(&mut self, n_parts: usize) -> Result<Option<i64>> {
        let folder = self.store.rows_path();
        for number in n_parts..count_parts(&folder).max(n_parts) {
            let path = part_path(&folder, number);
            fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
        }
        let mut last = None;
        for number in 0..n_parts {
            let Footer { last_sequence, sums } = footer(&part_path(&folder, number))?;
            self.sums.add(&sums);
            last = last_sequence;
        }
        self.n_stored = self.sums.n_rows;
        Ok(last)
    }
}

/// Refuses to go on with a store that was begun with something else.
fn same(store: &str, stored: &Contents, wanted: &Contents) -> Result<()> {
    let differs = |setting: &'static str, expected: String, got: String| match expected == got {
        true => Ok(()),
        false => Err(Error::from(AutoencoderError::StoreSettings { store: store.to_owned(), setting, expected, got })),
    };
    let multiple =
        |contents: &Contents| contents.norm_multiple.map_or("none".to_owned(), |multiple| multiple.to_string());
    differs("model", stored.model.clone(), wanted.model.clone())?;
    differs("weights", stored.weights_hash.clone(), wanted.weights_hash.clone())?;
    differs("hook point", stored.hook_point.clone(), wanted.hook_point.clone())?;
    differs("corpus", stored.corpus.clone(), wanted.corpus.clone())?;
    differs("splits", stored.splits.join(","), wanted.splits.join(","))?;
    differs("first token", stored.first_token.clone(), wanted.first_token.clone())?;
    differs("a norm limit of", multiple(stored), multiple(wanted))?;
    differs("values", format!("{:?}", stored.values), format!("{:?}", wanted.values))?;
    let version = |contents: &Contents| contents.token_sequences.map_or("none".to_owned(), |number| number.to_string());
    differs("token_sequences version", version(stored), version(wanted))
}

struct Work {
    model: Arc<SubjectModel>,
    settings: StoreSettings,
    first_counted: usize,
    longest: usize,
    n_parts: usize,
    cancelled: Arc<AtomicBool>,
    progress: Arc<PassProgress>,
    total: u64,
}

impl Work {
    fn run(&self, mut targets: Vec<Target>, mut receiver: mpsc::Receiver<Vec<OwnedWindow>>) -> Result<Vec<Target>> {
        let mut pass = ForwardPass::new(&self.model, targets.iter().map(|target| target.hook.clone()).collect());
        let n_windows = pass.batch_windows(self.longest);
        let mut open: Option<Part> = None;
        let mut waiting: Vec<OwnedWindow> = Vec::new();
        let mut n_done = 0;
        let mut number = self.n_parts;
        self.progress.start(0, self.total);
        loop {
            let received = receiver.blocking_recv();
            let ended = received.is_none();
            for window in received.into_iter().flatten() {
                n_done += 1;
                if self.settings.splits.contains(&window.split) {
                    waiting.push(window);
                }
            }
            let mut from = 0;
            while waiting.len() - from >= n_windows || (ended && from < waiting.len()) {
                if self.cancelled.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let some = &waiting[from..(from + n_windows).min(waiting.len())];
                let tiles = pass.run(some)?;
                let part = match &mut open {
                    Some(part) => part,
                    none => none.insert(Part::create(&targets, number)?),
                };
                let mut due = false;
                for ((target, tile), file) in targets.iter_mut().zip(&tiles).zip(&mut part.files) {
                    file.write(target, tile, some, self.first_counted)?;
                    due |= file.writer.n_rows() * target.form.bytes() >= self.settings.part_bytes;
                }
                part.last_sequence = some.last().map(|window| window.sequence);
                if due {
                    finish(open.take(), &mut targets)?;
                    number += 1;
                }
                from += some.len();
                self.progress.advance(n_done - (waiting.len() - from) as u64);
            }
            waiting.drain(..from);
            if ended {
                break;
            }
        }
        finish(open.take(), &mut targets)?;
        if let Some(empty) = targets.iter().find(|target| target.sums.n_rows == 0) {
            let Contents { corpus, splits, .. } = &empty.manifest.contents;
            let reason = format!(
                "expected at least one row of corpus '{corpus}', splits {}, got none, {} left out for their norm",
                splits.join(","),
                empty.sums.n_dropped
            );
            return Err(AutoencoderError::StoreFile { path: empty.store.path().to_owned(), reason }.into());
        }
        for target in &mut targets {
            target.manifest.n_rows = Some(target.sums.n_rows);
            target.manifest.n_dropped = Some(target.sums.n_dropped);
            target.manifest.statistics = target.sums.statistics();
            target.store.write_manifest(&target.manifest)?;
        }
        self.progress.advance(self.total);
        Ok(targets)
    }
}

/// The files of one number, one a store.
struct Part {
    files: Vec<OpenFile>,
    last_sequence: Option<i64>,
}

struct OpenFile {
    writer: PartWriter,
    sums: Sums,
    rows: Rows,
}

impl Part {
    fn create(targets: &[Target], number: usize) -> Result<Self> {
        let files = targets.iter().map(|target| {
            let writer = PartWriter::create(&target.store.rows_path(), number, target.form)?;
            Ok(OpenFile { writer, sums: Sums::new(target.form.width), rows: Rows::default() })
        });
        Ok(Self { files: files.collect::<Result<_>>()?, last_sequence: None })
    }
}

fn finish(part: Option<Part>, targets: &mut [Target]) -> Result<()> {
    let Some(Part { files, last_sequence }) = part else { return Ok(()) };
    for (file, target) in files.into_iter().zip(targets) {
        target.sums.add(&file.sums);
        file.writer.finish(&Footer { last_sequence, sums: file.sums })?;
    }
    Ok(())
}

impl OpenFile {
    /// Writes the counted tokens of some windows, whose activations are `tile` `[n_tokens, width]`.
    fn write(
        &mut self,
        target: &mut Target,
        tile: &[f32],
        windows: &[OwnedWindow],
        first_counted: usize,
    ) -> Result<()> {
        let width = target.form.width;
        let limit = norm_limit(target, tile, windows, first_counted)?;
        let mut rows = tile.chunks_exact(width);
        for window in windows {
            for (position, row) in rows.by_ref().take(window.token_ids.len()).enumerate() {
                if position < first_counted {
                    continue;
                }
                let norm = norm(row);
                if !norm.is_finite() {
                    let hook_point = target.hook.name().to_owned();
                    return Err(AutoencoderError::NotFinite { hook_point, sequence: window.sequence, position }.into());
                }
                if limit.is_some_and(|limit| norm > limit) {
                    self.sums.n_dropped += 1;
                    continue;
                }
                self.sums.add_row(row);
                self.rows.sequences.push(window.sequence);
                self.rows.positions.push(position as i32);
                target.form.values.encode(row, &mut self.rows.bytes);
            }
        }
        self.writer.write(&self.rows)?;
        self.rows.clear();
        Ok(())
    }
}

/// The norm above which rows are left out. The median it is a multiple of is that of the first batch, and is written down before any
/// row is: another run of the same pass leaves out the same rows.
fn norm_limit(target: &mut Target, tile: &[f32], windows: &[OwnedWindow], first_counted: usize) -> Result<Option<f64>> {
    if target.manifest.median_norm.is_none() {
        let mut rows = tile.chunks_exact(target.form.width);
        let mut norms = Vec::new();
        for window in windows {
            norms.extend(rows.by_ref().take(window.token_ids.len()).skip(first_counted).map(norm));
        }
        if !norms.is_empty() {
            let middle = norms.len() / 2;
            let (_, median, _) = norms.select_nth_unstable_by(middle, f64::total_cmp);
            target.manifest.median_norm = Some(*median);
            target.store.write_manifest(&target.manifest)?;
        }
    }
    Ok(target.manifest.norm_limit())
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
