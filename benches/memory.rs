//! The floor of everything that reads activations once: how fast this machine sums floats.

use criterion::{Criterion, Throughput};

use crate::scores::{N_BYTES, actual_and_expected};

/// Sums as many floats as the scores benchmark reads.
pub(crate) fn benches(criterion: &mut Criterion) {
    let (actual, expected) = actual_and_expected();
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Bytes(N_BYTES as u64));
    group.bench_function("sum_f32/10000x10x64x2/1", |bencher| {
        bencher.iter(|| sum(&actual) + sum(&expected));
    });
    group.finish();
}

/// Sixty-four sums side by side, so that additions do not wait for each other.
fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 64];
    for chunk in values.chunks_exact(64) {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum()
}
