//! Where training reads activations from: rows in an order that is fixed, scanned from the first to the last.

use crate::error::{Error, Result};

/// Rows of activations that can be scanned, and again from any row.
///
/// Training reads one batch after the other; rows should be in random order already (a store that was shuffled once),
/// since nothing is shuffled here. The position of a scan is a row number, so a checkpoint can hold it.
pub trait ActivationSource {
    /// Values a row.
    fn width(&self) -> usize;

    /// Rows in all.
    fn n_rows(&self) -> u64;

    /// Replaces `out` by `[n_rows, width]` values from `first_row` on.
    ///
    /// # Errors
    /// If the rows do not exist or cannot be read.
    fn read(&mut self, first_row: u64, n_rows: usize, out: &mut Vec<f32>) -> Result<()>;
}

/// Rows held in memory.
#[derive(Clone, Debug)]
pub struct InMemory {
    width: usize,
    rows: Vec<f32>,
}

impl InMemory {
    /// Rows `[n_rows, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the values are no whole rows.
    pub fn new(width: usize, rows: Vec<f32>) -> Result<Self> {
        if width == 0 || !rows.len().is_multiple_of(width) {
            return Err(Error::shape("rows", format!("rows of {width} values"), format!("{} values", rows.len())));
        }
        Ok(Self { width, rows })
    }
}

impl ActivationSource for InMemory {
    fn width(&self) -> usize {
        self.width
    }

    fn n_rows(&self) -> u64 {
        (self.rows.len() / self.width) as u64
    }

    fn read(&mut self, first_row: u64, n_rows: usize, out: &mut Vec<f32>) -> Result<()> {
        let available = self.n_rows();
        if first_row + n_rows as u64 > available {
            let got = format!("rows {first_row} to {}", first_row + n_rows as u64);
            return Err(Error::shape("rows read", format!("rows below {available}"), got));
        }
        let first = first_row as usize * self.width;
        out.clear();
        out.extend_from_slice(&self.rows[first..first + n_rows * self.width]);
        Ok(())
    }
}
