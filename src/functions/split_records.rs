//! `split_records(records)`: gives records of the pool their split by the paper's interleaving of ranks.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StringArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, signature};
use super::unit_schema::{record_fields, records_type};
use crate::token_sequences::split::{Split, interleave_random, interleave_top};

/// Records of each kind in each split under the paper's strategy.
const PER_SPLIT: usize = 5;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SplitRecords {
    signature: Signature,
    documentation: Documentation,
}

impl Default for SplitRecords {
    fn default() -> Self {
        Self {
            signature: signature(1),
            documentation: document(
                "Gives the records that collect_activations drew from a pool (split strategy 'paper') the split that the \
                 paper's interleaving of ranks gives them, ranked anew inside it: top ranks go round train, calibration, \
                 valid, test; random ones calibration, valid, test. A random window that is also a top one is left out, and \
                 so are quantile samples, so that no window stands on two sides. Other records pass unchanged.",
                "split_records(records)",
                "SELECT unnest(split_records(records))['split'] AS split FROM collect_activations('default', 'default', \
                 'blocks.0.mlp.hook_post', '0') LIMIT 1",
            ),
        }
    }
}

impl ScalarUDFImpl for SplitRecords {
    fn name(&self) -> &str {
        "split_records"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(records_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        if array.data_type() != &records_type() {
            return exec_err!("'split_records': expected records of collect_activations, got {}", array.data_type());
        }
        let lists = array.as_list::<i32>();
        let records = lists.values().as_struct();
        let samples = records.column(0).as_string::<i32>();
        let ranks = records.column(1).as_primitive::<Int32Type>();
        let sequences = records.column(2).as_primitive::<Int64Type>();
        let splits = records.column(3).as_string::<i32>();

        let mut kept = Vec::new();
        let mut new_ranks = Vec::new();
        let mut new_splits = Vec::new();
        let mut lengths = Vec::with_capacity(lists.len());
        for row in 0..lists.len() {
            let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
            let from = kept.len();
            let pool = Split::Pool.as_str();
            let top: HashSet<i64> = range
                .clone()
                .filter(|&i| splits.value(i) == pool && samples.value(i) == "top")
                .map(|i| sequences.value(i))
                .collect();
            let mut random_rank = 0;
            for i in range {
                let rank = ranks.value(i);
                let (split, rank) = if splits.value(i) != pool {
                    (Some(Split::from_str(splits.value(i))?), rank)
                } else if samples.value(i) == "top" {
                    (interleave_top(rank as usize, PER_SPLIT), rank / 4)
                } else if samples.value(i) == "random" && !top.contains(&sequences.value(i)) {
                    random_rank += 1;
                    (interleave_random(random_rank - 1, PER_SPLIT), (random_rank as i32 - 1) / 3)
                } else {
                    (None, rank)
                };
                if let Some(split) = split {
                    kept.push(i as u32);
                    new_ranks.push(rank);
                    new_splits.push(split.as_str());
                }
            }
            lengths.push(kept.len() - from);
        }
        let kept = UInt32Array::from(kept);
        let mut columns: Vec<ArrayRef> =
            records.columns().iter().map(|column| take(column, &kept, None)).collect::<Result<_, _>>()?;
        columns[1] = Arc::new(Int32Array::from(new_ranks));
        columns[3] = Arc::new(StringArray::from(new_splits));
        let structs = StructArray::try_new(record_fields(), columns, None)?;
        let DataType::List(element) = records_type() else { return exec_err!("records are a list") };
        let result = ListArray::try_new(
            element,
            OffsetBuffer::from_lengths(lengths),
            Arc::new(structs),
            lists.nulls().cloned(),
        )?;
        Ok(ColumnarValue::Array(Arc::new(result)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
