//! Keys and values of tokens that later calls read: rows of one tensor a layer, handed out and taken back.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use parking_lot::Mutex;

/// Rows that a store grows by, at least.
const LEAST_GROWTH: usize = 256;

/// Keys and values of all tokens kept, in every layer.
#[derive(Debug)]
pub(crate) struct KeyValueRows {
    /// Keys and values of each layer, `[n_kv_heads, capacity, d_head]` each.
    layers: Vec<[Tensor; 2]>,
    capacity: usize,
    free: Arc<Mutex<FreeRows>>,
}

/// Runs of rows that nobody holds: the first row of each, with its length; no two touch.
#[derive(Debug, Default)]
struct FreeRows(BTreeMap<usize, usize>);

/// Rows one after another, given back when dropped.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) start: usize,
    pub(crate) n: usize,
    free: Arc<Mutex<FreeRows>>,
}

/// What a model's keys and values are like.
#[derive(Clone, Debug)]
pub(crate) struct KeyValueShape {
    pub(crate) n_layers: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) d_head: usize,
    pub(crate) precision: DType,
    pub(crate) device: Device,
}

impl KeyValueRows {
    /// Room for nothing yet.
    pub(crate) fn new(shape: &KeyValueShape) -> Result<Self> {
        let layers = (0..shape.n_layers).map(|_| shape.zeros(0)).collect::<Result<_>>()?;
        Ok(Self { layers, capacity: 0, free: Arc::default() })
    }

    /// Takes `n` rows, one after another.
    pub(crate) fn take(&mut self, shape: &KeyValueShape, n: usize) -> Result<Rows> {
        loop {
            let found = self.free.lock().take(n);
            if let Some(start) = found {
                return Ok(Rows { start, n, free: Arc::clone(&self.free) });
            }
            self.grow(shape, self.capacity + n.max(self.capacity).next_multiple_of(LEAST_GROWTH))?;
        }
    }

    /// Copies what is kept to larger tensors, a layer at a time: only one is held twice.
    fn grow(&mut self, shape: &KeyValueShape, capacity: usize) -> Result<()> {
        for layer in &mut self.layers {
            let grown = shape.zeros(capacity)?;
            if self.capacity > 0 {
                grown[0].slice_set(&layer[0], 1, 0)?;
                grown[1].slice_set(&layer[1], 1, 0)?;
            }
            *layer = grown;
        }
        self.free.lock().put(self.capacity, capacity - self.capacity);
        self.capacity = capacity;
        Ok(())
    }

    /// Keys and values of one layer, `[n_kv_heads, capacity, d_head]` each.
    pub(crate) fn layer(&self, layer: usize) -> &[Tensor; 2] {
        &self.layers[layer]
    }
}

impl KeyValueShape {
    fn zeros(&self, capacity: usize) -> Result<[Tensor; 2]> {
        let zeros = || Tensor::zeros((self.n_kv_heads, capacity, self.d_head), self.precision, &self.device);
        Ok([zeros()?, zeros()?])
    }
}

impl FreeRows {
    /// Takes the first `n` rows of the first run that has as many.
    fn take(&mut self, n: usize) -> Option<usize> {
        let (start, length) =
            self.0.iter().find(|(_, length)| **length >= n).map(|(start, length)| (*start, *length))?;
        self.0.remove(&start);
        if length > n {
            self.0.insert(start + n, length - n);
        }
        Some(start)
    }

    /// Gives rows back, as one run with those they touch.
    fn put(&mut self, mut start: usize, mut n: usize) {
        if let Some(after) = self.0.remove(&(start + n)) {
            n += after;
        }
        if let Some((before, length)) = self.0.range(..start).next_back().map(|(start, length)| (*start, *length))
            && before + length == start
        {
            self.0.remove(&before);
            (start, n) = (before, n + length);
        }
        if n > 0 {
            self.0.insert(start, n);
        }
    }
}

impl Rows {
    /// Divides rows into runs of these lengths, which sum up to as many as there are.
    pub(crate) fn split(self, lengths: impl Iterator<Item = usize>) -> Vec<Self> {
        let mut start = self.start;
        let part = |n| {
            let part = Self { start, n, free: Arc::clone(&self.free) };
            start += n;
            part
        };
        let parts: Vec<Self> = lengths.map(part).collect();
        // The parts give the rows back.
        let mut whole = self;
        (whole.start, whole.n) = (start, whole.start + whole.n - start);
        parts
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if self.n > 0 {
            self.free.lock().put(self.start, self.n);
        }
    }
}

#[cfg(test)]
mod tests;
