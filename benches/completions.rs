//! The HTTP engine at 64 calls in flight against a server on loopback that answers after 50 ms: the ideal is 1,280 calls a second.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use neuronlake::completions::LanguageModel;
use neuronlake::completions::budget::Budget;
use neuronlake::completions::durable::DurableModel;
use neuronlake::completions::http::{Api, HttpModel, HttpOptions};
use neuronlake::completions::limits::{LimitOptions, Limits};
use neuronlake::completions::prices::Prices;
use neuronlake::completions::request::{Call, Message, Purpose, Request};
use neuronlake::completions::store::CompletionStore;
use neuronlake::tables::lake::Lake;

use crate::fault_server::{Asked, FaultServer, Served, chat_reply};

const IN_FLIGHT: usize = 64;
const LATENCY: Duration = Duration::from_millis(50);
/// Forty rounds of 64 calls: two seconds if nothing but the latency counted.
const N_CALLS: usize = 40 * IN_FLIGHT;

/// The engine alone, and with every reply on disk before it is used.
pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let server = FaultServer::start(|_: &Asked| Served { delay: LATENCY, ..Served::json(&chat_reply("plural nouns")) });
    let limits = LimitOptions { in_flight: IN_FLIGHT, ..LimitOptions::default() };
    let options = HttpOptions {
        base_url: server.url().parse().expect("a server has an address"),
        api: Api::Chat,
        key: None,
        limits: Arc::new(Limits::new(limits)),
        budget: Arc::new(Budget::new(None)),
        prices: Arc::new(Prices::embedded().expect("the embedded prices are read by a test")),
        counts_only: false,
    };
    let name = "openai:m".parse().expect("a model's name");
    let model = Arc::new(HttpModel::new(name, options).expect("an endpoint on loopback needs no key"));
    let mut group = criterion.benchmark_group("completions");
    group.throughput(Throughput::Elements(N_CALLS as u64));
    let mut round = 0;
    group.bench_function(format!("http/{N_CALLS}x50ms/{IN_FLIGHT}"), |bencher| {
        bencher.iter(|| {
            round += 1;
            answered(&runtime, model.as_ref(), round);
        });
    });
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lake = Lake::at(&folder.path().to_string_lossy()).expect("a folder is a lake");
    let store = Arc::new(CompletionStore::open(&lake).expect("a lake on disk has a store"));
    let durable = DurableModel::over_endpoint(model, store);
    group.bench_function(format!("durable/{N_CALLS}x50ms/{IN_FLIGHT}"), |bencher| {
        bencher.iter(|| {
            round += 1;
            answered(&runtime, &durable, round);
        });
    });
    group.finish();
}

/// Calls of about 2 kB that were never made before.
fn answered(runtime: &tokio::runtime::Runtime, model: &dyn LanguageModel, round: usize) {
    let examples = "a token\t0\n".repeat(200);
    let call = |i: usize| {
        let message = Message::user(format!("{examples}{round} {i}"));
        Call::first(Purpose::Explain, Request::greedy(vec![message], 60))
    };
    let calls: Vec<Call> = (0..N_CALLS).map(call).collect();
    let replies = runtime.block_on(model.complete_all(&calls));
    assert!(replies.iter().all(Result::is_ok), "a call failed");
}
