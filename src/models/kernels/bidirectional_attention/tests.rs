//! Attention to all tokens against a plain f64 computation.

use super::{EncoderScratch, Head, attend_to_all};
use crate::random::mix;

#[test]
fn it_agrees_with_f64() {
    for (n, d_head, stride) in [(1, 4, 12), (3, 32, 96), (17, 20, 70), (64, 64, 192)] {
        let rows: Vec<f32> =
            (0..(n * stride) as u64).map(|i| 4.0 * ((mix(7, i, 0) >> 40) as f32 / (1 << 23) as f32 - 1.0)).collect();
        let (keys, values) = (d_head, 2 * d_head);
        let mut out = vec![f32::NAN; n * d_head];
        let mut head = Head {
            queries: &rows,
            keys: &rows[keys..],
            values: &rows[values..],
            stride,
            out: &mut out,
            out_stride: d_head,
            n_tokens: n,
            d_head,
        };
        attend_to_all(&mut head, &mut EncoderScratch::default());
        let at = |token: usize, part: usize, i: usize| f64::from(rows[token * stride + part + i]);
        for query in 0..n {
            let score = |key: usize| -> f64 {
                let dot: f64 = (0..d_head).map(|i| at(query, 0, i) * at(key, keys, i)).sum();
                (dot / (d_head as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (0..n).map(score).collect();
            let sum: f64 = scores.iter().sum();
            for i in 0..d_head {
                let expected: f64 = (0..n).map(|key| scores[key] / sum * at(key, values, i)).sum();
                let got = out[query * d_head + i];
                assert!((f64::from(got) - expected).abs() < 1e-4, "{n} tokens: expected {expected}, got {got}");
            }
        }
    }
}
