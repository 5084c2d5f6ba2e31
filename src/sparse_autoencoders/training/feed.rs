//! Feeding runs from a scan of the data: one read serves all of them.

use std::ops::ControlFlow;

use super::trainer::{Batch, StepMetrics, Trainer};
use crate::error::{Error, Result};
use crate::source::ActivationSource;

#[cfg(test)]
mod tests;

/// First row of the batch of a step, when the rows are scanned over and over.
///
/// Every scan takes the same whole batches in the same order and leaves out the rows after the last whole one. `None` if
/// there is no whole batch.
pub fn first_row(n_rows: u64, batch_rows: usize, step: u64) -> Option<u64> {
    let batches = n_rows / batch_rows as u64;
    (batches > 0).then(|| step % batches * batch_rows as u64)
}

/// Trains all runs until each has taken its `n_steps`, every batch being read once. `after` gets the runs and their
/// metrics after every step, to show them, write checkpoints or stop.
///
/// All runs are at the same step and take batches of the same size.
///
/// # Errors
/// [`Error::Setting`] if runs disagree; [`Error::Shape`] if the source is narrower or shorter than a batch; what reading
/// and [`Trainer::step`] say.
pub fn feed(
    source: &mut dyn ActivationSource,
    trainers: &mut [Trainer],
    after: impl FnMut(&[Trainer], &[StepMetrics]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    feed_from(source, None, trainers, after)
}

/// As [`feed`], for transcoders: row r of `targets` is what row r of `inputs` is to become.
///
/// # Errors
/// As [`feed`]; [`Error::Shape`] if the sources have not as many rows.
pub fn feed_transcoders(
    inputs: &mut dyn ActivationSource,
    targets: &mut dyn ActivationSource,
    trainers: &mut [Trainer],
    after: impl FnMut(&[Trainer], &[StepMetrics]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    feed_from(inputs, Some(targets), trainers, after)
}

fn feed_from(
    inputs: &mut dyn ActivationSource,
    mut targets: Option<&mut dyn ActivationSource>,
    trainers: &mut [Trainer],
    mut after: impl FnMut(&[Trainer], &[StepMetrics]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let Some(first) = trainers.first() else { return Ok(()) };
    let (batch_rows, n_steps, mut step) = (first.config().batch_rows, first.config().n_steps, first.n_steps());
    let n_rows = inputs.n_rows();
    let n_outputs = targets.as_ref().map_or(inputs.width(), |targets| targets.width());
    if let Some(targets) = &targets
        && targets.n_rows() != n_rows
    {
        return Err(Error::shape("targets", format!("{n_rows} rows, as the inputs"), targets.n_rows()));
    }
    for trainer in trainers.iter() {
        let config = trainer.config();
        let same = [
            ("batch_rows", batch_rows as u64, config.batch_rows as u64, "as the first run"),
            ("n_steps", n_steps, config.n_steps, "as the first run"),
            ("step", step, trainer.n_steps(), "as the first run"),
            ("n_inputs", inputs.width() as u64, config.n_inputs as u64, "the width of the inputs"),
            ("n_outputs", n_outputs as u64, config.n_outputs as u64, "the width of the targets"),
        ];
        for (setting, expected, got, why) in same {
            if expected != got {
                return Err(Error::setting(setting, format!("{expected}, {why}"), got));
            }
        }
    }
    let (mut rows, mut target_rows) = (Vec::new(), Vec::new());
    let mut metrics = Vec::with_capacity(trainers.len());
    while step < n_steps {
        let Some(first_row) = first_row(n_rows, batch_rows, step) else {
            return Err(Error::shape(
                "source",
                format!("at least one batch of {batch_rows} rows"),
                format!("{n_rows} rows"),
            ));
        };
        inputs.read(first_row, batch_rows, &mut rows)?;
        if let Some(targets) = &mut targets {
            targets.read(first_row, batch_rows, &mut target_rows)?;
        }
        metrics.clear();
        for trainer in trainers.iter_mut() {
            let targets = if targets.is_some() { &target_rows } else { &rows };
            metrics.push(trainer.step(Batch { inputs: &rows, targets })?);
        }
        step += 1;
        if after(trainers, &metrics)?.is_break() {
            break;
        }
    }
    Ok(())
}
