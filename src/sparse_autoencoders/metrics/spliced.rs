//! What replacing activations by their reconstructions costs the subject model (SAEBench's core scores).

#[cfg(test)]
mod tests;

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
