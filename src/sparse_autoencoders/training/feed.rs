//! Feeding runs from a scan of the data: one read serves all of them.

use std::ops::ControlFlow;

use super::trainer::{Batch, StepMetrics, Trainer};
use crate::error::{Error, Result};
use crate::source::ActivationSource;

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
    mut after: impl FnMut(&[Trainer], &[StepMetrics]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let Some(first) = trainers.first() else { return Ok(()) };
    let (batch_rows, width, mut step) = (first.config().batch_rows, first.config().n_inputs, first.n_steps());
    let n_steps = first.config().n_steps;
    for trainer in trainers.iter() {
        let config = trainer.config();
        let same = [
            ("batch_rows", batch_rows as u64, config.batch_rows as u64),
            ("n_inputs", width as u64, config.n_inputs as u64),
            ("n_steps", n_steps, config.n_steps),
            ("step", step, trainer.n_steps()),
        ];
        for (setting, expected, got) in same {
            if expected != got {
                return Err(Error::setting(setting, format!("{expected}, as the first run"), got));
            }
        }
        if config.n_outputs != width {
            let expected = format!("{width}: a transcoder is fed with Trainer::step from two sources");
            return Err(Error::setting("n_outputs", expected, config.n_outputs));
        }
    }
    if source.width() != width {
        return Err(Error::shape("source", format!("rows of {width} values"), format!("{} values", source.width())));
    }
    let mut rows = Vec::new();
    let mut metrics = Vec::with_capacity(trainers.len());
    while step < n_steps {
        let Some(first_row) = first_row(source.n_rows(), batch_rows, step) else {
            let got = format!("{} rows", source.n_rows());
            return Err(Error::shape("source", format!("at least one batch of {batch_rows} rows"), got));
        };
        source.read(first_row, batch_rows, &mut rows)?;
        metrics.clear();
        for trainer in trainers.iter_mut() {
            metrics.push(trainer.step(Batch::of(&rows))?);
        }
        step += 1;
        if after(trainers, &metrics)?.is_break() {
            break;
        }
    }
    Ok(())
}
