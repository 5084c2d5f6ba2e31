//! Training several autoencoders from one reading of a shuffled store, with checkpoints that go on to the same bits.
//!
//! Step s reads the rows from `s * batch_rows` on, counted through all readings of the store, so the step is the cursor. A
//! checkpoint is a folder that appears whole; what was measured until then is in the table before it does, and rows that are in the
//! table already are not written again by a training that goes on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;
use sparse_autoencoders::autoencoder::DecoderBias;
use sparse_autoencoders::training::config::{Method, TrainingConfig};
use sparse_autoencoders::training::placed::{Placed, device_name};
use sparse_autoencoders::training::trainer::{StepMetrics, Trainer};
use tokio::runtime::Handle;

use super::pairs::Pairs;
use super::publish::{check_id, is_published, publish};
use super::rows::{Origin, StepRow, definition, snake_case, step_rows};
use crate::activation_store::manifest::{Manifest, StoreFolder};
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::functions::literal;
use crate::hash;
use crate::models::device::{Accelerator, Device};
use crate::models::latents::Place;
use crate::session::Session;
use crate::tables::runs::{RunRow, now};
use crate::tables::writer::TableWriter;

mod checkpoints;
#[cfg(test)]
mod tests;

/// Folder of trainings under way, inside the lake.
const FOLDER: &str = "_training";
/// Field of the parameters that names the store of a transcoder's targets.
pub(super) const TARGET_STORE: &str = "target_store";
/// Rows of the sample that weights are initialised by.
const SAMPLE_ROWS: u64 = 32_768;

/// One autoencoder to be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its id.
    pub id: String,
    /// How it is trained.
    pub config: TrainingConfig,
}

/// What is trained, and on what.
#[derive(Debug, Clone)]
pub struct TrainSettings {
    /// Subject model: `default`, a folder or a file.
    pub model: String,
    /// The store of what is read.
    pub store: StoreFolder,
    /// The store of what it is to become, of the same tokens, where transcoders are trained.
    pub target_store: Option<StoreFolder>,
    /// Seed of their random order.
    pub shuffle_seed: u64,
    /// The autoencoders, all with the same rows a step and as many steps.
    pub wanted: Vec<Wanted>,
    /// Steps between two measurements that are told and written.
    pub measure_every: u64,
    /// Time between two checkpoints.
    pub checkpoint_every: Duration,
    /// What computes the steps.
    pub device: Device,
}

/// Told about a training as it goes.
pub trait Observer: Send + Sync {
    /// It begins, or goes on after `done` of `total` steps.
    fn started(&self, done: u64, total: u64);
    /// A step was measured, one row an autoencoder.
    fn measured(&self, rows: &[StepRow]);
    /// A step is done.
    fn advanced(&self, done: u64);
}

/// An autoencoder that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its id.
    pub id: String,
    /// The last measurement; `None` where it was in the lake already.
    pub last: Option<StepRow>,
}

/// Trains what is not in the lake yet.
///
/// # Errors
/// [`AutoencoderError`] for a store that is not whole, not shuffled or of another model; [`Error::Argument`] for settings that do not
/// go together.
pub async fn train(session: &Session, settings: &TrainSettings, observer: Arc<dyn Observer>) -> Result<Vec<Trained>> {
    let rows = Pairs::open(&settings.store, settings.target_store.as_ref(), settings.shuffle_seed)?;
    let manifest = rows.manifest().clone();
    let targets = rows.target_manifest().cloned();
    let model = session.models().get(&settings.model)?;
    if model.weights_hash() != manifest.contents.weights_hash {
        let reason = format!(
            "expected activations of model '{}', got those of '{}' with other weights",
            model.id(),
            manifest.contents.model
        );
        return Err(AutoencoderError::StoreFile { path: settings.store.path().to_owned(), reason }.into());
    }
    check(&settings.wanted, &manifest, targets.as_ref())?;
    let device = settings.device.open()?;
    tracing::info!(device = device_name(device.as_ref()), "training");
    let mut trained = Vec::new();
    let mut open = Vec::new();
    for wanted in &settings.wanted {
        check_id(&wanted.id)?;
        if is_published(session, &wanted.id).await? {
            trained.push(Trained { id: wanted.id.clone(), last: None });
        } else {
            open.push(wanted.clone());
        }
    }
    if open.is_empty() {
        return Ok(trained);
    }
    // Of all, also of those that are in the lake: a training that was killed while it published them goes on.
    let parameters = parameters(settings, &manifest, targets.as_ref())?;
    let folder = session
        .lake()
        .local_path()
        .map(|path| path.join(FOLDER).join(hash::text(&parameters)))
        .ok_or_else(|| Error::internal("a store outside a local lake"))?;
    let run = RunRow {
        model: Some(manifest.contents.model.clone()),
        corpus: Some(manifest.contents.corpus.clone()),
        weights_hash: Some(manifest.contents.weights_hash.clone()),
        seed: open[0].config.seed,
        ..RunRow::starting("sae_train", parameters)
    };
    run.record(session.lake()).await?;
    let mut written = Vec::new();
    for wanted in &open {
        written.push(last_step(session, &wanted.id).await?);
    }
    let writer = TableWriter::open(session.lake(), definition("training_steps")?, &run.id).await?;
    let work = Work {
        settings: settings.clone(),
        wanted: open.clone(),
        folder: folder.clone(),
        writer,
        run: run.id.clone(),
        written,
        waiting: Vec::new(),
        last: vec![None; open.len()],
        device: device.clone(),
        observer,
        handle: Handle::current(),
    };
    let done = tokio::task::spawn_blocking(move || work.run(rows)).await;
    let (trainers, last) = done.map_err(|error| Error::internal(format!("the training thread died: {error}")))??;
    let n_written = trainers.len();
    for ((wanted, trainer), last) in open.into_iter().zip(trainers).zip(last) {
        let place = Place {
            model: manifest.contents.model.clone(),
            input_hook_point: manifest.contents.hook_point.clone(),
            output_hook_point: targets.as_ref().unwrap_or(&manifest).contents.hook_point.clone(),
        };
        let device = device_name(device.as_ref());
        let origin = origin(settings, &manifest, targets.as_ref(), &wanted, &device, trainer.n_rows())?;
        publish(session, &model, &wanted.id, &place, &trainer.finish(), &origin, &run).await?;
        trained.push(Trained { id: wanted.id, last });
    }
    run.finish(session.lake(), n_written, 0.0).await?;
    // What it held is in the lake now.
    fs::remove_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    trained.sort_by_key(|trained| settings.wanted.iter().position(|wanted| wanted.id == trained.id));
    Ok(trained)
}

/// Checks that settings, autoencoders and stores go together, before anything is read.
///
/// # Errors
/// [`Error::Argument`], [`AutoencoderError`].
pub fn check(wanted: &[Wanted], inputs: &Manifest, targets: Option<&Manifest>) -> Result<()> {
    let argument = |argument: &str, expected: String, got: String| {
        Err(Error::Argument { argument: argument.to_owned(), expected, got })
    };
    let Some(first) = wanted.first() else { return argument("--latents", "at least one".to_owned(), String::new()) };
    for (index, one) in wanted.iter().enumerate() {
        one.config.validate().map_err(AutoencoderError::from)?;
        let widths = [
            ("store", one.config.n_inputs, inputs.contents.width),
            ("target store", one.config.n_outputs, targets.unwrap_or(inputs).contents.width),
        ];
        if let Some((name, expected, got)) = widths.into_iter().find(|(_, expected, got)| expected != got) {
            return argument(name, format!("rows of {expected} values"), got.to_string());
        }
        let n_rows = inputs.n_rows.unwrap_or_default();
        if one.config.batch_rows as u64 > n_rows {
            let expected = format!("at most {n_rows} rows, those of the store");
            return argument("--batch", expected, one.config.batch_rows.to_string());
        }
        if targets.is_some() && one.config.decoder_bias == DecoderBias::Subtracted {
            let expected = "a decoder bias that is not taken from the inputs, in a transcoder".to_owned();
            return argument("decoder_bias", expected, "subtracted".to_owned());
        }
        if targets.is_some() && one.config.input_normalization.varies_by_row() {
            let expected = "none or scale, in a transcoder: its outputs are other values than what it reads".to_owned();
            return argument("--normalize", expected, snake_case(&one.config.input_normalization));
        }
        if (one.config.batch_rows, one.config.n_steps) != (first.config.batch_rows, first.config.n_steps) {
            let expected = "the same rows a step and steps for all that are trained together".to_owned();
            return argument("--batch", expected, one.config.batch_rows.to_string());
        }
        if wanted[..index].iter().any(|other| other.id == one.id) {
            return argument("--id", "another id for each".to_owned(), one.id.clone());
        }
    }
    Ok(())
}

fn parameters(settings: &TrainSettings, manifest: &Manifest, targets: Option<&Manifest>) -> Result<String> {
    let configs = settings.wanted.iter().map(|wanted| json!({"id": wanted.id, "config": wanted.config}));
    let mut parameters = json!({
        "store": settings.store.name(),
        "contents": manifest.contents,
        "n_rows": manifest.n_rows,
        "shuffle_seed": settings.shuffle_seed,
        "autoencoders": configs.collect::<Vec<_>>(),
    });
    add_targets(&mut parameters, settings, targets);
    serde_json::to_string(&parameters).map_err(|error| Error::internal(error.to_string()))
}

/// Adds what a transcoder's targets are.
fn add_targets(parameters: &mut serde_json::Value, settings: &TrainSettings, targets: Option<&Manifest>) {
    if let (Some(store), Some(manifest)) = (&settings.target_store, targets) {
        parameters[TARGET_STORE] = store.name().into();
        parameters["target_contents"] = json!(manifest.contents);
    }
}

fn origin(
    settings: &TrainSettings,
    manifest: &Manifest,
    targets: Option<&Manifest>,
    wanted: &Wanted,
    device: &str,
    n_tokens: u64,
) -> Result<Origin> {
    let k = match &wanted.config.method {
        Method::TopK { k } | Method::MultiTopK { k, .. } | Method::BatchTopK { k } | Method::Matryoshka { k, .. } => {
            Some(*k)
        }
        Method::Relu { .. } | Method::Gated { .. } | Method::JumpRelu { .. } => None,
    };
    let mut parameters = json!({
        "config": wanted.config,
        "store": manifest.contents,
        "n_rows": manifest.n_rows,
        "shuffle_seed": settings.shuffle_seed,
        "device": device,
    });
    add_targets(&mut parameters, settings, targets);
    Ok(Origin {
        source_format: "trained".to_owned(),
        source: Some(settings.store.name().to_owned()),
        k,
        first_token: Some(manifest.contents.first_token.clone()),
        norm_limit: manifest.norm_limit(),
        n_tokens: Some(n_tokens),
        seed: Some(wanted.config.seed),
        parameters: serde_json::to_string(&parameters).map_err(|error| Error::internal(error.to_string()))?,
    })
}

/// The last step of an autoencoder's training that is in the table, 0 without one.
async fn last_step(session: &Session, id: &str) -> Result<u64> {
    let sql = format!("SELECT COALESCE(max(step), 0) FROM training_steps WHERE autoencoder = {}", literal(id));
    let batches = session.sql(&sql).await?.collect().await?;
    let step = batches.first().and_then(|batch| batch.column(0).as_primitive::<Int64Type>().iter().next().flatten());
    Ok(step.unwrap_or_default().cast_unsigned())
}

struct Work {
    settings: TrainSettings,
    wanted: Vec<Wanted>,
    folder: PathBuf,
    writer: TableWriter,
    run: String,
    /// Last step of each autoencoder that is in the table.
    written: Vec<u64>,
    waiting: Vec<StepRow>,
    last: Vec<Option<StepRow>>,
    device: Option<Accelerator>,
    observer: Arc<dyn Observer>,
    handle: Handle,
}

impl Work {
    fn run(mut self, mut rows: Pairs) -> Result<(Vec<Trainer>, Vec<Option<StepRow>>)> {
        let trainers = match checkpoints::newest(&self.folder)? {
            Some(checkpoint) => checkpoints::load(&checkpoint, &self.wanted)?,
            None => self.begin(&mut rows)?,
        };
        let placed = trainers.into_iter().map(|trainer| Placed::new(trainer, self.device.as_ref()));
        let mut trainings = placed.collect::<Result<Vec<_>, _>>().map_err(AutoencoderError::from)?;
        let (n_steps, batch_rows) = (self.wanted[0].config.n_steps, self.wanted[0].config.batch_rows);
        let mut step = trainings[0].n_steps();
        self.observer.started(step, n_steps);
        let (mut checkpoint_at, mut measured_at) = (Instant::now(), None);
        while step < n_steps {
            let batch = rows.read(step * batch_rows as u64, batch_rows)?;
            let mut metrics = Vec::with_capacity(trainings.len());
            for training in &mut trainings {
                metrics.push(training.step(batch).map_err(AutoencoderError::from)?);
            }
            step += 1;
            self.observer.advanced(step);
            if step.is_multiple_of(self.settings.measure_every) || step == n_steps {
                let before = measured_at.replace((Instant::now(), step));
                let speed = before.map(|(at, then): (Instant, u64)| {
                    (step - then) as f64 * batch_rows as f64 / at.elapsed().as_secs_f64().max(1e-9)
                });
                self.measure(&metrics, speed);
            }
            if step == n_steps || checkpoint_at.elapsed() >= self.settings.checkpoint_every {
                self.commit()?;
                checkpoints::save(&self.folder, &self.wanted, &mut trainings, step)?;
                checkpoint_at = Instant::now();
            }
        }
        let trainers = trainings.into_iter().map(Placed::into_trainer).collect::<Result<Vec<_>, _>>();
        Ok((trainers.map_err(AutoencoderError::from)?, self.last))
    }

    /// Weights before the first step, from the first rows of the store.
    fn begin(&self, rows: &mut Pairs) -> Result<Vec<Trainer>> {
        let sample = rows.read(0, rows.n_rows().min(SAMPLE_ROWS) as usize)?;
        let begin = |wanted: &Wanted| Trainer::new(wanted.config.clone(), sample);
        self.wanted.iter().map(|wanted| Ok(begin(wanted).map_err(AutoencoderError::from)?)).collect()
    }

    fn measure(&mut self, metrics: &[StepMetrics], tokens_per_second: Option<f64>) {
        let measured_at = now();
        let rows: Vec<StepRow> = self
            .wanted
            .iter()
            .zip(metrics)
            .map(|(wanted, metrics)| StepRow {
                autoencoder: wanted.id.clone(),
                step: metrics.step + 1,
                n_tokens: metrics.rows,
                nmse: metrics.normalized_mse.is_finite().then_some(metrics.normalized_mse),
                l0: metrics.mean_firings,
                dead_share: metrics.dead_share,
                loss: metrics.loss,
                tokens_per_second,
                measured_at,
            })
            .collect();
        self.observer.measured(&rows);
        for (index, row) in rows.into_iter().enumerate() {
            if row.step > self.written[index] {
                self.waiting.push(row.clone());
            }
            self.last[index] = Some(row);
        }
    }

    /// Writes what was measured.
    fn commit(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by(|a, b| a.autoencoder.cmp(&b.autoencoder).then(a.step.cmp(&b.step)));
        let batch = step_rows(&waiting, &self.run)?;
        let Self { handle, writer, .. } = self;
        handle.block_on(async {
            writer.write(&batch).await?;
            writer.commit().await
        })
    }
}
