//! Pearson correlation between one unit and all units of some hook points, in one pass over token sequences.

use std::sync::Arc;

use rayon::prelude::*;

use super::pass::OwnedWindow;
use crate::error::Result;
use crate::models::forward::Scratch;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::models::token_batch::TokenBatch;

/// Windows that one thread runs at a time; sums are taken in this unit, so the number of threads changes no bit.
const TILE_WINDOWS: usize = 8;

/// A sum of squares about the mean below this share of that about 0 is rounding: the unit is constant.
const CONSTANT: f64 = 1e-13;

/// Sums over the positions counted.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sum: f64,
    squares: f64,
    /// Of products with the unit that is compared.
    products: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.squares += other.squares;
        self.products += other.products;
    }
}

/// Sums of a pass so far: 24 bytes a unit, and as much for each thread.
#[derive(Debug)]
pub struct Correlation {
    model: Arc<SubjectModel>,
    /// The unit that all are compared with.
    target: (HookPoint, usize),
    hooks: Vec<HookPoint>,
    /// First position of a window that is counted.
    first_counted: usize,
    n_tokens: u64,
    own: Sums,
    units: Vec<Sums>,
}

impl Correlation {
    /// Nothing was read yet; the hook points must stand in the model's order of computation.
    pub fn new(
        model: Arc<SubjectModel>,
        target: (HookPoint, usize),
        hooks: Vec<HookPoint>,
        first_counted: usize,
    ) -> Self {
        let n_units = hooks.iter().map(HookPoint::width).sum();
        let (own, units) = (Sums::default(), vec![Sums::default(); n_units]);
        Self { model, target, hooks, first_counted, n_tokens: 0, own, units }
    }

    /// Runs the model over more windows, on all threads.
    ///
    /// # Errors
    /// When a window is longer than the model's context or holds a token outside its vocabulary.
    pub fn observe(&mut self, windows: &[OwnedWindow]) -> Result<()> {
        // As many tiles as there are threads: their sums are all that is held.
        for some in windows.chunks(TILE_WINDOWS * rayon::current_num_threads().max(1)) {
            let tiles: Vec<(u64, Sums, Vec<Sums>)> =
                some.par_chunks(TILE_WINDOWS).map(|tile| self.tile(tile)).collect::<Result<_>>()?;
            for (n_tokens, own, units) in tiles {
                self.n_tokens += n_tokens;
                self.own.add(&own);
                self.units.iter_mut().zip(&units).for_each(|(sums, tile)| sums.add(tile));
            }
        }
        Ok(())
    }

    fn tile(&self, windows: &[OwnedWindow]) -> Result<(u64, Sums, Vec<Sums>)> {
        let token_ids: Vec<u32> = windows.iter().flat_map(|window| window.token_ids.iter().copied()).collect();
        let mut offsets = vec![0];
        let mut counted = Vec::with_capacity(token_ids.len());
        for window in windows {
            let start = offsets[offsets.len() - 1];
            offsets.push(start + window.token_ids.len());
            counted.extend((start..start + window.token_ids.len()).skip(self.first_counted));
        }
        let batch = TokenBatch::new(&token_ids, &offsets)?;
        let mut scratch = Scratch::default();
        // The unit's own values first: units of earlier layers are compared with them.
        let (hook, neuron) = &self.target;
        let mut target = Vec::with_capacity(counted.len());
        let mut read = |_: usize, values: &[f32]| {
            target.extend(counted.iter().map(|position| f64::from(values[position * hook.width() + neuron])));
        };
        self.model.forward(&batch, std::slice::from_ref(hook), &mut read, &mut scratch)?;
        let mut own = Sums::default();
        for value in &target {
            own.sum += value;
            own.squares += value * value;
        }
        own.products = own.squares;
        let mut units = vec![Sums::default(); self.units.len()];
        let mut add = |index: usize, values: &[f32]| {
            let first: usize = self.hooks[..index].iter().map(HookPoint::width).sum();
            let width = self.hooks[index].width();
            let sums = &mut units[first..first + width];
            for (position, target) in counted.iter().zip(&target) {
                for (sums, value) in sums.iter_mut().zip(&values[position * width..(position + 1) * width]) {
                    let value = f64::from(*value);
                    sums.sum += value;
                    sums.squares += value * value;
                    sums.products += value * target;
                }
            }
        };
        self.model.forward(&batch, &self.hooks, &mut add, &mut scratch)?;
        Ok((counted.len() as u64, own, units))
    }

    /// Positions counted.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// The correlation with each unit of a hook point, -1..1; `None` where it or the unit compared is constant.
    pub fn finish(&self, hook: usize) -> Vec<Option<f64>> {
        let first: usize = self.hooks[..hook].iter().map(HookPoint::width).sum();
        let n = self.n_tokens as f64;
        let spread = |sums: &Sums| {
            let about_mean = sums.squares - sums.sum * sums.sum / n;
            (about_mean > CONSTANT * sums.squares).then_some(about_mean)
        };
        let own = spread(&self.own);
        let correlation = |unit: &Sums| {
            let together = unit.products - unit.sum * self.own.sum / n;
            Some((together / (own? * spread(unit)?).sqrt()).clamp(-1.0, 1.0))
        };
        self.units[first..first + self.hooks[hook].width()].iter().map(correlation).collect()
    }
}

#[cfg(test)]
mod tests;
