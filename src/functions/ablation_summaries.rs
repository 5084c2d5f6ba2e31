//! `ablation_summaries(divergences, n_tokens, seed)`: the ablation score of a set of windows, with its bootstrap interval.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature};

use super::ablation::divergences_type;
use super::arguments::{document, signature};
use super::grouped_summaries::GroupedWindows;
use super::summaries::{MetricSummary, Observed, Windows, state_fields, summaries_type};
use crate::scores::ablation::{Divergences, summary};
use crate::scores::resampling::Resampler;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AblationSummaries {
    signature: Signature,
    documentation: Documentation,
}

impl Default for AblationSummaries {
    fn default() -> Self {
        Self {
            signature: signature(3),
            documentation: document(
                "Scores a set of windows, given the divergences that ablation found on each and how many tokens it has: a list of one \
                 struct with metric (ablation), value (1 - sum(simulated) / sum(mean), at most 1), low and high (95 % bootstrap interval \
                 over windows, 1,000 seeded draws; none when the seed is NULL), reason (why value is NULL: no_windows, or \
                 mean_changes_nothing where putting the mean in place of the neuron moves no prediction), n_windows, n_tokens and \
                 n_failed (windows without both divergences; they enter no number). The order of the windows makes no difference.",
                "ablation_summaries(divergences, n_tokens, seed)",
                "SELECT round(s['value'], 4) AS value, s['n_windows'] AS n_windows FROM (SELECT unnest(ablation_summaries(named_struct(\
                 'simulated', simulated, 'mean', mean), 64, 0)) AS s FROM (VALUES (0.01, 0.03), (0.0, 0.01)) AS windows (simulated, mean))",
            ),
        }
    }
}

impl AggregateUDFImpl for AblationSummaries {
    fn name(&self) -> &str {
        "ablation_summaries"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let expected = divergences_type();
        if !arguments[0].equals_datatype(&expected) {
            return exec_err!("'ablation_summaries': expected the result of ablation, got {}", arguments[0]);
        }
        Ok(summaries_type())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Windows::<Divergences>::default()))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupedWindows::<Divergences>::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

impl Observed for Divergences {
    /// Simulated and mean (NaN where there is none), tokens.
    const N_NUMBERS: usize = 3;

    fn read(arguments: &[ArrayRef]) -> Result<Vec<Option<Self>>> {
        let structs = arguments[0].as_struct();
        let (simulated, mean) = (structs.column(0).as_primitive::<Float64Type>(), structs.column(1).as_primitive());
        let n_tokens = cast(&arguments[1], &DataType::Int64)?;
        let n_tokens = n_tokens.as_primitive::<Int64Type>();
        let number = |array: &arrow::array::Float64Array, row: usize| {
            (structs.is_valid(row) && array.is_valid(row)).then(|| array.value(row))
        };
        Ok((0..structs.len())
            .map(|row| {
                let both = number(simulated, row).zip(number(mean, row));
                let n_tokens = if n_tokens.is_valid(row) { n_tokens.value(row).max(0).cast_unsigned() } else { 0 };
                Some(Self { both, n_tokens })
            })
            .collect())
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let (simulated, mean) = self.both.unwrap_or((f64::NAN, f64::NAN));
        [simulated, mean, self.n_tokens as f64].into_iter()
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        let both = (!numbers[0].is_nan()).then_some((numbers[0], numbers[1]));
        Self { both, n_tokens: numbers[2] as u64 }
    }

    fn summaries(windows: &[Self], resampler: Option<&mut Resampler>) -> Vec<MetricSummary> {
        let summary = summary(windows, resampler.map(|resampler| resampler.bootstrap()));
        let n_windows = windows.iter().filter(|window| window.both.is_some()).count();
        vec![MetricSummary {
            metric: "ablation",
            value: summary.value.map_err(|reason| reason.as_str()),
            interval: summary.interval,
            n_windows,
            n_tokens: Some(summary.n_tokens),
            n_failed: windows.len() - n_windows,
        }]
    }
}
