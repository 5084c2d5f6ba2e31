//! What replacing activations by their reconstructions costs the subject model (SAEBench's core scores).

/// Share of the loss between an ablated and a clean run that the reconstruction wins back:
/// `(ablated − spliced) / (ablated − clean)`. The ablation (zeros or the mean) is to be named beside the number. `None` if
/// the ablation costs nothing.
pub fn loss_recovered(clean: f64, spliced: f64, ablated: f64) -> Option<f64> {
    (ablated != clean).then(|| (ablated - spliced) / (ablated - clean))
}

/// The same for the divergence from the clean run, which is 0 to itself: `(ablated − spliced) / ablated`.
pub fn kl_recovered(spliced: f64, ablated: f64) -> Option<f64> {
    loss_recovered(0.0, spliced, ablated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_won_back() {
        // The published run of dictionary_learning's end-to-end test: 0.9490 to four places.
        let recovered = loss_recovered(3.3361, 3.8404, 13.2517).unwrap();
        assert!((recovered - 0.9491).abs() < 1e-4, "{recovered}");
        assert_eq!(kl_recovered(1.0, 4.0), Some(0.75));
        assert_eq!(loss_recovered(2.0, 2.0, 2.0), None);
    }
}
