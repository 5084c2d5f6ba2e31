//! What is trained, as arrays by latent; Adam's moments and gradients have the same form.

use crate::number::Number;

/// Latents that one thread takes at a time. Sums over latents are added block by block, whatever the number of threads.
pub(crate) const BLOCK: usize = 64;

/// Weights, moments or gradients. Arrays that a method does not have are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters<T> {
    /// `[n_latents, n_inputs]`.
    pub w_enc: Vec<T>,
    /// `[n_latents]`.
    pub b_enc: Vec<T>,
    /// `[n_latents, n_outputs]`.
    pub w_dec: Vec<T>,
    /// `[n_outputs]`.
    pub b_dec: Vec<T>,
    /// `[n_latents]` of a JumpReLU autoencoder.
    pub thresholds: Vec<T>,
    /// `[n_latents]` of a gated one: `r`.
    pub log_scale: Vec<T>,
    /// `[n_latents]` of a gated one: `b_mag`.
    pub magnitude_bias: Vec<T>,
}

/// The rows of a few latents.
#[derive(Debug)]
pub(crate) struct Block<'a, T> {
    pub(crate) w_enc: &'a mut [T],
    pub(crate) b_enc: &'a mut [T],
    pub(crate) w_dec: &'a mut [T],
    pub(crate) thresholds: &'a mut [T],
    pub(crate) log_scale: &'a mut [T],
    pub(crate) magnitude_bias: &'a mut [T],
}

impl<T: Number> Parameters<T> {
    /// Zeros of the same sizes.
    pub(crate) fn zeros_like(&self) -> Self {
        let zeros = |values: &Vec<T>| vec![T::ZERO; values.len()];
        Self {
            w_enc: zeros(&self.w_enc),
            b_enc: zeros(&self.b_enc),
            w_dec: zeros(&self.w_dec),
            b_dec: zeros(&self.b_dec),
            thresholds: zeros(&self.thresholds),
            log_scale: zeros(&self.log_scale),
            magnitude_bias: zeros(&self.magnitude_bias),
        }
    }

    /// Every array with its name in checkpoints.
    pub fn named(&self) -> [(&'static str, &Vec<T>); 7] {
        [
            ("W_enc", &self.w_enc),
            ("b_enc", &self.b_enc),
            ("W_dec", &self.w_dec),
            ("b_dec", &self.b_dec),
            ("thresholds", &self.thresholds),
            ("r_mag", &self.log_scale),
            ("b_mag", &self.magnitude_bias),
        ]
    }

    /// As [`Parameters::named`], to be filled.
    pub(crate) fn named_mut(&mut self) -> [(&'static str, &mut Vec<T>); 7] {
        [
            ("W_enc", &mut self.w_enc),
            ("b_enc", &mut self.b_enc),
            ("W_dec", &mut self.w_dec),
            ("b_dec", &mut self.b_dec),
            ("thresholds", &mut self.thresholds),
            ("r_mag", &mut self.log_scale),
            ("b_mag", &mut self.magnitude_bias),
        ]
    }

    /// The latents in blocks of [`BLOCK`], and `b_dec`, which belongs to none.
    pub(crate) fn blocks(&mut self) -> (Vec<Block<'_, T>>, &mut [T]) {
        let n_latents = self.b_enc.len();
        let (n_inputs, n_outputs) = (self.w_enc.len() / n_latents, self.w_dec.len() / n_latents);
        let mut w_enc = self.w_enc.chunks_mut(BLOCK * n_inputs);
        let mut w_dec = self.w_dec.chunks_mut(BLOCK * n_outputs);
        let mut thresholds = self.thresholds.chunks_mut(BLOCK);
        let mut log_scale = self.log_scale.chunks_mut(BLOCK);
        let mut magnitude_bias = self.magnitude_bias.chunks_mut(BLOCK);
        let blocks = self.b_enc.chunks_mut(BLOCK).map(|b_enc| Block {
            w_enc: w_enc.next().unwrap_or_default(),
            b_enc,
            w_dec: w_dec.next().unwrap_or_default(),
            thresholds: thresholds.next().unwrap_or_default(),
            log_scale: log_scale.next().unwrap_or_default(),
            magnitude_bias: magnitude_bias.next().unwrap_or_default(),
        });
        (blocks.collect(), &mut self.b_dec)
    }
}
