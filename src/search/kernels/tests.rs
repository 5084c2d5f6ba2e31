//! The kernels against the plain sums, for widths with and without a rest.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn products_are_the_plain_sums(width in 1usize..100, rows in 0usize..5, seed in any::<u64>()) {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        };
        let bytes: Vec<i8> = (0..width * rows).map(|_| (next() % 255) as u8 as i8).collect();
        let query: Vec<i16> = (0..width).map(|_| i16::from((next() % 255) as u8 as i8)).collect();
        let mut got = vec![0; rows];
        byte_products(&bytes, &query, &mut got);
        for (row, got) in bytes.chunks_exact(width).zip(&got) {
            let sum: i32 = row.iter().zip(&query).map(|(x, q)| i32::from(*x) * i32::from(*q)).sum();
            prop_assert_eq!(*got, sum);
        }
        let floats: Vec<f32> = bytes.iter().map(|x| f32::from(*x) / 128.0).collect();
        let wanted: Vec<f32> = query.iter().map(|x| f32::from(*x) / 128.0).collect();
        let mut got = vec![0.0; rows];
        products(&floats, &wanted, &mut got);
        for (row, got) in floats.chunks_exact(width).zip(&got) {
            let sum: f64 = row.iter().zip(&wanted).map(|(x, q)| f64::from(*x) * f64::from(*q)).sum();
            // 100 products of at most 1, each rounded to 24 bits.
            prop_assert!((f64::from(*got) - sum).abs() < 1e-4, "{got} {sum}");
        }
        let words: Vec<u64> = (0..width * rows).map(|_| u64::from(next()) << 32 | u64::from(next())).collect();
        let query: Vec<u64> = (0..width).map(|_| u64::from(next()) << 32 | u64::from(next())).collect();
        let mut got = vec![0; rows];
        hamming_distances(&words, &query, &mut got);
        for (row, got) in words.chunks_exact(width).zip(&got) {
            let bits: u32 = row.iter().zip(&query).map(|(x, q)| (x ^ q).count_ones()).sum();
            prop_assert_eq!(u32::from(*got), bits);
        }
    }
}
