//! How good an autoencoder is: what it reconstructs, and what the model loses when it is given the reconstruction.
//!
//! The model runs twice over some windows of a split that the autoencoder was not trained on: once for the mean of what is
//! reconstructed, once for all sums, window by window on all threads and added up in their order. Tokens that are left out (the first one of
//! a window, and those above the norm limit) count in no sum and keep their own values where the others are replaced.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::datatypes::Float64Type;
use futures::StreamExt;
use rayon::prelude::*;
use serde_json::json;
use sparse_autoencoders::autoencoder::InputNormalization;
use sparse_autoencoders::codes::Codes;
use sparse_autoencoders::metrics::ablation::ablation_sparsity;
use sparse_autoencoders::metrics::reconstruction::{Baseline, ReconstructionMetrics, ReconstructionSums};
use sparse_autoencoders::metrics::spliced::{kl_recovered, loss_recovered};

use self::patterns::PatternSettings;
use super::rows::{Measured, Metric, definition, metric_rows};
use super::train::TARGET_STORE;
use crate::activation_store::manifest::StoreFolder;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::functions::{FirstToken, SequenceReader, literal, sequence_windows};
use crate::models::directions::Side;
use crate::models::hook_points::HookPoint;
use crate::models::latents::{Latents, MostSimilar, most_similar};
use crate::models::splice::{Losses, Read, Splice};
use crate::models::subject_model::SubjectModel;
use crate::neurons::pass::{OwnedWindow, PassProgress};
use crate::random::mix;
use crate::session::Session;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;
use crate::token_sequences::split::Split;

mod patterns;
mod probes;
#[cfg(test)]
mod tests;

/// Positions that an ablated latent's effect is looked for at: its own and those behind it (Gao et al. 2024, section 4.4).
const ABLATION_POSITIONS: usize = 16;

/// What is evaluated, and on what.
#[derive(Debug, Clone)]
pub struct EvaluateSettings {
    /// Subject model: `default`, a folder or a file.
    pub model: String,
    /// Id of the autoencoder.
    pub autoencoder: String,
    /// Corpus id, whose token sequences are in the lake.
    pub corpus: String,
    /// Split of the token sequences.
    pub split: Split,
    /// Windows, at most; the first of the split.
    pub n_windows: usize,
    /// What is done with the first token of a window; by the model's family when `None`.
    pub first_token: Option<FirstToken>,
    /// Firings whose ablation is looked at.
    pub n_ablations: usize,
    /// Latents that patterns of tokens are found for.
    pub n_pattern_latents: usize,
    /// Seed of their choice.
    pub seed: u64,
}

/// Evaluates an autoencoder and writes what was found to table `autoencoder_metrics`.
///
/// # Errors
/// [`AutoencoderError::Unknown`], [`Error::SequencesMissing`], [`Error::Argument`] for a split without windows.
pub async fn evaluate(
    session: &Session,
    settings: &EvaluateSettings,
    progress: &Arc<PassProgress>,
) -> Result<Vec<Metric>> {
    let model = session.models().get(&settings.model)?;
    let hooks = model.select_hook_points(&format!("*/{}", settings.autoencoder))?;
    let Some(latents) = hooks.first().and_then(HookPoint::latents).cloned() else {
        return Err(Error::internal("a hook point of an autoencoder without one"));
    };
    let windows = windows(session, settings, &model).await?;
    let (norm_limit, baseline) = of_training(session, &latents).await?;
    let first_token = settings.first_token.unwrap_or_else(|| FirstToken::default_of(&model));
    let second_half = second_half(&windows);
    let mut parameters = json!({
        "n_windows": windows.len(),
        "n_ablations": settings.n_ablations,
        "n_pattern_latents": settings.n_pattern_latents,
        "held_out": {
            "from_window": second_half,
            "what": "patterns and probes are found on the windows before it and measured on those from it on; a document is on one side",
        },
        "seed": settings.seed,
        "activation": latents.autoencoder.config.activation,
        "row_mean": latents.autoencoder.config.row_mean,
    });
    let run = RunRow {
        model: Some(model.id().to_owned()),
        corpus: Some(settings.corpus.clone()),
        weights_hash: Some(model.weights_hash().to_owned()),
        seed: settings.seed,
        ..RunRow::starting("sae_evaluate", json!({"autoencoder": settings.autoencoder, "how": parameters}).to_string())
    };
    let work = Work {
        model: Arc::clone(&model),
        latents: Arc::clone(&latents),
        windows,
        second_half,
        first_counted: usize::from(first_token == FirstToken::Mask),
        norm_limit,
        baseline,
        n_ablations: settings.n_ablations,
        patterns: PatternSettings { n_latents: settings.n_pattern_latents, seed: settings.seed },
        seed: settings.seed,
        progress: Arc::clone(progress),
    };
    let done = tokio::task::spawn_blocking(move || work.run()).await;
    let Found { n_tokens, metrics, patterns } =
        done.map_err(|error| Error::internal(format!("the evaluating thread died: {error}")))??;
    parameters["patterns"] = patterns;
    let measured = Measured {
        autoencoder: settings.autoencoder.clone(),
        model: model.id().to_owned(),
        hook_point: hooks[0].name().to_owned(),
        corpus: settings.corpus.clone(),
        split: settings.split.as_str().to_owned(),
        n_tokens,
        first_token: first_token.name().to_owned(),
        norm_limit,
        parameters: parameters.to_string(),
    };
    run.record(session.lake()).await?;
    let mut writer = TableWriter::open(session.lake(), definition("autoencoder_metrics")?, &run.id).await?;
    writer.write(&metric_rows(&measured, &metrics, &run.id)?).await?;
    writer.commit().await?;
    run.finish(session.lake(), metrics.len(), 0.0).await?;
    Ok(metrics)
}

/// The window that the held-out half begins with: the first of a document, as near the middle as there is one. `None` where all
/// windows are of one document.
fn second_half(windows: &[OwnedWindow]) -> Option<usize> {
    let begins = |index: &usize| windows[*index].document != windows[*index - 1].document;
    (1..windows.len()).filter(begins).min_by_key(|index| index.abs_diff(windows.len() / 2))
}

/// The first windows of the split.
async fn windows(session: &Session, settings: &EvaluateSettings, model: &SubjectModel) -> Result<Vec<OwnedWindow>> {
    let reader = SequenceReader::new(session.context(), model.id(), &settings.corpus);
    // Says what is missing.
    reader.longest().await?;
    let mut rows = reader.after(None).await?;
    let mut found = Vec::new();
    while let Some(batch) = rows.next().await {
        let of_split = sequence_windows(&batch?)?.into_iter().filter(|window| window.split == settings.split);
        found.extend(of_split);
        if found.len() >= settings.n_windows {
            break;
        }
    }
    found.truncate(settings.n_windows);
    if found.is_empty() {
        return Err(Error::Argument {
            argument: "--split".to_owned(),
            expected: format!("a split with token sequences of corpus '{}'", settings.corpus),
            got: settings.split.as_str().to_owned(),
        });
    }
    Ok(found)
}

/// The norm above which the autoencoder saw nothing in training, and what always predicting the mean of its store would cost; the second
/// only while the store is in the lake.
async fn of_training(session: &Session, latents: &Latents) -> Result<(Option<f64>, Option<Baseline>)> {
    let sql = format!(
        "SELECT norm_limit, source, parameters FROM sparse_autoencoders WHERE autoencoder = {} AND source_format = 'trained'",
        literal(&latents.id)
    );
    let batches = session.sql(&sql).await?.collect().await?;
    let Some(batch) = batches.first().filter(|batch| batch.num_rows() > 0) else { return Ok((None, None)) };
    let limits = batch.column(0).as_primitive::<Float64Type>();
    let limit = limits.is_valid(0).then(|| limits.value(0));
    let [sources, parameters] = [cast(batch.column(1), &DataType::Utf8)?, cast(batch.column(2), &DataType::Utf8)?];
    let text = |column: &ArrayRef| column.as_string::<i32>().iter().next().flatten().map(str::to_owned);
    // A transcoder is compared with what always predicting the mean of its targets would cost.
    let parameters = text(&parameters).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let targets = parameters.and_then(|all| all.get(TARGET_STORE)?.as_str().map(str::to_owned));
    let source = targets.or_else(|| text(&sources));
    let manifest = match source.map(|name| StoreFolder::existing(session.lake(), &name)) {
        Some(Ok(store)) => store.manifest()?,
        // A store may be removed once it has served.
        _ => None,
    };
    let statistics = manifest.and_then(|manifest| manifest.statistics);
    let baseline = statistics.filter(|statistics| statistics.mean.len() == latents.autoencoder.config.n_outputs);
    Ok((
        limit,
        baseline.map(|statistics| Baseline {
            mse: statistics.sigma.iter().map(|sigma| sigma * sigma).sum::<f64>() / statistics.sigma.len() as f64,
            mean: statistics.mean,
        }),
    ))
}

struct Work {
    model: Arc<SubjectModel>,
    latents: Arc<Latents>,
    windows: Vec<OwnedWindow>,
    second_half: Option<usize>,
    first_counted: usize,
    norm_limit: Option<f64>,
    baseline: Option<Baseline>,
    n_ablations: usize,
    patterns: PatternSettings,
    seed: u64,
    progress: Arc<PassProgress>,
}

/// What an evaluation found.
struct Found {
    n_tokens: u64,
    metrics: Vec<Metric>,
    /// How patterns were found, an object for the parameters.
    patterns: serde_json::Value,
}

/// Firings on the tokens of a window that count.
struct Fired {
    /// Position of each of these tokens.
    positions: Vec<usize>,
    codes: Codes,
}

/// What one window adds.
struct Window {
    /// What was to be reconstructed and the reconstructions, `[n, n_outputs]`, and the codes, of the tokens that count.
    targets: Vec<f32>,
    reconstructions: Vec<f32>,
    fired: Fired,
    clean: Losses,
    /// With the reconstruction, with zeros and with the mean.
    losses: [Losses; 3],
    sparsity: Option<f64>,
}

impl Work {
    fn run(&self) -> Result<Found> {
        let hook = |name: &str| -> Result<HookPoint> {
            let found = self.model.select_hook_points(name)?;
            found.into_iter().next().ok_or_else(|| Error::internal("a pattern without a hook point"))
        };
        let (input, output) =
            (hook(&self.latents.place.input_hook_point)?, hook(&self.latents.place.output_hook_point)?);
        let splice = Splice::new(&self.model, input, output)?;
        let total = 2 * self.windows.len() as u64;
        self.progress.start(0, total);
        let mean = self.mean(&splice)?;
        let n_threads = rayon::current_num_threads().max(1);
        let width = self.latents.autoencoder.config.n_outputs;
        let mut sums = ReconstructionSums::new(width, self.latents.n_latents(), 0.0, self.baseline.clone());
        let (mut clean, mut losses) = (Losses::default(), [Losses::default(); 3]);
        let mut sparsities = Vec::new();
        let mut fired = Vec::with_capacity(self.windows.len());
        for (chunk, windows) in self.windows.chunks(n_threads).enumerate() {
            let found: Vec<Window> = windows
                .par_iter()
                .enumerate()
                .map(|(index, window)| self.window(&splice, chunk * n_threads + index, &window.token_ids, &mean))
                .collect::<Result<_>>()?;
            for window in found {
                let codes = &window.fired.codes;
                sums.add(&window.targets, &window.reconstructions, codes).map_err(AutoencoderError::from)?;
                clean.add(&window.clean);
                losses.iter_mut().zip(&window.losses).for_each(|(all, one)| all.add(one));
                sparsities.extend(window.sparsity);
                fired.push(window.fired);
            }
            self.progress.advance((self.windows.len() + (chunk + 1) * n_threads).min(total as usize) as u64);
        }
        let found = sums.metrics();
        let n_tokens = found.n_rows;
        let mut metrics = reconstruction_metrics(&found);
        metrics.extend(loss_metrics(&clean, &losses));
        let n = sparsities.len() as f64;
        let sparsity = (n > 0.0).then(|| sparsities.iter().sum::<f64>() / n);
        metrics.push(Metric { metric: "ablation_sparsity", value: sparsity.ok_or("no firing was ablated") });
        for (metric, side) in [("max_cosine_decoder", Side::Output), ("max_cosine_encoder", Side::Input)] {
            let found =
                most_similar(&self.latents, &MostSimilar::new(&self.latents, side), 0, self.latents.n_latents())?;
            let cosines: Vec<f64> = found.into_iter().flatten().map(|(_, cosine)| f64::from(cosine)).collect();
            let mean = (!cosines.is_empty()).then(|| cosines.iter().sum::<f64>() / cosines.len() as f64);
            metrics.push(Metric { metric, value: mean.ok_or("fewer than two latents") });
        }
        let (recall_and_precision, patterns) = self.pattern_metrics(&fired)?;
        metrics.extend(recall_and_precision);
        metrics.extend(self.probe_metrics(&fired)?);
        Ok(Found { n_tokens, metrics, patterns })
    }

    /// The mean of what is reconstructed, over the tokens that count.
    fn mean(&self, splice: &Splice<'_>) -> Result<Vec<f32>> {
        let width = self.latents.autoencoder.config.n_outputs;
        let (mut sum, mut n) = (vec![0.0_f64; width], 0_u64);
        let n_threads = rayon::current_num_threads().max(1);
        for (chunk, windows) in self.windows.chunks(n_threads).enumerate() {
            let found: Vec<Read> =
                windows.par_iter().map(|window| splice.read(&window.token_ids)).collect::<Result<_>>()?;
            for read in found {
                let counted = self.counted(&read.inputs);
                for (row, _) in read.outputs.chunks_exact(width).zip(counted).filter(|(_, counted)| *counted) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
                    n += 1;
                }
            }
            self.progress.advance(((chunk + 1) * n_threads).min(self.windows.len()) as u64);
        }
        Ok(sum.into_iter().map(|sum| (sum / n.max(1) as f64) as f32).collect())
    }

    /// Which rows count.
    fn counted(&self, inputs: &[f32]) -> Vec<bool> {
        let rows = inputs.chunks_exact(self.latents.autoencoder.config.n_inputs).enumerate();
        rows.map(|(position, row)| {
            let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            position >= self.first_counted && self.norm_limit.is_none_or(|limit| norm <= limit)
        })
        .collect()
    }

    fn window(&self, splice: &Splice<'_>, index: usize, token_ids: &[u32], mean: &[f32]) -> Result<Window> {
        let autoencoder = &self.latents.autoencoder;
        let width = autoencoder.config.n_outputs;
        let read = splice.read(token_ids)?;
        let counted = self.counted(&read.inputs);
        let mut codes = Codes::default();
        let mut reconstruction = vec![0.0; read.outputs.len()];
        autoencoder.reconstruct(&read.inputs, &mut codes, &mut reconstruction).map_err(AutoencoderError::from)?;
        let (mut zeros, mut means) = (read.outputs.clone(), read.outputs.clone());
        let mut kept = Window {
            targets: Vec::new(),
            reconstructions: Vec::new(),
            fired: Fired { positions: Vec::new(), codes: Codes::default() },
            clean: Losses::default(),
            losses: [Losses::default(); 3],
            sparsity: None,
        };
        for (row, counted) in counted.iter().enumerate() {
            let values = row * width..(row + 1) * width;
            if *counted {
                kept.targets.extend_from_slice(&read.outputs[values.clone()]);
                kept.reconstructions.extend_from_slice(&reconstruction[values.clone()]);
                let (latents, activations) = codes.row(row);
                kept.fired.positions.push(row);
                kept.fired.codes.push_row(latents.iter().copied().zip(activations.iter().copied()));
                zeros[values.clone()].fill(0.0);
                means[values].copy_from_slice(mean);
            } else {
                reconstruction[values.clone()].copy_from_slice(&read.outputs[values]);
            }
        }
        let replacements = [reconstruction.as_slice(), &zeros, &means];
        let (clean, losses) = splice.losses(token_ids, &read, &replacements, self.first_counted)?;
        let losses = <[Losses; 3]>::try_from(losses).map_err(|_| Error::internal("as many losses as replacements"))?;
        let sparsity = match self.is_ablated(index) {
            true => self.ablation_sparsity(splice, index, token_ids, &read, &codes, &counted)?,
            false => None,
        };
        Ok(Window { clean, losses, sparsity, ..kept })
    }

    /// Windows are taken evenly, so that there are as many as wanted.
    fn is_ablated(&self, index: usize) -> bool {
        let (n, of) = (self.n_ablations, self.windows.len());
        (index + 1) * n / of > index * n / of
    }

    /// How few logits one firing of the window changes at its token and those behind it, see [`ablation_sparsity`]. `None` where nothing
    /// fires or nothing changes.
    fn ablation_sparsity(
        &self,
        splice: &Splice<'_>,
        index: usize,
        token_ids: &[u32],
        read: &Read,
        codes: &Codes,
        counted: &[bool],
    ) -> Result<Option<f64>> {
        let config = &self.latents.autoencoder.config;
        let firings: Vec<(usize, u32, f32)> = (0..token_ids.len())
            .filter(|row| counted[*row])
            .flat_map(|row| {
                let (latents, values) = codes.row(row);
                latents.iter().zip(values).map(move |(latent, value)| (row, *latent, *value))
            })
            .collect();
        if firings.is_empty() {
            return Ok(None);
        }
        let draw = mix(self.seed, index as u64, 0) % firings.len() as u64;
        let (position, latent, value) = firings[draw as usize];
        let scale = match config.input_normalization {
            InputNormalization::None => 1.0,
            InputNormalization::Scale { outputs, .. } => (1.0 / outputs) as f32,
            _ => codes.row_scales[position],
        };
        let row = self.latents.autoencoder.decoder_row(latent).map_err(AutoencoderError::from)?;
        let mut without = read.outputs.clone();
        let changed = &mut without[position * config.n_outputs..(position + 1) * config.n_outputs];
        changed.iter_mut().zip(row).for_each(|(out, weight)| *out -= value * scale * weight);
        let [clean, ablated] = splice.logits(token_ids, read, &without, position)?;
        let n_vocab = clean.len() / (token_ids.len() - position);
        let n = ABLATION_POSITIONS.min(token_ids.len() - position) * n_vocab;
        let changes: Vec<f32> = ablated[..n].iter().zip(&clean[..n]).map(|(ablated, clean)| ablated - clean).collect();
        Ok(ablation_sparsity(&changes, n_vocab))
    }
}

fn reconstruction_metrics(found: &ReconstructionMetrics) -> Vec<Metric> {
    const NO_TOKENS: &str = "no token counts";
    const CONSTANT: &str = "no token counts, or all rows are equal";
    const ZEROS: &str = "no token counts, or rows or reconstructions are 0";
    let metric =
        |metric: &'static str, value: Option<f64>, reason: &'static str| Metric { metric, value: value.ok_or(reason) };
    vec![
        metric("mse", found.mse, NO_TOKENS),
        metric("nmse", found.normalized_mse, "the store that it was trained on is not in the lake"),
        metric("fvu", found.fvu, CONSTANT),
        metric("explained_variance", found.explained_variance, CONSTANT),
        metric("explained_variance_legacy", found.explained_variance_legacy, CONSTANT),
        metric("cosine_similarity", found.cosine, ZEROS),
        metric("l2_ratio", found.l2_ratio, ZEROS),
        metric("relative_reconstruction_bias", found.relative_reconstruction_bias, ZEROS),
        metric("l0", found.mean_firings, NO_TOKENS),
        metric("l1", found.mean_l1, NO_TOKENS),
        metric("silent_share", found.dead_share, NO_TOKENS),
        metric("share_above_1_percent", found.share_above_1_percent, NO_TOKENS),
        metric("share_above_10_percent", found.share_above_10_percent, NO_TOKENS),
    ]
}

/// What replacing the values costs the model.
fn loss_metrics(clean: &Losses, [spliced, zero, mean]: &[Losses; 3]) -> Vec<Metric> {
    const NO_POSITIONS: &str = "no window has two tokens";
    let n = clean.n as f64;
    let per_token = |sum: f64| if clean.n > 0 { Ok(sum / n) } else { Err(NO_POSITIONS) };
    let recovered = |value: Option<f64>| value.filter(|_| clean.n > 0).ok_or("the baseline changes nothing");
    let loss = |baseline: &Losses| loss_recovered(clean.cross_entropy, spliced.cross_entropy, baseline.cross_entropy);
    let divergence = |baseline: &Losses| kl_recovered(spliced.divergence, baseline.divergence);
    let metric = |metric: &'static str, value: Result<f64, &'static str>| Metric { metric, value };
    vec![
        metric("cross_entropy", per_token(clean.cross_entropy)),
        metric("cross_entropy_spliced", per_token(spliced.cross_entropy)),
        metric("cross_entropy_zero", per_token(zero.cross_entropy)),
        metric("cross_entropy_mean", per_token(mean.cross_entropy)),
        metric("cross_entropy_increase", per_token(spliced.cross_entropy - clean.cross_entropy)),
        metric("loss_recovered_zero", recovered(loss(zero))),
        metric("loss_recovered_mean", recovered(loss(mean))),
        metric("divergence_spliced", per_token(spliced.divergence)),
        metric("divergence_zero", per_token(zero.divergence)),
        metric("divergence_mean", per_token(mean.divergence)),
        metric("divergence_recovered_zero", recovered(divergence(zero))),
        metric("divergence_recovered_mean", recovered(divergence(mean))),
    ]
}
