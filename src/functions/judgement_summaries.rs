//! `judgement_summaries(activating, predicted, value, seed)`: every metric of a set of judgements, with its bootstrap interval.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature};

use super::arguments::{document, signature};
use super::grouped_summaries::GroupedWindows;
use super::summaries::{MetricSummary, Observed, Windows, state_fields, summaries_type};
use crate::scores::classification::{Judged, summaries};
use crate::scores::resampling::Resampler;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct JudgementSummaries {
    signature: Signature,
    documentation: Documentation,
}

impl Default for JudgementSummaries {
    fn default() -> Self {
        Self {
            signature: signature(4),
            documentation: document(
                "Scores a set of judgements of windows: a list of structs, one a metric (accuracy, balanced_accuracy, f1, hit_rate, \
                 precision, recall, roc_auc) with value, low and high (95 % bootstrap interval over windows, 1,000 seeded draws; \
                 none when the seed is NULL), reason (why value is NULL: no_windows, nothing_judged, no_positives, no_negatives, \
                 none_predicted), n_windows (that the value is read from), n_tokens (NULL: a judgement tells none) and n_failed (judgements with neither prediction nor \
                 value). hit_rate is the share of windows that are not activating and were found out: of the intruder scorer, the \
                 share of groups in which the intruder was named. Rows without activating are left out; the order of the rows \
                 makes no difference.",
                "judgement_summaries(activating, predicted, value, seed)",
                "SELECT s['metric'] AS metric, round(s['value'], 4) AS value, s['n_windows'] AS n_windows FROM (SELECT unnest(\
                 judgement_summaries(activating, predicted, value, 0)) AS s FROM (VALUES (true, true, 0.9), (true, false, 0.4), \
                 (false, false, 0.4), (false, false, 0.1)) AS judgements (activating, predicted, value)) ORDER BY metric",
            ),
        }
    }
}

impl AggregateUDFImpl for JudgementSummaries {
    fn name(&self) -> &str {
        "judgement_summaries"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        for (name, found) in ["activating", "predicted"].into_iter().zip(arguments) {
            if !matches!(found, DataType::Boolean | DataType::Null) {
                return exec_err!("'judgement_summaries': {name}: expected BOOLEAN, got {found}");
            }
        }
        if !arguments[2].is_numeric() && arguments[2] != DataType::Null {
            return exec_err!("'judgement_summaries': value: expected a number, got {}", arguments[2]);
        }
        Ok(summaries_type())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Windows::<Judged>::default()))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupedWindows::<Judged>::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

impl Observed for Judged {
    /// Activating, predicted (-1 for none), value (NaN for none).
    const N_NUMBERS: usize = 3;

    fn read(arguments: &[ArrayRef]) -> Result<Vec<Option<Self>>> {
        let booleans = |array: &ArrayRef| cast(array, &DataType::Boolean);
        let (activating, predicted) = (booleans(&arguments[0])?, booleans(&arguments[1])?);
        let value = cast(&arguments[2], &DataType::Float64)?;
        let predictions = predicted.as_boolean().iter().zip(value.as_primitive::<Float64Type>());
        let rows = activating.as_boolean().iter().zip(predictions);
        Ok(rows
            .map(|(activating, (predicted, value))| Some(Self { activating: activating?, predicted, value }))
            .collect())
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let flag = |flag: bool| f64::from(u8::from(flag));
        [flag(self.activating), self.predicted.map_or(-1.0, flag), self.value.unwrap_or(f64::NAN)].into_iter()
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        Self {
            activating: numbers[0] > 0.0,
            predicted: (numbers[1] >= 0.0).then_some(numbers[1] > 0.0),
            value: Some(numbers[2]).filter(|value| !value.is_nan()),
        }
    }

    fn summaries(windows: &[Self], resampler: Option<&mut Resampler>) -> Vec<MetricSummary> {
        let summaries = summaries(windows, resampler.map(|resampler| resampler.bootstrap())).into_iter();
        summaries
            .map(|summary| MetricSummary {
                metric: summary.metric.as_str(),
                value: summary.value.map_err(|reason| reason.as_str()),
                interval: summary.interval,
                n_windows: summary.n_windows,
                n_tokens: None,
                n_failed: summary.n_failed,
            })
            .collect()
    }
}
