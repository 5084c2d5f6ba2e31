//! The same rows, whether columns are kept or not: other versions, folders, empty tables, little room.

use arrow::array::{Int32Array, StringArray};
use arrow::util::pretty::pretty_format_batches;

use super::*;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::definition::table;
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

const QUERIES: [&str; 9] = [
    "SELECT hook_point, neuron, text FROM explanations ORDER BY hook_point, neuron, sample_no, text",
    "SELECT text, hook_point, hook_point AS again, model FROM explanations WHERE neuron = 3 ORDER BY 1, 2",
    "SELECT hook_point, count(*) AS n, min(text) AS first FROM explanations GROUP BY hook_point ORDER BY hook_point",
    "SELECT neuron, text FROM explanations WHERE hook_point = 'blocks.1.mlp.hook_post' AND neuron > 1 ORDER BY neuron, text",
    "SELECT neuron, text FROM explanations WHERE hook_point = 'nowhere' ORDER BY neuron",
    "SELECT count(*) AS n FROM explanations",
    "SELECT count(explainer_model) AS n, count(*) AS of FROM explanations",
    "SELECT a.neuron, b.text FROM explanations a JOIN explanations b ON a.explanation = b.revised ORDER BY 1, 2",
    "SELECT e.text FROM explanations e LEFT JOIN scores s ON s.explanation = e.explanation WHERE s.value IS NULL ORDER BY 1",
];

/// `n` rows of `explanations` in two folders.
fn rows(n: i32, word: &str) -> RecordBatch {
    let definition = table("explanations").unwrap();
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        let texts =
            |of: &dyn Fn(i32) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..n).map(of))) };
        match field.name().as_str() {
            "hook_point" => texts(&|row| format!("blocks.{}.mlp.hook_post", row % 2)),
            "explanation" => texts(&|row| format!("{word}{row}")),
            "text" => texts(&|row| format!("{word} {}", "x".repeat(row as usize % 20))),
            "neuron" => Arc::new(Int32Array::from_iter_values((0..n).map(|row| row / 2))),
            "revised" => Arc::new(
                (0..n).map(|row| (row % 3 == 0).then(|| format!("{word}{}", row + 1))).collect::<StringArray>(),
            ),
            _ if field.data_type().is_integer() => Arc::new(Int32Array::from_iter_values((0..n).map(|_| 0))),
            _ if field.is_nullable() => arrow::array::new_null_array(field.data_type(), n as usize),
            _ => texts(&|_| "m".to_owned()),
        }
    };
    RecordBatch::try_new(Arc::clone(&definition.schema), definition.schema.fields().iter().map(column).collect())
        .unwrap()
}

async fn add(lake: &Lake, n: i32, word: &str) {
    let mut writer = TableWriter::open(lake, table("explanations").unwrap(), "run").await.unwrap();
    writer.write(&rows(n, word)).await.unwrap();
    writer.commit().await.unwrap();
}

async fn answer(session: &Session, sql: &str) -> String {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

/// Whether a query's rows come out of memory.
async fn from_memory(session: &Session, sql: &str) -> bool {
    let plan = answer(session, &format!("EXPLAIN {sql}")).await;
    !plan.contains("file_groups") && plan.contains("partition_sizes")
}

fn sessions(lake: &Lake, kept_columns: usize) -> [Session; 2] {
    // Batches of a few rows, so that columns are cut.
    [0, kept_columns].map(|kept_columns| {
        let options = SessionOptions { kept_columns, batch_rows: 7, ..SessionOptions::default() };
        Session::open(lake.clone(), Arc::new(Models::default()), options).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_columns_give_the_same_rows_of_every_version() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    let [plain, keeping] = sessions(&lake, 16 << 20);
    for (commit, n) in [0, 60, 23, 1].into_iter().enumerate() {
        if n > 0 {
            add(&lake, n, &format!("w{commit}")).await;
        }
        for sql in QUERIES {
            let expected = answer(&plain, sql).await;
            for time in 0..3 {
                assert_eq!(answer(&keeping, sql).await, expected, "commit {commit}, time {time}: {sql}");
            }
        }
    }
    assert!(from_memory(&keeping, QUERIES[0]).await);
    assert!(!from_memory(&plain, QUERIES[0]).await);
    // An old version is read from what is kept of its files, and has its own rows.
    let old = "SELECT count(*) AS n, sum(length(text)) AS letters FROM \"explanations@1\"";
    assert!(from_memory(&keeping, old).await);
    assert_eq!(answer(&keeping, old).await, answer(&plain, old).await);
    assert!(answer(&keeping, old).await.contains("| 60 |"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_once_or_has_no_room_is_read_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    add(&lake, 60, "w").await;
    let [plain, keeping] = sessions(&lake, 16 << 20);
    let texts = "SELECT sum(length(text)) AS n FROM explanations";
    assert!(!from_memory(&keeping, texts).await, "the first time");
    assert!(from_memory(&keeping, texts).await, "the second");
    assert!(!from_memory(&keeping, "SELECT sum(length(explanation)) AS n FROM explanations").await, "another column");
    assert!(!from_memory(&keeping, "SELECT reason FROM explanations LIMIT 3").await);
    assert!(
        !from_memory(&keeping, "SELECT reason FROM explanations LIMIT 3").await,
        "some rows are no reason to read all"
    );

    // Files of some kilobytes fit into this room, their columns do not.
    let kept = KeptColumns::with_room(100_000);
    assert!(!kept.ask("t", &[0], 50_000) && !kept.ask("t", &[0], 50_000), "the files are too large");
    assert!(!kept.ask("t", &[0], 1_000));
    assert!(kept.ask("t", &[0], 1_000));
    let column = |column: usize| ColumnKey { path: "file".into(), size: 1_000, modified: 0, column };
    let large: ArrayRef = Arc::new(Int32Array::from(vec![0; 20_000]));
    kept.keep("t", &[(column(0), Arc::clone(&large))]);
    assert!(kept.get(&column(0)).is_none());
    assert!(!kept.ask("t", &[0], 1_000), "nobody tries again");
    let fits: ArrayRef = Arc::new(Int32Array::from(vec![0; 5_000]));
    for number in 1..40 {
        kept.keep("t", &[(column(number), Arc::clone(&fits))]);
        assert!(kept.bytes() <= 100_000, "{} bytes", kept.bytes());
    }
    assert!((1..40).any(|number| kept.get(&column(number)).is_some()));

    let [_, tiny] = sessions(&lake, 4_000);
    for _ in 0..3 {
        assert_eq!(answer(&tiny, QUERIES[0]).await, answer(&plain, QUERIES[0]).await);
    }
    assert!(!from_memory(&tiny, QUERIES[0]).await);
}

/// One unit of a large layer is read by row groups, however often it is asked for: decoding all of the layer to keep it would take
/// longer than all the questions about it.
#[tokio::test(flavor = "multi_thread")]
async fn one_unit_of_a_large_folder_is_no_reason_to_decode_all() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    // Texts that cannot be compressed: files of ten megabytes.
    let mut state = 1_u64;
    let mut letters = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state)
    };
    let wide = rows(20_000, "w");
    let place = wide.schema().index_of("text").unwrap();
    let texts = StringArray::from_iter_values((0..20_000).map(|_| (0..64).map(|_| letters()).collect::<String>()));
    let mut columns = wide.columns().to_vec();
    columns[place] = Arc::new(texts);
    let mut writer = TableWriter::open(&lake, table("explanations").unwrap(), "run").await.unwrap();
    writer.write(&RecordBatch::try_new(wide.schema(), columns).unwrap()).await.unwrap();
    writer.commit().await.unwrap();
    let [plain, keeping] = [0, 512 << 20].map(|kept_columns| {
        let options = SessionOptions { kept_columns, ..SessionOptions::default() };
        Session::open(lake.clone(), Arc::new(Models::default()), options).unwrap()
    });
    let one = "SELECT length(text) AS n FROM explanations WHERE neuron = 77";
    let all = "SELECT count(*) AS n FROM explanations WHERE length(text) > 3";
    for time in 0..3 {
        assert!(!from_memory(&keeping, one).await, "time {time}");
        assert_eq!(answer(&keeping, one).await, answer(&plain, one).await);
    }
    // A question about all of it is, and what is kept is used.
    assert_eq!(answer(&keeping, all).await, answer(&plain, all).await);
    assert!(from_memory(&keeping, all).await);
    assert_eq!(answer(&keeping, one).await, answer(&plain, one).await);
}
