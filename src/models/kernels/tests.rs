//! Every kernel against a plain f64 computation, in each form the processor can run.

use super::activation::{gated_silu, gelu};
use super::attention::{AttentionScratch, Head, attend};
use super::exp::exp;
use super::isa::Isa;
use super::matmul::{Layout, MatmulScratch, PackedMatrix, Product, Rows};
use super::norm::{Affine, layer_norm, rms_norm};
use crate::random::mix;

/// `n` numbers uniform in [-1, 1).
fn uniform(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| (mix(seed, i, 0) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn assert_close(name: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*got) - expected).abs() / (1.0 + expected.abs());
        assert!(error <= tolerance, "{name}[{i}]: expected {expected}, got {got}");
    }
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let check = |exp: fn(f32) -> f32| {
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let unit = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            let error = (f64::from(exp(x)) - exact).abs() / unit;
            assert!(error <= 2.0, "exp({x}): expected {exact}, got {}, {error} units", exp(x));
        }
    };
    check(exp::<true>);
    check(exp::<false>);
    assert_eq!(exp::<true>(0.0), 1.0);
    assert!(exp::<true>(-1e9) < 2e-38 && exp::<true>(1e9).is_finite());
}

#[test]
fn matmul_agrees_with_f64_for_every_shape_and_instruction_set() {
    for (n, depth, columns) in [(1, 1, 1), (3, 5, 33), (15, 64, 32), (29, 200, 70), (345, 193, 40), (2, 400, 31)] {
        let (a, b) = (uniform(n * depth, 1), uniform(depth * columns, 2));
        let bias = uniform(columns, 3);
        let expected: Vec<f64> = (0..n * columns)
            .map(|i| {
                let dot: f64 = (0..depth)
                    .map(|k| f64::from(a[i / columns * depth + k]) * f64::from(b[k * columns + i % columns]))
                    .sum();
                dot + f64::from(bias[i % columns])
            })
            .collect();
        let transposed: Vec<f32> = (0..depth * columns).map(|i| b[i % depth * columns + i / depth]).collect();
        for isa in Isa::available() {
            for (values, layout) in [(&b, Layout::DepthByColumns), (&transposed, Layout::ColumnsByDepth)] {
                let packed = PackedMatrix::new(values, depth, columns, layout);
                let mut out = vec![f32::NAN; n * columns];
                let rows = Rows { values: &a, stride: depth, n };
                let product = Product { rows, weights: &packed, depth: 0..depth, bias: &bias };
                product.write(isa, &mut out, columns, &mut MatmulScratch::default());
                assert_close(&format!("{n}x{depth}x{columns} {isa:?}"), &out, &expected, 1e-5);
            }
        }
        let packed = PackedMatrix::new(&b, depth, columns, Layout::DepthByColumns);
        let last = &transposed[(columns - 1) * depth..];
        assert_eq!(packed.column(columns - 1).collect::<Vec<_>>(), last);
    }
}

#[test]
fn a_row_of_a_product_is_the_same_bits_whatever_stands_beside_it() {
    let (n, depth, columns) = (400, 210, 45);
    let (a, b) = (uniform(n * depth, 4), uniform(depth * columns, 5));
    let packed = PackedMatrix::new(&b, depth, columns, Layout::DepthByColumns);
    let mut scratch = MatmulScratch::default();
    for isa in Isa::available() {
        let mut product = |first: usize| {
            let rows = Rows { values: &a[first * depth..], stride: depth, n: n - first };
            let mut out = vec![0.0; (n - first) * columns];
            Product { rows, weights: &packed, depth: 0..depth, bias: &[] }.write(isa, &mut out, columns, &mut scratch);
            out
        };
        let whole = product(0);
        for part in [1, 2, 4, 7, 13, 64, 337] {
            assert_eq!(product(n - part), &whole[(n - part) * columns..], "{part} rows, {isa:?}");
        }
    }
}

#[test]
fn a_product_can_take_some_rows_of_the_weights_and_write_between_others() {
    let (n, depth, columns, stride) = (5, 6, 40, 100);
    let (a, b) = (uniform(n * 2, 4), uniform(depth * columns, 5));
    let packed = PackedMatrix::new(&b, depth, columns, Layout::DepthByColumns);
    for isa in Isa::available() {
        let mut out = vec![7.0; n * stride];
        let rows = Rows { values: &a, stride: 2, n };
        Product { rows, weights: &packed, depth: 3..5, bias: &[] }.write(
            isa,
            &mut out,
            stride,
            &mut MatmulScratch::default(),
        );
        for (row, out) in out.chunks_exact(stride).enumerate() {
            let expected: Vec<f64> = (0..columns)
                .map(|c| (0..2).map(|k| f64::from(a[row * 2 + k]) * f64::from(b[(3 + k) * columns + c])).sum())
                .collect();
            assert_close("slice", &out[..columns], &expected, 1e-6);
            assert!(out[columns..].iter().all(|&x| x == 7.0), "wrote outside its columns, {isa:?}");
        }
    }
}

#[test]
fn activations_agree_with_f64() {
    let x: Vec<f32> = (-2000..2000).map(|i| i as f32 * 0.01).collect();
    let mut got = x.clone();
    gelu(&mut got);
    let expected: Vec<f64> = x
        .iter()
        .map(|&x| {
            let x = f64::from(x);
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        })
        .collect();
    assert_close("gelu", &got, &expected, 1e-6);

    let up = uniform(x.len(), 6);
    got.copy_from_slice(&x);
    gated_silu(&mut got, &up);
    let expected: Vec<f64> =
        x.iter().zip(&up).map(|(&x, &up)| f64::from(x) / (1.0 + (-f64::from(x)).exp()) * f64::from(up)).collect();
    assert_close("gated silu", &got, &expected, 1e-6);
}

#[test]
fn norms_agree_with_f64() {
    let (n, width) = (3, 53);
    let (x, weight, bias) = (uniform(n * width, 7), uniform(width, 8), uniform(width, 9));
    let affine = Affine { weight: &weight, bias: &bias, epsilon: 1e-5 };
    let row = |i: usize| x[i / width * width..][..width].iter().map(|&x| f64::from(x));
    let mut got = vec![0.0; n * width];
    layer_norm(&x, affine, &mut got);
    let expected: Vec<f64> = (0..n * width)
        .map(|i| {
            let mean = row(i).sum::<f64>() / width as f64;
            let variance = row(i).map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i % width])
                + f64::from(bias[i % width])
        })
        .collect();
    assert_close("layer norm", &got, &expected, 1e-5);
    rms_norm(&x, affine, &mut got);
    let expected: Vec<f64> = (0..n * width)
        .map(|i| {
            let mean_square = row(i).map(|x| x * x).sum::<f64>() / width as f64;
            f64::from(x[i]) / (mean_square + 1e-5).sqrt() * f64::from(weight[i % width])
        })
        .collect();
    assert_close("rms norm", &got, &expected, 1e-5);
}

#[test]
fn attention_agrees_with_f64() {
    for (n, d) in [(1, 4), (7, 12), (64, 64), (70, 40)] {
        let stride = d + 3;
        let (queries, keys, values) = (uniform(n * stride, 10), uniform(n * stride, 11), uniform(n * stride, 12));
        let mut out = vec![0.0; n * d];
        let mut scratch = AttentionScratch::default();
        let mut head = Head {
            queries: &queries,
            keys: &keys,
            values: &values,
            stride,
            out: &mut out,
            out_stride: d,
            n_tokens: n,
            d_head: d,
        };
        attend(&mut head, &mut scratch);
        let dot = |q: usize, k: usize| -> f64 {
            (0..d).map(|i| f64::from(queries[q * stride + i]) * f64::from(keys[k * stride + i])).sum::<f64>()
                / (d as f64).sqrt()
        };
        let mut expected = Vec::new();
        for q in 0..n {
            let total: f64 = (0..=q).map(|k| dot(q, k).exp()).sum();
            for i in 0..d {
                expected.push((0..=q).map(|k| dot(q, k).exp() / total * f64::from(values[k * stride + i])).sum());
            }
            let weights: Vec<f32> = (0..n).map(|k| scratch.weight(q, k, n)).collect();
            let exact: Vec<f64> = (0..n).map(|k| if k <= q { dot(q, k).exp() / total } else { 0.0 }).collect();
            assert_close("pattern", &weights, &exact, 1e-6);
        }
        assert_close("attention", &out, &expected, 1e-5);
    }
}
