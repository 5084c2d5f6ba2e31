//! Columns of the tables, filled row by row; each struct's fields stand in the order of its schema file, without `run`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
};
use arrow::datatypes::{DataType, Field};

use super::unit::{
    EffectSide, ExchangedExplanation, ExchangedRecord, ExchangedScore, ExchangedSimulation, Link, LinkSide, Statistics,
    TokenEffect, TokenMean, UnitKey,
};

pub(crate) fn element(data_type: DataType) -> Field {
    Field::new("element", data_type, true)
}

fn floats() -> ListBuilder<Float32Builder> {
    ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32))
}

fn texts() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8))
}

fn doubles() -> ListBuilder<Float64Builder> {
    ListBuilder::new(Float64Builder::new()).with_field(element(DataType::Float64))
}

/// The columns that every table of units begins with.
#[derive(Default)]
pub(super) struct UnitColumns {
    model: StringBuilder,
    hook_point: StringBuilder,
    layer: Int32Builder,
    neuron: Int32Builder,
    corpus: StringBuilder,
}

impl UnitColumns {
    pub(super) fn push(&mut self, unit: &UnitKey) {
        self.model.append_value(&unit.model);
        self.hook_point.append_value(&unit.hook_point);
        self.layer.append_option(unit.layer);
        self.neuron.append_value(unit.neuron);
        self.corpus.append_value(&unit.corpus);
    }

    pub(super) fn with_corpus(mut self) -> Vec<ArrayRef> {
        let corpus = Arc::new(self.corpus.finish());
        let mut columns = self.without_corpus();
        columns.push(corpus);
        columns
    }

    pub(super) fn without_corpus(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.model.finish()),
            Arc::new(self.hook_point.finish()),
            Arc::new(self.layer.finish()),
            Arc::new(self.neuron.finish()),
        ]
    }
}

/// `finish` of several builders, after the unit's own columns.
macro_rules! columns {
    ($unit:expr, $($builder:expr),* $(,)?) => {{
        let mut columns = $unit;
        $(columns.push(Arc::new($builder.finish()) as ArrayRef);)*
        columns
    }};
}

pub(crate) struct Neurons {
    unit: UnitColumns,
    n_tokens: Int64Builder,
    moments: [Float64Builder; 4],
    min: Float32Builder,
    max: Float32Builder,
    density: Float64Builder,
    levels: ListBuilder<Float64Builder>,
    quantiles: ListBuilder<Float64Builder>,
}

impl Default for Neurons {
    fn default() -> Self {
        Self {
            unit: UnitColumns::default(),
            n_tokens: Int64Builder::new(),
            moments: Default::default(),
            min: Float32Builder::new(),
            max: Float32Builder::new(),
            density: Float64Builder::new(),
            levels: doubles(),
            quantiles: doubles(),
        }
    }
}

impl Neurons {
    pub(crate) fn push(&mut self, unit: &UnitKey, statistics: &Statistics) {
        let Statistics { n_tokens, mean, variance, skewness, kurtosis, min, max, density, quantile_levels, quantiles } =
            statistics;
        self.unit.push(unit);
        self.n_tokens.append_option(*n_tokens);
        for (builder, moment) in self.moments.iter_mut().zip([mean, variance, skewness, kurtosis]) {
            builder.append_option(*moment);
        }
        self.min.append_option(*min);
        self.max.append_option(*max);
        self.density.append_option(*density);
        self.levels.values().append_slice(quantile_levels);
        self.levels.append(true);
        self.quantiles.values().append_slice(quantiles);
        self.quantiles.append(!quantiles.is_empty());
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        let [mean, variance, skewness, kurtosis] = &mut self.moments;
        columns![
            self.unit.with_corpus(),
            self.n_tokens,
            mean,
            variance,
            skewness,
            kurtosis,
            self.min,
            self.max,
            self.density,
            self.levels,
            self.quantiles
        ]
    }
}

pub(crate) struct Records {
    unit: UnitColumns,
    sample: StringBuilder,
    rank: Int32Builder,
    sequence: Int64Builder,
    split: StringBuilder,
    max_activation: Float32Builder,
    activations: ListBuilder<Float32Builder>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            unit: UnitColumns::default(),
            sample: StringBuilder::new(),
            rank: Int32Builder::new(),
            sequence: Int64Builder::new(),
            split: StringBuilder::new(),
            max_activation: Float32Builder::new(),
            activations: floats(),
        }
    }
}

impl Records {
    pub(crate) fn push(&mut self, unit: &UnitKey, sequence: i64, record: &ExchangedRecord) {
        self.unit.push(unit);
        self.sample.append_value(&record.sample);
        self.rank.append_value(record.rank);
        self.sequence.append_value(sequence);
        self.split.append_value(record.split.as_str());
        self.max_activation.append_option(record.activations.iter().copied().reduce(f32::max));
        self.activations.values().append_slice(&record.activations);
        self.activations.append(true);
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![
            self.unit.with_corpus(),
            self.sample,
            self.rank,
            self.sequence,
            self.split,
            self.max_activation,
            self.activations
        ]
    }
}

#[derive(Default)]
pub(crate) struct TokenMeans {
    unit: UnitColumns,
    token_id: Int32Builder,
    token: StringBuilder,
    mean: Float32Builder,
    n_occurrences: Int64Builder,
}

impl TokenMeans {
    pub(crate) fn push(&mut self, unit: &UnitKey, mean: &TokenMean) {
        self.unit.push(unit);
        self.token_id.append_null();
        self.token.append_value(&mean.token);
        self.mean.append_option(mean.mean_activation);
        self.n_occurrences.append_option(mean.n_occurrences);
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![self.unit.with_corpus(), self.token_id, self.token, self.mean, self.n_occurrences]
    }
}

fn sign(positive: bool) -> &'static str {
    if positive { "positive" } else { "negative" }
}

#[derive(Default)]
pub(crate) struct Effects {
    unit: UnitColumns,
    direction: StringBuilder,
    sign: StringBuilder,
    rank: Int32Builder,
    token_id: Int32Builder,
    token: StringBuilder,
    strength: Float32Builder,
}

impl Effects {
    pub(crate) fn push(&mut self, unit: &UnitKey, effect: &TokenEffect) {
        self.unit.push(unit);
        self.direction.append_value(match effect.side {
            EffectSide::Input => "input",
            EffectSide::Output => "output",
        });
        self.sign.append_value(sign(effect.positive));
        self.rank.append_value(effect.rank);
        self.token_id.append_null();
        self.token.append_value(&effect.token);
        self.strength.append_option(effect.strength);
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![
            self.unit.without_corpus(),
            self.direction,
            self.sign,
            self.rank,
            self.token_id,
            self.token,
            self.strength
        ]
    }
}

#[derive(Default)]
pub(crate) struct Links {
    unit: UnitColumns,
    direction: StringBuilder,
    sign: StringBuilder,
    rank: Int32Builder,
    other_hook_point: StringBuilder,
    other_neuron: Int32Builder,
    weight: Float32Builder,
}

impl Links {
    pub(crate) fn push(&mut self, unit: &UnitKey, link: &Link) {
        self.unit.push(unit);
        self.direction.append_value(match link.side {
            LinkSide::Upstream => "upstream",
            LinkSide::Downstream => "downstream",
        });
        self.sign.append_value(sign(link.positive));
        self.rank.append_value(link.rank);
        self.other_hook_point.append_value(&link.other_hook_point);
        self.other_neuron.append_value(link.other_neuron);
        self.weight.append_option(link.weight);
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![
            self.unit.without_corpus(),
            self.direction,
            self.sign,
            self.rank,
            self.other_hook_point,
            self.other_neuron,
            self.weight
        ]
    }
}

pub(crate) struct Explanations {
    unit: UnitColumns,
    explanation: StringBuilder,
    explainer: StringBuilder,
    explainer_model: StringBuilder,
    sample_no: Int32Builder,
    round: Int32Builder,
    revised: StringBuilder,
    text: StringBuilder,
    reason: StringBuilder,
    completions: ListBuilder<StringBuilder>,
}

impl Default for Explanations {
    fn default() -> Self {
        Self {
            unit: UnitColumns::default(),
            explanation: StringBuilder::default(),
            explainer: StringBuilder::default(),
            explainer_model: StringBuilder::default(),
            sample_no: Int32Builder::default(),
            round: Int32Builder::default(),
            revised: StringBuilder::default(),
            text: StringBuilder::default(),
            reason: StringBuilder::default(),
            completions: texts(),
        }
    }
}

impl Explanations {
    pub(crate) fn push(&mut self, unit: &UnitKey, id: &str, explanation: &ExchangedExplanation) {
        self.unit.push(unit);
        self.explanation.append_value(id);
        self.explainer.append_value(&explanation.explainer);
        self.explainer_model.append_option(explanation.explainer_model.as_deref());
        self.sample_no.append_value(explanation.sample_no);
        self.round.append_value(0);
        self.revised.append_null();
        self.text.append_value(&explanation.text);
        self.reason.append_null();
        self.completions.append_null();
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![
            self.unit.with_corpus(),
            self.explanation,
            self.explainer,
            self.explainer_model,
            self.sample_no,
            self.round,
            self.revised,
            self.text,
            self.reason,
            self.completions
        ]
    }
}

pub(crate) struct Simulations {
    unit: UnitColumns,
    explanation: StringBuilder,
    control: BooleanBuilder,
    source_explanation: StringBuilder,
    simulator: StringBuilder,
    simulator_model: StringBuilder,
    scale: StringBuilder,
    sample: StringBuilder,
    rank: Int32Builder,
    sequence: Int64Builder,
    split: StringBuilder,
    expected: ListBuilder<Float32Builder>,
    number_mass: Float32Builder,
    distribution: ListBuilder<Float32Builder>,
    reason: StringBuilder,
    completions: ListBuilder<StringBuilder>,
}

impl Default for Simulations {
    fn default() -> Self {
        Self {
            unit: UnitColumns::default(),
            explanation: StringBuilder::new(),
            control: BooleanBuilder::new(),
            source_explanation: StringBuilder::new(),
            simulator: StringBuilder::new(),
            simulator_model: StringBuilder::new(),
            scale: StringBuilder::new(),
            sample: StringBuilder::new(),
            rank: Int32Builder::new(),
            sequence: Int64Builder::new(),
            split: StringBuilder::new(),
            expected: floats(),
            number_mass: Float32Builder::new(),
            distribution: floats(),
            reason: StringBuilder::new(),
            completions: texts(),
        }
    }
}

impl Simulations {
    pub(crate) fn push(&mut self, unit: &UnitKey, id: &str, sequence: i64, simulation: &ExchangedSimulation) {
        self.unit.push(unit);
        self.explanation.append_value(id);
        self.control.append_value(false);
        self.source_explanation.append_value(id);
        self.simulator.append_value(&simulation.simulator);
        self.simulator_model.append_option(simulation.simulator_model.as_deref());
        self.scale.append_value(&simulation.scale);
        self.sample.append_value(&simulation.sample);
        self.rank.append_value(simulation.rank);
        self.sequence.append_value(sequence);
        self.split.append_value(simulation.split.as_str());
        for expected in &simulation.expected {
            self.expected.values().append_option(*expected);
        }
        let failed = simulation.expected.is_empty();
        self.expected.append(!failed);
        self.number_mass.append_null();
        self.distribution.values().append_slice(&simulation.distribution);
        self.distribution.append(!simulation.distribution.is_empty());
        self.reason.append_option(failed.then_some("not_in_source"));
        self.completions.append_null();
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        columns![
            self.unit.with_corpus(),
            self.explanation,
            self.control,
            self.source_explanation,
            self.simulator,
            self.simulator_model,
            self.scale,
            self.sample,
            self.rank,
            self.sequence,
            self.split,
            self.expected,
            self.number_mass,
            self.distribution,
            self.reason,
            self.completions
        ]
    }
}

#[derive(Default)]
pub(crate) struct Scores {
    unit: UnitColumns,
    explanation: StringBuilder,
    scorer: StringBuilder,
    scorer_model: StringBuilder,
    calibration: StringBuilder,
    metric: StringBuilder,
    sample_set: StringBuilder,
    split: StringBuilder,
    numbers: [Float64Builder; 4],
    reason: StringBuilder,
    n_windows: Int32Builder,
    n_tokens: Int64Builder,
    n_failed: Int32Builder,
}

impl Scores {
    pub(crate) fn push(&mut self, unit: &UnitKey, id: &str, score: &ExchangedScore) {
        self.unit.push(unit);
        self.explanation.append_value(id);
        self.scorer.append_value(&score.scorer);
        self.scorer_model.append_option(score.scorer_model.as_deref());
        self.calibration.append_value(&score.calibration);
        self.metric.append_value(&score.metric);
        self.sample_set.append_value(&score.sample_set);
        self.split.append_value(score.split.as_str());
        for (builder, number) in self.numbers.iter_mut().zip([score.value, score.control, score.low, score.high]) {
            builder.append_option(number);
        }
        self.reason.append_option(score.reason.as_deref());
        self.n_windows.append_value(score.n_windows);
        self.n_tokens.append_value(score.n_tokens);
        self.n_failed.append_value(score.n_failed);
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        let [value, control, low, high] = &mut self.numbers;
        columns![
            self.unit.with_corpus(),
            self.explanation,
            self.scorer,
            self.scorer_model,
            self.calibration,
            self.metric,
            self.sample_set,
            self.split,
            value,
            control,
            low,
            high,
            self.reason,
            self.n_windows,
            self.n_tokens,
            self.n_failed
        ]
    }
}
