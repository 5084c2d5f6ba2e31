//! Which rows leave, which files are touched, what the log says of it, and who wins.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use object_store::memory::InMemory;

use super::*;
use crate::tables::definition::table;
use crate::tables::lake::Lake;
use crate::tables::writer::TableWriter;

fn documents() -> &'static TableDefinition {
    table("documents").unwrap()
}

fn rows(corpus: &str, numbers: impl IntoIterator<Item = i64>, run: &str) -> RecordBatch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let text = |prefix: &str| Arc::new(numbers.iter().map(|n| Some(format!("{prefix}{n}"))).collect::<StringArray>());
    let same = |text: &str| Arc::new(StringArray::from(vec![text; numbers.len()]));
    let columns: Vec<ArrayRef> =
        vec![same(corpus), Arc::new(Int64Array::from(numbers.clone())), text("file "), text("it's text "), same(run)];
    RecordBatch::try_new(Arc::clone(&documents().schema), columns).unwrap()
}

struct Fixture {
    _folder: Option<tempfile::TempDir>,
    lake: Lake,
    context: SessionContext,
}

impl Fixture {
    /// A lake in a folder, with a file a batch.
    async fn with(files: &[RecordBatch]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
        Self { _folder: Some(folder), lake, context: SessionContext::new() }.filled(files).await
    }

    /// The same in a bucket.
    async fn in_bucket(files: &[RecordBatch]) -> Self {
        let lake = Lake::over("s3://bucket/lake", Arc::new(InMemory::new()));
        let context = SessionContext::new();
        let (root, store) = lake.object_store().unwrap();
        context.register_object_store(root, store);
        Self { _folder: None, lake, context }.filled(files).await
    }

    async fn filled(self, files: &[RecordBatch]) -> Self {
        for file in files {
            let mut writer = TableWriter::open(&self.lake, documents(), "old").await.unwrap();
            writer.write(file).await.unwrap();
            writer.commit().await.unwrap();
        }
        self
    }

    async fn table(&self) -> DeltaTable {
        self.lake.open(documents()).await.unwrap().unwrap()
    }

    async fn replacer(&self, work: &str) -> TableReplacer {
        let origin = Origin { run: "new".to_owned(), work: Some(work.to_owned()) };
        TableReplacer::over(self.table().await, documents(), origin).unwrap()
    }

    async fn paths(&self) -> BTreeSet<String> {
        adds(&self.table().await).unwrap().into_iter().map(|add| add.path).collect()
    }

    /// Corpus, number and run of every row, in order.
    async fn all(&self) -> Vec<(String, i64, String)> {
        let stored = self.table().await.table_provider().await.unwrap();
        let rows = self.context.read_table(stored).unwrap();
        let rows = rows.select(["corpus", "document", "run"].map(ident)).unwrap().collect().await.unwrap();
        let mut found = Vec::new();
        for batch in rows {
            let text = |at: usize| cast(batch.column(at), &DataType::Utf8).unwrap().as_string::<i32>().clone();
            let (corpora, runs) = (text(0), text(2));
            let numbers = batch.column(1).as_primitive::<Int64Type>();
            found.extend(
                (0..batch.num_rows())
                    .map(|row| (corpora.value(row).to_owned(), numbers.value(row), runs.value(row).to_owned())),
            );
        }
        found.sort();
        found
    }

    /// The newest commit, as it is written.
    async fn newest_commit(&self) -> String {
        let version = self.table().await.version().unwrap();
        let path = self.lake.local_path().unwrap().join(format!("documents/_delta_log/{version:020}.json"));
        std::fs::read_to_string(path).unwrap()
    }
}

fn keys(keys: impl IntoIterator<Item = i64>) -> BTreeSet<String> {
    keys.into_iter().map(|key| key.to_string()).collect()
}

fn expected(of: &[(&str, std::ops::Range<i64>, &str)]) -> Vec<(String, i64, String)> {
    let mut rows: Vec<_> = of
        .iter()
        .flat_map(|(corpus, numbers, run)| numbers.clone().map(|n| ((*corpus).to_owned(), n, (*run).to_owned())))
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn rows_of_the_keys_are_exchanged_and_all_others_stay() {
    let files =
        [rows("a", 0..100, "old"), rows("a", 100..200, "old"), rows("a", 200..300, "old"), rows("b", 0..300, "old")];
    for lake in [Fixture::with(&files).await, Fixture::in_bucket(&files).await] {
        let before = lake.paths().await;
        let mut replacer = lake.replacer("work").await;
        // All of the second file and a part of the third; keys 9 and 10 tell an order of texts from one of numbers.
        let numbers = || (100..200).chain(200..211).chain(9..11);
        replacer.write(&rows("a", numbers(), "new")).await.unwrap();
        let keys = keys(numbers());
        let leaving = Leaving { condition: "corpus = 'a'", keys: Some(("document", &keys)) };
        replacer.commit(&lake.context, leaving).await.unwrap();
        let want = [
            ("a", 0..9, "old"),
            ("a", 9..11, "new"),
            ("a", 11..100, "old"),
            ("a", 100..211, "new"),
            ("a", 211..300, "old"),
            ("b", 0..300, "old"),
        ];
        assert_eq!(lake.all().await, expected(&want));
        let after = lake.paths().await;
        assert_eq!(before.intersection(&after).count(), 1, "the file of the other corpus is not touched");

        // The same again with a key that no file has: nothing leaves, and the rows come.
        let none = keys_of_text(["nowhere"]);
        replacer.write(&rows("c", 0..1, "new")).await.unwrap();
        let leaving = Leaving { condition: "corpus = 'c'", keys: Some(("source", &none)) };
        replacer.commit(&lake.context, leaving).await.unwrap();
        assert_eq!(lake.all().await.len(), 601);
        assert!(after.is_subset(&lake.paths().await));
    }
}

fn keys_of_text<const N: usize>(keys: [&str; N]) -> BTreeSet<String> {
    keys.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn rows_leave_alone_by_texts_and_by_condition() {
    let lake = Fixture::with(&[rows("a", 0..10, "old"), rows("b", 0..10, "old")]).await;
    let texts = keys_of_text(["it's text 3", "it's text 4", "it's text 99"]);
    let leaving = Leaving { condition: "corpus = 'a'", keys: Some(("text", &texts)) };
    lake.replacer("work").await.commit(&lake.context, leaving).await.unwrap();
    assert_eq!(lake.all().await, expected(&[("a", 0..3, "old"), ("a", 5..10, "old"), ("b", 0..10, "old")]));
    assert!(lake.newest_commit().await.contains("DELETE"));

    let version = lake.table().await.version();
    let nobody = Leaving { condition: "corpus = 'c'", keys: None };
    lake.replacer("work").await.commit(&lake.context, nobody).await.unwrap();
    assert_eq!(lake.table().await.version(), version, "nothing to do is no commit");

    let leaving = Leaving { condition: "corpus = 'b'", keys: None };
    lake.replacer("work").await.commit(&lake.context, leaving).await.unwrap();
    assert_eq!(lake.all().await, expected(&[("a", 0..3, "old"), ("a", 5..10, "old")]));
}

#[tokio::test]
async fn the_log_does_not_grow_with_the_keys() {
    let lake = Fixture::with(&[rows("a", 0..20_000, "old")]).await;
    let mut sizes = Vec::new();
    for n in [10, 10_000] {
        let mut replacer = lake.replacer("work").await;
        replacer.write(&rows("a", 0..n, "new")).await.unwrap();
        let keys = keys(0..n);
        let leaving = Leaving { condition: "corpus = 'a'", keys: Some(("document", &keys)) };
        replacer.commit(&lake.context, leaving).await.unwrap();
        sizes.push(lake.newest_commit().await.len() as i64);
    }
    assert!((sizes[1] - sizes[0]).abs() < 64, "bytes of commits for 10 and 10,000 keys: {sizes:?}");
    assert_eq!(lake.all().await, expected(&[("a", 0..10_000, "new"), ("a", 10_000..20_000, "old")]));
}

#[tokio::test]
async fn of_two_that_replace_the_same_rows_the_second_is_refused() {
    let lake = Fixture::with(&[rows("a", 0..10, "old"), rows("b", 0..10, "old")]).await;
    let keys = keys(0..10);
    let leaving = |condition| Leaving { condition, keys: Some(("document", &keys)) };
    let (mut first, mut second) = (lake.replacer("one").await, lake.replacer("another").await);
    let mut elsewhere = lake.replacer("a third").await;
    for (replacer, corpus) in [(&mut first, "a"), (&mut second, "a"), (&mut elsewhere, "b")] {
        replacer.write(&rows(corpus, 0..10, "new")).await.unwrap();
    }
    first.commit(&lake.context, leaving("corpus = 'a'")).await.unwrap();
    let refused = second.commit(&lake.context, leaving("corpus = 'a'")).await;
    assert!(matches!(refused, Err(Error::Overtaken { .. })), "{refused:?}");
    elsewhere.commit(&lake.context, leaving("corpus = 'b'")).await.unwrap();
    assert_eq!(lake.all().await, expected(&[("a", 0..10, "new"), ("b", 0..10, "new")]));
}
