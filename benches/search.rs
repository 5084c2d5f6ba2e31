//! Searches over a lake of synthetic explanations: 'NEURONLAKE_BENCH_LAKE=DIR cargo bench --bench search', driven by
//! `scripts/bench_search.py`. Prints one JSON line a query: median and 95th percentile in milliseconds, warm, in one process.

use std::sync::Arc;
use std::time::Instant;

use neuronlake::models::cache::Models;
use neuronlake::pipeline::queries::{self, Parameter};
use neuronlake::session::{Session, SessionOptions};
use neuronlake::tables::lake::Lake;

/// Words that stand in some, many and few texts of the synthetic lake.
const WORDS: &str = "words about royal castles";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Ok(lake) = std::env::var("NEURONLAKE_BENCH_LAKE") else { return Ok(()) };
    let n: usize = std::env::var("NEURONLAKE_BENCH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let session = Session::open(Lake::existing(&lake)?, Arc::new(Models::default()), SessionOptions::default())?;
    let bound = |name: &str, condition: &str| -> Result<String, Box<dyn std::error::Error>> {
        let query = queries::find(name)?;
        let values = [
            ("words".to_owned(), Parameter::Text(WORDS.to_owned())),
            ("condition".to_owned(), Parameter::Expression(condition.to_owned())),
        ];
        Ok(query.bind(&values)?)
    };
    let filter = "layer >= 8 AND score > 0.5";
    let mut cases = vec![
        ("mentions, Parquet", "SELECT count(*) FROM explanations WHERE mentions(text, 'plural')".to_owned()),
        ("mentions, index", "SELECT count(*) FROM searchable_explanations WHERE mentions(text, 'plural')".to_owned()),
        ("regex, Parquet", "SELECT count(*) FROM explanations WHERE text ~ 'plural\\b.*noun'".to_owned()),
        ("regex, index", "SELECT count(*) FROM searchable_explanations WHERE text ~ 'plural\\b.*noun'".to_owned()),
        (
            "join with scores, Parquet",
            "SELECT e.layer, e.neuron, s.value FROM explanations e JOIN scores s ON s.explanation = e.explanation \
             WHERE mentions(e.text, 'plural') ORDER BY s.value DESC, e.explanation LIMIT 20"
                .to_owned(),
        ),
        (
            "with score, index",
            "SELECT layer, neuron, score FROM searchable_explanations WHERE mentions(text, 'plural') \
             ORDER BY score DESC, explanation LIMIT 20"
                .to_owned(),
        ),
        (
            "group by layer, index",
            "SELECT layer, avg(score), count(*) FROM searchable_explanations GROUP BY layer ORDER BY layer".to_owned(),
        ),
        ("bm25 top 20", bound("keyword", "TRUE")?),
        ("bm25 top 20, filtered", bound("keyword", filter)?),
    ];
    if std::env::var_os("NEURONLAKE_BENCH_SEMANTIC").is_some() {
        cases.push(("semantic top 20", bound("semantic", "TRUE")?));
        cases.push(("semantic top 20, filtered", bound("semantic", filter)?));
        cases.push(("hybrid top 20", bound("hybrid", "TRUE")?));
        cases.push(("hybrid top 20, filtered", bound("hybrid", filter)?));
    }
    let only = std::env::var("NEURONLAKE_BENCH_ONLY").unwrap_or_default();
    for (name, sql) in cases.iter().filter(|(name, _)| name.contains(&only)) {
        let started = Instant::now();
        let rows: usize = session.sql(sql).await?.collect().await?.iter().map(|batch| batch.num_rows()).sum();
        let first = started.elapsed().as_secs_f64() * 1e3;
        let mut took = Vec::with_capacity(n);
        for _ in 0..n {
            let started = Instant::now();
            session.sql(sql).await?.collect().await?;
            took.push(started.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let (p50, p95) = (took[n / 2], took[(n * 95 / 100).min(n - 1)]);
        let line = serde_json::json!({"query": name, "rows": rows, "first": first, "p50": p50, "p95": p95});
        use std::io::Write;
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
