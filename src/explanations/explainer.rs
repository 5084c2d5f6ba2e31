//! The ways of writing an explanation, by name.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::evidence::Evidence;
use super::prompt;
use crate::error::{Error, Result};
use crate::hash;

#[cfg(test)]
mod tests;

/// What writes an explanation. docs/explainers.md compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Explainer {
    /// The token lookup table as a sentence ([`super::token_lookup`]); no language model.
    TokenLookup,
    /// Tokens and their activations, one a line (Bills et al. 2023).
    TokenActivation,
    /// Plain text with the strong tokens marked (after Lee et al. 2023, arXiv 2310.06200).
    Summary,
    /// The strongest token of each window with a little context.
    MaxActivation,
    /// As [`Explainer::MaxActivation`], and the tokens that the neuron makes likelier.
    Logits,
    /// Marked text, and near misses in which the neuron is silent.
    Contrastive,
    /// A pattern of tokens and their left contexts ([`super::n2g`]); no language model.
    N2g,
}

impl Explainer {
    /// Every explainer.
    pub const ALL: [Self; 7] = [
        Self::TokenLookup,
        Self::TokenActivation,
        Self::Summary,
        Self::MaxActivation,
        Self::Logits,
        Self::Contrastive,
        Self::N2g,
    ];

    /// The one meant where only a language model is named: the paper's.
    pub const OF_A_MODEL: Self = Self::TokenActivation;

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenLookup => super::token_lookup::TOKEN_LOOKUP,
            Self::TokenActivation => "token_activation",
            Self::Summary => "summary",
            Self::MaxActivation => "max_activation",
            Self::Logits => "logits",
            Self::Contrastive => "contrastive",
            Self::N2g => "n2g",
        }
    }

    /// Whether a language model writes.
    pub fn needs_model(self) -> bool {
        !matches!(self, Self::TokenLookup | Self::N2g)
    }

    /// Whether it cannot do without [`Evidence::quiet`]. [`Explainer::N2g`] uses such windows where there are any.
    pub fn needs_quiet(self) -> bool {
        self == Self::Contrastive
    }

    /// Whether it cannot do without [`Evidence::promoted`].
    pub fn needs_promoted(self) -> bool {
        self == Self::Logits
    }

    /// SHA-256, in hexadecimal, of the prompt with its examples around fixed evidence: changes whenever the wording, the
    /// examples or the layout do. `None` for explainers without a prompt.
    pub fn prompt_hash(self) -> Option<String> {
        let examples = prompt::n_examples(self);
        let messages = prompt::messages(self, &Evidence::default(), examples)?;
        let text = serde_json::to_string(&messages).ok()?;
        Some(hash::hex(&Sha256::digest(text.as_bytes())))
    }
}

impl fmt::Display for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Explainer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|explainer| explainer.name() == text).ok_or_else(|| Error::MethodUnknown {
            kind: "explainer",
            known: Self::ALL.map(Self::name).to_vec(),
            got: text.to_owned(),
        })
    }
}
