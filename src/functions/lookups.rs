//! The token lookup table among arguments: evidence of the explainer and the simulator that need no language model.

use std::collections::HashMap;

use arrow::array::{
    Array, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::ColumnarValue;

use crate::neurons::token_means::{TokenLookup, TokenMean};

/// The evidence of a token-lookup explainer or simulator, in SQL words.
const EVIDENCE: &str = "struct(deviation, tokens: list of struct(token_id, token, mean_activation, n_occurrences))";

/// Evidence as the token-lookup explainer and simulator read it.
pub(crate) struct Lookups {
    rows: StructArray,
    lists: ListArray,
    deviations: Float64Array,
    token_ids: Int32Array,
    tokens: StringArray,
    means: Float32Array,
    occurrences: Int64Array,
}

/// One row's evidence, and the text of each token of the lookup.
pub(crate) struct Evidence<'a> {
    pub(crate) lookup: TokenLookup,
    pub(crate) texts: HashMap<u32, &'a str>,
    pub(crate) deviation: f64,
}

impl Lookups {
    pub(crate) fn read(function: &str, argument: &ColumnarValue, n_rows: usize) -> Result<Self> {
        let array = argument.to_array(n_rows)?;
        let fault = |got: &str| exec_datafusion_err!("'{function}': expected evidence as {EVIDENCE}, got {got}");
        let DataType::Struct(_) = array.data_type() else { return Err(fault(&array.data_type().to_string())) };
        let rows = array.as_struct().clone();
        let column = |structs: &StructArray, name: &str, data_type: &DataType| match structs.column_by_name(name) {
            Some(column) => Ok::<_, DataFusionError>(cast(column, data_type)?),
            None => Err(fault(&format!("no '{name}'"))),
        };
        let lists = match rows.column_by_name("tokens").map(|tokens| tokens.data_type()) {
            Some(DataType::List(element)) if matches!(element.data_type(), DataType::Struct(_)) => {
                rows.column_by_name("tokens").map(|tokens| tokens.as_list::<i32>().clone())
            }
            _ => None,
        };
        let lists = lists.ok_or_else(|| fault("no list of structs 'tokens'"))?;
        let entries = lists.values().as_struct();
        Ok(Self {
            deviations: column(&rows, "deviation", &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            token_ids: column(entries, "token_id", &DataType::Int32)?.as_primitive::<Int32Type>().clone(),
            tokens: column(entries, "token", &DataType::Utf8)?.as_string::<i32>().clone(),
            means: column(entries, "mean_activation", &DataType::Float32)?.as_primitive::<Float32Type>().clone(),
            occurrences: column(entries, "n_occurrences", &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            rows,
            lists,
        })
    }

    /// The evidence of a row; `None` where it or its list is NULL.
    pub(crate) fn get(&self, row: usize) -> Option<Evidence<'_>> {
        if self.rows.is_null(row) || self.lists.is_null(row) {
            return None;
        }
        let range = self.lists.value_offsets()[row] as usize..self.lists.value_offsets()[row + 1] as usize;
        let mut evidence = Evidence {
            lookup: TokenLookup { tokens: Vec::with_capacity(range.len()), base: 0.0, n_base: 0 },
            texts: HashMap::with_capacity(range.len()),
            deviation: if self.deviations.is_valid(row) { self.deviations.value(row) } else { 0.0 },
        };
        for entry in range {
            let (mean_activation, n_occurrences) =
                (self.means.value(entry), self.occurrences.value(entry).max(0) as u64);
            if self.tokens.is_null(entry) {
                evidence.lookup.base = mean_activation;
                evidence.lookup.n_base = n_occurrences;
            } else {
                let token_id = self.token_ids.value(entry).cast_unsigned();
                evidence.lookup.tokens.push(TokenMean { token_id, mean_activation, n_occurrences });
                evidence.texts.insert(token_id, self.tokens.value(entry));
            }
        }
        Some(evidence)
    }
}
