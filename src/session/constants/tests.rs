//! Plans in which constants are added after the sort, and what a sort of firings spills.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use crate::models::cache::Models;
use crate::pipeline::queries::{self, Parameter, Query};
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

/// Firings of the test: more than the sort may hold.
const FIRINGS: i64 = 2_000_000;
/// Bytes of neuron, sequence, position and activation, and a fifth for what the file has beside them.
const BYTES_PER_FIRING: usize = 24;

fn session(folder: &tempfile::TempDir, memory_limit: usize) -> Session {
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions { memory_limit, ..SessionOptions::default() })
        .unwrap()
}

async fn text(session: &Session, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn literals_move_above_a_sort_and_rows_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder, 1 << 30);
    let logical = async |sql: &str| {
        let plan = session.sql(sql).await.unwrap().into_optimized_plan().unwrap();
        plan.display_indent().to_string()
    };
    let sql = "SELECT 'm' AS model, v AS neuron, CAST(3 AS INT) AS layer, v * 2 AS twice FROM (VALUES (2), (1)) t (v) ORDER BY neuron";
    let plan = logical(sql).await;
    let (above, below) = plan.split_once("Sort:").unwrap();
    assert!(above.contains("Utf8(\"m\") AS model") && above.contains("Int32(3) AS layer"), "{plan}");
    assert!(!below.contains("Utf8(\"m\")") && !below.contains("layer"), "{plan}");
    let rows = text(&session, sql).await;
    let want = "| model | neuron | layer | twice |\n+-------+--------+-------+-------+\n| m     | 1      | 3     | 2     |\n| m     | 2      | 3     | 4     |";
    assert!(rows.contains(want), "{rows}");

    // What is sorted by stays below, and so does a projection of constants alone.
    for sql in [
        "SELECT 'm' AS model, v FROM (VALUES (2), (1)) t (v) ORDER BY model || CAST(v AS VARCHAR)",
        "SELECT v, v + 1 AS w FROM (VALUES (2), (1)) t (v) ORDER BY v",
    ] {
        let plan = logical(sql).await;
        assert!(plan.starts_with("Sort:") || plan.contains("Utf8(\"m\")"), "{plan}");
        session.sql(sql).await.unwrap().collect().await.unwrap();
    }
}

/// Firings in an order of their own, in the columns and types of `encode`.
fn firings() -> MemTable {
    let schema = Arc::new(Schema::new(vec![
        Field::new("neuron", DataType::Int32, false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("position", DataType::Int32, false),
        Field::new("activation", DataType::Float32, false),
    ]));
    let batch = |from: i64| {
        let numbers = from..(from + 8_192).min(FIRINGS);
        let neuron = |n: i64| ((n * 7_919) % 24_576) as i32;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(numbers.clone().map(neuron).collect::<Int32Array>()),
            Arc::new(numbers.clone().map(|n| n / 64).collect::<Int64Array>()),
            Arc::new(numbers.clone().map(|n| (n % 64) as i32).collect::<Int32Array>()),
            Arc::new(numbers.map(|n| n as f32).collect::<Float32Array>()),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    let batches = (0..FIRINGS).step_by(8_192).map(batch).collect();
    MemTable::try_new(Arc::clone(&schema), vec![batches]).unwrap()
}

fn spilled(plan: &dyn ExecutionPlan) -> (usize, usize) {
    let metrics = plan.metrics().unwrap_or_default();
    let own = (metrics.spilled_bytes().unwrap_or_default(), metrics.spilled_rows().unwrap_or_default());
    plan.children().iter().map(|child| spilled(child.as_ref())).fold(own, |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[tokio::test]
async fn a_sort_of_firings_spills_little_more_than_the_firings() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder, 32 << 20);
    let schema = Arc::new(MemorySchemaProvider::new());
    schema.register_table("firings".to_owned(), Arc::new(firings())).unwrap();
    session.context().catalog("lake").unwrap().register_schema("drawn", schema).unwrap();
    let values = [
        ("run", "a run whose name is as long as such names are"),
        ("model", "a model"),
        ("corpus", "a corpus"),
        ("hook_point", "blocks.8.hook_resid_post/an_autoencoder"),
        ("model_source", "x"),
        ("neurons", "x"),
        ("collection", "x"),
    ];
    for stage in ["36_encoded_activations", "34_activations"] {
        let query = queries::find(stage).unwrap();
        let mut values: Vec<_> =
            values.iter().map(|(name, value)| ((*name).to_owned(), Parameter::Text((*value).to_owned()))).collect();
        values.extend([("layer", 8), ("firings_above", 0)].map(|(name, n)| (name.to_owned(), Parameter::Integer(n))));
        values.retain(|(name, _)| query.params.iter().any(|(param, _)| param == name));
        let sql = query.bind(&values).unwrap();
        // The stage's own query, with drawn firings in the place of the model's.
        let select = Query::select(&sql);
        let (before, call) = select.split_once("FROM encode(").or_else(|| select.split_once("FROM firings(")).unwrap();
        let (_, after) = call.split_once(") ").unwrap();
        let sql = format!("{before}FROM drawn.firings {after}");
        let plan = session.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut rows = execute_stream(Arc::clone(&plan), session.context().task_ctx()).unwrap();
        let (mut n, mut last) = (0, (i32::MIN, i64::MIN, i32::MIN));
        while let Some(batch) = rows.next().await {
            let batch = batch.unwrap();
            let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            let all = ["model", "hook_point", "layer", "neuron", "corpus", "sequence", "position", "activation", "run"];
            assert_eq!(names, all);
            let layer = batch.column(2).as_primitive::<Int32Type>();
            assert!(layer.iter().all(|layer| layer == Some(8)), "{stage}");
            let neurons = batch.column(3).as_primitive::<Int32Type>().values();
            let sequences = batch.column(5).as_primitive::<Int64Type>().values();
            let positions = batch.column(6).as_primitive::<Int32Type>().values();
            for row in 0..batch.num_rows() {
                let next = (neurons[row], sequences[row], positions[row]);
                assert!(last < next, "{stage}: {last:?} before {next:?}");
                last = next;
            }
            n += batch.num_rows() as i64;
        }
        assert_eq!(n, FIRINGS);
        let (bytes, rows) = spilled(plan.as_ref());
        assert!(rows > 0, "{stage}: nothing was spilled");
        assert!(bytes <= BYTES_PER_FIRING * rows, "{stage}: {bytes} bytes spilled of {rows} rows");
    }
}
