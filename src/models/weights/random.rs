//! Random weights of a given shape, for benchmarks.

use super::TensorSource;
use crate::error::Result;
use crate::random::mix;

/// Any tensor, filled with numbers drawn from the seed and its name.
pub(crate) struct RandomTensors {
    pub(crate) seed: u64,
}

impl TensorSource for RandomTensors {
    fn contains(&self, _: &str) -> bool {
        true
    }

    /// Uniform with standard deviation 1 / sqrt(rows); norm gains about 1.
    fn load(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let key = name.bytes().fold(0, |key, byte| mix(key, u64::from(byte), 0));
        let (centre, scale) = if shape.len() == 2 { (0.0, (12.0 / shape[0] as f32).sqrt()) } else { (1.0, 0.2) };
        let draw = |i| centre + scale * ((mix(self.seed, key, i) >> 40) as f32 / (1 << 24) as f32 - 0.5);
        Ok((0..shape.iter().product::<usize>() as u64).map(draw).collect())
    }
}
