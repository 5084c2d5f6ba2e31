//! Rows of the dump's files, as the site's database has them; what the tables have no place for is not named here.

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde_json::Value;

use crate::exchange::extra::{ActivationExtra, ExplanationExtra, FeatureExtra, ScoreExtra, SourceExtra};
use crate::exchange::unit::Window;

/// A feature's number: a text in dumps, a number in SAEDashboard's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Index(pub(super) i32);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Index;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number from 0 to 2147483647, as a number or in quotes")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Index, E> {
                i32::try_from(number).map(Index).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Index, E> {
                i32::try_from(number)
                    .ok()
                    .filter(|number| *number >= 0)
                    .map(Index)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Index, E> {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                digits
                    .then(|| text.parse().ok().map(Index))
                    .flatten()
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A list of tokens, read without a text of its own for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tokens(pub(super) Window);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Tokens;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of tokens")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Tokens, E> {
                Ok(Tokens::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
                let mut window = Window::default();
                while let Some(Token) = list.next_element_seed(Into(&mut window))? {}
                Ok(Tokens(window))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// A token went into the window.
struct Token;

struct Into<'a>(&'a mut Window);

impl<'de> de::DeserializeSeed<'de> for Into<'_> {
    type Value = Token;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Token, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Into<'_> {
    type Value = Token;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a token's text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Token, E> {
        self.0.push(text);
        Ok(Token)
    }
}

/// A list that may be `null`.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// Line of `source.jsonl`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct SourceRow {
    pub(super) id: Option<String>,
    #[serde(rename = "modelId")]
    pub(super) model: Option<String>,
    #[serde(rename = "saelensConfig")]
    pub(super) saelens_config: Option<Value>,
    pub(super) num_prompts: Option<i64>,
    pub(super) num_tokens_in_prompt: Option<i64>,
    pub(super) dataset: Option<String>,
}

impl SourceRow {
    /// What our own export says, in the one field of a source that takes anything.
    pub(super) fn extra(&self) -> Option<SourceExtra> {
        serde_json::from_value(self.saelens_config.as_ref()?.get("neuronlake")?.clone()).ok()
    }

    /// The hook point that the SAE's own settings name.
    pub(super) fn hook_name(&self) -> Option<&str> {
        let config = self.saelens_config.as_ref()?;
        // SAELens has had the name at either place.
        let names = [config.get("hook_name"), config.get("metadata").and_then(|inner| inner.get("hook_name"))];
        names.into_iter().flatten().find_map(Value::as_str).filter(|name| !name.is_empty())
    }
}

/// Line of `features/`, and what a feature of a SAEDashboard batch shares with it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct FeatureRow {
    #[serde(rename = "modelId")]
    pub(super) model_id: Option<String>,
    #[serde(rename = "layer")]
    pub(super) source: Option<String>,
    #[serde(alias = "feature_index")]
    pub(super) index: Option<Index>,
    #[serde(rename = "hookName")]
    pub(super) hook_name: Option<String>,
    #[serde(rename = "maxActApprox")]
    pub(super) max: Option<f64>,
    pub(super) frac_nonzero: Option<f64>,
    #[serde(default)]
    pub(super) pos_str: Tokens,
    #[serde(default, deserialize_with = "list")]
    pub(super) pos_values: Vec<Option<f32>>,
    #[serde(default)]
    pub(super) neg_str: Tokens,
    #[serde(default, deserialize_with = "list")]
    pub(super) neg_values: Vec<Option<f32>>,
    #[serde(default, deserialize_with = "list")]
    pub(super) neuron_alignment_indices: Vec<Index>,
    #[serde(default, deserialize_with = "list")]
    pub(super) neuron_alignment_values: Vec<Option<f32>>,
    #[serde(default)]
    pub(super) freq_hist_data_bar_heights: Present,
    #[serde(default)]
    pub(super) logits_hist_data_bar_heights: Present,
    #[serde(default)]
    pub(super) correlated_neurons_indices: Present,
    #[serde(default)]
    pub(super) correlated_features_indices: Present,
    #[serde(default, rename = "topkCosSimIndices")]
    pub(super) cosines: Present,
    #[serde(default)]
    pub(super) decoder_weights_dist: Present,
    #[serde(default)]
    pub(super) vector: Present,
    pub(super) n_prompts_total: Option<i64>,
    pub(super) n_tokens_in_prompt: Option<i64>,
    #[serde(default, deserialize_with = "list")]
    pub(super) activations: Vec<ActivationRow>,
    pub(super) neuronlake: Option<FeatureExtra>,
}

/// Whether a list that is not kept has anything in it.
#[derive(Debug, Default)]
pub(super) struct Present(pub(super) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<Vec<de::IgnoredAny>>::deserialize(deserializer)?.is_some_and(|list| !list.is_empty())))
    }
}

/// Line of `activations/`, and an activation of a SAEDashboard batch.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ActivationRow {
    #[serde(rename = "modelId")]
    pub(super) model_id: Option<String>,
    #[serde(rename = "layer")]
    pub(super) source: Option<String>,
    pub(super) index: Option<Index>,
    pub(super) tokens: Tokens,
    pub(super) values: Vec<Option<f32>>,
    #[serde(rename = "binMin", alias = "bin_min")]
    pub(super) bin_min: Option<f64>,
    #[serde(rename = "binMax", alias = "bin_max")]
    pub(super) bin_max: Option<f64>,
    #[serde(default, rename = "dfaValues", alias = "dfa_values")]
    pub(super) attribution: Present,
    pub(super) neuronlake: Option<ActivationExtra>,
}

/// Line of `explanations/`; `scores` stands in answers of the site's interface and in our exports, never in its dumps.
#[derive(Debug, Deserialize)]
pub(super) struct ExplanationRow {
    #[serde(rename = "modelId")]
    pub(super) model_id: Option<String>,
    #[serde(rename = "layer")]
    pub(super) source: Option<String>,
    pub(super) id: Option<String>,
    pub(super) index: Option<Index>,
    pub(super) description: Option<String>,
    #[serde(rename = "typeName")]
    pub(super) type_name: Option<String>,
    #[serde(rename = "explanationModelName")]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) embedding: Embedding,
    pub(super) scores: Option<Vec<ScoreRow>>,
    pub(super) neuronlake: Option<ExplanationExtra>,
}

/// Whether a text has a vector beside it.
#[derive(Debug, Default)]
pub(super) struct Embedding(pub(super) bool);

impl<'de> Deserialize<'de> for Embedding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<de::IgnoredAny>::deserialize(deserializer)?.is_some()))
    }
}

/// Line of `scores/`, and an entry of an explanation's `scores`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ScoreRow {
    #[serde(rename = "explanationId")]
    pub(super) explanation: Option<String>,
    pub(super) value: Option<f64>,
    #[serde(rename = "explanationScoreTypeName")]
    pub(super) type_name: String,
    #[serde(rename = "explanationScoreModelName")]
    pub(super) model: Option<String>,
    #[serde(default, rename = "jsonDetails")]
    pub(super) details: Option<String>,
    pub(super) neuronlake: Option<ScoreExtra>,
}

/// What a score's details say of one window.
#[derive(Debug, Deserialize)]
pub(super) struct Judged {
    pub(super) prediction: Option<Value>,
}
