//! What the lake does with activations and firings, without a model in front: `scripts/bench_latents.py` runs it and prints tables.
//!
//! - `--what shuffle`: writes a store of random rows through the store's own writer, brings it into random order, reads it in
//!   sequence; beside them the disk's own rate for as many bytes. Memory is the peak of the process.
//! - `--what firings`: writes table `activations` by the query and the writer of `sae encode` (sorted by the engine with spill, committed
//!   by whole latents) from firings that are drawn, not encoded: encoding 10 million rows takes half an hour of a core and measures the
//!   matrix product.
//!   Latent of rank r fires with a density of about k / (H (r + 100)): 6 % of the tokens for the densest of 24,576, 0.02 % for the rarest.
//!   Then one latent's strongest firings, with and without the windows they are in, and what fires with it.
//!
//! Run: `cargo bench --bench latents -- --what firings --tokens 1000000 --folder /tmp/bench`

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, AsArray, Float32Array, Int32Array, Int32Builder, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder,
};
use arrow::datatypes::{DataType, Int32Type, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use futures::StreamExt;
use neuronlake::activation_store::manifest::{Contents, Manifest, StoreFolder};
use neuronlake::activation_store::parts::{Footer, PartWriter, RowForm, Rows, ValueType};
use neuronlake::activation_store::rows::ShuffledRows;
use neuronlake::activation_store::shuffle::{ShuffleOptions, shuffle};
use neuronlake::activation_store::statistics::Sums;
use neuronlake::models::cache::Models;
use neuronlake::pipeline::queries::{self, Parameter, Query};
use neuronlake::session::{Session, SessionOptions};
use neuronlake::tables::definition::{TableDefinition, table};
use neuronlake::tables::lake::Lake;
use neuronlake::tables::writer::TableWriter;
use serde_json::{Value, json};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Tokens of a window.
const WINDOW: u64 = 64;
/// Windows of a document.
const WINDOWS: u64 = 16;
/// What is added to a latent's rank before its density falls with it.
const FLATTENED: f64 = 100.0;
/// Bytes of Parquet after which a stage commits (src/pipeline/stage.rs).
const COMMIT_BYTES: usize = 32 << 20;
/// Bytes of a store's file.
const PART_BYTES: usize = 256 << 20;
/// Bytes that the disk's own rate is taken with at a time.
const BLOCK: usize = 8 << 20;
/// Times a query is asked; the median counts.
const REPETITIONS: usize = 5;

const HOOK: &str = "blocks.8.hook_resid_post/synthetic";

fn argument(name: &str) -> Option<String> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).cloned()
}

fn number(name: &str, default: u64) -> Result<u64, Fault> {
    argument(name).map_or(Ok(default), |text| {
        text.parse().map_err(|_| format!("{name}: expected a whole number, got '{text}'").into())
    })
}

/// Uniform bits from a counter (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Between 0 and 1, never 0.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// Peak memory of this process in bytes (Linux; 0 elsewhere).
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default() * 1024
}

#[expect(clippy::print_stdout, reason = "the numbers are what it is for")]
fn main() -> Result<(), Fault> {
    let folder = PathBuf::from(argument("--folder").ok_or("--folder: expected where the data may lie")?);
    fs::create_dir_all(&folder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let found = match argument("--what").as_deref() {
        Some("shuffle") => shuffled(&folder)?,
        Some("firings") => runtime.block_on(firings(&folder))?,
        other => return Err(format!("--what: expected shuffle or firings, got {other:?}").into()),
    };
    println!("{found}");
    Ok(())
}

/// Seconds of some work.
fn timed<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<(f64, T), Fault> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

// A store and its random order ---------------------------------------------------------------------------------------

fn shuffled(folder: &Path) -> Result<Value, Fault> {
    let (n_rows, width, memory) =
        (number("--rows", 100_000)?, number("--width", 768)? as usize, number("--memory-mib", 512)?);
    let form = RowForm { width, values: ValueType::Bf16 };
    let lake = Lake::at(folder.join("lake").to_str().ok_or("a folder that is no text")?)?;
    let store = StoreFolder::at(&lake, "synthetic")?;
    let n_bytes = n_rows * form.bytes() as u64;
    // The disk first: as many bytes in one file, written and read in sequence.
    let (write, ()) = timed(|| disk_write(&folder.join("disk"), n_bytes))?;
    let (read, ()) = timed(|| disk_read(&folder.join("disk")))?;
    fs::remove_file(folder.join("disk"))?;
    let (stored, ()) = timed(|| write_store(&store, form, n_rows))?;
    let options = ShuffleOptions { seed: 0, memory_limit: (memory as usize) << 20 };
    let (dealt, _) = timed(|| Ok(shuffle(&store, options, &mut |_, _| {})?))?;
    let (scanned, ()) = timed(|| scan(&store))?;
    let rate = |seconds: f64| n_bytes as f64 / 1e6 / seconds;
    Ok(json!({
        "rows": n_rows, "width": width, "bytes": n_bytes, "memory_limit": memory << 20, "peak_memory": peak_memory(),
        "disk_write_mb_per_s": rate(write), "disk_read_mb_per_s": rate(read),
        "store_mb_per_s": rate(stored), "shuffle_mb_per_s": rate(dealt), "scan_mb_per_s": rate(scanned),
    }))
}

fn disk_write(path: &Path, n_bytes: u64) -> Result<(), Fault> {
    let mut random = Random(1);
    let block: Vec<u8> = (0..BLOCK / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut file = File::create(path)?;
    let mut left = n_bytes;
    while left > 0 {
        let some = left.min(BLOCK as u64);
        file.write_all(&block[..some as usize])?;
        left -= some;
    }
    Ok(file.sync_all()?)
}

fn disk_read(path: &Path) -> Result<(), Fault> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    while file.read(&mut block)? > 0 {}
    Ok(())
}

fn write_store(store: &StoreFolder, form: RowForm, n_rows: u64) -> Result<(), Fault> {
    let mut random = Random(2);
    let noise: Vec<f32> = (0..(1 << 20) + form.width).map(|_| (random.share() * 2.0 - 1.0) as f32).collect();
    let (mut written, mut number) = (0, 0);
    while written < n_rows {
        let mut writer = PartWriter::create(&store.rows_path(), number, form)?;
        let (mut sums, mut rows) = (Sums::new(form.width), Rows::default());
        while written < n_rows && writer.n_rows() * form.bytes() < PART_BYTES {
            rows.clear();
            for row in written..n_rows.min(written + 4_096) {
                let from = (random.next() % (1 << 20)) as usize;
                let values = &noise[from..from + form.width];
                sums.add_row(values);
                rows.sequences.push((row / WINDOW) as i64);
                rows.positions.push((row % WINDOW) as i32);
                form.values.encode(values, &mut rows.bytes);
            }
            written += rows.len() as u64;
            writer.write(&rows)?;
        }
        writer.finish(&Footer { last_sequence: Some((written / WINDOW) as i64), sums })?;
        number += 1;
    }
    let mut manifest = Manifest::new(Contents {
        model: "synthetic".to_owned(),
        weights_hash: String::new(),
        hook_point: "blocks.8.hook_resid_post".to_owned(),
        width: form.width,
        corpus: "synthetic".to_owned(),
        splits: vec!["train".to_owned()],
        first_token: "keep".to_owned(),
        norm_multiple: None,
        values: form.values,
        token_sequences: None,
    });
    manifest.n_rows = Some(n_rows);
    manifest.n_dropped = Some(0);
    Ok(store.write_manifest(&manifest)?)
}

fn scan(store: &StoreFolder) -> Result<(), Fault> {
    let mut rows = ShuffledRows::open(store, 0)?;
    let n_rows = rows.manifest().n_rows.unwrap_or_default();
    let mut values = Vec::new();
    let mut first = 0;
    while first < n_rows {
        let some = (n_rows - first).min(2_048);
        rows.read_rows(first, some as usize, &mut values)?;
        first += some;
    }
    Ok(())
}

// Firings ------------------------------------------------------------------------------------------------------------

/// Draws the latents that fire on a token.
#[derive(Clone)]
struct Draw {
    /// Cumulative share of the draws, by rank.
    cumulative: Arc<Vec<f64>>,
    /// Latent of each rank.
    latents: Arc<Vec<i32>>,
    k: usize,
}

impl Draw {
    fn new(n_latents: usize, k: usize) -> Self {
        let weights = (0..n_latents).map(|rank| 1.0 / (rank as f64 + FLATTENED));
        let total: f64 = weights.clone().sum();
        let mut sum = 0.0;
        let cumulative = weights.map(|weight| {
            sum += weight / total;
            sum
        });
        let cumulative = Arc::new(cumulative.collect::<Vec<f64>>());
        // Dense latents do not stand side by side.
        let mut latents: Vec<i32> = (0..n_latents as i32).collect();
        let mut random = Random(3);
        for at in (1..n_latents).rev() {
            latents.swap(at, (random.next() % (at as u64 + 1)) as usize);
        }
        Self { cumulative, latents: Arc::new(latents), k }
    }

    /// `k` latents, or fewer where one is drawn again, by rising latent.
    fn token(&self, random: &mut Random, fired: &mut Vec<i32>) {
        fired.clear();
        for _ in 0..self.k {
            let share = random.share();
            let rank = self.cumulative.partition_point(|sum| *sum < share).min(self.latents.len() - 1);
            fired.push(self.latents[rank]);
        }
        fired.sort_unstable();
        fired.dedup();
    }
}

/// Latent, window, position and value of every firing, in the order of the tokens.
struct Firings {
    schema: SchemaRef,
    draw: Draw,
    tokens: std::ops::Range<u64>,
}

impl fmt::Debug for Firings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Firings").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Firings {
    fn batch(&self, tokens: std::ops::Range<u64>) -> Result<RecordBatch, arrow::error::ArrowError> {
        let (mut neurons, mut sequences, mut positions, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut fired = Vec::new();
        for token in tokens {
            let mut random = Random(token.wrapping_mul(0xD134_2543_DE82_EF95));
            self.draw.token(&mut random, &mut fired);
            for latent in &fired {
                neurons.push(*latent);
                sequences.push(sequence(token / WINDOW));
                positions.push((token % WINDOW) as i32);
                values.push(-(random.share().ln()) as f32);
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(neurons)),
            Arc::new(Int64Array::from(sequences)),
            Arc::new(Int32Array::from(positions)),
            Arc::new(Float32Array::from(values)),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl PartitionStream for Firings {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let own = Self { schema: Arc::clone(&self.schema), draw: self.draw.clone(), tokens: self.tokens.clone() };
        let starts = futures::stream::iter(self.tokens.clone().step_by(256));
        let batches = starts.map(move |start| Ok(own.batch(start..own.tokens.end.min(start + 256))?));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// Key of a window, as the tables have it.
fn sequence(window: u64) -> i64 {
    (((window / WINDOWS) << 20) + window % WINDOWS) as i64
}

fn definition(name: &str) -> Result<&'static TableDefinition, Fault> {
    table(name).ok_or_else(|| format!("no table {name}").into())
}

async fn firings(folder: &Path) -> Result<Value, Fault> {
    let (n_tokens, n_latents, k) =
        (number("--tokens", 1_000_000)?, number("--latents", 24_576)? as usize, number("--k", 32)? as usize);
    let lake = Lake::reach(folder.join("lake").to_str().ok_or("a folder that is no text")?).await?;
    let session = Session::open(lake, Arc::new(Models::default()), SessionOptions::default())?;
    write_windows(&session, n_tokens).await?;
    let draw = Draw::new(n_latents, k);
    let start = Instant::now();
    let (n_firings, n_spilled) = write_firings(&session, &draw, n_tokens).await?;
    let written = start.elapsed().as_secs_f64();
    let bytes = bytes_below(&folder.join("lake/activations"))?;
    let mut latents = Vec::new();
    for (what, rank) in [("densest", 0), ("median", n_latents / 2), ("rarest", n_latents - 1)] {
        let latent = draw.latents[rank];
        let of_latent =
            format!("model = 'synthetic' AND hook_point = '{HOOK}' AND corpus = 'synthetic' AND neuron = {latent}");
        let top = format!(
            "SELECT sequence, position, activation FROM activations WHERE {of_latent} ORDER BY activation DESC LIMIT 20"
        );
        let examples = format!(
            "SELECT a.sequence, a.position, a.activation, t.tokens FROM ({top}) a JOIN token_sequences t ON t.model = 'synthetic' \
             AND t.corpus = 'synthetic' AND t.sequence = a.sequence ORDER BY a.activation DESC"
        );
        let together =
            format!("SELECT other_neuron, n_both FROM coactivations WHERE {of_latent} ORDER BY n_both DESC LIMIT 20");
        let (n_rows, _) = asked(&session, &format!("SELECT neuron FROM activations WHERE {of_latent}"), 1).await?;
        let (n_top, top) = asked(&session, &top, REPETITIONS).await?;
        let (n_examples, examples) = asked(&session, &examples, REPETITIONS).await?;
        let (n_together, together) = asked(&session, &together, REPETITIONS.min(3)).await?;
        if n_examples != n_top {
            return Err(format!("latent {latent}: expected {n_top} examples, got {n_examples}").into());
        }
        latents.push(json!({
            "what": what, "n_firings": n_rows, "top_20_ms": top, "top_20_with_windows_ms": examples,
            "n_together": n_together, "firing_together_ms": together,
        }));
    }
    Ok(json!({
        "tokens": n_tokens, "latents": n_latents, "k": k, "firings": n_firings, "bytes": bytes,
        "bytes_per_firing": bytes as f64 / n_firings as f64, "write_s": written,
        "spilled_bytes_per_firing": n_spilled as f64 / n_firings as f64,
        "firings_per_s": n_firings as f64 / written, "peak_memory": peak_memory(), "queries": latents,
    }))
}

/// Writes firings sorted by the stage's own query, a commit whenever enough whole latents are held: their number, and the bytes that
/// the sort spilled.
async fn write_firings(session: &Session, draw: &Draw, n_tokens: u64) -> Result<(usize, usize), Fault> {
    let definition = definition("activations")?;
    let fields =
        ["neuron", "sequence", "position", "activation"].map(|name| definition.schema.field_with_name(name).cloned());
    let schema: SchemaRef = Arc::new(Schema::new(fields.into_iter().collect::<Result<Vec<_>, _>>()?));
    let stream = Firings { schema: Arc::clone(&schema), draw: draw.clone(), tokens: 0..n_tokens };
    let drawn = MemorySchemaProvider::new();
    drawn.register_table("firings".to_owned(), Arc::new(StreamingTable::try_new(schema, vec![Arc::new(stream)])?))?;
    let catalog = session.context().catalog("lake").ok_or("a session without a catalog")?;
    catalog.register_schema("drawn", Arc::new(drawn))?;
    let plan = session.sql(&stage("FROM drawn.firings ")?).await?.create_physical_plan().await?;
    let mut rows = execute_stream(Arc::clone(&plan), session.context().task_ctx())?;
    let mut writer = TableWriter::open(session.lake(), definition, "synthetic").await?;
    let mut held: Option<RecordBatch> = None;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let neurons = batch.column(3).as_primitive::<Int32Type>().values();
        // The last latent of a batch may go on in the next one: it is held back, so that a commit never cuts it.
        let last = neurons.partition_point(|neuron| Some(neuron) < neurons.last());
        if let Some(held) = held.take() {
            writer.write(&held).await?;
        }
        writer.write(&batch.slice(0, last)).await?;
        if last > 0 && writer.pending_bytes() > COMMIT_BYTES {
            writer.commit().await?;
        }
        held = Some(batch.slice(last, batch.num_rows() - last));
    }
    if let Some(held) = held {
        writer.write(&held).await?;
    }
    writer.commit().await?;
    Ok((writer.written(), spilled(plan.as_ref())))
}

/// The SELECT of `sae encode`, with firings from elsewhere in the place of the model's.
fn stage(firings: &str) -> Result<String, Fault> {
    let text = |text: &str| Parameter::Text(text.to_owned());
    let of_all = ["run", "model", "corpus", "model_source", "neurons", "collection"];
    let mut values: Vec<_> = of_all.map(|name| (name.to_owned(), text("synthetic"))).to_vec();
    values.extend([("hook_point".to_owned(), text(HOOK)), ("layer".to_owned(), Parameter::Integer(8))]);
    let sql = queries::find("36_encoded_activations")?.bind(&values)?;
    let (before, call) = Query::select(&sql).split_once("FROM encode(").ok_or("a stage that does not encode")?;
    let (_, after) = call.split_once(") ").ok_or("a call without an end")?;
    Ok(format!("{before}{firings}{after}"))
}

/// Bytes that the parts of a plan wrote to disk to stay within the memory.
fn spilled(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or_default();
    own + plan.children().iter().map(|child| spilled(child.as_ref())).sum::<usize>()
}

/// Windows whose tokens look like words, so that reading an example costs what it does.
async fn write_windows(session: &Session, n_tokens: u64) -> Result<(), Fault> {
    let definition = definition("token_sequences")?;
    let mut writer = TableWriter::open(session.lake(), definition, "synthetic").await?;
    let n_windows = n_tokens.div_ceil(WINDOW);
    let mut random = Random(4);
    for start in (0..n_windows).step_by(4_096) {
        let windows = start..n_windows.min(start + 4_096);
        let n = (windows.end - windows.start) as usize;
        let element = |name: &str| match definition.schema.field_with_name(name).map(|field| field.data_type().clone())
        {
            Ok(DataType::List(element)) => Ok(element),
            other => Err(format!("column {name}: expected a list, got {other:?}")),
        };
        let mut ids = ListBuilder::new(Int32Builder::new()).with_field(element("token_ids")?);
        let mut tokens = ListBuilder::new(StringBuilder::new()).with_field(element("tokens")?);
        for _ in windows.clone() {
            for _ in 0..WINDOW {
                let token = (random.share().powi(3) * 50_000.0) as i32;
                ids.values().append_value(token);
                tokens.values().append_value(format!(" w{token}"));
            }
            ids.append(true);
            tokens.append(true);
        }
        let text = |text: &str| Arc::new(StringArray::from(vec![text; n])) as ArrayRef;
        let whole =
            |of: fn(u64) -> i64| Arc::new(windows.clone().map(|window| Some(of(window))).collect::<Int64Array>());
        let offsets = windows.clone().map(|window| Some((window % WINDOWS * WINDOW) as i32)).collect::<Int32Array>();
        let columns: Vec<ArrayRef> = vec![
            text("synthetic"),
            text("synthetic"),
            whole(sequence),
            whole(|window| (window / WINDOWS) as i64),
            Arc::new(offsets),
            text("train"),
            Arc::new(ids.finish()),
            Arc::new(tokens.finish()),
            text("synthetic"),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&definition.schema), columns)?).await?;
        if writer.pending_bytes() > COMMIT_BYTES {
            writer.commit().await?;
        }
    }
    Ok(writer.commit().await?)
}

/// How many rows a query has, and the median of its milliseconds.
async fn asked(session: &Session, sql: &str, repetitions: usize) -> Result<(usize, f64), Fault> {
    let (mut milliseconds, mut n_rows) = (Vec::new(), 0);
    for _ in 0..repetitions {
        let start = Instant::now();
        let batches = session.sql(sql).await?.collect().await?;
        n_rows = batches.iter().map(RecordBatch::num_rows).sum();
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    Ok((n_rows, milliseconds[repetitions / 2]))
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64, Fault> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
