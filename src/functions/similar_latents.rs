//! `similar_latents(autoencoder, other, by)`: for each latent of one autoencoder the most similar one of another.

use std::sync::Arc;

use arrow::array::{Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::StreamExt;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::stream;
use crate::error::Error;
use crate::error::autoencoder::AutoencoderError;
use crate::models::cache::Models;
use crate::models::directions::Side;
use crate::models::latents::{Latents, MostSimilar, most_similar};

const ARGUMENTS: [&str; 3] = ["autoencoder", "other", "by"];
/// Rows of a batch.
const BATCH_ROWS: usize = 4_096;

pub(crate) struct SimilarLatents {
    models: Arc<Models>,
}

impl std::fmt::Debug for SimilarLatents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("similar_latents")
    }
}

impl SimilarLatents {
    pub(crate) fn new(host: &Host) -> Self {
        Self { models: Arc::clone(&host.models) }
    }

    fn find(&self, id: &str) -> Result<Arc<Latents>> {
        let Some(autoencoders) = self.models.autoencoders() else {
            return Err(Error::from(AutoencoderError::Unknown { id: id.to_owned(), known: Vec::new() }).into());
        };
        Ok(autoencoders.get(id)?)
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("autoencoder", DataType::Utf8, false),
        Field::new("neuron", DataType::Int32, false),
        Field::new("other_autoencoder", DataType::Utf8, false),
        Field::new("other_neuron", DataType::Int32, true),
        Field::new("similarity", DataType::Float64, true),
    ]))
}

impl TableFunctionImpl for SimilarLatents {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("similar_latents", &ARGUMENTS, 2, args.exprs())?;
        let text = |index: usize| text_argument("similar_latents", ARGUMENTS[index], &values[index]);
        let (one, other) = (self.find(&text(0)?)?, self.find(&text(1)?)?);
        let side = match values.get(2).map(|_| text(2)).transpose()?.as_deref() {
            None | Some("output") => Side::Output,
            Some("input") => Side::Input,
            Some(by) => return plan_err!("'similar_latents': by: expected output or input, got '{by}'"),
        };
        let rows: stream::Rows = Arc::new(move || {
            let (one, other) = (Arc::clone(&one), Arc::clone(&other));
            let starts = futures::stream::iter((0..one.n_latents()).step_by(BATCH_ROWS));
            // Made when the first row is asked for, and then kept for all.
            let prepared = Arc::new(tokio::sync::OnceCell::new());
            starts
                .then(move |start| {
                    let (one, other, prepared) = (Arc::clone(&one), Arc::clone(&other), Arc::clone(&prepared));
                    async move {
                        let make = || async {
                            let other = Arc::clone(&other);
                            on_thread(move || Ok(Arc::new(MostSimilar::new(&other, side)))).await
                        };
                        let matrix = Arc::clone(prepared.get_or_try_init(make).await?);
                        on_thread(move || batch(&one, &other, &matrix, start)).await
                    }
                })
                .boxed()
        });
        stream::table("similar_latents", schema(), &["neuron"], rows)
    }
}

/// Computes off the threads that wait.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("the comparing thread died: {error}")))?
}

fn batch(one: &Latents, other: &Latents, matrix: &MostSimilar, start: usize) -> Result<RecordBatch> {
    let found = most_similar(one, matrix, start, BATCH_ROWS).map_err(DataFusionError::from)?;
    let n = found.len();
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from(vec![one.id.as_str(); n])),
            Arc::new(Int32Array::from_iter_values((start..start + n).map(|latent| latent as i32))),
            Arc::new(StringArray::from(vec![other.id.as_str(); n])),
            Arc::new(found.iter().map(|found| found.map(|(latent, _)| latent as i32)).collect::<Int32Array>()),
            Arc::new(found.iter().map(|found| found.map(|(_, cosine)| f64::from(cosine))).collect::<Float64Array>()),
        ],
    )?)
}

pub(crate) fn documentation() -> Documentation {
    document(
        "For each latent of one sparse autoencoder the most similar latent of another: autoencoder, neuron, other_autoencoder, \
         other_neuron, similarity (the cosine, -1..1). by is 'output' (decoder rows, when left out) or 'input' (encoder rows). The two must \
         read, or write, values of the same width. Of an autoencoder with itself the most similar other latent. NULL for a latent whose \
         weights are all 0.",
        "similar_latents(autoencoder, other [, by])",
        "SELECT neuron, other_neuron, round(similarity, 3) AS rounded FROM similar_latents('example_sae', 'example_sae') \
         ORDER BY neuron LIMIT 3",
    )
}
