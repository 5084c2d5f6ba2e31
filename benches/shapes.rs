//! What the forward pass and the collection are measured on: GPT-2 small with random weights, every MLP neuron.

use neuronlake::models::hook_points::HookPoint;
use neuronlake::models::subject_model::{Gpt2Shape, SubjectModel};
use neuronlake::neurons::collector::{Collector, CollectorConfig, HookUnits, RecordSet};
use neuronlake::neurons::pass::OwnedWindow;
use neuronlake::token_sequences::split::{Split, SplitStrategy};

/// Tokens of a window.
pub(crate) const WINDOW: usize = 64;
/// Numbers of threads measured.
pub(crate) const THREADS: [usize; 2] = [1, 2];
/// Tokens with a row of their own in the table of token means, as 4 GiB of memory allow 36,864 neurons.
const TRACKED_TOKENS: u32 = 7_281;

/// The model and its 12 hook points of 3,072 neurons.
pub(crate) fn model() -> (SubjectModel, Vec<HookPoint>) {
    let model = SubjectModel::random_gpt2(Gpt2Shape::SMALL, 1).expect("the shape is a decoder's");
    let hooks = model.select_hook_points("blocks.*.mlp.hook_post").expect("every GPT-2 has them");
    (model, hooks)
}

/// A pool of so many threads; everything of ours that is parallel runs on the pool it is called in.
pub(crate) fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started")
}

/// Windows without end: every one a document of its own, splits as in a run, tokens as frequent as Zipf has them.
pub(crate) struct Windows {
    next: i64,
    state: u64,
    strategy: SplitStrategy,
}

impl Windows {
    /// The same windows for every benchmark.
    pub(crate) fn new() -> Self {
        Self { next: 0, state: 1, strategy: strategy() }
    }

    /// The next `n` windows.
    pub(crate) fn take(&mut self, n: usize) -> Vec<OwnedWindow> {
        (0..n)
            .map(|_| {
                let sequence = self.next;
                self.next += 1;
                let split =
                    self.strategy.split_of_document(sequence.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let token_ids = (0..WINDOW).map(|_| self.token()).collect();
                OwnedWindow { sequence, document: sequence, split, token_ids, recordable: true }
            })
            .collect()
    }

    /// The frequency of a token falls as one over its id.
    fn token(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (self.state >> 11) as f64 / (1_u64 << 53) as f64;
        let n_vocab = Gpt2Shape::SMALL.n_vocab;
        ((n_vocab as f64).powf(uniform) as u32 - 1).min(n_vocab as u32 - 1)
    }
}

fn strategy() -> SplitStrategy {
    SplitStrategy::parse("document", 0).expect("the default strategy")
}

/// Everything that a run keeps of every neuron.
pub(crate) fn everything() -> CollectorConfig {
    let mut config = CollectorConfig::new(&strategy(), 0, WINDOW);
    config.tracked_token_ids = (0..TRACKED_TOKENS).collect();
    config
}

/// What scripts/bench_pytorch.py keeps, or the nearest that the collection can do: moments and the 20 strongest windows, and
/// quantiles, which cannot be left out.
pub(crate) fn top_windows_only() -> CollectorConfig {
    let mut config = everything();
    config.record_sets = vec![RecordSet { split: Split::Train, n_top: 20, n_random: 0 }];
    config.n_quantile_records = 0;
    config.tracked_token_ids.clear();
    config.token_mean_splits.clear();
    config
}

/// An empty collection over every neuron of the hook points.
pub(crate) fn collector(config: &CollectorConfig, hooks: &[HookPoint]) -> Collector {
    let units = hooks.iter().map(|hook| HookUnits::all(hook.name(), hook.width())).collect();
    Collector::new(config.clone(), units).expect("the settings agree")
}

/// Multiplications and additions of the forward pass per token, up to the last hook: what the model asks for, not what is run.
pub(crate) fn flops_per_token() -> f64 {
    let Gpt2Shape { n_layers, d_model, .. } = Gpt2Shape::SMALL;
    let (layers, d) = (n_layers as f64, d_model as f64);
    // Query, key, value and output, then the MLP's way up; its way down in all layers but the last, behind the last hook.
    let products = layers * (4.0 * d * d + 4.0 * d * d) + (layers - 1.0) * 4.0 * d * d;
    // Scores and weighted sums over the positions before.
    let attention = layers * 2.0 * d * (WINDOW as f64 + 1.0) / 2.0;
    2.0 * (products + attention)
}
