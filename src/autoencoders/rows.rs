//! Rows of the tables `sparse_autoencoders`, `training_steps` and `autoencoder_metrics`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use sparse_autoencoders::autoencoder::{Activation, RowMean, SparseAutoencoder};

use crate::error::{Error, Result};
use crate::models::latents::Place;
use crate::tables::definition::{TableDefinition, table};
use crate::tables::runs::now;

/// The definition of a table that is known to be there.
pub(crate) fn definition(name: &str) -> Result<&'static TableDefinition> {
    table(name).ok_or_else(|| Error::internal(format!("no table {name}")))
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// A name as JSON writes it: `top_k` of `Architecture::TopK`.
pub(crate) fn snake_case(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(object)) => {
            object.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

/// How an autoencoder came to be.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `trained`, or the format it was imported from.
    pub source_format: String,
    /// Store it was trained on, or path it was imported from, without secrets.
    pub source: Option<String>,
    /// Latents a token, where the architecture has such a number that its activation does not tell.
    pub k: Option<usize>,
    /// `keep` or `mask`.
    pub first_token: Option<String>,
    /// Norm above which rows were left out.
    pub norm_limit: Option<f64>,
    /// Rows it was trained on.
    pub n_tokens: Option<u64>,
    /// Seed of its training.
    pub seed: Option<u64>,
    /// Every parameter, a JSON object.
    pub parameters: String,
}

/// The row of one autoencoder.
pub(crate) fn autoencoder_row(
    id: &str,
    place: &Place,
    layer: Option<usize>,
    autoencoder: &SparseAutoencoder,
    weights_hash: &str,
    origin: &Origin,
    run: &str,
) -> Result<RecordBatch> {
    let config = &autoencoder.config;
    let number = |value: usize| Arc::new(Int32Array::from(vec![value as i32])) as ArrayRef;
    let big = |value: Option<u64>| Arc::new(Int64Array::from(vec![value.map(u64::cast_signed)])) as ArrayRef;
    let k = match config.activation {
        Activation::TopK { k } => Some(k),
        _ => origin.k,
    };
    let mut normalization =
        serde_json::to_value(config.input_normalization).map_err(|error| Error::internal(error.to_string()))?;
    if let (RowMean::Removed, Some(fields)) = (config.row_mean, normalization.as_object_mut()) {
        fields.insert("row_mean".to_owned(), "removed".into());
    }
    let columns: Vec<ArrayRef> = vec![
        texts([Some(id)]),
        texts([Some(place.model.as_str())]),
        texts([Some(format!("{}/{id}", place.input_hook_point).as_str())]),
        Arc::new(Int32Array::from(vec![layer.map(|layer| layer as i32)])),
        texts([Some(place.input_hook_point.as_str())]),
        texts([Some(place.output_hook_point.as_str())]),
        texts([Some(snake_case(&config.architecture).as_str())]),
        texts([Some(snake_case(&config.activation).as_str())]),
        number(config.n_inputs),
        number(config.n_outputs),
        number(config.n_latents),
        Arc::new(Int32Array::from(vec![k.map(|k| k as i32)])),
        texts([Some(normalization.to_string().as_str())]),
        texts([origin.first_token.as_deref()]),
        Arc::new(Float64Array::from(vec![origin.norm_limit])),
        texts([Some(format!("_sparse_autoencoders/{id}").as_str())]),
        texts([Some(weights_hash)]),
        texts([Some(origin.source_format.as_str())]),
        texts([origin.source.as_deref()]),
        big(origin.n_tokens),
        big(origin.seed),
        texts([Some(origin.parameters.as_str())]),
        times(vec![now()]),
        texts([Some(run)]),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&definition("sparse_autoencoders")?.schema), columns)?)
}

/// One measured step of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// The autoencoder's id.
    pub autoencoder: String,
    /// Steps done.
    pub step: u64,
    /// Rows read so far.
    pub n_tokens: u64,
    /// Normalised squared error.
    pub nmse: Option<f64>,
    /// Firings a row.
    pub l0: f64,
    /// Share of dead latents.
    pub dead_share: f64,
    /// What is minimised.
    pub loss: f64,
    /// Rows a second.
    pub tokens_per_second: Option<f64>,
    /// Microseconds since 1970.
    pub measured_at: i64,
}

/// Rows of `training_steps`.
pub(crate) fn step_rows(steps: &[StepRow], run: &str) -> Result<RecordBatch> {
    let floats = |value: fn(&StepRow) -> Option<f64>| Arc::new(steps.iter().map(value).collect::<Float64Array>());
    let integers = |value: fn(&StepRow) -> u64| {
        Arc::new(steps.iter().map(|step| Some(value(step).cast_signed())).collect::<Int64Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(steps.iter().map(|step| Some(step.autoencoder.as_str()))),
        integers(|step| step.step),
        integers(|step| step.n_tokens),
        floats(|step| step.nmse),
        floats(|step| Some(step.l0)),
        floats(|step| Some(step.dead_share)),
        floats(|step| Some(step.loss)),
        floats(|step| step.tokens_per_second),
        times(steps.iter().map(|step| step.measured_at).collect()),
        texts(steps.iter().map(|_| Some(run))),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&definition("training_steps")?.schema), columns)?)
}

/// A number about an autoencoder, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name.
    pub metric: &'static str,
    /// The number, or why it is undefined.
    pub value: Result<f64, &'static str>,
}

/// What all metrics of one evaluation share.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The autoencoder's id.
    pub autoencoder: String,
    /// Subject model id.
    pub model: String,
    /// Hook point of its latents.
    pub hook_point: String,
    /// Corpus id.
    pub corpus: String,
    /// Split.
    pub split: String,
    /// Tokens.
    pub n_tokens: u64,
    /// `keep` or `mask`.
    pub first_token: String,
    /// Norm above which tokens were left out.
    pub norm_limit: Option<f64>,
    /// A JSON object.
    pub parameters: String,
}

/// Rows of `autoencoder_metrics`.
pub(crate) fn metric_rows(measured: &Measured, metrics: &[Metric], run: &str) -> Result<RecordBatch> {
    let same = |value: &str| texts(metrics.iter().map(|_| Some(value)));
    let n = metrics.len();
    let columns: Vec<ArrayRef> = vec![
        same(&measured.autoencoder),
        same(&measured.model),
        same(&measured.hook_point),
        same(&measured.corpus),
        same(&measured.split),
        texts(metrics.iter().map(|metric| Some(metric.metric))),
        Arc::new(metrics.iter().map(|metric| metric.value.ok()).collect::<Float64Array>()),
        texts(metrics.iter().map(|metric| metric.value.err())),
        Arc::new(Int64Array::from(vec![measured.n_tokens.cast_signed(); n])),
        same(&measured.first_token),
        Arc::new(Float64Array::from(vec![measured.norm_limit; n])),
        same(&measured.parameters),
        same(run),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&definition("autoencoder_metrics")?.schema), columns)?)
}
