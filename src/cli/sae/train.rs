//! `neuronlake sae train`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sparse_autoencoders::autoencoder::{DecoderBias, InputNormalization};
use sparse_autoencoders::training::config::{AuxiliaryLoss, Method, TrainingConfig};

use super::super::activations::{chosen, shuffle_store};
use super::super::arguments::{Arguments, ExistingLake, gib, positive};
use super::super::progress::Verbosity;
use super::super::{open, print};
use crate::activation_store::manifest::{Manifest, StoreFolder};
use crate::activation_store::shuffle::ShuffleOptions;
use crate::autoencoders::rows::{StepRow, snake_case};
use crate::autoencoders::train::{Observer, TrainSettings, Trained, Wanted, check};
use crate::error::{Error, Result};
use crate::models::device::Device;
use crate::session::SessionOptions;

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Architecture {
    /// The k largest of each token, with AuxK: the recipe of arXiv 2406.04093.
    #[value(alias = "topk")]
    TopK,
    /// TopK for k and 4k at once.
    #[value(alias = "multitopk")]
    MultiTopK,
    /// The k largest a token on average over a batch.
    #[value(alias = "batchtopk")]
    BatchTopK,
    /// BatchTopK whose prefixes reconstruct too.
    Matryoshka,
    /// ReLU with an L1 penalty (April 2024 form).
    Relu,
    /// A gate and a magnitude.
    Gated,
    /// ReLU with a learned threshold for each latent.
    #[value(alias = "jumprelu")]
    JumpRelu,
}

/// What is done to a row before it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Normalize {
    /// Nothing.
    None,
    /// Mean 0 and standard deviation 1, as in the models published with arXiv 2406.04093.
    LayerNorm,
    /// Mean 0 and norm 1, as in its text.
    UnitNorm,
    /// Norm √width.
    ConstantNorm,
    /// One factor for all rows, so that their mean norm is √width.
    Scale,
}

#[derive(Debug, Args)]
pub(crate) struct Train {
    /// The store it is trained on [default: the only one].
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Train transcoders: the store of what the rows of --store are to become, of the same tokens.
    #[arg(long, value_name = "NAME")]
    target_store: Option<String>,
    /// Subject model that the store is of: 'default' (inside the program), a folder or a file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// What is trained.
    #[arg(long, default_value = "top_k", value_name = "NAME")]
    architecture: Architecture,
    /// Numbers of latents, e.g. 2048,8192.
    #[arg(long, required = true, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    latents: Vec<usize>,
    /// Latents a token, e.g. 8,32; for architectures with such a number.
    #[arg(long, default_value = "32", value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    k: Vec<usize>,
    /// Seeds of the weights, e.g. 0,1.
    #[arg(long, default_value = "0", value_name = "LIST", value_delimiter = ',')]
    seed: Vec<u64>,
    /// Id of the autoencoder, where there is one [default: of architecture, store, latents, k and seed].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Rows a step.
    #[arg(long, default_value_t = 2_048, value_name = "ROWS", value_parser = positive)]
    batch: usize,
    /// Rows in all, repeated ones counted again, e.g. 400M [default: --epochs].
    #[arg(long, value_name = "ROWS", value_parser = magnitude, conflicts_with = "epochs")]
    tokens: Option<u64>,
    /// Readings of the whole store.
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    epochs: f64,
    /// Learning rate [default: of the architecture; of TopK and its kin 2e-4 √(2^14 / latents)].
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Steps over which the learning rate rises.
    #[arg(long, value_name = "STEPS")]
    warm_up: Option<u64>,
    /// Steps at the end over which it falls to 0.
    #[arg(long, value_name = "STEPS")]
    decay: Option<u64>,
    /// Weight of the L1 penalty, of relu and gated.
    #[arg(long, default_value_t = 5.0, value_name = "WEIGHT")]
    l1: f64,
    /// Weight of the L0 penalty, of jump_relu.
    #[arg(long, default_value_t = 0.01, value_name = "WEIGHT")]
    l0: f64,
    /// Dead latents a row that AuxK takes; 0 leaves it out [default: a power of two near half the width].
    #[arg(long, value_name = "K")]
    aux_k: Option<usize>,
    /// Rows without a firing after which a latent is dead.
    #[arg(long, default_value = "10M", value_name = "ROWS", value_parser = magnitude)]
    dead_after: u64,
    /// What is done to a row before it is encoded [default: layer_norm, and scale for transcoders].
    #[arg(long, value_name = "KIND")]
    normalize: Option<Normalize>,
    /// Seed of the random order; made now where it is not there.
    #[arg(long, default_value_t = 0, value_name = "N")]
    shuffle_seed: u64,
    /// Memory that shuffling may take, in GiB.
    #[arg(long, default_value = "2", value_name = "GIB", value_parser = gib)]
    memory: usize,
    /// Steps between two measurements that are shown and written to table training_steps.
    #[arg(long, default_value_t = 100, value_name = "STEPS", value_parser = positive)]
    measure_every: usize,
    /// Seconds between two checkpoints: what a kill costs.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    checkpoint_every: u64,
    /// What computes: cpu, cuda or cuda:NUMBER, or auto, which takes the first CUDA device where the program was built with CUDA and
    /// there is one.
    #[arg(long, env = "NEURONLAKE_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: Device,
    #[command(flatten)]
    lake: ExistingLake,
}

/// A whole number, with k, M or G behind it for thousands, millions or billions.
fn magnitude(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1_000.0),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G' | 'B')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number * factor < 1e18 => Ok((number * factor) as u64),
        _ => Err(format!("expected a number above 0 such as 5000, 50k or 400M, got '{text}'")),
    }
}

pub(crate) async fn train(arguments: &Arguments, command: &Train) -> Result<()> {
    command.device.check()?;
    let lake = command.lake.open().await?;
    let store = chosen(&lake, command.store.as_deref())?;
    let manifest = store.whole()?;
    let target_store = command.target_store.as_deref().map(|name| chosen(&lake, Some(name))).transpose()?;
    let target_manifest = target_store.as_ref().map(StoreFolder::whole).transpose()?;
    let wanted = wanted(command, store.name(), &manifest, target_manifest.as_ref())?;
    // Before rows are brought into order for nothing.
    check(&wanted, &manifest, target_manifest.as_ref())?;
    for store in [Some(&store), target_store.as_ref()].into_iter().flatten() {
        if !store.shuffled_seeds()?.contains(&command.shuffle_seed) {
            let options = ShuffleOptions { seed: command.shuffle_seed, memory_limit: command.memory };
            shuffle_store(arguments, store.clone(), options).await?;
        }
    }
    let session = open(lake, SessionOptions::default())?;
    let settings = TrainSettings {
        model: command.model.clone(),
        store,
        target_store,
        shuffle_seed: command.shuffle_seed,
        wanted,
        measure_every: command.measure_every as u64,
        checkpoint_every: Duration::from_secs(command.checkpoint_every),
        device: command.device,
    };
    let shown = Arc::new(Shown::new(arguments.verbosity()));
    let observer: Arc<dyn Observer> = Arc::clone(&shown) as Arc<dyn Observer>;
    let trained = crate::autoencoders::train::train(&session, &settings, observer).await?;
    shown.bar.finish_and_clear();
    if !arguments.quiet {
        print(&summary(&trained))?;
    }
    Ok(())
}

fn summary(trained: &[Trained]) -> String {
    let mut text = String::new();
    for Trained { id, last } in trained {
        let line = last.as_ref().map_or("is in the lake already".to_owned(), measured);
        text.push_str(&format!("{id}: {line}\n"));
    }
    text
}

fn measured(row: &StepRow) -> String {
    let nmse = row.nmse.map_or("undefined".to_owned(), |nmse| format!("{nmse:.4}"));
    format!(
        "step {}, {} tokens, NMSE {nmse}, L0 {:.1}, dead {:.1} %",
        row.step,
        HumanCount(row.n_tokens),
        row.l0,
        100.0 * row.dead_share
    )
}

fn wanted(command: &Train, store: &str, manifest: &Manifest, targets: Option<&Manifest>) -> Result<Vec<Wanted>> {
    let argument = |argument: &str, expected: &str, got: String| Error::Argument {
        argument: argument.to_owned(),
        expected: expected.to_owned(),
        got,
    };
    if !(command.epochs > 0.0 && command.epochs < 1e9) {
        return Err(argument("--epochs", "a number above 0", command.epochs.to_string()));
    }
    let n_rows = manifest.n_rows.unwrap_or_default();
    let n_tokens = command.tokens.unwrap_or((command.epochs * n_rows as f64) as u64);
    let n_steps = n_tokens.div_ceil(command.batch as u64).max(1);
    let has_k = !matches!(command.architecture, Architecture::Relu | Architecture::Gated | Architecture::JumpRelu);
    let ks = if has_k { command.k.clone() } else { vec![0] };
    let mut wanted = Vec::new();
    for &n_latents in &command.latents {
        for &k in &ks {
            for &seed in &command.seed {
                let config = config(command, manifest, targets, n_latents, k, seed, n_steps);
                let architecture = snake_case(&config.method.architecture()).replace('_', "");
                let of_k = if has_k { format!("-k{k}") } else { String::new() };
                let store = store.replace('~', "-");
                let kind = if targets.is_some() { "transcoder-" } else { "" };
                let id = format!("{kind}{architecture}-{store}-n{n_latents}{of_k}-s{seed}");
                wanted.push(Wanted { id, config });
            }
        }
    }
    match (&command.id, wanted.as_mut_slice()) {
        (Some(id), [one]) => one.id.clone_from(id),
        (Some(id), _) => return Err(argument("--id", "one number of latents, one k and one seed", id.clone())),
        (None, _) => {}
    }
    Ok(wanted)
}

fn config(
    command: &Train,
    manifest: &Manifest,
    targets: Option<&Manifest>,
    n_latents: usize,
    k: usize,
    seed: u64,
    n_steps: u64,
) -> TrainingConfig {
    let n_inputs = manifest.contents.width;
    let method = match command.architecture {
        Architecture::TopK => Method::TopK { k },
        Architecture::MultiTopK => Method::MultiTopK { k, factor: 4, weight: 1.0 / 8.0 },
        Architecture::BatchTopK => Method::BatchTopK { k },
        Architecture::Matryoshka => {
            // Each prefix twice the one before, from a 32nd of all.
            let mut prefixes: Vec<usize> = (0..=5).rev().map(|halvings| n_latents >> halvings).collect();
            prefixes.retain(|end| *end > 0);
            prefixes.dedup();
            Method::Matryoshka { k, prefixes }
        }
        Architecture::Relu => Method::Relu { l1: command.l1 },
        Architecture::Gated => Method::Gated { l1: command.l1 },
        Architecture::JumpRelu => Method::JumpRelu { l0: command.l0, bandwidth: 0.05, initial_threshold: 0.01 },
    };
    let mut config = TrainingConfig::with_method(method, n_inputs, n_latents, command.batch, n_steps);
    config.seed = seed;
    config.dead_after_rows = command.dead_after;
    if let Some(targets) = targets {
        config.n_outputs = targets.contents.width;
        config.decoder_bias = DecoderBias::NotSubtracted;
    }
    // What varies by row cannot be undone on other values than were read.
    let usual = if targets.is_some() { Normalize::Scale } else { Normalize::LayerNorm };
    config.input_normalization = match command.normalize.unwrap_or(usual) {
        Normalize::None => InputNormalization::None,
        Normalize::LayerNorm => InputNormalization::LayerNorm { epsilon: 1e-5 },
        Normalize::UnitNorm => InputNormalization::UnitNorm,
        Normalize::ConstantNorm => InputNormalization::ConstantNorm,
        Normalize::Scale => {
            InputNormalization::Scale { inputs: factor(manifest), outputs: factor(targets.unwrap_or(manifest)) }
        }
    };
    if let Some(rate) = command.learning_rate {
        config.adam.learning_rate = rate;
    }
    config.warm_up_steps = command.warm_up.unwrap_or(config.warm_up_steps);
    config.decay_steps = command.decay.unwrap_or(config.decay_steps);
    match command.aux_k {
        Some(0) => config.auxiliary = None,
        Some(k) => config.auxiliary = Some(AuxiliaryLoss { k, coefficient: 1.0 / 32.0 }),
        None => {}
    }
    config
}

/// What rows are multiplied by, so that their mean norm is √width.
fn factor(manifest: &Manifest) -> f64 {
    let norm = manifest.statistics.as_ref().map_or(1.0, |statistics| statistics.mean_norm);
    (manifest.contents.width as f64).sqrt() / if norm > 0.0 { norm } else { 1.0 }
}

/// A bar with the newest measurement beside it; elsewhere than on a terminal a line for each measurement.
struct Shown {
    verbosity: Verbosity,
    bar: ProgressBar,
    last: Mutex<Vec<StepRow>>,
}

impl Shown {
    fn new(verbosity: Verbosity) -> Self {
        let target = match verbosity {
            Verbosity::Bars => ProgressDrawTarget::stderr(),
            Verbosity::Lines | Verbosity::Quiet => ProgressDrawTarget::hidden(),
        };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} eta {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style).with_message("training");
        Self { verbosity, bar, last: Mutex::default() }
    }
}

impl Observer for Shown {
    fn started(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    fn measured(&self, rows: &[StepRow]) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = rows.to_vec();
        let lines: Vec<String> = rows
            .iter()
            .map(|row| {
                let speed = row.tokens_per_second.map_or(String::new(), |speed| format!(", {speed:.0} tokens/s"));
                format!("{}: {}{speed}", row.autoencoder, measured(row))
            })
            .collect();
        match self.verbosity {
            Verbosity::Bars => self.bar.set_message(lines.first().cloned().unwrap_or_default()),
            // Work does not fail because nobody can watch it.
            Verbosity::Lines => {
                let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", lines.join("\n")).as_bytes());
            }
            Verbosity::Quiet => {}
        }
    }

    fn advanced(&self, done: u64) {
        self.bar.set_position(done);
    }
}
