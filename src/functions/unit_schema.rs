//! The rows of `collect_activations`: one a unit, with everything that one pass found out about it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float32Builder, Float64Array, Float64Builder, Int32Array, Int32Builder, Int64Array,
    Int64Builder, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::error::Result;

use crate::models::hook_points::HookPoint;
use crate::neurons::collector::UnitSummary;

fn list(inner: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", inner, true)))
}

/// Fields of one record: sample, rank, sequence, split, max_activation, activations.
pub(crate) fn record_fields() -> Fields {
    Fields::from(vec![
        Field::new("sample", DataType::Utf8, false),
        Field::new("rank", DataType::Int32, false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("max_activation", DataType::Float32, false),
        Field::new("activations", list(DataType::Float32), false),
    ])
}

/// The type of the column `records`.
pub(crate) fn records_type() -> DataType {
    list(DataType::Struct(record_fields()))
}

fn token_fields() -> Fields {
    Fields::from(vec![
        Field::new("token_id", DataType::Int32, true),
        Field::new("mean_activation", DataType::Float32, false),
        Field::new("n_occurrences", DataType::Int64, false),
    ])
}

/// The schema of `collect_activations`.
pub(crate) fn unit_schema() -> SchemaRef {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("model", DataType::Utf8, false),
        field("hook_point", DataType::Utf8, false),
        field("layer", DataType::Int32, true),
        field("neuron", DataType::Int32, false),
        field("corpus", DataType::Utf8, false),
        field("n_tokens", DataType::Int64, false),
        field("mean", DataType::Float64, true),
        field("variance", DataType::Float64, true),
        field("skewness", DataType::Float64, true),
        field("kurtosis", DataType::Float64, true),
        field("min", DataType::Float32, true),
        field("max", DataType::Float32, true),
        field("density", DataType::Float64, true),
        field("quantile_levels", list(DataType::Float64), false),
        field("quantiles", list(DataType::Float64), true),
        field("records", records_type(), false),
        field("token_activations", list(DataType::Struct(token_fields())), false),
    ]))
}

/// What is the same for all units of a batch.
#[derive(Debug, Clone)]
pub(crate) struct UnitContext {
    pub(crate) model: String,
    pub(crate) corpus: String,
    pub(crate) hook_point: HookPoint,
    pub(crate) quantile_levels: Vec<f64>,
}

/// Units of one hook point as rows of [`unit_schema`].
pub(crate) fn unit_batch(context: &UnitContext, units: &[UnitSummary]) -> Result<RecordBatch> {
    let n = units.len();
    let text = |value: &str| Arc::new(StringArray::from(vec![value; n])) as ArrayRef;
    let double = |value: fn(&UnitSummary) -> Option<f64>| Arc::new(units.iter().map(value).collect::<Float64Array>());
    let float = |value: fn(&UnitSummary) -> Option<f32>| Arc::new(units.iter().map(value).collect::<Float32Array>());
    let mut levels = ListBuilder::new(Float64Builder::new()).with_field(Field::new("element", DataType::Float64, true));
    let mut quantiles =
        ListBuilder::new(Float64Builder::new()).with_field(Field::new("element", DataType::Float64, true));
    for unit in units {
        levels.values().append_slice(&context.quantile_levels);
        levels.append(true);
        quantiles.values().append_slice(&unit.quantiles);
        quantiles.append(!unit.quantiles.is_empty());
    }
    let layer = context.hook_point.layer().map(|layer| layer as i32);
    let columns: Vec<ArrayRef> = vec![
        text(&context.model),
        text(context.hook_point.name()),
        Arc::new(Int32Array::from(vec![layer; n])),
        Arc::new(units.iter().map(|u| Some(u.neuron as i32)).collect::<Int32Array>()),
        text(&context.corpus),
        Arc::new(units.iter().map(|u| Some(u.moments.n_tokens as i64)).collect::<Int64Array>()),
        double(|u| u.moments.mean),
        double(|u| u.moments.variance),
        double(|u| u.moments.skewness),
        double(|u| u.moments.kurtosis),
        float(|u| u.moments.min),
        float(|u| u.moments.max),
        double(|u| u.moments.density),
        Arc::new(levels.finish()),
        Arc::new(quantiles.finish()),
        Arc::new(records(units)?),
        Arc::new(token_activations(units)?),
    ];
    Ok(RecordBatch::try_new(unit_schema(), columns)?)
}

fn records(units: &[UnitSummary]) -> Result<ListArray> {
    let mut sample = StringBuilder::new();
    let mut rank = Int32Builder::new();
    let mut sequence = Int64Builder::new();
    let mut split = StringBuilder::new();
    let mut max_activation = Float32Builder::new();
    let mut activations =
        ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
    for record in units.iter().flat_map(|unit| &unit.records) {
        sample.append_value(record.sample.to_string());
        rank.append_value(record.rank as i32);
        sequence.append_value(record.sequence);
        split.append_value(record.split.as_str());
        max_activation.append_value(record.max_activation);
        activations.values().append_slice(&record.activations);
        activations.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(sample.finish()),
        Arc::new(rank.finish()),
        Arc::new(sequence.finish()),
        Arc::new(split.finish()),
        Arc::new(max_activation.finish()),
        Arc::new(activations.finish()),
    ];
    structs(record_fields(), columns, units.iter().map(|unit| unit.records.len()))
}

/// The tokens of each unit's lookup table, then one row without a token for all others.
fn token_activations(units: &[UnitSummary]) -> Result<ListArray> {
    let mut token_id = Int32Builder::new();
    let mut mean_activation = Float32Builder::new();
    let mut n_occurrences = Int64Builder::new();
    let mut lengths = Vec::with_capacity(units.len());
    for unit in units {
        let from = token_id_len(&token_id);
        if let Some(lookup) = &unit.token_lookup {
            for token in &lookup.tokens {
                token_id.append_value(token.token_id as i32);
                mean_activation.append_value(token.mean_activation);
                n_occurrences.append_value(token.n_occurrences as i64);
            }
            token_id.append_null();
            mean_activation.append_value(lookup.base);
            n_occurrences.append_value(lookup.n_base as i64);
        }
        lengths.push(token_id_len(&token_id) - from);
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(token_id.finish()), Arc::new(mean_activation.finish()), Arc::new(n_occurrences.finish())];
    structs(token_fields(), columns, lengths)
}

fn token_id_len(builder: &Int32Builder) -> usize {
    arrow::array::ArrayBuilder::len(builder)
}

fn structs(fields: Fields, columns: Vec<ArrayRef>, lengths: impl IntoIterator<Item = usize>) -> Result<ListArray> {
    let element = Arc::new(Field::new("element", DataType::Struct(fields.clone()), true));
    let values = StructArray::try_new(fields, columns, None)?;
    Ok(ListArray::try_new(element, OffsetBuffer::from_lengths(lengths), Arc::new(values), None)?)
}
