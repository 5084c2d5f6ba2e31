//! The floor of the forward pass: the `gemm` crate (0.19, AVX-512) on its largest product.

use criterion::{Criterion, Throughput};

use crate::shapes::THREADS;

const ROWS: usize = 512;
const DEPTH: usize = 768;
const COLUMNS: usize = 3_072;

/// 512 tokens through the first matrix of the MLP. Elements are floating-point operations.
pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    group.throughput(Throughput::Elements((2 * ROWS * DEPTH * COLUMNS) as u64));
    let a: Vec<f32> = (0..ROWS * DEPTH).map(|i| (i % 7) as f32 - 3.0).collect();
    let b: Vec<f32> = (0..DEPTH * COLUMNS).map(|i| (i % 5) as f32 - 2.0).collect();
    let mut c = vec![0.0_f32; ROWS * COLUMNS];
    for threads in THREADS {
        let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
        group.bench_function(format!("crate/{ROWS}x{DEPTH}x{COLUMNS}/{threads}"), |bencher| {
            bencher.iter(|| multiply(&a, &b, &mut c, [ROWS, DEPTH, COLUMNS], parallelism));
        });
    }
    group.finish();
}

/// `c = a b` by the `gemm` crate; a shape is rows, depth and columns.
pub(crate) fn multiply(a: &[f32], b: &[f32], c: &mut [f32], shape: [usize; 3], parallelism: gemm::Parallelism) {
    let [rows, depth, columns] = shape;
    assert!(a.len() == rows * depth && b.len() == depth * columns && c.len() == rows * columns, "whole matrices");
    // SAFETY: all three are whole row-major matrices of the given shape, and `c` is borrowed alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c.as_mut_ptr(),
            1,
            columns as isize,
            false,
            a.as_ptr(),
            1,
            depth as isize,
            b.as_ptr(),
            1,
            columns as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
