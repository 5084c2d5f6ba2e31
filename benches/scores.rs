//! Scores of 10,000 neurons on 10 windows of 64 tokens: the arithmetic alone, and the stage as a run executes it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use criterion::{BatchSize, Criterion, Throughput};
use neuronlake::models::cache::Models;
use neuronlake::pipeline::queries::{Parameter, Query, find};
use neuronlake::scores::bootstrap::Bootstrap;
use neuronlake::scores::metric::Metric;
use neuronlake::scores::resampling::Resampler;
use neuronlake::scores::summary::summaries;
use neuronlake::scores::window_sums::WindowSums;
use neuronlake::session::{Session, SessionOptions};
use neuronlake::tables::definition::table;
use neuronlake::tables::lake::Lake;
use neuronlake::tables::writer::TableWriter;

const N_NEURONS: usize = 10_000;
const N_WINDOWS: usize = 10;
const WINDOW: usize = 64;
/// Floats of one side of the comparison.
const N_VALUES: usize = N_NEURONS * N_WINDOWS * WINDOW;
/// Bytes of actual and expected activations.
pub(crate) const N_BYTES: usize = 2 * 4 * N_VALUES;
const SHAPE: &str = "10000x10x64";
/// Neurons of a batch that is written.
const BATCH_NEURONS: usize = 100;

/// Kernels with and without intervals, then SQL over a lake, whose Parquet is read from the page cache.
pub(crate) fn benches(criterion: &mut Criterion) {
    let (actual, expected) = actual_and_expected();
    let mut group = criterion.benchmark_group("scores");
    group.throughput(Throughput::Bytes(N_BYTES as u64));
    for (name, bootstrap) in [("kernels", None), ("kernels+intervals", Some(Bootstrap::default()))] {
        group.bench_function(format!("{name}/{SHAPE}/1"), |bencher| {
            bencher.iter(|| with_kernels(&actual, &expected, bootstrap));
        });
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let location = folder.path().to_string_lossy().into_owned();
    let mut written = false;
    let sql = scores_stage();
    // Controls are simulations too: the stage reads half as many bytes again.
    group.throughput(Throughput::Bytes((N_BYTES + N_BYTES / 2) as u64));
    group.bench_function(format!("sql/{SHAPE}/2"), |bencher| {
        // A filter on the command line may leave this out.
        if !std::mem::replace(&mut written, true) {
            runtime.block_on(write_lake(&location, &actual, &expected));
        }
        bencher.iter_batched(
            || session(&location),
            |session| runtime.block_on(run(&session, &sql)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Activations as uneven as a neuron's, and a simulation that is right in part.
pub(crate) fn actual_and_expected() -> (Vec<f32>, Vec<f32>) {
    let mut state = 7_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let actual: Vec<f32> = (0..N_VALUES).map(|_| uniform().powi(8) - 0.1).collect();
    let expected = actual.iter().map(|value| 0.5 * value + 0.5 * uniform()).collect();
    (actual, expected)
}

fn with_kernels(actual: &[f32], expected: &[f32], bootstrap: Option<Bootstrap>) -> f64 {
    let unit = N_WINDOWS * WINDOW;
    let mut total = 0.0;
    let mut resampler = bootstrap.map(Resampler::new);
    for (actual, expected) in actual.chunks_exact(unit).zip(expected.chunks_exact(unit)) {
        let windows: Vec<WindowSums> = actual
            .chunks_exact(WINDOW)
            .zip(expected.chunks_exact(WINDOW))
            .map(|(actual, expected)| WindowSums::of(actual, expected).expect("equally long"))
            .collect();
        for summary in summaries(Metric::ALL, &windows, resampler.as_mut()) {
            total += summary.value.unwrap_or_default() + summary.interval.map_or(0.0, |interval| interval.low);
        }
    }
    total
}

fn session(location: &str) -> Session {
    let lake = Lake::at(location).expect("a path is a location");
    let options = SessionOptions { batch_rows: 1_024, ..SessionOptions::default() };
    Session::open(lake, Arc::new(Models::default()), options).expect("the session's settings hold")
}

/// The SELECT of queries/pipeline/60_scores.sql, every parameter given.
fn scores_stage() -> String {
    let query = find("60_scores").expect("the stage has a file");
    let text = |text: &str| Parameter::Text(text.to_owned());
    let value = |name: &str| match name {
        "model" => text("bench"),
        "hook_point" => text("blocks.0.mlp.hook_post"),
        "simulator" => text("token_lookup"),
        "split" => text("valid"),
        "last_neuron" => Parameter::Integer(N_NEURONS as i64),
        "seed" | "first_neuron" => Parameter::Integer(0),
        _ => text("bench"),
    };
    let values: Vec<_> = query.params.iter().map(|(name, _)| (name.clone(), value(name))).collect();
    Query::select(&query.bind(&values).expect("every parameter has a value")).to_owned()
}

async fn run(session: &Session, sql: &str) -> usize {
    let batches = session.sql(sql).await.expect("the stage plans").collect().await.expect("the stage runs");
    let n_rows = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(n_rows, N_NEURONS * 3 * Metric::ALL.len(), "rows of the stage");
    n_rows
}

/// Half of the windows are top ones, half random; a control simulation beside each true one.
async fn write_lake(location: &str, actual: &[f32], expected: &[f32]) {
    let lake = Lake::at(location).expect("a path is a location");
    let unit = N_WINDOWS * WINDOW;
    let mut records = writer(&lake, "activation_records").await;
    let mut simulations = writer(&lake, "simulations").await;
    for first in (0..N_NEURONS).step_by(BATCH_NEURONS) {
        let range = first * unit..(first + BATCH_NEURONS) * unit;
        let rows = Rows { first, copies: 1 };
        let columns = |name: &str| match name {
            "max_activation" => Arc::new(Float32Array::from(vec![0.9; rows.n()])) as ArrayRef,
            "activations" => lists(&actual[range.clone()], 1),
            other => rows.column(other),
        };
        records.write(&batch("activation_records", columns)).await.expect("rows fit the table");
        let rows = Rows { first, copies: 2 };
        let columns = |name: &str| match name {
            "expected" => lists(&expected[range.clone()], 2),
            other => rows.column(other),
        };
        simulations.write(&batch("simulations", columns)).await.expect("rows fit the table");
    }
    records.commit().await.expect("the folder takes files");
    simulations.commit().await.expect("the folder takes files");
}

async fn writer(lake: &Lake, name: &str) -> TableWriter {
    TableWriter::open(lake, table(name).expect("a table of schemas/"), "bench").await.expect("a table can be made")
}

fn batch(name: &str, column: impl Fn(&str) -> ArrayRef) -> RecordBatch {
    let schema = &table(name).expect("a table of schemas/").schema;
    let columns: Vec<(String, ArrayRef)> =
        schema.fields().iter().map(|field| (field.name().clone(), column(field.name()))).collect();
    RecordBatch::try_from_iter(columns).expect("columns are equally long")
}

/// `copies` rows for each window of [`BATCH_NEURONS`] neurons from `first` on: all windows of a copy, then those of the next.
struct Rows {
    first: usize,
    copies: usize,
}

impl Rows {
    fn n(&self) -> usize {
        BATCH_NEURONS * N_WINDOWS * self.copies
    }

    /// Neuron, window and copy of every row.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let n = BATCH_NEURONS * N_WINDOWS;
        (0..self.n()).map(move |row| (self.first + row % n / N_WINDOWS, row % N_WINDOWS, row / n))
    }

    fn column(&self, name: &str) -> ArrayRef {
        let texts = |text: &dyn Fn(usize, usize) -> String| -> ArrayRef {
            Arc::new(self.rows().map(|(neuron, window, _)| Some(text(neuron, window))).collect::<StringArray>())
        };
        let integers = |number: &dyn Fn(usize, usize) -> usize| -> ArrayRef {
            Arc::new(self.rows().map(|(neuron, window, _)| Some(number(neuron, window) as i32)).collect::<Int32Array>())
        };
        match name {
            "layer" => integers(&|_, _| 0),
            "neuron" => integers(&|neuron, _| neuron),
            "rank" => integers(&|_, window| window % (N_WINDOWS / 2)),
            "sequence" => Arc::new(
                self.rows().map(|(neuron, window, _)| Some((neuron * 100 + window) as i64)).collect::<Int64Array>(),
            ),
            "control" => Arc::new(self.rows().map(|(_, _, copy)| Some(copy == 1)).collect::<BooleanArray>()),
            "sample" => texts(&|_, window| if window < N_WINDOWS / 2 { "top".to_owned() } else { "random".to_owned() }),
            "explanation" | "source_explanation" => texts(&|neuron, _| format!("{neuron:016x}")),
            "hook_point" => texts(&|_, _| "blocks.0.mlp.hook_post".to_owned()),
            "simulator" => texts(&|_, _| "token_lookup".to_owned()),
            "scale" => texts(&|_, _| "neuron_activations".to_owned()),
            "split" => texts(&|_, _| "valid".to_owned()),
            _ => texts(&|_, _| "bench".to_owned()),
        }
    }
}

fn lists(values: &[f32], copies: usize) -> ArrayRef {
    let element = Arc::new(Field::new("element", DataType::Float32, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(WINDOW, values.len() / WINDOW * copies));
    let values = Float32Array::from(values.repeat(copies));
    Arc::new(ListArray::try_new(element, offsets, Arc::new(values), None).expect("lists of 64"))
}
