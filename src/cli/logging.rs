//! Log lines on stderr, and traces to an OpenTelemetry collector where the environment names one.

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use super::arguments::{Arguments, Command};

/// The variables of the environment that name a collector, as OpenTelemetry defines them.
const COLLECTOR: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// Delta Lake tells of every commit that it begins again, as a fault; those that are faults come back as errors.
const HUSHED: &str = "deltalake_core::kernel::transaction=off";

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends what is left of the traces when it is dropped.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // A collector that is gone is no fault of the work that was traced.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging and tracing; called once, inside the runtime.
pub(crate) fn init(arguments: &Arguments) -> Traces {
    let usual = match arguments.command {
        // What nobody watches says what it does.
        Command::Schedule(_) => format!("warn,neuronlake=info,{HUSHED}"),
        _ => format!("error,{HUSHED}"),
    };
    let filter = EnvFilter::try_from_env("NEURONLAKE_LOG").unwrap_or_else(|_| usual.into());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match arguments.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = collector();
    let spans = provider.as_ref().map(|provider| {
        // Our own spans, and not those of every library: they would trace the sending of traces too.
        let ours = Targets::new().with_target("neuronlake", tracing::Level::INFO);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("neuronlake")).with_filter(ours)
    });
    // Fails only when a subscriber is set, which only a test process could have done.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init();
    Traces(provider)
}

fn collector() -> Option<SdkTracerProvider> {
    COLLECTOR.iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    let exporter = SpanExporter::builder().with_tonic().build().ok()?;
    let resource = Resource::builder().with_service_name("neuronlake").build();
    Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
