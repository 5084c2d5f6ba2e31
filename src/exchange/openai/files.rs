//! The JSON files of the dataset as types: every field that is kept, under each of its names.
//!
//! `dataclass_name`, fields of later versions and whatever else is there is passed over. A number that the writer could not say (NaN)
//! is `null`.

use std::borrow::Cow;

use serde::Deserialize;

use super::exact::Number;
use super::lists::{Floats, Index, OptionalFloats, Ragged, Tokens};

/// Which unit a file is about.
#[derive(Debug, Deserialize)]
pub(crate) struct NeuronId {
    #[serde(alias = "layer")]
    pub(crate) layer_index: Index,
    #[serde(alias = "idx")]
    pub(crate) neuron_index: Index,
}

/// `collated-activations/{layer}/{neuron}.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct NeuronRecord {
    pub(crate) neuron_id: NeuronId,
    #[serde(alias = "top_activations")]
    pub(crate) most_positive_activation_records: Option<Vec<ActivationRecord>>,
    pub(crate) random_sample: Option<Vec<ActivationRecord>>,
    #[serde(alias = "random_sample_by_decile")]
    pub(crate) random_sample_by_quantile: Option<Vec<Vec<ActivationRecord>>>,
    pub(crate) quantile_boundaries: Option<Vec<Option<Number>>>,
    pub(crate) mean: Option<Number>,
    pub(crate) variance: Option<Number>,
    pub(crate) skewness: Option<Number>,
    pub(crate) kurtosis: Option<Number>,
}

/// Tokens and what the unit did on each.
#[derive(Debug, Deserialize)]
pub(crate) struct ActivationRecord {
    pub(crate) tokens: Tokens,
    pub(crate) activations: Floats,
}

/// The one line of `explanations/{layer}/{neuron}.jsonl`.
#[derive(Debug, Deserialize)]
pub(crate) struct NeuronSimulationResults<'a> {
    pub(crate) neuron_id: NeuronId,
    #[serde(alias = "scored_explanation_or_baseline_list", borrow)]
    pub(crate) scored_explanations: Vec<ScoredExplanation<'a>>,
}

/// A text and what it led one to expect.
#[derive(Debug, Deserialize)]
pub(crate) struct ScoredExplanation<'a> {
    #[serde(alias = "explanation_or_baseline", borrow)]
    pub(crate) explanation: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) scored_simulation: ScoredSimulation<'a>,
}

/// The windows of a text with the scores over all of them.
#[derive(Debug, Deserialize)]
pub(crate) struct ScoredSimulation<'a> {
    #[serde(borrow)]
    pub(crate) scored_sequence_simulations: Vec<ScoredSequenceSimulation<'a>>,
    pub(crate) ev_correlation_score: Option<Number>,
    pub(crate) rsquared_score: Option<Number>,
    pub(crate) absolute_dev_explained_score: Option<Number>,
}

/// One window.
#[derive(Debug, Deserialize)]
pub(crate) struct ScoredSequenceSimulation<'a> {
    #[serde(alias = "sequence_simulation", borrow)]
    pub(crate) simulation: SequenceSimulation<'a>,
    pub(crate) true_activations: Floats,
    pub(crate) ev_correlation_score: Option<Number>,
    pub(crate) rsquared_score: Option<Number>,
    pub(crate) absolute_dev_explained_score: Option<Number>,
}

/// What was expected on one window.
#[derive(Debug, Deserialize)]
pub(crate) struct SequenceSimulation<'a> {
    pub(crate) tokens: Tokens,
    pub(crate) expected_activations: OptionalFloats,
    #[serde(alias = "unit", borrow)]
    pub(crate) activation_scale: Cow<'a, str>,
    pub(crate) distribution_values: Option<Ragged>,
    pub(crate) distribution_probabilities: Option<Ragged>,
    #[serde(borrow)]
    pub(crate) uncalibrated_simulation: Option<Box<SequenceSimulation<'a>>>,
}

/// `related-tokens/activation-based/{layer}/{neuron}.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenLookupTableSummaryOfNeuron<'a> {
    #[serde(borrow)]
    pub(crate) tokens: Vec<Cow<'a, str>>,
    pub(crate) average_activations: OptionalFloats,
}

/// `related-tokens/weight-based/{layer}/{neuron}.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct WeightBasedSummaryOfNeuron<'a> {
    #[serde(borrow)]
    pub(crate) input_positive: Option<TokensAndWeights<'a>>,
    #[serde(borrow)]
    pub(crate) input_negative: Option<TokensAndWeights<'a>>,
    #[serde(borrow)]
    pub(crate) output_positive: Option<TokensAndWeights<'a>>,
    #[serde(borrow)]
    pub(crate) output_negative: Option<TokensAndWeights<'a>>,
}

/// Tokens with the strength of each.
#[derive(Debug, Deserialize)]
pub(crate) struct TokensAndWeights<'a> {
    #[serde(borrow)]
    pub(crate) tokens: Vec<Cow<'a, str>>,
    pub(crate) strengths: OptionalFloats,
}

/// `related-neurons/weight-based/{layer}/{neuron}.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct RelatedNeurons<'a> {
    #[serde(borrow)]
    pub(crate) c_fc: Option<NeuronsAndWeights<'a>>,
    #[serde(borrow)]
    pub(crate) c_proj: Option<NeuronsAndWeights<'a>>,
}

/// Units as `{layer}_{neuron}` with the weight of each.
#[derive(Debug, Deserialize)]
pub(crate) struct NeuronsAndWeights<'a> {
    #[serde(borrow)]
    pub(crate) top_positive_neurons: Vec<Cow<'a, str>>,
    pub(crate) top_positive_weights: OptionalFloats,
    #[serde(borrow)]
    pub(crate) top_negative_neurons: Vec<Cow<'a, str>>,
    pub(crate) top_negative_weights: OptionalFloats,
}
