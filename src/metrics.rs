//! What this process has done, counted for Prometheus: `neuronlake serve` and `neuronlake schedule --listen` show it at `/metrics`.
//!
//! One set of counters a process. They start at zero with it, and a counter that goes back says that the process is another.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

/// One label and its value.
type Label = [(&'static str, String); 1];

/// Seconds as a sum of fractions.
type Seconds = Family<Label, Histogram, Buckets>;

/// Dollars as a sum of fractions.
type Dollars = Family<Label, Counter<f64, AtomicU64>>;

/// From a hundredth of a second to three hours.
#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.01, 4.0, 11))
    }
}

/// What a process counts.
pub struct Metrics {
    registry: Registry,
    rows: Family<Label, Counter>,
    units: Family<Label, Counter>,
    stage_seconds: Seconds,
    calls: Family<Label, Counter>,
    tokens: Family<Label, Counter>,
    cost: Dollars,
    /// Calls of language models that were tried again.
    pub call_retries: Counter,
    /// Commits that began again because another process had committed the same work.
    pub commit_retries: Counter,
    runs: Family<[(&'static str, String); 2], Counter>,
    last_success: Family<Label, Gauge>,
    next_start: Family<Label, Gauge>,
    queries: Family<Label, Counter>,
    query_seconds: Seconds,
    pages: Family<Label, Counter>,
    errors: Family<Label, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The counters of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("neuronlake");
        let rows = Family::<Label, Counter>::default();
        registry.register("rows_written", "Rows committed, by table", rows.clone());
        let units = Family::<Label, Counter>::default();
        registry.register("units_done", "Units whose rows a stage wrote, by table", units.clone());
        let stage_seconds = Seconds::new_with_constructor(Buckets);
        registry.register_with_unit("stage", "Time that stages took", Unit::Seconds, stage_seconds.clone());
        let calls = Family::<Label, Counter>::default();
        registry.register("model_calls", "Calls of language models, by who answered: endpoint or store", calls.clone());
        let tokens = Family::<Label, Counter>::default();
        registry.register("model_tokens", "Tokens of answered calls, by kind: prompt or completion", tokens.clone());
        let cost = Dollars::default();
        registry.register("model_cost_dollars", "US dollars paid to endpoints, by stage", cost.clone());
        let call_retries = Counter::default();
        registry.register("model_call_retries", "Calls of language models tried again", call_retries.clone());
        let commit_retries = Counter::default();
        registry.register(
            "commit_retries",
            "Commits begun again because another process committed the same work",
            commit_retries.clone(),
        );
        let runs = Family::<[(&'static str, String); 2], Counter>::default();
        registry.register("pipeline_runs", "Runs of pipelines, by pipeline and outcome", runs.clone());
        let last_success = Family::<Label, Gauge>::default();
        registry.register_with_unit(
            "pipeline_last_success_time",
            "When a run of the pipeline last ended well, since 1970",
            Unit::Seconds,
            last_success.clone(),
        );
        let next_start = Family::<Label, Gauge>::default();
        registry.register_with_unit(
            "pipeline_next_start_time",
            "When the pipeline is due next, since 1970",
            Unit::Seconds,
            next_start.clone(),
        );
        let queries = Family::<Label, Counter>::default();
        registry.register("queries_served", "Queries answered, by outcome: done, refused or failed", queries.clone());
        let query_seconds = Seconds::new_with_constructor(Buckets);
        registry.register_with_unit("query", "Time that queries took", Unit::Seconds, query_seconds.clone());
        let pages = Family::<Label, Counter>::default();
        registry.register("pages_made", "Pages made and kept, by who asked: a visitor or nobody yet", pages.clone());
        let errors = Family::<Label, Counter>::default();
        registry.register("errors", "Faults, by kind", errors.clone());
        Self {
            registry,
            rows,
            units,
            stage_seconds,
            calls,
            tokens,
            cost,
            call_retries,
            commit_retries,
            runs,
            last_success,
            next_start,
            queries,
            query_seconds,
            pages,
            errors,
        }
    }

    /// Rows committed to a table.
    pub fn rows(&self, table: &str) -> Counter {
        self.rows.get_or_create(&[("table", table.to_owned())]).clone()
    }

    /// Units whose rows a stage wrote.
    pub fn units(&self, table: &str) -> Counter {
        self.units.get_or_create(&[("table", table.to_owned())]).clone()
    }

    /// A stage that ended, and what language models took for it.
    pub fn stage(&self, stage: &str, took: Duration, cost: f64) {
        self.stage_seconds.get_or_create(&[("stage", stage.to_owned())]).observe(took.as_secs_f64());
        if cost > 0.0 {
            self.cost.get_or_create(&[("stage", stage.to_owned())]).inc_by(cost);
        }
    }

    /// Calls answered by endpoints and from the store, with the tokens of the former.
    pub fn model_calls(&self, answered: u64, from_store: u64, prompt_tokens: u64, completion_tokens: u64) {
        for (by, n) in [("endpoint", answered), ("store", from_store)] {
            self.calls.get_or_create(&[("by", by.to_owned())]).inc_by(n);
        }
        for (kind, n) in [("prompt", prompt_tokens), ("completion", completion_tokens)] {
            self.tokens.get_or_create(&[("kind", kind.to_owned())]).inc_by(n);
        }
    }

    /// A run of a pipeline that ended: `done`, `failed` or `skipped`.
    pub fn pipeline_run(&self, pipeline: &str, outcome: &str, seconds_since_1970: i64) {
        let labels = [("pipeline", pipeline.to_owned()), ("outcome", outcome.to_owned())];
        self.runs.get_or_create(&labels).inc();
        if outcome == "done" {
            self.last_success.get_or_create(&[("pipeline", pipeline.to_owned())]).set(seconds_since_1970);
        }
    }

    /// When a pipeline is due next.
    pub fn next_start(&self, pipeline: &str, seconds_since_1970: i64) {
        self.next_start.get_or_create(&[("pipeline", pipeline.to_owned())]).set(seconds_since_1970);
    }

    /// A query that was answered: `done`, `refused` or `failed`.
    pub fn query(&self, outcome: &str, took: Duration) {
        self.queries.get_or_create(&[("outcome", outcome.to_owned())]).inc();
        self.query_seconds.get_or_create(&[("outcome", outcome.to_owned())]).observe(took.as_secs_f64());
    }

    /// A page that was made and is kept: for a `visitor`, or for `nobody` yet.
    pub fn page(&self, asked_by: &str) {
        self.pages.get_or_create(&[("asked_by", asked_by.to_owned())]).inc();
    }

    /// A fault of a kind.
    pub fn error(&self, kind: &str) {
        self.errors.get_or_create(&[("kind", kind.to_owned())]).inc();
    }

    /// Everything counted, in the text form of OpenMetrics, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
