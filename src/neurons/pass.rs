//! The forward pass over many windows: tiles of a few windows, one thread a tile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::error::Result;
use crate::models::forward::Scratch;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::models::token_batch::TokenBatch;
use crate::token_sequences::split::Split;
use crate::token_sequences::window::Window;

/// Windows of a tile: enough rows for the matrix products to run at full speed, few enough for the caches.
const TILE_WINDOWS: usize = 8;
/// Tokens of a batch. The collection reads the counters of every neuron once a batch, so it costs 1.5 ns a token and neuron in
/// batches of 4,096 tokens and 2 to 3 in batches of 512 (docs/performance.md); the activations of a batch, 16 kB a neuron, are
/// a small part of what is kept of it.
const BATCH_TOKENS: usize = 4_096;
/// Bytes that the activations of a batch may take, but for one window a thread: latents of an autoencoder are far more than neurons.
const BATCH_BYTES: usize = 512 << 20;

/// Windows done and to do of the pass under way, for whoever shows progress.
#[derive(Debug, Default)]
pub struct PassProgress {
    done: AtomicU64,
    total: AtomicU64,
}

impl PassProgress {
    /// A pass over `total` windows begins, or goes on after `done` of them.
    pub fn start(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// So many windows are done.
    pub fn advance(&self, done: u64) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// Windows done and to do.
    pub fn read(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// A token sequence with its own memory.
#[derive(Debug, Clone)]
pub struct OwnedWindow {
    /// Id of the token sequence.
    pub sequence: i64,
    /// Its document.
    pub document: i64,
    /// Its split.
    pub split: Split,
    /// Token ids, shape `[seq_len]`.
    pub token_ids: Vec<u32>,
    /// False when its text holds a broken character.
    pub recordable: bool,
}

impl OwnedWindow {
    /// The window as the collection takes it, counted from position `first_counted`.
    pub fn as_window(&self, first_counted: usize) -> Window<'_> {
        Window {
            sequence: self.sequence,
            document: self.document,
            split: self.split,
            token_ids: &self.token_ids,
            recordable: self.recordable,
            first_counted,
        }
    }
}

/// Runs a subject model over batches of windows on all threads of the rayon pool.
pub struct ForwardPass<'m> {
    model: &'m SubjectModel,
    hooks: Vec<HookPoint>,
    // Kept from batch to batch: a steady pass allocates nothing.
    tiles: Vec<Vec<f32>>,
    scratches: Mutex<Vec<Scratch>>,
}

impl std::fmt::Debug for ForwardPass<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwardPass").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl<'m> ForwardPass<'m> {
    /// A pass that reads the given hook points.
    pub fn new(model: &'m SubjectModel, hooks: Vec<HookPoint>) -> Self {
        let tiles = vec![Vec::new(); hooks.len()];
        Self { model, hooks, tiles, scratches: Mutex::new(Vec::new()) }
    }

    /// Windows of a batch, of at most so many tokens each: a tile for every thread at least.
    pub fn batch_windows(&self, window_tokens: usize) -> usize {
        let windows = (BATCH_TOKENS / window_tokens.max(1)).max(TILE_WINDOWS * rayon::current_num_threads());
        let width: usize = self.hooks.iter().map(HookPoint::width).sum();
        let window_bytes = window_tokens.max(1) * width * size_of::<f32>();
        windows.min((BATCH_BYTES / window_bytes.max(1)).max(rayon::current_num_threads()))
    }

    /// Windows of a tile: fewer where a tile's share of the batch is smaller.
    fn tile_windows(n_windows: usize) -> usize {
        TILE_WINDOWS.min(n_windows.div_ceil(rayon::current_num_threads())).max(1)
    }

    /// The activations of every hook point over the windows, one after the other: shape `[n_tokens, width]` each.
    ///
    /// # Errors
    /// When a window is longer than the model's context or holds a token outside its vocabulary.
    pub fn run(&mut self, windows: &[OwnedWindow]) -> Result<Vec<&[f32]>> {
        let n_tokens: usize = windows.iter().map(|window| window.token_ids.len()).sum();
        for (tile, hook) in self.tiles.iter_mut().zip(&self.hooks) {
            tile.resize(n_tokens * hook.width(), 0.0);
        }
        // Each thread writes its own rows of every hook point's tile.
        let mut rest: Vec<&mut [f32]> = self.tiles.iter_mut().map(Vec::as_mut_slice).collect();
        let mut jobs = Vec::new();
        for some in windows.chunks(Self::tile_windows(windows.len())) {
            let rows: usize = some.iter().map(|window| window.token_ids.len()).sum();
            let mut own = Vec::with_capacity(rest.len());
            for (slice, hook) in rest.iter_mut().zip(&self.hooks) {
                let (head, tail) = std::mem::take(slice).split_at_mut(rows * hook.width());
                own.push(head);
                *slice = tail;
            }
            jobs.push((some, own));
        }
        let (model, hooks, scratches) = (self.model, &self.hooks, &self.scratches);
        jobs.into_par_iter().try_for_each(|(windows, mut tiles)| {
            let lock = || scratches.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scratch = lock().pop().unwrap_or_default();
            let token_ids: Vec<u32> = windows.iter().flat_map(|window| window.token_ids.iter().copied()).collect();
            let mut offsets = vec![0];
            for window in windows {
                offsets.push(offsets[offsets.len() - 1] + window.token_ids.len());
            }
            let batch = TokenBatch::new(&token_ids, &offsets)?;
            let done =
                model.forward(&batch, hooks, &mut |hook, values| tiles[hook].copy_from_slice(values), &mut scratch);
            lock().push(scratch);
            done
        })?;
        Ok(self.tiles.iter().map(Vec::as_slice).collect())
    }
}
