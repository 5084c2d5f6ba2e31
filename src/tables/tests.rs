//! The schema files as the program reads them, and what Delta makes of them.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type};
use arrow::row::{RowConverter, SortField};

use super::*;
use crate::models::cache::Models;
use crate::pipeline::queries;
use crate::session::{Session, SessionOptions};
use crate::tables::check::check_batch;
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn open(folder: &Path) -> (Lake, Session) {
    let lake = Lake::at(folder.to_str().unwrap()).unwrap();
    let session = Session::open(lake.clone(), Arc::new(Models::default()), SessionOptions::default()).unwrap();
    (lake, session)
}

#[test]
fn every_schema_file_is_embedded_and_parses() {
    let files: BTreeSet<String> = std::fs::read_dir(root().join("schemas"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let embedded: BTreeSet<String> = FILES.iter().map(|(name, _)| format!("{name}.sql")).collect();
    assert_eq!(files, embedded, "folder schemas/ and the list in src/tables/definition.rs");
    for (name, text) in FILES {
        let definition = TableDefinition::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        assert!(definition.summary.ends_with('.'), "{name}: the header line is whole sentences");
        assert!(definition.summary.contains("Written by "), "{name}: the header line says who writes the table");
        for field in definition.schema.fields() {
            assert!(!definition.comment(field.name()).is_empty(), "{name}.{}", field.name());
        }
        for column in definition.partition_columns.iter().chain(&definition.order_columns) {
            assert!(definition.schema.field_with_name(column).is_ok(), "{name}: no column '{column}'");
        }
    }
}

#[test]
fn a_column_means_the_same_in_every_table() {
    let mut seen: HashMap<&str, (&str, &DataType)> = HashMap::new();
    for table in tables() {
        for field in table.schema.fields() {
            let (first, data_type) = *seen.entry(field.name()).or_insert((&table.name, field.data_type()));
            // `control` is a flag of a simulation and a number of a score.
            if field.name() != "control" {
                assert_eq!(data_type, field.data_type(), "{first}.{0} and {1}.{0}", field.name(), table.name);
            }
        }
    }
}

#[test]
fn a_schema_file_that_breaks_the_rules_is_refused() {
    let with =
        |column: &str| format!("-- A row.\nCREATE EXTERNAL TABLE t ({column}) STORED AS DELTATABLE LOCATION 't';");
    let cases = [
        (with("a INT COMMENT 'x'").replace("-- A row.\n", ""), "expected a first line '-- what a row is'"),
        ("-- A row.\nCREATE TABLE".to_owned(), "Expected: identifier, found: EOF"),
        ("-- A row.\nSELECT 1".to_owned(), "expected one CREATE EXTERNAL TABLE statement"),
        (format!("{0}\n{0}", with("a INT COMMENT 'x'")), "expected one CREATE EXTERNAL TABLE statement"),
        (with("a INT COMMENT 'x'").replace("TABLE t", "TABLE u"), "expected table and LOCATION 't', got 'u'"),
        (with("a INT COMMENT 'x'").replace("LOCATION 't'", "LOCATION 'u'"), "expected table and LOCATION 't'"),
        (with("a INT NOT NULL"), "column 'a': expected a COMMENT"),
        (with("a INT PRIMARY KEY COMMENT 'x'"), "column 'a': expected NOT NULL or COMMENT"),
        (with("a INT UNSIGNED COMMENT 'x'"), "column 'a': expected a type that Delta keeps, got INT UNSIGNED"),
        (with("a TEXT COMMENT 'x'"), "column 'a': expected a type that Delta keeps, got TEXT"),
        (with("a VARCHAR(3) COMMENT 'x'"), "column 'a': expected a type that Delta keeps, got VARCHAR(3)"),
        (with("a DECIMAL(3, 1) COMMENT 'x'"), "column 'a': expected a type that Delta keeps"),
        (with("a TIMESTAMP(3) COMMENT 'x'"), "column 'a': expected a type that Delta keeps"),
        (with("a FLOAT[3] COMMENT 'x'"), "column 'a': expected a type that Delta keeps"),
        (with("a BIGINT UNSIGNED[] COMMENT 'x'"), "column 'a': expected a type that Delta keeps"),
    ];
    for (text, reason) in cases {
        let message = TableDefinition::parse("t", &text).expect_err(&text).to_string();
        assert!(message.starts_with("query file 'schemas/t.sql': "), "{message}");
        assert!(message.to_lowercase().contains(&reason.to_lowercase()), "expected '{reason}' in: {message}");
    }
}

/// Tables without a pipeline query: the pipeline itself writes `runs`, the store of replies `completions`, searches
/// `explanation_vectors`, importers the two of what is known by weights, and `neuronlake sae` the four of autoencoders.
const WITHOUT_QUERY: [&str; 9] = [
    "runs",
    "completions",
    "explanation_vectors",
    "neuron_links",
    "token_effects",
    "sparse_autoencoders",
    "training_steps",
    "autoencoder_metrics",
    "crosscoder_latents",
];

/// A table's noun is its name in five places.
#[test]
fn every_table_stands_in_its_five_places() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_default();
    let (docs, architecture) = (read("docs/tables.md"), read("ARCHITECTURE.md"));
    let mut missing = Vec::new();
    for TableDefinition { name, .. } in tables() {
        let has_query = queries::of_kind(queries::Kind::Pipeline).any(|query| {
            query.name.split_once('_').is_some_and(|(number, noun)| number.parse::<u8>().is_ok() && noun == name)
                && query.writes.as_deref() == Some(name)
        });
        let slt = format!("tests/slt/tables/{name}.slt");
        let places = [
            (format!("schemas/{name}.sql"), root().join(format!("schemas/{name}.sql")).exists()),
            (format!("queries/pipeline/NN_{name}.sql"), has_query || WITHOUT_QUERY.contains(&name.as_str())),
            ("docs/tables.md".to_owned(), docs.contains(&format!("## {name}\n"))),
            ("ARCHITECTURE.md".to_owned(), architecture.contains(&format!("`{name}`"))),
            (slt.clone(), read(&slt).contains(&format!("DESCRIBE {name}\n"))),
        ];
        missing.extend(places.into_iter().filter(|(_, found)| !found).map(|(place, _)| format!("{name}: {place}")));
    }
    assert!(missing.is_empty(), "tables whose noun is missing from one of its places:\n{}", missing.join("\n"));
}

/// Three rows: ordinary values, NULL or empty ones, extreme ones.
fn values(field: &Field, partition: bool) -> ArrayRef {
    let gap = field.is_nullable();
    match field.data_type() {
        DataType::Utf8 if partition => Arc::new(StringArray::from(vec!["default", "./a b/*.txt?x=1&y=%2F", "ä"])),
        DataType::Utf8 => {
            let long = "long ".repeat(10_000);
            Arc::new(StringArray::from(vec![Some("it's \"ä\"\n\u{fffd}"), (!gap).then_some(""), Some(long.as_str())]))
        }
        DataType::Boolean => Arc::new(BooleanArray::from(vec![Some(true), (!gap).then_some(false), Some(false)])),
        DataType::Int32 => Arc::new(Int32Array::from(vec![Some(7), (!gap).then_some(0), Some(i32::MIN)])),
        DataType::Int64 => Arc::new(Int64Array::from(vec![Some(7), (!gap).then_some(0), Some(i64::MAX)])),
        DataType::Float32 => {
            Arc::new(Float32Array::from(vec![Some(0.1), (!gap).then_some(0.0), Some(f32::MIN_POSITIVE)]))
        }
        DataType::Float64 => Arc::new(Float64Array::from(vec![Some(0.1), (!gap).then_some(0.0), Some(f64::MAX)])),
        DataType::Timestamp(..) => {
            let times =
                TimestampMicrosecondArray::from(vec![Some(1), (!gap).then_some(0), Some(1_763_765_432_123_456)]);
            Arc::new(times.with_timezone("UTC"))
        }
        DataType::List(element) => {
            let lists: ArrayRef = match element.data_type() {
                DataType::Int32 => Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                    Some(vec![Some(1), Some(-2)]),
                    (!gap).then(Vec::new),
                    Some(vec![Some(i32::MAX)]),
                ])),
                DataType::Float32 => Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([
                    Some(vec![Some(0.1), Some(-2.5)]),
                    (!gap).then(Vec::new),
                    Some(vec![Some(f32::MAX), None]),
                ])),
                DataType::Float64 => Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
                    Some(vec![Some(0.1), Some(-2.5)]),
                    (!gap).then(Vec::new),
                    Some(vec![Some(f64::MAX), None]),
                ])),
                DataType::Utf8 => {
                    let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
                    lists.append_value([Some("a"), Some(" b"), Some("")]);
                    lists.append_option((!gap).then(std::iter::empty::<Option<&str>>));
                    lists.append_value([Some("\u{fffd}")]);
                    Arc::new(lists.finish())
                }
                other => panic!("no values for a list of {other}"),
            };
            cast(&lists, field.data_type()).unwrap()
        }
        other => panic!("no values for {other}"),
    }
}

fn batch(definition: &TableDefinition) -> RecordBatch {
    let fields = definition.schema.fields();
    let columns =
        fields.iter().map(|field| values(field, definition.partition_columns.contains(field.name()))).collect();
    RecordBatch::try_new(Arc::clone(&definition.schema), columns).unwrap()
}

/// Rows in an order of their own, so that batches compare as sets.
fn rows(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let fields = batch.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converted = RowConverter::new(fields).unwrap().convert_columns(batch.columns()).unwrap();
    let mut rows: Vec<Vec<u8>> = converted.iter().map(|row| row.as_ref().to_vec()).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn every_table_survives_delta_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    for definition in tables() {
        let written = batch(definition);
        let mut writer = TableWriter::open(&lake, definition, "run").await.unwrap();
        writer.write(&written).await.unwrap();
        writer.commit().await.unwrap();
        assert_eq!(writer.written(), 3);

        let columns: Vec<&str> = definition.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let sql = format!("SELECT {} FROM {}", columns.join(", "), definition.name);
        let result = session.sql(&sql).await.unwrap();
        let schema = Arc::new(result.schema().as_arrow().clone());
        let read = concat_batches(&schema, &result.collect().await.unwrap()).unwrap();
        // The same check that guards a write says whether the types read are those of the file.
        let read = check_batch(definition, &read).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rows(&read), rows(&written), "{}", definition.name);
    }
}

#[tokio::test]
async fn a_filter_on_a_partition_column_finds_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    let definition = table("scores").unwrap();
    let mut writer = TableWriter::open(&lake, definition, "run").await.unwrap();
    writer.write(&batch(definition)).await.unwrap();
    writer.commit().await.unwrap();
    for value in ["default", "./a b/*.txt?x=1&y=%2F", "ä"] {
        let sql = format!("SELECT neuron FROM scores WHERE model = '{value}'");
        let found: usize = session.sql(&sql).await.unwrap().collect().await.unwrap().iter().map(|b| b.num_rows()).sum();
        assert_eq!(found, 1, "{value}");
    }
}

#[tokio::test]
async fn what_is_not_committed_is_not_seen_and_nothing_is_left_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let (lake, session) = open(folder.path());
    let count = async || {
        let batches = session.sql("SELECT document FROM documents").await.unwrap().collect().await.unwrap();
        batches.iter().map(|batch| batch.num_rows()).sum::<usize>()
    };
    assert_eq!(count().await, 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "reading an empty lake writes nothing");

    let definition = table("documents").unwrap();
    let mut writer = TableWriter::open(&lake, definition, "run").await.unwrap();
    writer.write(&batch(definition)).await.unwrap();
    assert_eq!(count().await, 0);
    drop(writer);
    assert_eq!(count().await, 0);

    let mut writer = TableWriter::open(&lake, definition, "run").await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(writer.written(), 0, "an empty commit is none");
}

/// The batch with one column put in the place of another.
fn with_column(definition: &TableDefinition, name: &str, column: ArrayRef) -> RecordBatch {
    let good = batch(definition);
    let fields: Vec<Field> = good
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name() == name {
            true => Field::new(name, column.data_type().clone(), true),
            false => field.as_ref().clone(),
        })
        .collect();
    let columns = good.columns().iter().zip(&fields);
    let columns =
        columns.map(|(old, field)| if field.name() == name { Arc::clone(&column) } else { Arc::clone(old) }).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn a_batch_that_does_not_fit_is_refused_by_column() {
    let definition = table("activation_records").unwrap();
    let lists = |values: Vec<Option<f32>>| -> ArrayRef {
        let rows = (0..3).map(|_| Some(values.clone()));
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3"]));
    let cases: [(&str, ArrayRef, &str); 8] = [
        ("neuron", Arc::clone(&texts), "expected Int32, got Utf8"),
        ("neuron", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])), "expected Int32, got Float64"),
        (
            "neuron",
            Arc::new(Int32Array::from(vec![Some(1), None, None])),
            "expected a value (NOT NULL), got NULL in row 1 of the batch",
        ),
        ("neuron", Arc::new(Int64Array::from(vec![1, 2, 1 << 40])), "expected Int32, got "),
        (
            "max_activation",
            Arc::new(Float32Array::from(vec![1.0, 2.0, f32::NAN])),
            "expected a number or NULL, got NaN in value 2 of the batch",
        ),
        ("max_activation", Arc::new(Int32Array::from(vec![1, 2, 3])), "expected Float32, got Int32"),
        (
            "activations",
            lists(vec![Some(1.0), Some(f32::NAN)]),
            "expected a number or NULL, got NaN in value 1 of the batch",
        ),
        ("activations", texts, "expected List("),
    ];
    for (column, array, reason) in cases {
        let message = check_batch(definition, &with_column(definition, column, array)).unwrap_err().to_string();
        let start = format!("table 'activation_records', column '{column}': {reason}");
        assert!(message.starts_with(&start), "expected: {start}\ngot: {message}");
    }

    let good = batch(definition);
    let without: Vec<usize> = (0..good.num_columns()).filter(|&i| good.schema().field(i).name() != "split").collect();
    let message = check_batch(definition, &good.project(&without).unwrap()).unwrap_err().to_string();
    assert_eq!(message, "table 'activation_records', column 'split': expected Utf8, got no such column");

    let extra = with_column(definition, "split", Arc::new(StringArray::from(vec!["valid"; 3])));
    let mut fields: Vec<Field> = extra.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("mood", DataType::Utf8, true));
    let mut columns = extra.columns().to_vec();
    columns.push(Arc::new(StringArray::from(vec!["glad"; 3])));
    let extra = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let message = check_batch(definition, &extra).unwrap_err().to_string();
    assert_eq!(
        message,
        "table 'activation_records', column 'mood': expected a column of the table, got an unknown column"
    );
}

#[test]
fn a_batch_in_another_encoding_is_taken() {
    let definition = table("activation_records").unwrap();
    let good = batch(definition);
    let cases: [(&str, DataType); 4] = [
        ("split", DataType::Utf8View),
        ("model", DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8))),
        ("rank", DataType::Int64),
        ("activations", DataType::LargeList(Arc::new(Field::new("item", DataType::Float64, true)))),
    ];
    for (column, data_type) in cases {
        // Float32 to Float64 and back keeps every value.
        let other = cast(good.column_by_name(column).unwrap(), &data_type).unwrap();
        let checked = check_batch(definition, &with_column(definition, column, other)).unwrap();
        assert_eq!(rows(&checked), rows(&good), "{column} as {data_type}");
    }
    let columns: Vec<usize> = (0..good.num_columns()).rev().collect();
    let turned = check_batch(definition, &good.project(&columns).unwrap()).unwrap();
    assert_eq!(rows(&turned), rows(&good), "columns in another order");
    let ranks = with_column(definition, "rank", Arc::new(UInt32Array::from(vec![0, 1, 2])));
    assert_eq!(check_batch(definition, &ranks).unwrap().schema(), definition.schema);
}

/// A table as another version would have stored it.
async fn store_as(lake: &Lake, text: &str) {
    let other = TableDefinition::parse("documents", text).unwrap();
    lake.open_or_create(&other).await.unwrap();
}

#[tokio::test]
async fn a_lake_of_another_version_is_named_with_the_column() {
    let text = FILES.iter().find(|(name, _)| *name == "documents").unwrap().1;
    let cases = [
        (
            text.replace("source       VARCHAR", "origin       VARCHAR"),
            "column 'source': expected string, got no such column",
        ),
        (text.replace("document     BIGINT", "document     INT"), "column 'document': expected long, got integer"),
        (
            text.replace(") STORED AS", ", mood VARCHAR COMMENT 'x') STORED AS"),
            "column 'mood': expected no such column, got string",
        ),
    ];
    for (stored, reason) in cases {
        assert_ne!(stored, text);
        let folder = tempfile::tempdir().unwrap();
        let (lake, session) = open(folder.path());
        store_as(&lake, &stored).await;
        let messages = [
            lake.open(table("documents").unwrap()).await.unwrap_err().to_string(),
            TableWriter::open(&lake, table("documents").unwrap(), "run").await.unwrap_err().to_string(),
            session.sql("SELECT document FROM documents").await.unwrap_err().to_string(),
        ];
        for message in messages {
            assert!(message.contains("documents/' was written by another version of neuronlake: "), "{message}");
            assert!(message.ends_with(reason), "expected '{reason}' in: {message}");
        }
    }
}

#[tokio::test]
async fn a_lake_that_is_not_there_is_an_error_only_where_it_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing");
    let path = path.to_str().unwrap();
    assert!(Lake::at(path).is_ok());
    assert_eq!(Lake::existing(path).await.unwrap_err().to_string(), format!("lake '{path}' does not exist"));
    assert_eq!(
        Lake::at("data:nothing://").unwrap_err().to_string(),
        "--lake: expected a folder or bucket: a path, file://, s3://, gs://, az:// or abfss://, got 'data:nothing://'"
    );
}
