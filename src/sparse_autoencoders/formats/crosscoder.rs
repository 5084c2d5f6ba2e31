//! Crosscoders: one set of latents that reads, and writes, several sites at once, such as the same layer of two models.
//!
//! `h = Σ_site W_enc[site] x[site] + b_enc` and `x̂[site] = z W_dec[site] + b_dec[site]` (Lindsey et al., October 2024). How long a latent's
//! decoder rows are tells which sites it is for. They are read to be compared, not to encode with: that takes the activations of all
//! sites on the same tokens.
//!
//! | files | tensors (s sites, d wide, n latents) |
//! |---|---|
//! | `<name>.pt` and `<name>_cfg.json`, or a folder with `cc_weights.pt` and `cfg.json` | `W_enc` (s, d, n), `b_enc`, `W_dec` (n, s, d), `b_dec` (s, d) |
//! | a folder with `config.json` and `model.safetensors` or `ae.pt` (dictionary_learning with crosscoders) | `encoder.weight` (s, d, n), `encoder.bias`, `decoder.weight` (s, n, d), `decoder.bias` (s, d) |
//!
//! Numbers beside them (`k`, `threshold`, `code_normalization_id`) decide how codes are chosen and scaled, and change no decoder row.

use std::path::{Path, PathBuf};

use super::json::Fields;
use super::refused;
use super::torch_file::Dictionary;
use crate::error::Result;
use crate::kernels::{dot, sum_of_squares};
use crate::tensors::Tensors;

#[cfg(test)]
mod tests;

/// What else dictionary_learning's files may hold.
const NUMBERS: [&str; 3] = ["k", "threshold", "code_normalization_id"];

/// The weights of a crosscoder, latents as rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Crosscoder {
    /// How many sites it reads and writes.
    pub n_sites: usize,
    /// Width of each.
    pub width: usize,
    /// How many latents.
    pub n_latents: usize,
    /// `[n_sites, n_latents, width]`.
    pub w_enc: Vec<f32>,
    /// `[n_sites, n_latents, width]`.
    pub w_dec: Vec<f32>,
    /// The format it was read from.
    pub format: &'static str,
    /// The hook point, as the files call it.
    pub hook_point: Option<String>,
}

impl Crosscoder {
    /// Euclidean norms of what each latent writes to a site, `[n_latents]`.
    pub fn decoder_norms(&self, site: usize) -> Vec<f64> {
        self.rows(&self.w_dec, site).map(|row| sum_of_squares(row).sqrt()).collect()
    }

    /// Euclidean norms of what each latent reads at a site, `[n_latents]`.
    pub fn encoder_norms(&self, site: usize) -> Vec<f64> {
        self.rows(&self.w_enc, site).map(|row| sum_of_squares(row).sqrt()).collect()
    }

    /// Cosines of what each latent writes to two sites, `[n_latents]`; `None` where it writes zeros to one of them.
    pub fn decoder_cosines(&self, site: usize, other: usize) -> Vec<Option<f64>> {
        let pairs = self.rows(&self.w_dec, site).zip(self.rows(&self.w_dec, other));
        pairs
            .map(|(a, b)| {
                let norms = (sum_of_squares(a) * sum_of_squares(b)).sqrt();
                (norms > 0.0).then(|| (f64::from(dot(a, b)) / norms).clamp(-1.0, 1.0))
            })
            .collect()
    }

    fn rows<'w>(&self, weights: &'w [f32], site: usize) -> impl Iterator<Item = &'w [f32]> + use<'w> {
        let size = self.n_latents * self.width;
        weights[site * size..(site + 1) * size].chunks_exact(self.width)
    }
}

/// Whether a path holds a crosscoder, by the names of its files and, in dictionary_learning's folders, by what `config.json` says.
pub fn is_one(path: &Path) -> bool {
    Files::of(path).is_some()
}

/// Where a crosscoder's files are.
enum Files {
    /// Weights and configuration with tensors named `W_enc`.
    Arrays(PathBuf, PathBuf),
    /// The same with tensors named `encoder.weight`.
    Layers(PathBuf, PathBuf),
}

impl Files {
    fn of(path: &Path) -> Option<Self> {
        if path.is_file() {
            let name = path.file_stem()?.to_str()?;
            let config = path.with_file_name(format!("{name}_cfg.json"));
            return (path.extension()? == "pt" && config.is_file()).then(|| Self::Arrays(path.to_owned(), config));
        }
        let [weights, config] = [path.join("cc_weights.pt"), path.join("cfg.json")];
        if weights.is_file() && config.is_file() {
            return Some(Self::Arrays(weights, config));
        }
        let config = path.join("config.json");
        let weights = ["model.safetensors", "ae.pt"].map(|name| path.join(name));
        let weights = weights.into_iter().find(|weights| weights.is_file())?;
        let fields = Fields::read(&config).ok()?;
        // The classes are CrossCoder and BatchTopKCrossCoder; files of the Hugging Face hub name none, and say how many sites there are.
        let class = fields.object("trainer").text("dict_class").ok()?;
        let named = class.is_some_and(|class| class.ends_with("CrossCoder"));
        let counted = fields.get("num_layers").is_some() || fields.get("num_encoder_layers").is_some();
        (named || counted).then_some(Self::Layers(weights, config))
    }
}

/// Reads whatever a path holds.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io); [`Error::Format`](crate::error::Error::Format) if a tensor is missing or sizes disagree;
/// [`Error::Refused`](crate::error::Error::Refused) for another form, or fewer than two sites.
pub fn read(path: &Path) -> Result<Crosscoder> {
    let Some(files) = Files::of(path) else {
        let reason = "expected a crosscoder: a .pt file with its '_cfg.json' beside it, or a folder with 'cc_weights.pt' and 'cfg.json', \
                      or with 'config.json' that tells 'num_layers' and 'model.safetensors' or 'ae.pt'";
        return Err(refused(path, reason));
    };
    let (weights, config, [enc, b_enc, dec, b_dec]) = match &files {
        Files::Arrays(weights, config) => (weights, config, ["W_enc", "b_enc", "W_dec", "b_dec"]),
        Files::Layers(weights, config) => {
            (weights, config, ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"])
        }
    };
    let mut tensors = if weights.extension().is_some_and(|ending| ending == "pt") {
        Dictionary::read(weights)?.into_tensors()
    } else {
        Tensors::read_safetensors(weights)?
    };
    let [n_sites, width, n_latents] = tensors.cube_shape(enc)?;
    let fields = Fields::read(config)?;
    let trainer = fields.object("trainer");
    for fields in [&fields, &trainer] {
        let counts = [
            ("d_in", width),
            ("activation_dim", width),
            ("dict_size", n_latents),
            ("n_models", n_sites),
            ("num_layers", n_sites),
        ];
        for (name, size) in counts {
            fields.expect_count(name, size)?;
        }
    }
    if n_sites < 2 {
        return Err(refused(weights, format!("expected a crosscoder of two sites or more, got {n_sites}")));
    }
    let by_latent = |cube: Vec<f32>| -> Vec<f32> {
        let sites = cube.chunks_exact(width * n_latents);
        sites.flat_map(|matrix| crate::tensors::transposed(matrix, width, n_latents)).collect()
    };
    let w_enc = by_latent(tensors.take(enc, &[n_sites, width, n_latents])?);
    let w_dec = match &files {
        Files::Layers(..) => tensors.take(dec, &[n_sites, n_latents, width])?,
        Files::Arrays(..) => {
            let rows = tensors.take(dec, &[n_latents, n_sites, width])?;
            let row = |site: usize, latent: usize| &rows[(latent * n_sites + site) * width..][..width];
            (0..n_sites).flat_map(|site| (0..n_latents).flat_map(move |latent| row(site, latent))).copied().collect()
        }
    };
    tensors.take(b_enc, &[n_latents])?;
    tensors.take(b_dec, &[n_sites, width])?;
    for name in NUMBERS.into_iter().filter(|_| matches!(files, Files::Layers(..))) {
        if tensors.has(name) {
            let shape = tensors.shape(name)?.to_vec();
            tensors.take(name, &shape)?;
        }
    }
    tensors.nothing_left()?;
    let format = if matches!(files, Files::Arrays(..)) { "crosscoder" } else { "dictionary_learning" };
    let hook_point = fields.text("hook_point")?;
    Ok(Crosscoder { n_sites, width, n_latents, w_enc, w_dec, format, hook_point })
}
