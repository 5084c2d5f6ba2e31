//! The export of `activations` as cached latents: one pass over a module's firings for each file.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int32Type, Int64Type};
use futures::StreamExt;
use half::f16;
use serde_json::json;

use super::write::{Delphi, internal};
use crate::error::{Error, Result};
use crate::exchange::fault::ExchangeError;
use crate::exchange::output::NewFile;
use crate::exchange::report::{Report, count};
use crate::pipeline::queries::Parameter;
use crate::session::Session;

/// Files that a module's latents are divided into, as delphi does by default.
const SPLITS: i32 = 5;

/// Rows of the token matrix.
struct Tokens {
    row_of: HashMap<i64, u32>,
    // One row after the other, shorter ones filled up with 0.
    ids: Vec<i64>,
    lengths: Vec<i32>,
    width: usize,
}

/// Writes `latents/<module>/` for every module of an export whose units have firings.
///
/// # Errors
/// When a table cannot be read or a file cannot be written.
pub async fn write(session: &Session, export: &Delphi) -> Result<Report> {
    let mut report = Report::default();
    let Some((model, corpus, modules)) = export.exported() else { return Ok(report) };
    let of_corpus = format!("model = {} AND corpus = {}", text(model), text(corpus));
    let mut tokens = None;
    for (name, module) in modules {
        let of_module = format!("{of_corpus} AND hook_point = {}", text(&module.hook_point));
        let (Some(first), Some(last)) = (module.neurons.first(), module.neurons.last()) else { continue };
        let sql = format!("SELECT 1 FROM activations WHERE {of_module} AND neuron BETWEEN {first} AND {last} LIMIT 1");
        if session.sql(&sql).await?.count().await? == 0 {
            continue;
        }
        if tokens.is_none() {
            tokens = Some(read_tokens(session, &of_corpus, &mut report).await?);
        }
        let Some(tokens) = &tokens else { return Err(internal("tokens were read")) };
        let folder = export.root().join("latents").join(name);
        let width = last + 1;
        let n_splits = SPLITS.min(width);
        for split in 0..n_splits {
            let edge =
                |split: i32| i32::try_from(i64::from(width) * i64::from(split) / i64::from(n_splits)).unwrap_or(width);
            let range = (edge(split), edge(split + 1) - 1);
            write_split(session, &of_module, range, &module.neurons, tokens, &folder, &mut report).await?;
        }
        let config = json!({
            "dataset_repo": corpus, "dataset_split": "", "dataset_name": "", "dataset_column": "text",
            "batch_size": 32, "cache_ctx_len": tokens.width, "ctx_len": tokens.width,
            "n_tokens": tokens.ids.len(), "n_splits": n_splits, "model_name": model,
        });
        NewFile::write(&folder.join("config.json"), config.to_string().as_bytes())?;
        report.n_files += 1;
    }
    Ok(report)
}

/// The windows that firings refer to, and all that are as long as the longest of those: nothing fires on some.
async fn read_tokens(session: &Session, of_corpus: &str, report: &mut Report) -> Result<Tokens> {
    let sql = format!(
        "WITH referred AS (SELECT DISTINCT sequence FROM activations WHERE {of_corpus}), \
         known AS (SELECT t.sequence, t.token_ids, cardinality(t.tokens) AS length, r.sequence IS NOT NULL AS used \
         FROM token_sequences t LEFT JOIN referred r ON r.sequence = t.sequence WHERE t.{}) \
         SELECT sequence, token_ids, used FROM known \
         WHERE used OR length = (SELECT max(length) FROM known WHERE used) ORDER BY sequence",
        of_corpus.replace(" AND ", " AND t.")
    );
    let mut rows: Vec<(i64, Vec<i32>)> = Vec::new();
    let mut stream = session.sql(&sql).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let sequences = batch.column(0).as_primitive::<Int64Type>();
        let lists = batch.column(1).as_list::<i32>();
        let used = batch.column(2).as_boolean();
        for row in 0..batch.num_rows() {
            if lists.is_valid(row) {
                rows.push((sequences.value(row), lists.value(row).as_primitive::<Int32Type>().values().to_vec()));
            } else if used.value(row) {
                count(&mut report.not_kept, "window with firings whose token ids are not known");
            }
        }
    }
    let width = rows.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
    let mut tokens = Tokens { row_of: HashMap::new(), ids: Vec::new(), lengths: Vec::new(), width };
    for (row, (sequence, ids)) in rows.into_iter().enumerate() {
        tokens.row_of.insert(sequence, u32::try_from(row).map_err(|_| internal("more than 2^32 windows"))?);
        tokens.lengths.push(i32::try_from(ids.len()).unwrap_or(i32::MAX));
        let filling = std::iter::repeat_n(0, width - ids.len());
        tokens.ids.extend(ids.into_iter().chain(filling).map(i64::from));
    }
    Ok(tokens)
}

async fn write_split(
    session: &Session,
    of_module: &str,
    (first, last): (i32, i32),
    neurons: &BTreeSet<i32>,
    tokens: &Tokens,
    folder: &Path,
    report: &mut Report,
) -> Result<()> {
    let path = folder.join(format!("{first}_{last}.safetensors"));
    let fault = |source| Error::File { path: path.clone(), source };
    std::fs::create_dir_all(folder).map_err(fault)?;
    let mut locations = std::io::BufWriter::new(scratch(folder, "locations").map_err(fault)?);
    let mut activations = std::io::BufWriter::new(scratch(folder, "activations").map_err(fault)?);
    // delphi's own types: the small one where every number fits.
    let small = tokens.lengths.len() <= 1 << 16 && last - first < 1 << 16 && tokens.width <= 1 << 16;
    let sql = format!(
        "SELECT neuron, sequence, position, activation FROM activations WHERE {of_module} AND neuron BETWEEN {first} AND {last}"
    );
    let mut n: usize = 0;
    let mut stream = session.sql(&sql).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let of = batch.column(0).as_primitive::<Int32Type>();
        let sequences = batch.column(1).as_primitive::<Int64Type>();
        let positions = batch.column(2).as_primitive::<Int32Type>();
        let values = cast(batch.column(3), &DataType::Float32)?;
        let values = values.as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            if !neurons.contains(&of.value(row)) {
                continue;
            }
            let Some(window) = tokens.row_of.get(&sequences.value(row)) else {
                count(&mut report.not_kept, "firing on a window whose token ids are not known");
                continue;
            };
            let place = [*window, positions.value(row).cast_unsigned(), (of.value(row) - first).cast_unsigned()];
            for number in place {
                if small {
                    locations.write_all(&(number as u16).to_le_bytes()).map_err(fault)?;
                } else {
                    locations.write_all(&number.to_le_bytes()).map_err(fault)?;
                }
            }
            let rounded = f16::from_f32(values.value(row));
            if !rounded.is_finite() {
                let unit = format!("{} {}", folder.display(), of.value(row));
                let reason =
                    format!("{} is beyond half precision, in which delphi keeps activations", values.value(row));
                return Err(ExchangeError::NotExpressible { unit, format: "delphi", reason }.into());
            }
            if rounded.to_f32() != values.value(row) {
                count(&mut report.not_kept, "digits of an activation beyond half precision");
            }
            activations.write_all(&rounded.to_le_bytes()).map_err(fault)?;
            n += 1;
        }
    }
    let mut locations = locations.into_inner().map_err(|error| fault(error.into_error()))?;
    let mut activations = activations.into_inner().map_err(|error| fault(error.into_error()))?;
    let n_rows = tokens.lengths.len();
    let padded = tokens.lengths.iter().any(|length| *length as usize != tokens.width);
    let sizes = [n * 2, n * 3 * if small { 2 } else { 4 }, 8 * tokens.ids.len(), if padded { 4 * n_rows } else { 0 }];
    let ends: Vec<usize> = sizes
        .iter()
        .scan(0, |end, size| {
            *end += size;
            Some(*end)
        })
        .collect();
    let mut header = json!({
        "activations": {"dtype": "F16", "shape": [n], "data_offsets": [0, ends[0]]},
        "locations": {"dtype": if small { "U16" } else { "U32" }, "shape": [n, 3], "data_offsets": [ends[0], ends[1]]},
        "tokens": {"dtype": "I64", "shape": [n_rows, tokens.width], "data_offsets": [ends[1], ends[2]]},
    });
    if padded {
        header["neuronlake_lengths"] = json!({"dtype": "I32", "shape": [n_rows], "data_offsets": [ends[2], ends[3]]});
    }
    let mut header = header.to_string();
    // The data begins at a multiple of eight bytes.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = NewFile::create(&path)?;
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(fault)?;
    file.write_all(header.as_bytes()).map_err(fault)?;
    copy(&mut activations, &mut file).map_err(fault)?;
    copy(&mut locations, &mut file).map_err(fault)?;
    for id in &tokens.ids {
        file.write_all(&id.to_le_bytes()).map_err(fault)?;
    }
    for length in tokens.lengths.iter().filter(|_| padded) {
        file.write_all(&length.to_le_bytes()).map_err(fault)?;
    }
    file.finish()?;
    report.n_files += 1;
    report.n_bytes += std::fs::metadata(&path).map_err(fault)?.len();
    *report.rows.entry("activations".to_owned()).or_default() += n as u64;
    Ok(())
}

/// A file that is gone when it is closed.
fn scratch(folder: &Path, name: &str) -> std::io::Result<std::fs::File> {
    let path = folder.join(format!(".{name}.{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn copy(from: &mut std::fs::File, to: &mut impl Write) -> std::io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    let mut block = vec![0; 1 << 16];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(()),
            n => to.write_all(&block[..n])?,
        }
    }
}

fn text(value: &str) -> String {
    Parameter::Text(value.to_owned()).to_sql()
}
