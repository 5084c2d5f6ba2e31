use super::*;

#[test]
fn one_logit_that_moves_is_as_sparse_as_it_gets() {
    let mut differences = vec![0.25_f32; 2 * 50];
    differences[7] = 3.25;
    // One of 100 differs from its position's median.
    assert_eq!(ablation_sparsity(&differences, 50), Some(0.01));
    assert_eq!(ablation_sparsity(&[0.5; 100], 50), None);
    assert_eq!(ablation_sparsity(&[], 50), None);
    // Half up and half down by the same amount: as spread out as it gets.
    let spread: Vec<f32> = (0..100).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
    assert_eq!(ablation_sparsity(&spread, 50), Some(1.0));
}
