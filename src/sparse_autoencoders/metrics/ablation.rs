//! How few logits a latent's ablation moves.

#[cfg(test)]
mod tests;

/// `(‖δ‖₁ / ‖δ‖₂)² / (V · T)` of the logit differences `[n_positions, n_tokens]` that ablating one latent at one position
/// makes at the positions from there on, each position's median taken out first: near 0 if one logit moves, 1 if all move
/// alike (arXiv 2406.04093, section 4.5, with 16 positions). `None` if nothing moves.
pub fn ablation_sparsity(differences: &[f32], n_tokens: usize) -> Option<f64> {
    let (mut absolute, mut squares) = (0.0_f64, 0.0_f64);
    for position in differences.chunks_exact(n_tokens.max(1)) {
        let centre = median(position);
        for difference in position {
            let difference = f64::from(*difference) - centre;
            absolute += difference.abs();
            squares += difference * difference;
        }
    }
    (squares > 0.0).then(|| absolute * absolute / squares / differences.len() as f64)
}

/// The middle value, or the mean of the two in the middle.
fn median(values: &[f32]) -> f64 {
    let mut sorted = values.to_vec();
    let middle = sorted.len() / 2;
    let (below, upper, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
    let upper = f64::from(*upper);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().max_by(f32::total_cmp).map_or(upper, f64::from);
    (lower + upper) / 2.0
}
