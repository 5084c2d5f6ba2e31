//! What the processor's widest instructions compute is what any processor computes.

use super::*;
use crate::random::Random;

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::seeded(seed);
    (0..n).map(|_| random.normal() as f32).collect()
}

#[test]
fn vector_and_portable_forms_agree() {
    for n in [0, 1, 15, 16, 63, 64, 65, 768, 1000] {
        let (a, b) = (values(n, 1), values(n, 2));
        let exact: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        // Sums of n products in f32.
        let tolerance = 1e-6 * (n as f64 + 1.0).sqrt();
        for got in [dot(&a, &b), dot_body::<f32, false>(&a, &b)] {
            assert!((f64::from(got) - exact).abs() < tolerance, "{n}: {got} is not {exact}");
        }
        let squares: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
        for got in [sum_of_squares(&a), sum_of_squares_body::<f32, false>(&a)] {
            assert!((got - squares).abs() <= 1e-12 * squares, "{n}: {got} is not {squares}");
        }
        let (mut wide, mut plain) = (b.clone(), b.clone());
        add_scaled(0.5, &a, &mut wide);
        add_scaled_body::<f32, false>(0.5, &a, &mut plain);
        assert!(wide.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-6));
        let (mut wide, mut plain) = (a.clone(), a.clone());
        let squares = (subtract_and_square(&mut wide, &b), subtract_and_square_body::<f32, false>(&mut plain, &b));
        assert!(wide == plain && (squares.0 - squares.1).abs() <= 1e-12 * squares.0, "{n}: {squares:?}");
    }
}

#[test]
fn scans_find_what_a_loop_finds() {
    for n in [0, 1, 63, 64, 65, 200] {
        let (products, biases, thresholds) = (values(n, 3), values(n, 4), values(n, 5));
        let expected = |threshold: &dyn Fn(usize) -> f32| -> Vec<Candidate<f32>> {
            (0..n)
                .filter(|at| products[*at] + biases[*at] > threshold(*at))
                .map(|at| Candidate { value: products[at] + biases[at], latent: 7 + at as u32 })
                .collect()
        };
        let (mut one, mut own) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        scan_above(&products, &biases, 7, 0.25, &mut one[0]);
        scan_above_body::<f32, false>(&products, &biases, 7, 0.25, &mut one[1]);
        scan_over(&products, &biases, &thresholds, 7, &mut own[0]);
        scan_over_body::<f32, false>(&products, &biases, &thresholds, 7, &mut own[1]);
        for found in one {
            assert_eq!(found, expected(&|_| 0.25));
        }
        for found in own {
            assert_eq!(found, expected(&|at| thresholds[at]));
        }
    }
}

#[test]
fn adam_takes_the_step_of_its_definition() {
    let (mut wide, mut plain) = (values(100, 6), values(100, 6));
    let gradient = values(100, 7);
    let mut moments = [vec![0.1_f32; 100], vec![0.2_f32; 100], vec![0.1_f32; 100], vec![0.2_f32; 100]];
    let [m, v, m2, v2] = &mut moments;
    let step = AdamStep { beta1: 0.9, beta2: 0.99, rate: 0.01, second_correction: 1.5, epsilon: 1e-3 };
    adam(&step, &gradient, &mut wide, m, v);
    adam_body::<f32, false>(&step, &gradient, &mut plain, m2, v2);
    let before = values(100, 6);
    for at in 0..100 {
        let g = f64::from(gradient[at]);
        let (first, second) = (0.9 * 0.1 + 0.1 * g, 0.99 * 0.2 + 0.01 * g * g);
        let expected = f64::from(before[at]) - 0.01 * first / (second.sqrt() * 1.5 + 1e-3);
        for got in [wide[at], plain[at]] {
            assert!((f64::from(got) - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }
}
