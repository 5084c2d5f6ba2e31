//! `encode(model, corpus, autoencoder, neurons, options)`: every firing of every latent of a sparse autoencoder.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::StreamExt;
use sparse_autoencoders::codes::Codes;
use tokio::sync::mpsc;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::{Host, Request};
use super::collection_pass::{Collection, SequenceReader, sequence_windows};
use super::firings::{Rows, schema};
use super::stream;
use crate::error::Error;
use crate::error::autoencoder::AutoencoderError;
use crate::models::hook_points::HookPoint;
use crate::models::latents::Latents;
use crate::neurons::pass::{ForwardPass, OwnedWindow};

const ARGUMENTS: [&str; 5] = ["model", "corpus", "autoencoder", "neurons", "options"];
/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

pub(crate) struct Encode {
    host: Host,
}

impl std::fmt::Debug for Encode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("encode")
    }
}

impl Encode {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl TableFunctionImpl for Encode {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let mut values = table_arguments("encode", &ARGUMENTS, 3, args.exprs())?;
        let named = text_argument("encode", ARGUMENTS[2], &values[2])?;
        if !named.contains('/') {
            let model = self.host.models.get(&text_argument("encode", ARGUMENTS[0], &values[0])?)?;
            // A hook point of the model itself is refused when rows are asked for.
            if model.select_hook_points(&named).is_err() {
                values[2] = ScalarValue::from(format!("*/{named}"));
            }
        }
        let request = Arc::new(Request::parse("encode", &values, &self.host)?);
        stream::table(
            "encode",
            schema(),
            &[],
            Arc::new(move || {
                let request = Arc::clone(&request);
                let (sender, receiver) = mpsc::channel(2);
                tokio::spawn(async move {
                    if let Err(error) = send(&request, &sender).await {
                        // A closed channel means that nobody listens any more.
                        let _ = sender.send(Err(DataFusionError::from(error))).await;
                    }
                });
                futures::stream::unfold(receiver, |mut receiver| async {
                    receiver.recv().await.map(|batch| (batch, receiver))
                })
                .boxed()
            }),
        )
    }
}

type Sender = mpsc::Sender<Result<arrow::array::RecordBatch>>;

async fn send(request: &Arc<Request>, sender: &Sender) -> Result<(), Error> {
    // Not before: a stage is planned for hook points that it is never run for.
    let Some(latents) = request.hook_point.latents().cloned() else {
        return Err(Error::Argument {
            argument: "'encode': autoencoder".to_owned(),
            expected: "an id, or the hook point of the latents of an autoencoder".to_owned(),
            got: request.hook_point.name().to_owned(),
        });
    };
    let collection = &request.collection;
    let reader = SequenceReader::new(&collection.context, collection.model.id(), &collection.corpus);
    // Says what is missing.
    let longest = reader.longest().await?;
    let mut rows = reader.after(None).await?;
    while let Some(batch) = rows.next().await {
        let windows = sequence_windows(&batch?)?;
        let (request, latents, sender) = (Arc::clone(request), Arc::clone(&latents), sender.clone());
        let scan = move || Scan { request: &request, latents: &latents }.run(&windows, longest, &sender);
        let done = tokio::task::spawn_blocking(scan).await;
        if !done.map_err(|e| Error::internal(format!("the encoding thread died: {e}")))?? {
            return Ok(());
        }
    }
    Ok(())
}

struct Scan<'a> {
    request: &'a Request,
    latents: &'a Latents,
}

impl Scan<'_> {
    /// Sends the firings over some windows; false when nobody listens any more.
    fn run(&self, windows: &[OwnedWindow], longest: usize, sender: &Sender) -> Result<bool, Error> {
        let Request { collection, hook_point } = self.request;
        let Collection { model, options, .. } = collection;
        let first_counted = options.first_counted(model);
        let selected = collection.neurons.units(hook_point)?;
        let all = selected.units().len() == hook_point.width();
        let base = model.select_hook_points(&self.latents.place.input_hook_point)?;
        let mut pass = ForwardPass::new(model, base);
        let mut codes = Codes::default();
        for some in windows.chunks(pass.batch_windows(longest)) {
            let tiles = pass.run(some)?;
            self.latents.autoencoder.encode(tiles[0], &mut codes).map_err(AutoencoderError::from)?;
            let mut rows = Rows::default();
            let mut at = 0;
            for window in some {
                for position in 0..window.token_ids.len() {
                    let (latents, values) = codes.row(at);
                    at += 1;
                    if position < first_counted {
                        continue;
                    }
                    for (latent, value) in latents.iter().zip(values) {
                        if all || selected.units().binary_search(latent).is_ok() {
                            rows.push(*latent as usize, window.sequence, position, *value);
                        }
                    }
                }
                if rows.len() >= BATCH_ROWS && !Self::emit(std::mem::take(&mut rows), collection, hook_point, sender)? {
                    return Ok(false);
                }
            }
            if !Self::emit(rows, collection, hook_point, sender)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn emit(rows: Rows, collection: &Collection, hook_point: &HookPoint, sender: &Sender) -> Result<bool, Error> {
        if rows.len() == 0 {
            return Ok(!sender.is_closed());
        }
        Ok(sender.blocking_send(Ok(rows.finish(collection, hook_point)?)).is_ok())
    }
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Streams every value above 0 (or, of an autoencoder whose latents keep their sign, other than 0) of the latents of a sparse \
         autoencoder: model, hook_point, layer, neuron, corpus, sequence, position, activation, in order of sequence and position. \
         autoencoder is an id of table sparse_autoencoders or the hook point of its latents. Nothing dense is ever made: the rows of \
         a batch of tokens are encoded to their firings at once. neurons and options are those of collect_activations.",
        "encode(model, corpus, autoencoder [, neurons [, options]])",
        "SELECT max(n) AS most FROM (SELECT count(*) AS n FROM encode('default', 'default', 'example_sae') \
         GROUP BY sequence, position)",
    )
}
