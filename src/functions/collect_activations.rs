//! `collect_activations(model, corpus, hook_point, neurons, options)`: one row a unit, from one pass of the model.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::ipc::reader::FileReader;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::arguments::{document, table_arguments, text_argument};
use super::collection_pass::{Collection, CollectionOptions, Scratch};
use super::methods::MethodRegistry;
use super::stream;
use super::unit_schema::unit_schema;
use crate::error::Error;
use crate::models::cache::Models;
use crate::models::hook_points::HookPoint;
use crate::neurons::pass::PassProgress;
use crate::neurons::selection::NeuronSelection;
use crate::search::build::SearchIndex;
use crate::session::{Engine, WeakSession};
use crate::tables::definition::table;
use crate::tables::lake::Lake;

/// Names of the arguments, shared with `firings`.
pub(crate) const ARGUMENTS: [&str; 5] = ["model", "corpus", "hook_point", "neurons", "options"];

pub(crate) struct CollectActivations {
    host: Host,
    // One pass at a time: two at once would only fight for the cores.
    turn: Arc<Mutex<()>>,
}

impl std::fmt::Debug for CollectActivations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("collect_activations")
    }
}

impl CollectActivations {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone(), turn: Arc::new(Mutex::new(())) }
    }
}

/// What a function that runs the model needs of its session.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) session: WeakSession,
    pub(crate) lake: Lake,
    pub(crate) models: Arc<Models>,
    pub(crate) progress: Arc<PassProgress>,
    pub(crate) methods: Arc<MethodRegistry>,
    pub(crate) search: Arc<SearchIndex>,
    pub(crate) scratch: Arc<Scratch>,
    pub(crate) engine: Engine,
}

/// Arguments read, model loaded, hook point found.
pub(crate) struct Request {
    pub(crate) collection: Collection,
    pub(crate) hook_point: HookPoint,
}

impl Request {
    pub(crate) fn parse(function: &str, values: &[ScalarValue], host: &Host) -> Result<Self> {
        let text = |index: usize| text_argument(function, ARGUMENTS[index], &values[index]);
        let model_name = text(0)?;
        let model = host.models.get(&model_name)?;
        let pattern = text(2)?;
        let hook_point = match model.select_hook_points(&pattern)?.as_slice() {
            [one] => one.clone(),
            several => {
                return plan_err!(
                    "'{function}': hook_point: expected one hook point, got '{pattern}', which names {}",
                    several.len()
                );
            }
        };
        let neurons = match values.get(3) {
            Some(_) => NeuronSelection::parse(&text(3)?)?,
            None => NeuronSelection::All,
        };
        let options = match values.get(4) {
            None => CollectionOptions::default(),
            Some(_) => match serde_json::from_str(&text(4)?) {
                Ok(options) => options,
                Err(e) => return plan_err!("'{function}': options: {e}"),
            },
        };
        neurons.units(&hook_point)?;
        let collection = Collection {
            context: host.session.context()?,
            scratch: Arc::clone(&host.scratch),
            corpus: text(1)?,
            neurons,
            options,
            version: None,
            progress: Arc::clone(&host.progress),
            model_name,
            engine: host.engine.clone(),
            model,
        };
        Ok(Self { collection, hook_point })
    }
}

impl TableFunctionImpl for CollectActivations {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("collect_activations", &ARGUMENTS, 3, args.exprs())?;
        let request = Arc::new(Request::parse("collect_activations", &values, &self.host)?);
        let (lake, turn) = (self.host.lake.clone(), Arc::clone(&self.turn));
        stream::table(
            "collect_activations",
            unit_schema(),
            &["neuron"],
            Arc::new(move || {
                let (request, lake, turn) = (Arc::clone(&request), lake.clone(), Arc::clone(&turn));
                let file = async move {
                    let _turn = turn.lock().await;
                    let path = collected(&request, &lake).await?;
                    let open = || -> Result<_> { Ok(FileReader::try_new_buffered(File::open(&path)?, None)?) };
                    let reader = open().map_err(|e| e.context(format!("file '{}'", path.display())))?;
                    Ok::<_, DataFusionError>(futures::stream::iter(reader).map_err(DataFusionError::from))
                };
                futures::stream::once(file).try_flatten().boxed()
            }),
        )
    }
}

async fn collected(request: &Request, lake: &Lake) -> Result<PathBuf, Error> {
    let sequences = table("token_sequences").ok_or_else(|| Error::internal("no table token_sequences"))?;
    let version = lake.open(sequences).await?.and_then(|stored| stored.version());
    let collection = Collection { version, ..request.collection.clone() };
    collection.file(&request.hook_point).await
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Runs the subject model over the token sequences of a corpus and returns one row a unit of the hook point: \
         statistics (n_tokens, mean, variance, skewness, kurtosis, min, max, density, quantiles), records (the windows \
         chosen for it: top, random, by quantile) and token_activations (mean activation by token over the train split; the entry \
         without a token stands for all others). Model is 'default', a folder or a file; neurons is 'all' or a list such as \
         '0-9,12'; options is a JSON object: seed, split, first_token, hook_points (collected in the same pass), memory_limit.",
        "collect_activations(model, corpus, hook_point [, neurons [, options]])",
        "SELECT neuron, n_tokens FROM collect_activations('default', 'default', 'blocks.0.mlp.hook_post', '0-1') ORDER BY neuron",
    )
}
