//! Columns of `judgements` and `activations`, filled row by row; each struct's fields stand in the order of its schema file, without `run`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Array, Float64Builder, Int32Array, Int32Builder, Int64Array, Int64Builder,
    StringBuilder,
};

use super::columns::UnitColumns;
use super::unit::{ExchangedJudgement, Firings, UnitKey};

#[derive(Default)]
pub(crate) struct Judgements {
    unit: UnitColumns,
    explanation: StringBuilder,
    control: BooleanBuilder,
    source_explanation: StringBuilder,
    scorer: StringBuilder,
    scorer_model: StringBuilder,
    sample: StringBuilder,
    rank: Int32Builder,
    sequence: Int64Builder,
    split: StringBuilder,
    activating: BooleanBuilder,
    predicted: BooleanBuilder,
    value: Float64Builder,
    reason: StringBuilder,
    completion: StringBuilder,
}

impl Judgements {
    pub(crate) fn push(&mut self, unit: &UnitKey, id: &str, sequence: i64, judgement: &ExchangedJudgement) {
        self.unit.push(unit);
        self.explanation.append_value(id);
        self.control.append_value(false);
        self.source_explanation.append_value(id);
        self.scorer.append_value(&judgement.scorer);
        self.scorer_model.append_option(judgement.scorer_model.as_deref());
        self.sample.append_value(&judgement.sample);
        self.rank.append_value(judgement.rank);
        self.sequence.append_value(sequence);
        self.split.append_value(judgement.split.as_str());
        self.activating.append_value(judgement.activating);
        self.predicted.append_option(judgement.predicted);
        self.value.append_option(judgement.value);
        let failed = judgement.predicted.is_none() && judgement.value.is_none();
        self.reason.append_option(failed.then_some("failed_at_source"));
        self.completion.append_null();
    }

    pub(crate) fn columns(mut self) -> Vec<ArrayRef> {
        let mut columns = self.unit.with_corpus();
        let rest: [ArrayRef; 14] = [
            Arc::new(self.explanation.finish()),
            Arc::new(self.control.finish()),
            Arc::new(self.source_explanation.finish()),
            Arc::new(self.scorer.finish()),
            Arc::new(self.scorer_model.finish()),
            Arc::new(self.sample.finish()),
            Arc::new(self.rank.finish()),
            Arc::new(self.sequence.finish()),
            Arc::new(self.split.finish()),
            Arc::new(self.activating.finish()),
            Arc::new(self.predicted.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.completion.finish()),
        ];
        columns.extend(rest);
        columns
    }
}

/// Firings of some units.
#[derive(Default)]
pub(crate) struct FiringColumns {
    unit: UnitColumns,
    sequences: Vec<i64>,
    positions: Vec<i32>,
    activations: Vec<f32>,
}

impl FiringColumns {
    pub(crate) fn push(&mut self, firings: Firings) {
        firings.sequences.iter().for_each(|_| self.unit.push(&firings.unit));
        self.sequences.extend(firings.sequences);
        self.positions.extend(firings.positions);
        self.activations.extend(firings.activations);
    }

    pub(crate) fn columns(self) -> Vec<ArrayRef> {
        let mut columns = self.unit.with_corpus();
        let rest: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(self.sequences)),
            Arc::new(Int32Array::from(self.positions)),
            Arc::new(Float32Array::from(self.activations)),
        ];
        columns.extend(rest);
        columns
    }
}
