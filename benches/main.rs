//! The benchmarks of docs/performance.md: `cargo bench --bench main`, or `scripts/bench` for the comparison with PyTorch.
//!
//! Names are `what/shape/threads`. Nothing here asserts a time: a number is read beside the machine it was taken on.

use criterion::{criterion_group, criterion_main};

mod collection;
mod completions;
#[path = "../tests/it/fault_server.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "it belongs to the tests, which use the rest of it")]
mod fault_server;
mod forward;
mod gemm;
mod likeness;
mod memory;
mod scores;
mod shapes;
mod simulation;

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().sample_size(10).without_plots();
    targets = memory::benches, gemm::benches, forward::benches, collection::benches, scores::benches, completions::benches, simulation::benches, likeness::benches
}
criterion_main!(benches);
