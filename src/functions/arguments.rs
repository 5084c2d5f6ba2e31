//! Reading arguments: every function of ours takes the string and list encodings that the engine may hand it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, Expr, TypeSignature, Volatility};
use datafusion::logical_expr::{Documentation, DocumentationBuilder, Signature};

/// Section of the docs our functions stand in.
pub(crate) const SECTION: datafusion::logical_expr::DocSection =
    datafusion::logical_expr::DocSection { include: true, label: "neuronlake", description: None };

/// A function of `n` arguments of any type, the same for the same arguments.
pub(crate) fn signature(n: usize) -> Signature {
    Signature::any(n, Volatility::Immutable)
}

/// A function that may ask a language model, with one of these numbers of arguments: never folded, merged or moved.
pub(crate) fn asked(counts: &[usize]) -> Signature {
    Signature::one_of(counts.iter().map(|n| TypeSignature::Any(*n)).collect(), Volatility::Volatile)
}

/// What the engine reports where it calls such a function other than from a projection or a filter.
pub(crate) fn not_async(function: &str) -> DataFusionError {
    exec_datafusion_err!(
        "'{function}' asks a model and can stand only in SELECT lists and WHERE, not in joins, windows or constant expressions"
    )
}

/// A function's entry in docs/functions.md.
pub(crate) fn document(description: &str, syntax: &str, example: &str) -> Documentation {
    DocumentationBuilder::new_with_details(SECTION, description, syntax).with_sql_example(example).build()
}

/// `FLOAT[]`.
pub(crate) fn float_list() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Float32, true)))
}

/// `VARCHAR[]`.
pub(crate) fn string_list() -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)))
}

/// The argument as an array of `n_rows` strings.
pub(crate) fn strings(function: &str, argument: &ColumnarValue, n_rows: usize) -> Result<StringArray> {
    let array = argument.to_array(n_rows)?;
    let data_type = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    if !data_type.is_string() && data_type != &DataType::Null {
        return exec_err!("'{function}': expected text, got {}", array.data_type());
    }
    Ok(cast(&array, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// The argument as an array of lists of strings.
pub(crate) fn string_lists(function: &str, argument: &ColumnarValue, n_rows: usize) -> Result<ListArray> {
    lists(function, argument, n_rows, &string_list())
}

/// The argument as an array of lists of 32-bit floats.
pub(crate) fn float_lists(function: &str, argument: &ColumnarValue, n_rows: usize) -> Result<ListArray> {
    lists(function, argument, n_rows, &float_list())
}

fn lists(function: &str, argument: &ColumnarValue, n_rows: usize, wanted: &DataType) -> Result<ListArray> {
    let array = argument.to_array(n_rows)?;
    list_as(function, &array, wanted)
}

/// An array of lists with its elements cast, as [`float_lists`] and for aggregates.
pub(crate) fn list_as(function: &str, array: &ArrayRef, wanted: &DataType) -> Result<ListArray> {
    match array.data_type() {
        found if found == wanted => Ok(array.as_list::<i32>().clone()),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Null => {
            Ok(cast(array, wanted)?.as_list::<i32>().clone())
        }
        other => exec_err!("'{function}': expected {wanted}, got {other}"),
    }
}

/// Values of one list of floats; NULL elements are an error.
pub(crate) fn floats<'a>(function: &str, values: &'a Float32Array, from: i32, to: i32) -> Result<&'a [f32]> {
    if values.null_count() > 0 && values.slice(from as usize, (to - from) as usize).null_count() > 0 {
        return exec_err!("'{function}': expected a list of numbers, got a NULL in it");
    }
    Ok(&values.values()[from as usize..to as usize])
}

/// The element values of a list array of floats.
pub(crate) fn float_values(list: &ListArray) -> &Float32Array {
    list.values().as_primitive::<Float32Type>()
}

/// The one string all rows share: a literal such as a model or an explainer.
pub(crate) fn literal_string(function: &str, name: &str, argument: &ColumnarValue) -> Result<String> {
    match argument {
        ColumnarValue::Scalar(value) => match value.try_as_str() {
            Some(Some(text)) => Ok(text.to_owned()),
            _ => exec_err!("'{function}': {name}: expected text, got {value}"),
        },
        // A literal arrives as an array where the engine folded a projection; all its rows are then the same.
        ColumnarValue::Array(array) => {
            let texts = cast(array, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            match (texts.iter().flatten().next(), texts.iter().any(|t| t.is_none())) {
                (Some(first), false) if texts.iter().flatten().all(|t| t == first) => Ok(first.to_owned()),
                _ => exec_err!("'{function}': {name}: expected one text for all rows"),
            }
        }
    }
}

/// The one integer all rows share.
pub(crate) fn literal_integer(function: &str, name: &str, argument: &ColumnarValue) -> Result<i64> {
    let value = match argument {
        ColumnarValue::Scalar(value) => value.clone(),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(array, 0)?,
    };
    match value.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(integer)) => Ok(integer),
        other => exec_err!("'{function}': {name}: expected a whole number, got {other}"),
    }
}

/// The argument as an array of 64-bit integers.
pub(crate) fn integers(argument: &ColumnarValue, n_rows: usize) -> Result<arrow::array::Int64Array> {
    Ok(cast(&argument.to_array(n_rows)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Literal arguments of a table function, all text or numbers; fewer than `names` are an error unless `optional` says so.
pub(crate) fn table_arguments(
    function: &str,
    names: &[&str],
    n_required: usize,
    exprs: &[Expr],
) -> Result<Vec<ScalarValue>> {
    if exprs.len() < n_required || exprs.len() > names.len() {
        return plan_err!("'{function}': expected ({}), got {} arguments", names.join(", "), exprs.len());
    }
    exprs
        .iter()
        .zip(names)
        .map(|(expr, name)| match expr {
            Expr::Literal(value, _) => Ok(value.clone()),
            other => plan_err!("'{function}': {name}: expected a literal, got {other}"),
        })
        .collect()
}

/// A text among the arguments of a table function.
pub(crate) fn text_argument(function: &str, name: &str, value: &ScalarValue) -> Result<String> {
    match value.try_as_str() {
        Some(Some(text)) => Ok(text.to_owned()),
        _ => plan_err!("'{function}': {name}: expected text, got {value}"),
    }
}
