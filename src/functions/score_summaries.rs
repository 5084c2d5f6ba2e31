//! `score_summaries(sums, seed)`: every metric of a set of windows, with its bootstrap interval.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature};

use super::arguments::{document, signature};
use super::grouped_summaries::GroupedWindows;
use super::summaries::{MetricSummary, Observed, Windows, state_fields, summaries_type};
use super::window_sums::{read_sums, sums_type};
use crate::scores::metric::Metric;
use crate::scores::resampling::Resampler;
use crate::scores::summary::summaries;
use crate::scores::window_sums::{N_SUMS, WindowSums};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScoreSummaries {
    signature: Signature,
    documentation: Documentation,
}

impl Default for ScoreSummaries {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "Scores a set of windows, given the window_sums of each: a list of structs, one a metric (ev_correlation, \
                 explained_variance, rsquared_uncentred, absolute_dev_explained) with value, low and high (95 % bootstrap \
                 interval over windows, 1,000 seeded draws; none when the seed is NULL), reason (why value is NULL), n_windows, \
                 n_tokens and n_failed (windows that are NULL; they enter no number). The order of the windows makes no \
                 difference.",
                "score_summaries(sums, seed)",
                "SELECT s['metric'] AS metric, round(s['value'], 4) AS value FROM (SELECT unnest(score_summaries(window_sums(\
                 a, e), 0)) AS s FROM (VALUES ([0.0, 0.0, 1.0], [0.0, 1.0, 2.0])) AS windows (a, e)) ORDER BY metric",
            ),
        }
    }
}

impl AggregateUDFImpl for ScoreSummaries {
    fn name(&self) -> &str {
        "score_summaries"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if arguments[0] != sums_type() {
            return exec_err!("'score_summaries': expected the result of window_sums, got {}", arguments[0]);
        }
        Ok(summaries_type())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Windows::<Sums>::default()))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupedWindows::<Sums>::default()))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The sums of one window; none of a failed one.
#[derive(Debug, Clone, Copy)]
struct Sums(Option<WindowSums>);

impl Observed for Sums {
    /// The number of tokens, -1 for a failed window, and the sums.
    const N_NUMBERS: usize = N_SUMS + 1;

    fn read(arguments: &[ArrayRef]) -> Result<Vec<Option<Self>>> {
        Ok(read_sums(&arguments[0])?.into_iter().map(|window| Some(Self(window))).collect())
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let n = self.0.map_or(-1.0, |sums| sums.n() as f64);
        std::iter::once(n).chain(self.0.unwrap_or_default().to_array())
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        let sums = std::array::from_fn(|k| numbers[k + 1]);
        Self((numbers[0] >= 0.0).then(|| WindowSums::from_array(numbers[0] as u64, sums)))
    }

    fn summaries(windows: &[Self], resampler: Option<&mut Resampler>) -> Vec<MetricSummary> {
        let read: Vec<WindowSums> = windows.iter().filter_map(|window| window.0).collect();
        let n_failed = windows.len() - read.len();
        let summaries = summaries(Metric::ALL, &read, resampler);
        let named = Metric::ALL.iter().zip(summaries);
        named
            .map(|(metric, summary)| MetricSummary {
                metric: metric.as_str(),
                value: summary.value.map_err(|reason| reason.as_str()),
                interval: summary.interval,
                n_windows: summary.n_windows,
                n_tokens: Some(summary.n_tokens),
                n_failed,
            })
            .collect()
    }
}
