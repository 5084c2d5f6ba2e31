//! Hook points: the places in a forward pass whose values can be read, by their TransformerLens names.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::config::{Family, ModelConfig};
use super::latents::Latents;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};

/// What is read at a hook point, in order of computation within a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Token embeddings, `[d_model]`.
    Embed,
    /// Learned position embeddings, `[d_model]`; GPT-2 only.
    PosEmbed,
    /// The residual stream before a block, `[d_model]`.
    ResidPre,
    /// Outputs of the attention heads before the output matrix, `[n_heads * d_head]`.
    AttnZ,
    /// What each head adds to the residual stream, `[n_heads * d_model]`, without the output bias.
    AttnResult,
    /// What attention adds to the residual stream, `[d_model]`.
    AttnOut,
    /// The residual stream between attention and MLP, `[d_model]`.
    ResidMid,
    /// MLP neurons before the activation function, `[d_mlp]`; for Llama the gate.
    MlpPre,
    /// What the gate is multiplied with, `[d_mlp]`; Llama only.
    MlpPreLinear,
    /// MLP neurons: what the MLP's output matrix reads, `[d_mlp]`.
    MlpPost,
    /// What the MLP adds to the residual stream, `[d_model]`.
    MlpOut,
    /// The residual stream after a block, `[d_model]`.
    ResidPost,
    /// The final norm's output with its gain and bias, which the unembedding reads, `[d_model]`.
    ///
    /// TransformerLens takes Llama's before the gain; under its default folding of gains the two are the same.
    LnFinalNormalized,
}

impl HookKind {
    const BEFORE_BLOCKS: [Self; 2] = [Self::Embed, Self::PosEmbed];
    const IN_BLOCK: [Self; 10] = [
        Self::ResidPre,
        Self::AttnZ,
        Self::AttnResult,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpPre,
        Self::MlpPreLinear,
        Self::MlpPost,
        Self::MlpOut,
        Self::ResidPost,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Embed => "hook_embed",
            Self::PosEmbed => "hook_pos_embed",
            Self::ResidPre => "hook_resid_pre",
            Self::AttnZ => "attn.hook_z",
            Self::AttnResult => "attn.hook_result",
            Self::AttnOut => "hook_attn_out",
            Self::ResidMid => "hook_resid_mid",
            Self::MlpPre => "mlp.hook_pre",
            Self::MlpPreLinear => "mlp.hook_pre_linear",
            Self::MlpPost => "mlp.hook_post",
            Self::MlpOut => "hook_mlp_out",
            Self::ResidPost => "hook_resid_post",
            Self::LnFinalNormalized => "ln_final.hook_normalized",
        }
    }

    fn exists_in(self, family: Family) -> bool {
        match self {
            Self::PosEmbed => family == Family::Gpt2,
            Self::MlpPreLinear => family == Family::Llama,
            _ => true,
        }
    }

    fn width(self, config: &ModelConfig) -> usize {
        match self {
            Self::AttnZ => config.n_heads * config.d_head,
            Self::AttnResult => config.n_heads * config.d_model,
            Self::MlpPre | Self::MlpPreLinear | Self::MlpPost => config.d_mlp,
            _ => config.d_model,
        }
    }
}

/// A place in a model's forward pass, with the number of values it has for each token: of the model itself, or the latents of a
/// sparse autoencoder that reads such a place.
#[derive(Clone, Debug)]
pub struct HookPoint {
    name: String,
    layer: Option<usize>,
    kind: HookKind,
    width: usize,
    latents: Option<Arc<Latents>>,
}

/// Names tell hook points apart: an autoencoder's id is part of its name.
impl PartialEq for HookPoint {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind && self.layer == other.layer && self.width == other.width
    }
}

impl Eq for HookPoint {}

impl Hash for HookPoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl HookPoint {
    fn new(kind: HookKind, layer: Option<usize>, config: &ModelConfig) -> Self {
        let name = layer.map_or_else(|| kind.name().to_owned(), |layer| format!("blocks.{layer}.{}", kind.name()));
        Self { name, layer, kind, width: kind.width(config), latents: None }
    }

    /// The latents of an autoencoder that reads `base`.
    ///
    /// # Errors
    /// [`AutoencoderError::Unusable`] when it reads rows of another width.
    pub fn of_latents(base: &Self, latents: Arc<Latents>) -> Result<Self> {
        let n_inputs = latents.autoencoder.config.n_inputs;
        if n_inputs != base.width {
            let reason = format!("expected {} inputs, as '{base}' has values, got {n_inputs}", base.width);
            return Err(AutoencoderError::Unusable { id: latents.id.clone(), reason }.into());
        }
        let name = format!("{}/{}", base.name, latents.id);
        Ok(Self { name, layer: base.layer, kind: base.kind, width: latents.n_latents(), latents: Some(latents) })
    }

    /// The autoencoder, where the values are its latents.
    pub fn latents(&self) -> Option<&Arc<Latents>> {
        self.latents.as_ref()
    }

    /// Whether `base` is where the values, or the inputs of the autoencoder, are read.
    pub(super) fn is_read_at(&self, base: &Self) -> bool {
        let n_read = self.latents.as_ref().map_or(self.width, |latents| latents.autoencoder.config.n_inputs);
        self.kind == base.kind && self.layer == base.layer && base.latents.is_none() && n_read == base.width
    }

    /// The TransformerLens name, e.g. `blocks.3.mlp.hook_post`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The block, 0-based; none for the embeddings and the final norm.
    pub fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// What is read there, or what the autoencoder reads.
    pub fn kind(&self) -> HookKind {
        self.kind
    }

    /// Values a token, and so the number of neurons.
    pub fn width(&self) -> usize {
        self.width
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Every hook point of a model, in order of computation.
pub(crate) fn all(config: &ModelConfig) -> Vec<HookPoint> {
    let exists = |kind: &HookKind| kind.exists_in(config.family);
    let before = HookKind::BEFORE_BLOCKS.into_iter().filter(exists).map(|kind| HookPoint::new(kind, None, config));
    let blocks = (0..config.n_layers).flat_map(|layer| {
        HookKind::IN_BLOCK.into_iter().filter(exists).map(move |kind| HookPoint::new(kind, Some(layer), config))
    });
    before.chain(blocks).chain([HookPoint::new(HookKind::LnFinalNormalized, None, config)]).collect()
}

/// The hook points among `all` that match a pattern, in which `*` stands for any text.
///
/// # Errors
/// [`Error::HookPointUnknown`] with the most similar name if none matches.
pub(crate) fn select(all: &[HookPoint], pattern: &str) -> Result<Vec<HookPoint>> {
    let selected: Vec<HookPoint> = all.iter().filter(|hook| matches(pattern, &hook.name)).cloned().collect();
    if selected.is_empty() {
        let nearest = all
            .iter()
            .min_by_key(|hook| strsim::damerau_levenshtein(pattern, &hook.name))
            .map(|hook| hook.name.clone());
        return Err(Error::HookPointUnknown { name: pattern.to_owned(), nearest });
    }
    Ok(selected)
}

/// Whether `name` is `pattern` with any text in place of each `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().map(|(i, _)| i).chain([tail.len()]).any(|i| matches(rest, &tail[i..]))
        }),
    }
}
