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
            bencher.iter(|| product(&a, &b, &mut c, parallelism));
        });
    }
    group.finish();
}

fn product(a: &[f32], b: &[f32], c: &mut [f32], parallelism: gemm::Parallelism) {
    // SAFETY: all three are whole row-major matrices of the given shape, and `c` is borrowed alone.
    unsafe {
        gemm::gemm(
            ROWS,
            COLUMNS,
            DEPTH,
            c.as_mut_ptr(),
            1,
            COLUMNS as isize,
            false,
            a.as_ptr(),
            1,
            DEPTH as isize,
            b.as_ptr(),
            1,
            COLUMNS as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
