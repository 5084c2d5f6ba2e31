//! The index as a whole: in step with its tables whatever happens to them, equal to the slow way, with filters before the first k.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use async_trait::async_trait;
use datafusion::execution::context::SessionContext;

use super::bm25::{KeywordQuery, matches};
use super::build::SearchIndex;
use super::facts::{Count, Lot};
use super::mentions::Needle;
use super::nearest::{Search, nearest};
use super::vectors::QueryVector;
use super::words::{folded, forms, words};
use crate::embeddings::TextEncoder;
use crate::error::Result;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::definition::table;
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

/// Vectors by a hash of the text: what is alike is not near, but what is equal is equal.
#[derive(Debug)]
pub(super) struct FakeEncoder;

impl FakeEncoder {
    pub(super) const WIDTH: usize = 70;

    pub(super) fn vector(text: &str) -> Vec<f32> {
        let mut state = crate::hash::key(text);
        // Texts that end alike point alike: there are neighbours to be found.
        let mut shared = crate::hash::key(text.rsplit(' ').next().unwrap_or_default());
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let raw: Vec<f32> = (0..Self::WIDTH).map(|_| next(&mut shared) + 0.5 * next(&mut state)).collect();
        let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
        raw.iter().map(|x| x / length).collect()
    }
}

#[async_trait]
impl TextEncoder for FakeEncoder {
    fn name(&self) -> &str {
        "fake"
    }

    async fn embed_all(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        Ok(texts.iter().map(|text| Self::vector(text)).collect())
    }
}

/// One explanation: its number and text.
pub(super) type Row = (usize, Option<String>);

pub(super) fn row(number: usize, text: &str) -> Row {
    (number, Some(text.to_owned()))
}

/// A lake with explanations and scores only.
pub(super) struct TestLake {
    folder: tempfile::TempDir,
    session: Session,
}

impl TestLake {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let session = open(folder.path());
        Self { folder, session }
    }

    pub(super) fn engine(&self) -> &SessionContext {
        self.session.context()
    }

    pub(super) fn search(&self) -> &Arc<SearchIndex> {
        self.session.search()
    }

    pub(super) async fn append(&self, rows: &[Row]) {
        write(self.session.lake(), "explanations", rows.len(), |name| {
            let texts = |values: Vec<Option<String>>| Some(Arc::new(StringArray::from(values)) as ArrayRef);
            match name {
                "layer" => Some(Arc::new(rows.iter().map(|r| Some((r.0 % 12) as i32)).collect::<Int32Array>())),
                "neuron" => Some(Arc::new(rows.iter().map(|r| Some(r.0 as i32)).collect::<Int32Array>())),
                "explanation" => texts(rows.iter().map(|r| Some(format!("e{:06}", r.0))).collect()),
                "text" => texts(rows.iter().map(|r| r.1.clone()).collect()),
                _ => None,
            }
        })
        .await;
    }

    pub(super) async fn score(&self, scores: &[(usize, f64)]) {
        write(self.session.lake(), "scores", scores.len(), |name| {
            let same = |value: &str| Some(Arc::new(StringArray::from(vec![value; scores.len()])) as ArrayRef);
            match name {
                "explanation" => {
                    let keys = scores.iter().map(|s| Some(format!("e{:06}", s.0)));
                    Some(Arc::new(keys.collect::<StringArray>()))
                }
                "neuron" => Some(Arc::new(scores.iter().map(|s| Some(s.0 as i32)).collect::<Int32Array>())),
                "metric" => same("ev_correlation"),
                "sample_set" => same("top_and_random"),
                "split" => same("valid"),
                "value" => Some(Arc::new(scores.iter().map(|s| Some(s.1)).collect::<arrow::array::Float64Array>())),
                _ => None,
            }
        })
        .await;
    }

    /// The first column of a query's rows, as text.
    async fn column(&self, sql: &str) -> Vec<String> {
        column(&self.session, sql).await
    }
}

fn open(folder: &Path) -> Session {
    let lake = Lake::at(folder.to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap()
}

async fn column(session: &Session, sql: &str) -> Vec<String> {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let texts = |batch: &RecordBatch| {
        let texts = cast(batch.column(0), &DataType::Utf8).unwrap();
        texts.as_string::<i32>().iter().map(|text| text.unwrap_or("NULL").to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(texts).collect()
}

/// Appends rows; columns that `of` does not give are 'x', 0, or NULL where they may be.
async fn write(lake: &Lake, name: &str, n: usize, of: impl Fn(&str) -> Option<ArrayRef>) {
    let definition = table(name).unwrap();
    let columns = definition.schema.fields().iter().map(|field| {
        of(field.name()).unwrap_or_else(|| match field.data_type() {
            other if field.is_nullable() => new_null_array(other, n),
            DataType::Utf8 => Arc::new(StringArray::from(vec!["x"; n])),
            DataType::Int32 => Arc::new(Int32Array::from(vec![0; n])),
            other => cast(&Int32Array::from(vec![0; n]), other).unwrap(),
        })
    });
    let batch = RecordBatch::try_new(Arc::clone(&definition.schema), columns.collect()).unwrap();
    let mut writer = TableWriter::open(lake, definition, "x").await.unwrap();
    writer.write(&batch).await.unwrap();
    writer.commit().await.unwrap();
}

fn texts(n: usize) -> Vec<Row> {
    const WORDS: [&str; 9] = ["king", "Kings", "castle", "the", "the", "of", "stone's", "Größe", "boxes"];
    (0..n)
        .map(|i| row(i, &(0..1 + i % 7).map(|j| WORDS[(i * 5 + j * j + i / 9) % 9]).collect::<Vec<_>>().join(" ")))
        .collect()
}

/// BM25 by the formula, over all texts, in 64 bits.
fn slow_bm25(rows: &[Row], query: &str) -> Vec<(usize, f64)> {
    let texts: Vec<Vec<String>> = rows.iter().map(|r| words(r.1.as_deref().unwrap()).map(folded).collect()).collect();
    let average = texts.iter().map(Vec::len).sum::<usize>() as f64 / texts.len() as f64;
    let wanted: BTreeSet<String> = words(query).map(folded).collect();
    let mut scores = vec![0.0; rows.len()];
    for word in wanted {
        let forms = forms(&word);
        let count = |text: &Vec<String>| text.iter().filter(|word| forms.contains(word)).count() as f64;
        let holding = texts.iter().filter(|text| count(text) > 0.0).count() as f64;
        let weight = (1.0 + (texts.len() as f64 - holding + 0.5) / (holding + 0.5)).ln();
        for (text, score) in texts.iter().zip(&mut scores) {
            let count = count(text);
            *score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * text.len() as f64 / average));
        }
    }
    scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect()
}

#[tokio::test]
async fn bm25_is_the_formula_over_all_texts_and_one_word_is_what_mentions_finds() {
    let lake = TestLake::new();
    let rows = texts(20_000);
    lake.append(&rows[..12_345]).await;
    lake.search().current(lake.engine()).await.unwrap();
    // A second segment, as an append makes one.
    lake.append(&rows[12_345..]).await;
    let index = lake.search().current(lake.engine()).await.unwrap();
    assert_eq!((index.segments.len(), index.n_rows()), (2, 20_000));
    for query in ["king", "castle the", "GRÖSSE größe", "box of stone kings", "unknown", "unknown king king"] {
        let found = matches(&index, &KeywordQuery::new(query).unwrap());
        let mut got: Vec<(usize, f64)> = Vec::new();
        for (segment, found) in index.segments.iter().zip(&found) {
            for (row, score) in found.rows.iter().zip(&found.scores) {
                let batch = *row as usize / super::rows::BATCH_ROWS;
                let keys = segment.column(batch, super::rows::EXPLANATION).unwrap().as_string::<i32>();
                let number = keys.value(*row as usize % super::rows::BATCH_ROWS)[1..].parse().unwrap();
                got.push((number, f64::from(*score)));
            }
        }
        got.sort_by_key(|(row, _)| *row);
        let expected = slow_bm25(&rows, query);
        assert_eq!(got.len(), expected.len(), "{query}");
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.0, expected.0, "{query}");
            // A few sums of 24-bit numbers.
            assert!((got.1 - expected.1).abs() < 1e-5 * expected.1.max(1.0), "{query}: {got:?} {expected:?}");
        }
    }
    let needle = Needle::new("castle").unwrap();
    let mentioned = rows.iter().filter(|row| needle.holds(row.1.as_deref().unwrap())).count();
    let found: usize =
        matches(&index, &KeywordQuery::new("castle").unwrap()).iter().map(|found| found.rows.len()).sum();
    assert_eq!(found, mentioned);
}

#[tokio::test]
async fn filters_hold_before_the_first_k() {
    let lake = TestLake::new();
    let rows: Vec<Row> = (0..3_000).map(|i| row(i, &format!("king {}", "of stone ".repeat(i / 100)))).collect();
    lake.append(&rows).await;
    lake.score(&(0..3_000).map(|i| (i, i as f64 / 3_000.0)).collect::<Vec<_>>()).await;
    // The hundred best by BM25 are the shortest: all have a low score.
    let best =
        lake.column("SELECT explanation FROM keyword_matches('king') ORDER BY bm25 DESC, explanation LIMIT 100").await;
    assert_eq!(best, (0..100).map(|i| format!("e{i:06}")).collect::<Vec<_>>());
    for condition in ["score > 0.9", "score > 0.9 AND neuron % 2 = 0", "mentions(text, 'stone') AND score >= 0.9"] {
        let filtered = format!(
            "SELECT explanation FROM keyword_matches('king') WHERE {condition} ORDER BY bm25 DESC, explanation LIMIT 10"
        );
        let got = lake.column(&filtered).await;
        // Without the pushed-down order: everything comes out, and the engine sorts.
        let slow = filtered.replace("ORDER BY bm25 DESC", "ORDER BY bm25 + 0.0 DESC");
        assert_eq!((got.len(), &got), (10, &lake.column(&slow).await), "{condition}");
        assert!(got.iter().all(|key| key[1..].parse::<usize>().unwrap() >= 2_700), "{got:?}");
        let plan = lake.column(&format!("EXPLAIN {filtered}")).await.join(" ");
        let plan = format!("{plan} {}", explained(&lake, &filtered).await);
        assert!(plan.contains("by score, fetch=10") && !plan.contains("SortExec"), "{plan}");
    }
    let none = "SELECT explanation FROM keyword_matches('king') WHERE score > 2 ORDER BY bm25 DESC LIMIT 5";
    assert!(lake.column(none).await.is_empty());
}

async fn explained(lake: &TestLake, sql: &str) -> String {
    let batches = lake.session.sql(&format!("EXPLAIN {sql}")).await.unwrap().collect().await.unwrap();
    let plans = batches.iter().map(|batch| cast(batch.column(1), &DataType::Utf8).unwrap());
    plans.map(|plans| plans.as_string::<i32>().iter().flatten().collect::<Vec<_>>().join("\n")).collect()
}

#[tokio::test]
async fn the_indexed_view_is_the_view() {
    let lake = TestLake::new();
    let mut rows = texts(500);
    rows.push((900, None));
    lake.append(&rows).await;
    lake.score(&[(3, 0.25), (4, -0.5), (3, 0.75)]).await;
    let sql = "SELECT concat_ws('|', model, hook_point, layer, neuron, corpus, explanation, explainer, text, score, density, max_activation) \
               FROM searchable_explanations ORDER BY explanation";
    let planned = lake.column(sql).await;
    assert!(!explained(&lake, sql).await.contains("searchable_explanations:"));
    lake.search().current(lake.engine()).await.unwrap();
    assert!(explained(&lake, sql).await.contains("searchable_explanations: 500"));
    assert_eq!((planned.len(), lake.column(sql).await), (500, planned));
    // A score more: the index is behind, and the view is planned again.
    lake.score(&[(4, 0.5)]).await;
    assert!(!explained(&lake, sql).await.contains("searchable_explanations:"));
    let one = "SELECT score FROM searchable_explanations WHERE neuron = 4";
    assert_eq!(lake.column(one).await, ["0.5"]);
    lake.search().current(lake.engine()).await.unwrap();
    assert_eq!(lake.column(one).await, ["0.5"]);
}

/// Hook points that are small go together, those that are large are cut, and nothing is left out or asked for twice.
#[test]
fn facts_are_asked_for_in_lots() {
    let count = |model: &str, hook_point: &str, n_rows, neurons| {
        let (model, hook_point) = (model.to_owned(), hook_point.to_owned());
        Count { model, hook_point, n_rows, neurons }
    };
    let counts = vec![
        count("a", "0", 60, (0, 59)),
        count("a", "1", 40, (0, 39)),
        count("a", "2", 1, (7, 7)),
        count("a", "3", 250, (5, 104)),
        count("a", "4", 10, (0, 9)),
        count("b", "4", 10, (0, 9)),
    ];
    let lots = Lot::of(counts, 100);
    let told: Vec<String> =
        lots.iter().map(|lot| format!("{} {} {:?}", lot.model, lot.hook_points.join("+"), lot.neurons)).collect();
    assert_eq!(
        told,
        [
            "a 0+1 None",
            "a 2 None",
            "a 3 Some((5, 38))",
            "a 3 Some((39, 72))",
            "a 3 Some((73, 104))",
            "a 4 None",
            "b 4 None"
        ]
    );
    assert!(Lot::of(Vec::new(), 100).is_empty());
}

#[tokio::test]
async fn the_index_is_never_behind() {
    let lake = TestLake::new();
    let count = "SELECT count(*) FROM keyword_matches('king')";
    assert_eq!(lake.column(count).await, ["0"], "an empty lake");
    lake.append(&[row(1, "a king"), row(2, "a queen")]).await;
    assert_eq!(lake.column(count).await, ["1"]);
    // Another process: another session, which finds the index on disk and adds to it.
    let other = open(lake.folder.path());
    lake.append(&[row(3, "kings"), row(4, "kingdom")]).await;
    assert_eq!(column(&other, count).await, ["2"]);
    assert_eq!(lake.column(count).await, ["2"]);
    // Rows that go: everything is read again.
    let table_ = lake.session.lake().open(table("explanations").unwrap()).await.unwrap().unwrap();
    table_.delete().with_predicate("neuron = 1").await.unwrap();
    assert_eq!(lake.column(count).await, ["1"]);
    assert_eq!(column(&other, count).await, ["1"]);
    // The table removed and made again, to the same version: another commit.
    std::fs::remove_dir_all(lake.folder.path().join("explanations")).unwrap();
    for text in ["no", "such", "ruler"] {
        lake.append(&[row(5, text)]).await;
    }
    assert_eq!(lake.column(count).await, ["0"]);
    assert_eq!(column(&other, "SELECT count(*) FROM keyword_matches('ruler')").await, ["1"]);
}

#[tokio::test]
async fn a_text_that_changed_gets_another_vector() {
    let lake = TestLake::new();
    let vectors = async || {
        lake.search().with_vectors(lake.engine(), &FakeEncoder, &|_, _| ()).await.unwrap();
        let sql = "SELECT explanation, vector[1] FROM explanation_vectors ORDER BY explanation, text_hash";
        let batches = lake.session.sql(sql).await.unwrap().collect().await.unwrap();
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>()
    };
    lake.append(&[row(1, "one"), row(2, "two"), row(3, "two")]).await;
    assert_eq!((vectors().await, vectors().await), (3, 3), "nothing is computed twice");
    lake.append(&[row(4, "four")]).await;
    assert_eq!(vectors().await, 4);
    let table_ = lake.session.lake().open(table("explanations").unwrap()).await.unwrap().unwrap();
    table_.update().with_predicate("neuron = 1").with_update("text", "'uno'").await.unwrap();
    assert_eq!(vectors().await, 5);
    let index = lake.search().current(lake.engine()).await.unwrap();
    let query = super::vectors::QueryVector::new(&FakeEncoder::vector("uno"));
    let everything = vec![None; index.segments.len()];
    let hits = super::nearest::nearest(&index, "fake", &query, &everything, 1, super::nearest::Search::Exact).unwrap();
    assert!((hits[0].score - 1.0).abs() < 1e-5, "{hits:?}");
    assert_eq!(index.key(&hits[0]).unwrap(), "e000001");
}

#[tokio::test]
async fn an_index_that_let_go_of_its_floats_is_searched_by_what_it_kept() {
    let lake = TestLake::new();
    let rows: Vec<_> = (0..500).map(|i| row(i, &format!("text {i} of group {}", i % 7))).collect();
    lake.append(&rows).await;
    lake.search().with_vectors(lake.engine(), &FakeEncoder, &|_, _| ()).await.unwrap();
    let mut n_floats = 0;
    for segment in std::fs::read_dir(lake.search().folder.clone()).unwrap().map(|entry| entry.unwrap().path()) {
        for file in std::fs::read_dir(segment).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "floats") {
                std::fs::remove_file(file).unwrap();
                n_floats += 1;
            }
        }
    }
    assert!(n_floats > 0);
    let opened = open(lake.folder.path());
    let index = opened.search().fresh().await.unwrap().unwrap();
    let query = QueryVector::new(&FakeEncoder::vector("text 33 of group 5"));
    let everything = vec![None; index.segments.len()];
    let hits = nearest(&index, "fake", &query, &everything, 3, Search::Exact).unwrap();
    assert_eq!(index.key(&hits[0]).unwrap(), "e000033");
    assert!((hits[0].score - 1.0).abs() < 0.02, "{}", hits[0].score);
    // New rows have floats, old ones have not: both are found.
    lake.append(&[row(1_000, "text 1000 of group 6")]).await;
    let index = lake.search().with_vectors(lake.engine(), &FakeEncoder, &|_, _| ()).await.unwrap();
    let query = QueryVector::new(&FakeEncoder::vector("text 1000 of group 6"));
    let hits = nearest(&index, "fake", &query, &vec![None; index.segments.len()], 3, Search::Exact).unwrap();
    assert_eq!(index.key(&hits[0]).unwrap(), "e001000");
}

#[tokio::test]
async fn what_a_killed_build_left_does_no_harm() {
    let lake = TestLake::new();
    lake.append(&texts(100)).await;
    let folder = lake.folder.path().join("_search");
    let expected = lake.column("SELECT explanation FROM keyword_matches('king') ORDER BY bm25 DESC, explanation").await;
    lake.append(&[row(900, "castle")]).await;
    // Killed while it wrote the next segment, facts, and the next manifest.
    std::fs::create_dir(folder.join("segment-77")).unwrap();
    std::fs::write(folder.join("segment-77/texts.arrow"), "ARR").unwrap();
    std::fs::write(folder.join("manifest.json.new"), "{\"format\":").unwrap();
    let other = open(lake.folder.path());
    let sql = "SELECT explanation FROM keyword_matches('king') ORDER BY bm25 DESC, explanation";
    assert_eq!(column(&other, sql).await, expected);
    assert!(!folder.join("segment-77").exists(), "left-over files are removed");
    // A file cut short by the disk is noticed, and named.
    let segment = std::fs::read_dir(&folder).unwrap().flatten().find(|e| e.path().is_dir()).unwrap().path();
    std::fs::write(segment.join("lengths"), "").unwrap();
    let message = open(lake.folder.path()).sql(sql).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(message.contains("lengths") && message.contains("neuronlake index --rebuild"), "{message}");
    lake.search().clear().await.unwrap();
    assert_eq!(lake.column(sql).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_search_and_build_at_once() {
    let lake = TestLake::new();
    lake.append(&texts(2_000)).await;
    let path = lake.folder.path().to_owned();
    let expected =
        2_000 - texts(2_000).iter().filter(|r| !r.1.as_deref().unwrap().to_lowercase().contains("king")).count();
    let one = |i: usize| {
        let path = path.clone();
        tokio::spawn(async move {
            let session = open(&path);
            if i.is_multiple_of(3) {
                session.search().with_vectors(session.context(), &FakeEncoder, &|_, _| ()).await.unwrap();
            }
            column(&session, "SELECT count(*) FROM keyword_matches('king')").await
        })
    };
    let tasks: Vec<_> = (0..8).map(one).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), [expected.to_string()]);
    }
}

#[tokio::test]
async fn odd_queries_and_hostile_texts() {
    let lake = TestLake::new();
    let hostile = ["'; DROP TABLE explanations; --", "\u{0}\u{1b}[31m", "%_\\", "(((", "🦀 crab", "a"];
    let rows: Vec<Row> = hostile.iter().enumerate().map(|(i, text)| row(i, text)).collect();
    lake.append(&rows).await;
    let long = "x".repeat(100_000);
    lake.append(&[row(50, &long), row(51, "")]).await;
    let count = async |words: &str| {
        let words = words.replace('\'', "''");
        lake.column(&format!("SELECT count(*) FROM keyword_matches('{words}')")).await.remove(0)
    };
    assert_eq!(count("drop table").await, "1");
    assert_eq!(count("a").await, "1");
    assert_eq!(count("crab 🦀").await, "1");
    assert_eq!(count(&long).await, "1");
    assert_eq!(count(&"wörter ".repeat(15_000)).await, "0");
    assert_eq!(count("中文").await, "0");
    let message = lake.session.sql("SELECT text FROM keyword_matches('?!')").await.unwrap_err();
    assert!(message.to_string().contains("expected words to search for, got '?!'"), "{message}");
    assert_eq!(message.exit_code(), 2);
    let scores: Vec<RecordBatch> =
        lake.session.sql("SELECT bm25 FROM keyword_matches('a')").await.unwrap().collect().await.unwrap();
    let scores: &Float32Array = scores[0].column(0).as_primitive::<Float32Type>();
    assert!(scores.is_valid(0) && scores.value(0) > 0.0);
}
