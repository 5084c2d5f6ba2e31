use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sparse_autoencoders::source::ActivationSource;

use super::manifest::{Contents, Manifest, StoreFolder};
use super::parts::{Footer, PartReader, PartWriter, RowForm, Rows, ValueType, count_parts, footer, part_path};
use super::rows::{Cursor, ShuffledRows};
use super::shuffle::{ShuffleOptions, Shuffled, shuffle};
use super::statistics::Sums;
use crate::random::mix;
use crate::tables::lake::Lake;

const WIDTH: usize = 7;

/// The values of row `number`: bf16 holds them without rounding.
fn values(number: u64) -> Vec<f32> {
    (0..WIDTH).map(|i| (mix(3, number, i as u64) % 255) as f32 - 100.0).collect()
}

/// A whole store of files of these numbers of rows; row n is token n % 50 of token sequence n / 50.
fn store(folder: &Path, form: ValueType, parts: &[u64]) -> StoreFolder {
    let lake = Lake::at(folder.to_str().unwrap()).unwrap();
    let store = StoreFolder::at(&lake, "test").unwrap();
    let form = RowForm { width: WIDTH, values: form };
    let (mut number, mut all) = (0, Sums::new(WIDTH));
    for (part, n_rows) in parts.iter().enumerate() {
        let (mut rows, mut sums) = (Rows::default(), Sums::new(WIDTH));
        for _ in 0..*n_rows {
            rows.sequences.push((number / 50) as i64);
            rows.positions.push((number % 50) as i32);
            form.values.encode(&values(number), &mut rows.bytes);
            sums.add_row(&values(number));
            number += 1;
        }
        let mut writer = PartWriter::create(&store.rows_path(), part, form).unwrap();
        writer.write(&rows).unwrap();
        all.add(&sums);
        writer.finish(&Footer { last_sequence: Some((number / 50) as i64), sums }).unwrap();
    }
    let mut manifest = Manifest::new(Contents {
        model: "m".to_owned(),
        weights_hash: "w".to_owned(),
        hook_point: "blocks.0.hook_resid_post".to_owned(),
        width: WIDTH,
        corpus: "c".to_owned(),
        splits: vec!["train".to_owned()],
        first_token: "keep".to_owned(),
        norm_multiple: None,
        values: form.values,
        token_sequences: None,
    });
    manifest.n_rows = Some(number);
    manifest.n_dropped = Some(0);
    manifest.statistics = all.statistics();
    store.write_manifest(&manifest).unwrap();
    store
}

/// Number of each row, in the order in which a folder holds them; each row's values are checked.
fn numbers(folder: &Path, form: ValueType) -> Vec<u64> {
    let form = RowForm { width: WIDTH, values: form };
    let mut found = Vec::new();
    for part in 0..count_parts(folder) {
        let mut reader = PartReader::open(&part_path(folder, part), form, 0, 13).unwrap();
        let mut rows = Rows::default();
        while reader.read(&mut rows).unwrap() {}
        for (row, bytes) in rows.bytes.chunks_exact(form.bytes()).enumerate() {
            let number = rows.sequences[row] as u64 * 50 + rows.positions[row] as u64;
            let mut decoded = Vec::new();
            form.values.decode(bytes, &mut decoded);
            assert_eq!(decoded, values(number), "row {number}");
            found.push(number);
        }
    }
    found
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn rows_come_back_as_they_were_stored_from_any_row_on() {
    for form in [ValueType::F32, ValueType::Bf16] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), form, &[300, 1, 99]);
        assert_eq!(numbers(&store.rows_path(), form), (0..400).collect::<Vec<_>>());
        let form = RowForm { width: WIDTH, values: form };
        for skip in [0, 1, 64, 299, 300] {
            let mut reader = PartReader::open(&part_path(&store.rows_path(), 0), form, skip, 50).unwrap();
            let mut rows = Rows::default();
            while reader.read(&mut rows).unwrap() {}
            assert_eq!(rows.len(), 300 - skip);
        }
        let other = RowForm { width: WIDTH + 1, ..form };
        let error = PartReader::open(&part_path(&store.rows_path(), 0), other, 0, 50).unwrap_err();
        assert!(error.to_string().contains("expected columns"), "{error}");
    }
}

#[test]
fn bf16_rounds_to_the_nearest() {
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    ValueType::Bf16.encode(&[1.0, 1.003_906_3, -2.345_678_9, 1e30], &mut bytes);
    ValueType::Bf16.decode(&bytes, &mut back);
    assert_eq!(back[0], 1.0);
    // Half of the last digit of 8 significant bits.
    for (got, expected) in back.iter().zip([1.0, 1.003_906_3, -2.345_678_9, 1e30_f32]) {
        assert!((got - expected).abs() <= expected.abs() / 256.0, "{got} {expected}");
    }
}

#[test]
fn a_shuffle_is_one_exact_order_whatever_the_memory() {
    let (parts, form) = ([700, 1, 1_299], ValueType::Bf16);
    let mut orders = Vec::new();
    // A row in a bucket is 34 bytes: about 68 kB in all.
    for memory_limit in [1 << 30, 70_000, 20_000] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), form, &parts);
        let done = shuffle(&store, ShuffleOptions { seed: 5, memory_limit }, &mut |_, _| {}).unwrap();
        assert_eq!(done.rows.len() > 1, memory_limit < 1 << 20);
        assert_eq!(done.n_rows(), 2_000);
        assert!(!store.shuffled_path(5).join("buckets").exists(), "buckets are gone");
        orders.push(numbers(&store.shuffled_path(5), form));
    }
    // The definition: sorted by the hash of seed and number.
    let mut expected: Vec<u64> = (0..2_000).collect();
    expected.sort_by_key(|number| mix(5, *number, 0));
    assert!(orders.iter().all(|order| *order == expected));
    assert_ne!(expected, (0..2_000).collect::<Vec<_>>());
    // A random order has about one row that stays where it was.
    let n_fixed = expected.iter().zip(0..).filter(|(number, place)| *number == place).count();
    assert!(n_fixed < 10, "{n_fixed}");
}

#[test]
fn buckets_of_a_store_ten_times_the_memory_fit_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), ValueType::F32, &[9_000, 11_000]);
    let n_bytes = 20_000 * (20 + 4 * WIDTH);
    let memory_limit = n_bytes / 10;
    let done = shuffle(&store, ShuffleOptions { seed: 0, memory_limit }, &mut |_, _| {}).unwrap();
    assert!(done.rows.len() > 1);
    let largest = *done.rows.iter().max().unwrap() as usize * (20 + 4 * WIDTH);
    assert!(2 * largest < memory_limit, "a bucket of {largest} bytes, twice in memory, of {memory_limit}");
    assert_eq!(done.n_rows(), 20_000);
}

#[test]
fn a_shuffle_that_was_cut_short_goes_on_to_the_same_files() {
    let (parts, options) = ([400, 300, 500], ShuffleOptions { seed: 9, memory_limit: 120_000 });
    let whole = tempfile::tempdir().unwrap();
    let store_of_whole = store(whole.path(), ValueType::F32, &parts);
    shuffle(&store_of_whole, options, &mut |_, _| {}).unwrap();
    let expected = files(&store_of_whole.shuffled_path(9));
    // Every call of the observer is a moment to stop at: in the dealing, and between buckets.
    let mut n_stops = 0;
    for stop in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), ValueType::F32, &parts);
        let mut n_calls = 0;
        let mut observe = |_: u64, _: u64| {
            n_calls += 1;
            assert!(n_calls != stop, "stopped");
        };
        let stopped = catch_unwind(AssertUnwindSafe(|| shuffle(&store, options, &mut observe))).is_err();
        n_stops += usize::from(stopped);
        assert_eq!(Shuffled::read(&store.shuffled_path(9)).unwrap().is_none(), stopped);
        shuffle(&store, options, &mut |_, _| {}).unwrap();
        assert!(files(&store.shuffled_path(9)) == expected, "stopped at {stop}");
        if !stopped {
            break;
        }
    }
    assert!(n_stops > 3, "{n_stops}");
}

#[test]
fn a_shuffled_store_is_read_from_any_row_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), ValueType::F32, &[900, 600]);
    let error = ShuffledRows::open(&store, 1).unwrap_err();
    assert!(error.to_string().contains("run 'neuronlake activations shuffle"), "{error}");
    let options = ShuffleOptions { seed: 1, memory_limit: 120_000 };
    let done = shuffle(&store, options, &mut |_, _| {}).unwrap();
    assert!(done.rows.len() > 1, "{:?}", done.rows);
    let mut rows = ShuffledRows::open(&store, 1).unwrap();
    assert_eq!((rows.width(), rows.n_rows()), (WIDTH, 1_500));
    let expected: Vec<f32> = numbers(&store.shuffled_path(1), ValueType::F32).into_iter().flat_map(values).collect();
    let mut read = Vec::new();
    let ends = [0, 1, done.rows[0] as usize, done.rows[0] as usize + 1, 700, 1_500];
    for from in ends {
        for n in [0, 1, 64, 800] {
            if from + n <= 1_500 {
                rows.read_rows(from as u64, n, &mut read).unwrap();
                assert!(read == expected[from * WIDTH..(from + n) * WIDTH], "{n} rows from {from}");
            }
        }
    }
    // In sequence, over the ends of files.
    for from in (0..1_500).step_by(100) {
        rows.read_rows(from as u64, 100, &mut read).unwrap();
        assert!(read == expected[from * WIDTH..(from + 100) * WIDTH], "from {from}");
    }
    assert!(rows.read_rows(1_450, 51, &mut read).is_err());
    assert_eq!(rows.place(0), Cursor { file: 0, row: 0 });
    assert_eq!(rows.place(done.rows[0]), Cursor { file: 1, row: 0 });
}

#[test]
fn statistics_are_those_of_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), ValueType::F32, &[10, 20]);
    let statistics = store.whole().unwrap().statistics.unwrap();
    let rows: Vec<Vec<f32>> = (0..30).map(values).collect();
    let mut spread = 0.0;
    for i in 0..WIDTH {
        let mean = rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / 30.0;
        let variance = rows.iter().map(|row| (f64::from(row[i]) - mean).powi(2)).sum::<f64>() / 30.0;
        assert!((statistics.mean[i] - mean).abs() < 1e-9);
        assert!((statistics.sigma[i] - variance.sqrt()).abs() < 1e-9);
        spread += variance;
    }
    let length = statistics.mean.iter().map(|mean| mean * mean).sum::<f64>().sqrt();
    assert!((statistics.gamma.unwrap() - length / spread.sqrt()).abs() < 1e-9);
    // What a footer holds comes back to the last bit.
    let sums = footer(&part_path(&store.rows_path(), 0)).unwrap().sums;
    let mut expected = Sums::new(WIDTH);
    (0..10).for_each(|number| expected.add_row(&values(number)));
    assert_eq!(sums, expected);
    assert_eq!(Sums::new(3).statistics(), None, "nothing is known of no rows");
    let mut equal = Sums::new(2);
    (0..4).for_each(|_| equal.add_row(&[1.0, 2.0]));
    assert_eq!(equal.statistics().unwrap().gamma, None, "rows that are all equal have no spread");
}
