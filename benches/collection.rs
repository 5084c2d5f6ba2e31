//! What selection and statistics cost by themselves, per token and neuron.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use neuronlake::models::hook_points::HookPoint;
use neuronlake::neurons::collector::{Collector, CollectorConfig};
use neuronlake::neurons::pass::ForwardPass;

use crate::shapes::{THREADS, WINDOW, Windows, collector, everything, model, pool};

/// Windows of the activations that are used again and again.
const N_WINDOWS: usize = 64;
/// Windows that a collection has seen before it is timed: lists are full then, as they are in most of a run.
const N_WARM: usize = 1_536;
/// Batch sizes, in windows.
const BATCHES: [usize; 4] = [8, 16, 32, 64];

/// Elements are (token, neuron) pairs, so a rate of 1 Gelem/s is 1 ns per pair.
pub(crate) fn benches(criterion: &mut Criterion) {
    let (model, hooks) = model();
    let mut group = criterion.benchmark_group("collection");
    let mut pass = ForwardPass::new(&model, hooks.clone());
    let mut windows = Windows::new();
    // Made when it is first wanted: a filter on the command line may leave all of it out.
    let mut made = None;
    let n_neurons: usize = hooks.iter().map(HookPoint::width).sum();
    for threads in THREADS {
        let pool = pool(threads);
        for n_windows in BATCHES {
            group.throughput(Throughput::Elements((n_windows * WINDOW * n_neurons) as u64));
            group.bench_function(BenchmarkId::new(format!("observe/{n_windows}x64x36864"), threads), |bencher| {
                let mut turn = 0;
                let (collector, tiles) = made.get_or_insert_with(|| {
                    let collector = warm_up(&everything(), &hooks, &mut pass, &mut windows);
                    let tiles = pass.run(&windows.take(N_WINDOWS)).expect("windows fit the model");
                    (collector, tiles.into_iter().map(<[f32]>::to_vec).collect::<Vec<_>>())
                });
                bencher.iter_batched(
                    || {
                        turn += 1;
                        (windows.take(n_windows), turn)
                    },
                    |(batch, turn)| pool.install(|| observe(collector, &batch, tiles, turn)),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

/// A collection that has seen [`N_WARM`] windows.
///
/// The neurons of a model with random weights are exchangeable, so the activations of a few windows stand for those of many
/// when they are given to other layers in turn.
pub(crate) fn warm_up(
    config: &CollectorConfig,
    hooks: &[HookPoint],
    pass: &mut ForwardPass<'_>,
    windows: &mut Windows,
) -> Collector {
    let mut collector = collector(config, hooks);
    let first = windows.take(N_WINDOWS);
    let tiles: Vec<Vec<f32>> =
        pass.run(&first).expect("windows fit the model").into_iter().map(<[f32]>::to_vec).collect();
    observe(&mut collector, &first, &tiles, 0);
    for turn in 1..N_WARM / N_WINDOWS {
        let batch = windows.take(N_WINDOWS);
        observe(&mut collector, &batch, &tiles, turn);
    }
    collector
}

fn observe(
    collector: &mut Collector,
    batch: &[neuronlake::neurons::pass::OwnedWindow],
    tiles: &[Vec<f32>],
    turn: usize,
) {
    let width = tiles[0].len() / N_WINDOWS;
    // Each batch starts at another window, so that its activations come from memory.
    let start = if batch.len() < N_WINDOWS { turn * batch.len() % N_WINDOWS } else { 0 };
    let rows = start * width..(start + batch.len()) * width;
    let turned: Vec<&[f32]> =
        (0..tiles.len()).map(|layer| &tiles[(layer + turn) % tiles.len()][rows.clone()]).collect();
    let windows: Vec<_> = batch.iter().map(|window| window.as_window(0)).collect();
    collector.observe(&windows, &turned).expect("activations are finite");
}
