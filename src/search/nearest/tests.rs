//! The nearest against brute force over the same floats, with and without a selection; the approximate form by its recall.

use std::sync::Arc;

use arrow::array::{AsArray, Float32Array, ListArray, RecordBatch};

use super::*;
use crate::search::tests::{FakeEncoder, TestLake, row};

/// Explanations whose texts have vectors around a few directions, and some that are the same.
async fn lake(n: usize) -> (TestLake, Arc<Index>) {
    let lake = TestLake::new();
    let rows: Vec<_> = (0..n).map(|i| row(i, &format!("text {} of group {}", i / 2, i % 7))).collect();
    lake.append(&rows).await;
    let index = lake.search().with_vectors(lake.engine(), &FakeEncoder, &|_, _| ()).await.unwrap();
    (lake, index)
}

fn brute_force(index: &Index, query: &QueryVector, selection: &Selection, k: usize) -> Vec<Hit> {
    let vectors = index.vectors("fake").unwrap();
    let mut hits = Vec::new();
    for (segment, vectors) in vectors.iter().enumerate() {
        for row in 0..vectors.scales.len() as u32 {
            if selection[segment].as_ref().is_none_or(|selected| selected[row as usize]) {
                let score = vectors.similarities(query, &[row])[0];
                hits.push(Hit { score, segment: segment as u32, row });
            }
        }
    }
    crate::search::rank::sort(index, &mut hits).unwrap();
    hits.truncate(k);
    hits
}

#[tokio::test]
async fn the_exact_search_is_brute_force() {
    let (_lake, index) = lake(3_000).await;
    for (number, text) in ["group 3", "text 17", "nothing of the kind"].iter().enumerate() {
        let query = QueryVector::new(&FakeEncoder::vector(text));
        for k in [0, 1, 20, 1_000, 5_000] {
            for every in [1, 3, 1_000_000] {
                let selected = |segment: &Arc<super::super::index::Segment>| {
                    (every > 1).then(|| (0..segment.n_rows).map(|row| (row + number) % every == 0).collect())
                };
                let selection: Selection = index.segments.iter().map(selected).collect();
                let got = nearest(&index, "fake", &query, &selection, k, Search::Exact).unwrap();
                assert_eq!(got, brute_force(&index, &query, &selection, k), "{text}, {k} of every {every}");
            }
        }
    }
}

#[tokio::test]
async fn the_approximate_search_finds_nineteen_of_twenty() {
    // More rows than are looked at closely, so that something can be missed.
    let (_lake, index) = lake(40_000).await;
    let everything = vec![None; index.segments.len()];
    let (mut found, mut wanted) = (0, 0);
    for i in 0..20 {
        let query = QueryVector::new(&FakeEncoder::vector(&format!("text {} of group {}", i * 31, i % 7)));
        let exact = nearest(&index, "fake", &query, &everything, 20, Search::Exact).unwrap();
        let approximate = nearest(&index, "fake", &query, &everything, 20, Search::Approximate).unwrap();
        wanted += exact.len();
        found += exact
            .iter()
            .filter(|hit| approximate.iter().any(|other| other.score >= hit.score))
            .count()
            .min(approximate.iter().filter(|hit| hit.score >= exact[exact.len() - 1].score).count());
    }
    assert!(found as f64 >= 0.95 * wanted as f64, "{found} of {wanted}");
}

#[tokio::test]
async fn without_floats_the_same_rows_are_near_and_their_products_hardly_change() {
    let (_lake, index) = lake(40_000).await;
    let rough = index.without_floats();
    let everything = vec![None; index.segments.len()];
    for i in 0..10 {
        let query = QueryVector::new(&FakeEncoder::vector(&format!("text {} of group {}", i * 977, i % 7)));
        let exact = nearest(&index, "fake", &query, &everything, 20, Search::Exact).unwrap();
        for search in [Search::Exact, Search::Approximate] {
            let found = nearest(&rough, "fake", &query, &everything, 20, search).unwrap();
            assert_eq!(found.len(), 20);
            for hit in &found {
                let true_score =
                    index.vectors("fake").unwrap()[hit.segment as usize].similarities(&query, &[hit.row])[0];
                assert!((hit.score - true_score).abs() < 1e-3, "{} {true_score}", hit.score);
            }
            let least = exact[19].score;
            let n_near = found.iter().filter(|hit| hit.score >= least - 1e-3).count();
            assert!(n_near >= 19, "{n_near} of 20");
        }
    }
    assert!(crate::search::align::measured_recall(&index, "fake").unwrap() >= 0.9);
}

#[test]
fn the_bound_of_the_first_look_holds() {
    for seed in 0..200 {
        let (x, q) = (FakeEncoder::vector(&format!("x {seed}")), FakeEncoder::vector(&format!("q {seed}")));
        let (row, query) = (QueryVector::new(&x), QueryVector::new(&q));
        let bytes: i32 = row.bytes.iter().zip(&query.bytes).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        let rough = bytes as f32 * row.scale * query.scale;
        let exact: f32 = x.iter().zip(&q).map(|(a, b)| a * b).sum();
        let squares: f32 = x.iter().zip(&row.bytes).map(|(x, b)| (x - f32::from(*b) * row.scale).powi(2)).sum();
        assert!((rough - exact).abs() <= query.bound(squares.sqrt()), "{rough} {exact}");
    }
}

#[tokio::test]
async fn vectors_in_the_table_are_those_of_the_encoder() {
    let (lake, index) = lake(50).await;
    assert_eq!(index.width("fake"), Some(FakeEncoder::WIDTH));
    let rows = lake.engine().sql("SELECT vector FROM explanation_vectors ORDER BY explanation").await.unwrap();
    let batches: Vec<RecordBatch> = rows.collect().await.unwrap();
    let first: &ListArray = batches[0].column(0).as_list();
    let first = first.value(0);
    let first: &Float32Array = first.as_primitive();
    assert_eq!(first.values().to_vec(), FakeEncoder::vector("text 0 of group 0"));
}
