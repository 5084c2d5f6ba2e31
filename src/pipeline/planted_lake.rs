//! The planted subject as tables, so that every stage and every query can be tried where the truth is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::hash;
use crate::planted::{PlantedSubject, WEAK, subject};
use crate::random::mix;
use crate::session::Session;
use crate::tables::definition::table;
use crate::tables::runs::now;
use crate::tables::writer::TableWriter;
use crate::token_sequences::split::{Split, SplitStrategy};

/// Model, hook point and corpus of the planted subject in tables.
pub const PLANTED: &str = "planted";
/// Windows of each sample and split.
const N_RECORDS: usize = 10;
/// Sequence numbers of a document, as in `token_sequences`.
const SEQUENCES_A_DOCUMENT: i64 = 1 << 20;
/// The run that the rows name.
const RUN: &str = "planted";

/// Writes documents, token sequences, statistics, records, token means and true explanations of the planted subject,
/// unless the lake has them; returns the rows written.
///
/// # Errors
/// When the store refuses.
pub async fn write(session: &Session, seed: u64) -> Result<usize> {
    let there = session.sql("SELECT count(*) FROM runs WHERE run = 'planted'").await?.collect().await?;
    let n_runs = there
        .first()
        .map(|batch| arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(batch.column(0)).value(0));
    if n_runs.unwrap_or(0) > 0 {
        return Ok(0);
    }
    let started_at = now();
    let subject = subject(seed);
    let splits = splits(&subject, seed)?;
    let vocabulary = vocabulary(&subject);
    let mut n_rows = 0;
    let tables = [
        ("documents", documents(&subject)),
        ("token_sequences", sequences(&subject, &splits, &vocabulary)),
        ("neurons", neurons(&subject)),
        ("activation_records", records(&subject, &splits, seed)),
        ("token_activations", token_activations(&subject, &splits, &vocabulary)),
        ("explanations", explanations(&subject)),
    ];
    for (name, rows) in tables {
        n_rows += rows.len();
        insert(session, name, &rows).await?;
    }
    // Last: its row says that the others are complete.
    insert(session, "runs", &[run(seed, started_at, n_rows)]).await?;
    Ok(n_rows)
}

async fn insert(session: &Session, name: &str, rows: &[Value]) -> Result<()> {
    let definition = table(name).ok_or_else(|| Error::internal(format!("no table '{name}'")))?;
    let schema: SchemaRef = Arc::clone(&definition.schema);
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(rows.len().max(1)).build_decoder()?;
    decoder.serialize(rows)?;
    let Some(batch) = decoder.flush()? else { return Ok(()) };
    let mut writer = TableWriter::open(session.lake(), definition, RUN).await?;
    writer.write(&batch).await?;
    writer.commit().await
}

fn splits(subject: &PlantedSubject, seed: u64) -> Result<Vec<Split>> {
    let strategy = SplitStrategy::parse("document", seed)?;
    Ok(subject.documents.iter().map(|document| strategy.split_of_document(hash::key(&document.text))).collect())
}

/// A number for every token, in alphabetical order.
fn vocabulary(subject: &PlantedSubject) -> BTreeMap<&str, i64> {
    let tokens: BTreeSet<&str> =
        subject.documents.iter().flat_map(|document| document.tokens.iter().map(String::as_str)).collect();
    tokens.into_iter().zip(0..).collect()
}

fn documents(subject: &PlantedSubject) -> Vec<Value> {
    let row = |(number, text): (i64, &String)| json!({"corpus": PLANTED, "document": number, "source": PLANTED, "text": text, "run": RUN});
    (0..).zip(subject.documents.iter().map(|document| &document.text)).map(row).collect()
}

fn sequences(subject: &PlantedSubject, splits: &[Split], vocabulary: &BTreeMap<&str, i64>) -> Vec<Value> {
    let mut rows = Vec::with_capacity(subject.documents.len());
    for (number, (document, split)) in (0i64..).zip(subject.documents.iter().zip(splits)) {
        let ids: Vec<i64> =
            document.tokens.iter().filter_map(|token| vocabulary.get(token.as_str()).copied()).collect();
        rows.push(json!({
            "model": PLANTED, "corpus": PLANTED, "sequence": number * SEQUENCES_A_DOCUMENT, "document": number,
            "token_offset": 0, "split": split.as_str(), "token_ids": ids, "tokens": document.tokens, "run": RUN,
        }));
    }
    rows
}

fn neurons(subject: &PlantedSubject) -> Vec<Value> {
    let mut rows = Vec::with_capacity(subject.units.len());
    for (neuron, unit) in subject.units.iter().enumerate() {
        let values: Vec<f64> = unit.activations.iter().flatten().map(|value| f64::from(*value)).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let moment = |power: i32| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n;
        let variance = moment(2);
        let standardised = |power: i32| (variance > 0.0).then(|| moment(power) / variance.powf(f64::from(power) / 2.0));
        let firing = values.iter().filter(|value| **value > 0.0).count() as f64 / n;
        rows.push(json!({
            "model": PLANTED, "hook_point": PLANTED, "neuron": neuron, "corpus": PLANTED, "n_tokens": values.len(),
            "mean": mean, "variance": variance, "skewness": standardised(3), "kurtosis": standardised(4),
            "min": values.iter().copied().fold(f64::INFINITY, f64::min),
            "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "density": firing, "quantile_levels": [], "quantiles": [], "run": RUN,
        }));
    }
    rows
}

fn records(subject: &PlantedSubject, splits: &[Split], seed: u64) -> Vec<Value> {
    let mut rows = Vec::new();
    for (neuron, unit) in subject.units.iter().enumerate() {
        let max = |document: usize| unit.activations[document].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for split in [Split::Train, Split::Calibration, Split::Valid, Split::Test] {
            let mut of_split: Vec<usize> = (0..splits.len()).filter(|document| splits[*document] == split).collect();
            let draw = |document: usize| mix(seed, neuron as u64, document as u64);
            // Of windows with the same maximum a draw decides: many are at the top of the scale.
            of_split.sort_by(|a, b| max(*b).total_cmp(&max(*a)).then(draw(*a).cmp(&draw(*b))));
            let top: Vec<usize> = of_split.iter().copied().take(N_RECORDS).collect();
            let mut random = of_split.split_off(top.len());
            random.sort_by_key(|document| draw(*document));
            random.truncate(N_RECORDS);
            for (sample, documents) in [("top", top), ("random", random)] {
                for (rank, document) in documents.into_iter().enumerate() {
                    rows.push(json!({
                        "model": PLANTED, "hook_point": PLANTED, "neuron": neuron, "corpus": PLANTED, "sample": sample,
                        "rank": rank, "sequence": document as i64 * SEQUENCES_A_DOCUMENT, "split": split.as_str(),
                        "max_activation": max(document), "activations": unit.activations[document], "run": RUN,
                    }));
                }
            }
        }
    }
    rows
}

fn token_activations(subject: &PlantedSubject, splits: &[Split], vocabulary: &BTreeMap<&str, i64>) -> Vec<Value> {
    let mut rows = Vec::new();
    for (neuron, unit) in subject.units.iter().enumerate() {
        let mut sums: BTreeMap<&str, (f64, i64)> = BTreeMap::new();
        let train = (0..splits.len()).filter(|document| splits[*document] == Split::Train);
        for document in train {
            for (token, value) in subject.documents[document].tokens.iter().zip(&unit.activations[document]) {
                let (sum, n) = sums.entry(token).or_default();
                *sum += f64::from(*value);
                *n += 1;
            }
        }
        let (mut rest, mut n_rest) = (0.0, 0);
        let mut row = |token: Option<&str>, sum: f64, n: i64| {
            rows.push(json!({
                "model": PLANTED, "hook_point": PLANTED, "neuron": neuron, "corpus": PLANTED,
                "token_id": token.and_then(|token| vocabulary.get(token)), "token": token,
                "mean_activation": sum / n.max(1) as f64, "n_occurrences": n, "run": RUN,
            }));
        };
        for (token, (sum, n)) in sums {
            if sum / n as f64 >= f64::from(WEAK) / 2.0 {
                row(Some(token), sum, n);
            } else {
                rest += sum;
                n_rest += n;
            }
        }
        row(None, rest, n_rest);
    }
    rows
}

/// The true explanation of every unit, and its paraphrase as a second sample.
fn explanations(subject: &PlantedSubject) -> Vec<Value> {
    let mut rows = Vec::new();
    for (neuron, unit) in subject.units.iter().enumerate() {
        for (sample_no, text) in [unit.rule.explanation, unit.rule.paraphrase].into_iter().enumerate() {
            rows.push(json!({
                "model": PLANTED, "hook_point": PLANTED, "neuron": neuron, "corpus": PLANTED,
                "explanation": hash::text(&format!("{PLANTED}|{}|{sample_no}", unit.rule.name)),
                "explainer": PLANTED, "sample_no": sample_no, "round": 0, "text": text, "run": RUN,
            }));
        }
    }
    rows
}

fn run(seed: u64, started_at: i64, n_rows: usize) -> Value {
    json!({
        "run": RUN, "stage": "selftest", "model": PLANTED, "corpus": PLANTED, "parameters": json!({"seed": seed}).to_string(),
        "code_version": env!("CARGO_PKG_VERSION"), "seed": seed, "started_at": started_at, "ended_at": now(),
        "n_rows": n_rows, "cost": 0.0,
    })
}
