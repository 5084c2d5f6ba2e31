//! Encoding: the product with the encoder in tiles that stay in the cache, each scanned for what fires before the next.
//!
//! Pre-activations are never written whole: a tile is [`ROW_TILE`] rows by [`LATENT_TILE`] latents. A row keeps what it
//! has found so far; under TopK its threshold rises with every [`Finds::keep_largest`], so that after the first tiles
//! hardly any pre-activation passes.

use gemm::Parallelism;
use rayon::prelude::*;

use super::{Activation, DecoderBias, RowMean, SparseAutoencoder, normalize_rows, remove_means};
use crate::codes::Codes;
use crate::error::{Error, Result, expect_len};
use crate::kernels::{Candidate, dot, scan_above, scan_over};
use crate::number::Number;

/// Rows of a tile. The library packs a tile's latents anew for every tile of rows, so these are many.
pub(crate) const ROW_TILE: usize = 1024;

/// Latents of a tile: few, so that a tile's products (512 KiB in f32) stay in the second-level cache.
pub(crate) const LATENT_TILE: usize = 128;

/// What one row keeps while the latents pass by.
#[derive(Clone, Debug)]
pub(crate) struct Finds<T> {
    /// Firings so far, by rising latent unless a choice was made.
    pub(crate) found: Vec<Candidate<T>>,
    threshold: T,
}

impl<T: Number> Finds<T> {
    pub(crate) fn new() -> Self {
        Self { found: Vec::new(), threshold: T::ZERO }
    }

    /// Adds one tile's firings, keeping at most about twice `k` of them.
    pub(crate) fn scan_top(&mut self, k: usize, products: &[T], biases: &[T], first_latent: usize) {
        scan_above(products, biases, first_latent as u32, self.threshold, &mut self.found);
        if self.found.len() >= 2 * k.max(16) {
            self.keep_largest(k);
        }
    }

    /// Drops all but the k largest; of equal values the lower latents stay.
    ///
    /// Latents come in rising order, so a later one must exceed the smallest value kept to take its place.
    pub(crate) fn keep_largest(&mut self, k: usize) {
        if self.found.len() > k {
            self.found.select_nth_unstable_by(k - 1, largest_first);
            self.found.truncate(k);
            // `select_nth` leaves the k-th largest at k − 1.
            self.threshold = self.found[k - 1].value;
        }
    }

    /// Firings by rising latent.
    pub(crate) fn sorted(&mut self) -> &[Candidate<T>] {
        self.found.sort_unstable_by_key(|candidate| candidate.latent);
        &self.found
    }
}

/// Larger values first, of equal values the lower latent.
pub(crate) fn largest_first<T: Number>(a: &Candidate<T>, b: &Candidate<T>) -> std::cmp::Ordering {
    b.value.partial_cmp(&a.value).unwrap_or(std::cmp::Ordering::Equal).then(a.latent.cmp(&b.latent))
}

/// `products[r, j] = inputs[r] · w_enc[j]` for the rows and latents given.
pub(crate) fn product<T: Number>(width: usize, inputs: &[T], w_enc: &[T], products: &mut [T]) {
    let (rows, latents) = (inputs.len() / width, w_enc.len() / width);
    assert!(products.len() >= rows * latents, "room for the products");
    // SAFETY: all three slices hold the elements that these sizes and strides reach, checked above and by construction.
    unsafe {
        gemm::gemm(
            rows,
            latents,
            width,
            products.as_mut_ptr(),
            1,
            latents as isize,
            false,
            inputs.as_ptr(),
            1,
            width as isize,
            w_enc.as_ptr(),
            width as isize,
            1,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// What a scan of all tiles does with one row's state.
pub(crate) trait Scan<T>: Sync {
    /// What a row keeps.
    type State: Send;
    /// Before the first latent.
    fn begin(&self) -> Self::State;
    /// Takes a row's products with one tile of latents, which begins at latent `first`.
    fn visit(&self, state: &mut Self::State, products: &[T], first: usize);
    /// Adds what was kept of later latents.
    fn merge(&self, state: &mut Self::State, later: Self::State);
    /// After the last latent.
    fn finish(&self, state: &mut Self::State);
}

/// Runs over all tiles of `inputs`, `[n_rows, width]`, normalised and free of `b_dec`. States come back in order of rows.
///
/// With more threads than tiles of rows the latents are shared out too. Tiles begin at the same rows and latents
/// whoever computes them, so the number of threads changes no product.
pub(crate) fn scan_tiles<T: Number, S: Scan<T>>(width: usize, inputs: &[T], w_enc: &[T], scan: &S) -> Vec<S::State> {
    let row_tiles = inputs.len().div_ceil(ROW_TILE * width).max(1);
    let latent_tiles = w_enc.len().div_ceil(LATENT_TILE * width).max(1);
    let parts = rayon::current_num_threads().div_ceil(row_tiles).min(latent_tiles);
    let tiles_a_part = latent_tiles.div_ceil(parts);
    let one = |rows: &[T], part: usize, latents: &[T]| {
        let n_rows = rows.len() / width;
        let mut states: Vec<S::State> = (0..n_rows).map(|_| scan.begin()).collect();
        let mut products = vec![T::ZERO; n_rows * LATENT_TILE.min(latents.len() / width)];
        for (tile, latents) in latents.chunks(LATENT_TILE * width).enumerate() {
            let n_latents = latents.len() / width;
            product(width, rows, latents, &mut products);
            let first = (part * tiles_a_part + tile) * LATENT_TILE;
            for (state, products) in states.iter_mut().zip(products.chunks(n_latents)) {
                scan.visit(state, products, first);
            }
        }
        states
    };
    inputs
        .par_chunks(ROW_TILE * width)
        .flat_map_iter(|rows| {
            let parts = w_enc.par_chunks(tiles_a_part * LATENT_TILE * width).enumerate();
            let mut parts: Vec<_> = parts.map(|(part, latents)| one(rows, part, latents)).collect();
            let later = parts.split_off(1.min(parts.len()));
            let mut states = parts.pop().unwrap_or_default();
            for part in later {
                states.iter_mut().zip(part).for_each(|(state, later)| scan.merge(state, later));
            }
            states.iter_mut().for_each(|state| scan.finish(state));
            states
        })
        .collect()
}

impl<T: Number> Scan<T> for SparseAutoencoder<T> {
    type State = Finds<T>;

    fn begin(&self) -> Finds<T> {
        Finds::new()
    }

    fn visit(&self, finds: &mut Finds<T>, products: &[T], first: usize) {
        let biases = &self.b_enc[first..first + products.len()];
        match (self.config.activation, &self.thresholds) {
            (Activation::TopK { k }, _) => finds.scan_top(k, products, biases, first),
            (Activation::Threshold, Some(thresholds)) => {
                let thresholds = &thresholds[first..first + products.len()];
                scan_over(products, biases, thresholds, first as u32, &mut finds.found);
            }
            _ => scan_above(products, biases, first as u32, T::ZERO, &mut finds.found),
        }
    }

    fn merge(&self, finds: &mut Finds<T>, later: Finds<T>) {
        finds.found.extend(later.found);
    }

    fn finish(&self, finds: &mut Finds<T>) {
        if let Activation::TopK { k } = self.config.activation {
            finds.keep_largest(k);
        }
        finds.sorted();
    }
}

impl<T: Number> SparseAutoencoder<T> {
    /// Inputs normalised and free of `b_dec` where that is subtracted; what undoes the former goes to `codes`.
    pub(crate) fn prepare(&self, inputs: &[T], codes: &mut Codes<T>) -> Vec<T> {
        let width = self.config.n_inputs;
        let mut prepared = inputs.to_vec();
        codes.row_means.clear();
        if self.config.row_mean == RowMean::Removed {
            codes.row_means = remove_means(width, &mut prepared);
        }
        normalize_rows(
            self.config.input_normalization,
            width,
            &mut prepared,
            &mut codes.row_scales,
            &mut codes.row_shifts,
        );
        if self.config.decoder_bias == DecoderBias::Subtracted {
            subtract_from_rows(&self.b_dec, &mut prepared);
        }
        prepared
    }

    /// Codes of a batch: `inputs` is `[n_rows, n_inputs]`, in the activations' own units.
    ///
    /// # Errors
    /// [`Error::Shape`] if the inputs are no whole rows or weights have the wrong size.
    pub fn encode(&self, inputs: &[T], codes: &mut Codes<T>) -> Result<()> {
        self.validate()?;
        self.rows_of(inputs)?;
        codes.clear();
        let prepared = self.prepare(inputs, codes);
        let width = self.config.n_inputs;
        let rows = scan_tiles(width, &prepared, &self.w_enc, self);
        for finds in &rows {
            let firings = finds.found.iter().map(|found| (found.latent, self.magnitude_of(found)));
            codes.push_row(firings.filter(|(_, value)| *value != T::ZERO));
        }
        Ok(())
    }

    /// The value of a latent whose pre-activation passed.
    fn magnitude_of(&self, found: &Candidate<T>) -> T {
        match (self.config.activation, &self.magnitude) {
            (Activation::Gated, Some(magnitude)) => {
                let latent = found.latent as usize;
                let product = found.value - self.b_enc[latent];
                let value = magnitude.log_scale[latent].exp() * product + magnitude.bias[latent];
                if value > T::ZERO { value } else { T::ZERO }
            }
            _ => found.value,
        }
    }

    /// Codes of a batch with their zeros: `out` is `[n_rows, n_latents]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn encode_dense(&self, inputs: &[T], out: &mut [T]) -> Result<()> {
        let n_latents = self.config.n_latents;
        expect_len("out", self.rows_of(inputs)? * n_latents, out.len())?;
        let mut codes = Codes::default();
        self.encode(inputs, &mut codes)?;
        out.fill(T::ZERO);
        for (row, out) in out.chunks_exact_mut(n_latents).enumerate() {
            let (latents, values) = codes.row(row);
            for (latent, value) in latents.iter().zip(values) {
                out[*latent as usize] = *value;
            }
        }
        Ok(())
    }

    /// One latent's values alone, `[n_rows]`: `2 n_inputs` operations a row instead of all latents'.
    ///
    /// Sums run in another order than in [`SparseAutoencoder::encode`], so values differ in the last bits, and a
    /// pre-activation within those bits of its threshold may fall on the other side.
    ///
    /// # Errors
    /// [`Error::Setting`] under TopK, where a latent's value depends on all others: see
    /// [`SparseAutoencoder::with_thresholds`]; [`Error::LatentOutOfRange`]; [`Error::Shape`].
    pub fn encode_latent(&self, latent: u32, inputs: &[T], out: &mut [T]) -> Result<()> {
        self.validate()?;
        let row = self.checked(latent)?;
        expect_len("out", self.rows_of(inputs)?, out.len())?;
        let threshold = match (self.config.activation, &self.thresholds) {
            (Activation::TopK { .. }, _) => {
                let expected = "one that computes each latent alone (with_thresholds)";
                return Err(Error::setting("activation", expected, "top_k"));
            }
            (Activation::Threshold, Some(thresholds)) => thresholds[row],
            _ => T::ZERO,
        };
        let weights = self.encoder_row(latent)?;
        let prepared = self.prepare(inputs, &mut Codes::default());
        let width = self.config.n_inputs;
        out.par_iter_mut().zip(prepared.par_chunks_exact(width)).with_min_len(64).for_each(|(out, input)| {
            let value = dot(input, weights) + self.b_enc[row];
            *out = if value > threshold { self.magnitude_of(&Candidate { value, latent }) } else { T::ZERO };
        });
        Ok(())
    }
}

/// Takes one vector from every row.
pub(crate) fn subtract_from_rows<T: Number>(bias: &[T], rows: &mut [T]) {
    rows.par_chunks_mut(64 * bias.len()).for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                *x -= *bias;
            }
        }
    });
}
