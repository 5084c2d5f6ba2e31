//! The pass over the latents: each one's gradient from the rows on which it fired, and Adam's step at once.
//!
//! For latent j with direction `w`, pre-activations `h` and the reconstructions' gradient `G`:
//! `dz = G[b] · w`, `dw += z G[b]`, `dw_enc += dh x[b]`, `db_enc += dh`; with `dh = dz` where the latent fires. A latent's
//! row of the decoder is read once and stays in the first-level cache, the batch's rows stay in the last-level one.
//! `b_dec` as it is subtracted from inputs takes one product by `W_enc` of the batch's sums, not one for each row.

use rayon::prelude::*;

use super::config::{DecoderNorm, TrainingConfig};
use super::losses::{Rule, Term, Terms};
use super::parameters::{BLOCK, Block, Parameters};
use crate::autoencoder::DecoderBias;
use crate::kernels::{AdamStep, adam, add_scaled, dot, sum_of_squares};
use crate::number::Number;

/// One latent's own numbers.
#[derive(Clone, Copy, Debug)]
struct Latent<'a, T> {
    index: usize,
    w_dec: &'a [T],
    b_enc: T,
    threshold: T,
    log_scale: T,
    magnitude_bias: T,
}

/// Gradients of one latent's own numbers.
#[derive(Clone, Copy, Debug)]
struct Scalars<T> {
    b_enc: T,
    /// Of the product with the encoder's row, summed over rows.
    product: T,
    threshold: T,
    log_scale: T,
    magnitude_bias: T,
}

/// Adds one latent's gradients to `encoder` and `decoder`, which come in as zeros.
fn latent_gradient<T: Number>(
    terms: &[Term<T>],
    inputs: &[T],
    latent: &Latent<'_, T>,
    encoder: &mut [T],
    decoder: &mut [T],
) -> Scalars<T> {
    let (n_inputs, n_outputs) = (encoder.len(), decoder.len());
    let mut sums =
        Scalars { b_enc: T::ZERO, product: T::ZERO, threshold: T::ZERO, log_scale: T::ZERO, magnitude_bias: T::ZERO };
    for term in terms {
        let Some((_, gradient)) = term.levels.iter().find(|(end, _)| latent.index < *end) else { continue };
        let penalised = matches!(term.rule, Rule::Linear { l1 } if l1 > T::ZERO);
        let norm = if penalised { T::of(sum_of_squares(latent.w_dec).sqrt()) } else { T::ZERO };
        let mut total = T::ZERO;
        for (row, h) in term.columns.of_latent(latent.index) {
            let pull = &gradient[row * n_outputs..][..n_outputs];
            let dz = dot(pull, latent.w_dec);
            // The value, and the gradients of the encoder's product and of the bias beside it.
            let (z, product, bias) = match term.rule {
                Rule::Linear { l1 } => {
                    total += h;
                    (h, dz + l1 * norm, dz + l1 * norm)
                }
                Rule::Jump { l0, bandwidth } => {
                    if ((h - latent.threshold) / bandwidth).abs() < T::of(0.5) {
                        sums.threshold -= (latent.threshold * dz + l0) / bandwidth;
                    }
                    if h > latent.threshold { (h, dz, dz) } else { (T::ZERO, T::ZERO, T::ZERO) }
                }
                Rule::Gated { l1 } => {
                    let scaled = latent.log_scale.exp() * (h - latent.b_enc);
                    let value = scaled + latent.magnitude_bias;
                    let own = term.gate.as_ref().map(|gate| dot(&gate[row * n_outputs..][..n_outputs], latent.w_dec));
                    let gate = l1 + own.unwrap_or(T::ZERO);
                    if value > T::ZERO {
                        sums.log_scale += dz * scaled;
                        sums.magnitude_bias += dz;
                        (value, dz * latent.log_scale.exp() + gate, gate)
                    } else {
                        (T::ZERO, gate, gate)
                    }
                }
            };
            if z != T::ZERO {
                add_scaled(z, pull, decoder);
            }
            if product != T::ZERO {
                add_scaled(product, &inputs[row * n_inputs..][..n_inputs], encoder);
            }
            sums.product += product;
            sums.b_enc += bias;
        }
        if let Rule::Linear { l1 } = term.rule
            && norm > T::ZERO
        {
            add_scaled(l1 * total / norm, latent.w_dec, decoder);
        }
    }
    sums
}

/// `g −= (g · w) w` for a row `w` of norm 1.
fn project<T: Number>(direction: &[T], gradient: &mut [T]) {
    let along = dot(gradient, direction);
    if along != T::ZERO {
        add_scaled(-along, direction, gradient);
    }
}

/// Divides a row by its norm; a row of zeros stays.
pub(crate) fn renormalize<T: Number>(row: &mut [T]) {
    let norm = sum_of_squares(row).sqrt();
    if norm > 0.0 {
        let factor = T::of(1.0 / norm);
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// What one block of latents leaves: gradients of their numbers, and their part of the gradient of `b_dec`.
struct BlockSums<T> {
    scalars: Vec<Scalars<T>>,
    inputs: Vec<T>,
}

/// Computes the gradients of a block's latents one after the other; `with` gets the latent within the block, and the
/// gradients of its rows.
fn for_each_latent<T: Number>(
    config: &TrainingConfig,
    terms: &[Term<T>],
    inputs: &[T],
    first: usize,
    block: &mut Block<'_, T>,
    mut with: impl FnMut(usize, &mut Block<'_, T>, &[T], &[T]),
) -> BlockSums<T> {
    let (n_inputs, n_outputs) = (config.n_inputs, config.n_outputs);
    let (mut encoder, mut decoder) = (vec![T::ZERO; n_inputs], vec![T::ZERO; n_outputs]);
    let mut from_inputs = vec![T::ZERO; n_inputs];
    let at = |values: &[T], index: usize| values.get(index).copied().unwrap_or(T::ZERO);
    let mut scalars = Vec::with_capacity(block.b_enc.len());
    for index in 0..block.b_enc.len() {
        encoder.fill(T::ZERO);
        decoder.fill(T::ZERO);
        let latent = Latent {
            index: first + index,
            w_dec: &block.w_dec[index * n_outputs..][..n_outputs],
            b_enc: block.b_enc[index],
            threshold: at(block.thresholds, index),
            log_scale: at(block.log_scale, index),
            magnitude_bias: at(block.magnitude_bias, index),
        };
        let sums = latent_gradient(terms, inputs, &latent, &mut encoder, &mut decoder);
        if config.decoder_norm == DecoderNorm::Unit {
            project(latent.w_dec, &mut decoder);
        }
        if config.decoder_bias == DecoderBias::Subtracted && sums.product != T::ZERO {
            add_scaled(sums.product, &block.w_enc[index * n_inputs..][..n_inputs], &mut from_inputs);
        }
        with(index, block, &encoder, &decoder);
        scalars.push(sums);
    }
    BlockSums { scalars, inputs: from_inputs }
}

/// The gradient of `b_dec`: what reconstructions pull at, less what went through the inputs.
fn bias_gradient<T: Number>(config: &TrainingConfig, output_sums: &[T], blocks: &[BlockSums<T>]) -> Vec<T> {
    let mut gradient = output_sums.to_vec();
    if config.decoder_bias == DecoderBias::Subtracted {
        for block in blocks {
            gradient.iter_mut().zip(&block.inputs).for_each(|(g, x)| *g -= *x);
        }
    }
    gradient
}

/// All gradients, written out; decoder rows' are projected where rows are kept at norm 1.
pub(crate) fn gradients<T: Number>(
    config: &TrainingConfig,
    parameters: &mut Parameters<T>,
    terms: &Terms<T>,
    inputs: &[T],
) -> Parameters<T> {
    let mut gradients = parameters.zeros_like();
    let (n_inputs, n_outputs) = (config.n_inputs, config.n_outputs);
    let (blocks, _) = parameters.blocks();
    let (gradient_blocks, b_dec) = gradients.blocks();
    let sums: Vec<BlockSums<T>> = blocks
        .into_par_iter()
        .zip(gradient_blocks)
        .enumerate()
        .map(|(number, (mut block, gradient))| {
            let sums = for_each_latent(
                config,
                &terms.terms,
                inputs,
                number * BLOCK,
                &mut block,
                |index, _, encoder, decoder| {
                    gradient.w_enc[index * n_inputs..][..n_inputs].copy_from_slice(encoder);
                    gradient.w_dec[index * n_outputs..][..n_outputs].copy_from_slice(decoder);
                },
            );
            for (index, sums) in sums.scalars.iter().enumerate() {
                gradient.b_enc[index] = sums.b_enc;
                set(gradient.thresholds, index, sums.threshold);
                set(gradient.log_scale, index, sums.log_scale);
                set(gradient.magnitude_bias, index, sums.magnitude_bias);
            }
            sums
        })
        .collect();
    b_dec.copy_from_slice(&bias_gradient(config, &terms.output_sums, &sums));
    gradients
}

fn set<T: Number>(values: &mut [T], index: usize, value: T) {
    if let Some(place) = values.get_mut(index) {
        *place = value;
    }
}

/// One step of Adam with gradients that are never written: computed, projected and used row by row.
pub(crate) fn fused_step<T: Number>(
    config: &TrainingConfig,
    parameters: &mut Parameters<T>,
    first_moments: &mut Parameters<T>,
    second_moments: &mut Parameters<T>,
    terms: &Terms<T>,
    inputs: &[T],
    step: &AdamStep<T>,
) {
    let (n_inputs, n_outputs) = (config.n_inputs, config.n_outputs);
    let (blocks, b_dec) = parameters.blocks();
    let (first_blocks, first_b_dec) = first_moments.blocks();
    let (second_blocks, second_b_dec) = second_moments.blocks();
    let sums: Vec<BlockSums<T>> = blocks
        .into_par_iter()
        .zip(first_blocks)
        .zip(second_blocks)
        .enumerate()
        .map(|(number, ((mut block, first), second))| {
            let sums = for_each_latent(
                config,
                &terms.terms,
                inputs,
                number * BLOCK,
                &mut block,
                |index, block, encoder, decoder| {
                    let row = index * n_inputs..(index + 1) * n_inputs;
                    adam(
                        step,
                        encoder,
                        &mut block.w_enc[row.clone()],
                        &mut first.w_enc[row.clone()],
                        &mut second.w_enc[row],
                    );
                    let row = index * n_outputs..(index + 1) * n_outputs;
                    adam(
                        step,
                        decoder,
                        &mut block.w_dec[row.clone()],
                        &mut first.w_dec[row.clone()],
                        &mut second.w_dec[row.clone()],
                    );
                    if config.decoder_norm == DecoderNorm::Unit {
                        renormalize(&mut block.w_dec[row]);
                    }
                },
            );
            let gradient = |value: fn(&Scalars<T>) -> T| sums.scalars.iter().map(value).collect::<Vec<T>>();
            adam(step, &gradient(|sums| sums.b_enc), block.b_enc, first.b_enc, second.b_enc);
            if !block.thresholds.is_empty() {
                adam(step, &gradient(|sums| sums.threshold), block.thresholds, first.thresholds, second.thresholds);
                keep_positive(block.thresholds);
            }
            if !block.log_scale.is_empty() {
                adam(step, &gradient(|sums| sums.log_scale), block.log_scale, first.log_scale, second.log_scale);
                let gradient = gradient(|sums| sums.magnitude_bias);
                adam(step, &gradient, block.magnitude_bias, first.magnitude_bias, second.magnitude_bias);
            }
            sums
        })
        .collect();
    adam(step, &bias_gradient(config, &terms.output_sums, &sums), b_dec, first_b_dec, second_b_dec);
}

/// The same step from gradients that were written out, all multiplied by one factor.
pub(crate) fn scaled_step<T: Number>(
    config: &TrainingConfig,
    parameters: &mut Parameters<T>,
    first_moments: &mut Parameters<T>,
    second_moments: &mut Parameters<T>,
    gradients: &mut Parameters<T>,
    factor: T,
    step: &AdamStep<T>,
) {
    let weights = parameters.named_mut();
    let moments = first_moments.named_mut().into_iter().zip(second_moments.named_mut());
    for (((_, weights), (_, gradients)), ((_, first), (_, second))) in
        weights.into_iter().zip(gradients.named_mut()).zip(moments)
    {
        const CHUNK: usize = 1 << 13;
        let state = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        gradients.par_chunks_mut(CHUNK).zip(weights.par_chunks_mut(CHUNK)).zip(state).for_each(
            |((gradient, weights), (first, second))| {
                gradient.iter_mut().for_each(|g| *g *= factor);
                adam(step, gradient, weights, first, second);
            },
        );
    }
    if config.decoder_norm == DecoderNorm::Unit {
        parameters.w_dec.par_chunks_mut(config.n_outputs).with_min_len(BLOCK).for_each(renormalize);
    }
    keep_positive(&mut parameters.thresholds);
}

fn keep_positive<T: Number>(thresholds: &mut [T]) {
    for threshold in thresholds.iter_mut().filter(|threshold| **threshold < T::ZERO) {
        *threshold = T::ZERO;
    }
}
