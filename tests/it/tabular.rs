//! Plain tables through the program: Parquet, CSV and JSON lines, out and in again, and labels of anybody in.

use std::path::Path;

use crate::openai::counted;
use crate::support::{ok, refused, rows_of, small_lake};

const TABLES: [&str; 8] = [
    "runs",
    "token_sequences",
    "neurons",
    "activation_records",
    "token_activations",
    "explanations",
    "simulations",
    "scores",
];

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn csv(folder: &Path, lake: &str, sql: &str) -> String {
    ok(folder, &["sql", "--lake", lake, "--format", "csv", sql])
}

#[test]
fn a_lake_goes_out_as_parquet_and_comes_back_with_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let n_units = counted(&ok(folder, &["export", "parquet", "tables", "--lake", small_lake()]), "units");
    // An import that was ended after some tables goes on.
    std::fs::create_dir(folder.join("some")).unwrap();
    for table in ["runs", "token_sequences", "activation_records"] {
        std::fs::copy(folder.join(format!("tables/{table}.parquet")), folder.join(format!("some/{table}.parquet")))
            .unwrap();
    }
    ok(folder, &["import", "parquet", "some", "--lake", "back"]);
    let rest = ok(folder, &["import", "parquet", "tables", "--lake", "back"]);
    assert_eq!((counted(&rest, "activation_records"), counted(&rest, "units")), (0, n_units), "{rest}");
    let again = ok(folder, &["import", "parquet", "tables", "--lake", "back"]);
    assert_eq!((counted(&again, "units"), counted(&again, "scores")), (0, 0), "{again}");

    let (mut there, mut back) = (rows_of(folder, small_lake(), &TABLES, "*"), rows_of(folder, "back", &TABLES, "*"));
    // Documents are no rows of units, so that the run that wrote them stays; each import has one of its own.
    let own = |row: &String| row.contains("\"stage\":\"import_parquet\"");
    assert_eq!(back["runs"].iter().filter(|row| own(row)).count(), 2);
    back.get_mut("runs").unwrap().retain(|row| !own(row));
    // Nor does every window have a record.
    for table in ["runs", "token_sequences"] {
        there.get_mut(table).unwrap().retain(|row| back[table].contains(row));
    }
    for table in TABLES {
        assert!(!there[table].is_empty(), "{table}");
        assert_eq!(there[table].len(), back[table].len(), "{table}");
        assert!(there[table].iter().zip(&back[table]).all(|(a, b)| a == b), "{table}");
    }
    let lost = "SELECT count(*) AS n FROM scores WHERE run NOT IN (SELECT run FROM runs)";
    assert_eq!(csv(folder, "back", lost), "n\n0\n");
}

#[test]
fn a_parquet_file_of_other_columns_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, &["export", "parquet", "tables", "--lake", small_lake(), "--where", "neuron < 2"]);
    std::fs::copy(folder.join("tables/neurons.parquet"), folder.join("tables/scores.parquet")).unwrap();
    let error = refused(folder, &["import", "parquet", "tables", "--lake", "lake"], 1);
    assert!(error.contains("tables/scores.parquet") && error.contains("table 'scores'"), "{error}");
    assert!(!folder.join("lake/runs").exists());
    std::fs::create_dir(folder.join("empty")).unwrap();
    let error = refused(folder, &["import", "parquet", "empty", "--lake", "lake"], 1);
    assert!(error.contains("neuronlake export parquet"), "{error}");
}

#[test]
fn explanations_with_scores_come_back_from_text_as_they_went_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let chosen = ["--lake", small_lake(), "--where", "layer = 1"];
    for (format, more) in [("csv", &[][..]), ("jsonl", &["--records"][..])] {
        let (first, lake, second) = (format!("first.{format}"), format!("of_{format}"), format!("second.{format}"));
        ok(folder, &[&["export", format, &first], &chosen[..], more].concat());
        let report = ok(folder, &["import", format, &first, "--lake", &lake]);
        assert_eq!(counted(&report, "explanations"), 16, "{report}");
        ok(folder, &[&["export", format, &second, "--lake", &lake], more].concat());
        // Thousands of numbers: not to be printed.
        assert!(read(folder, &first) == read(folder, &second), "{format}");
        let again = ok(folder, &["import", format, &first, "--lake", &lake]);
        assert_eq!((counted(&again, "units"), counted(&again, "skipped")), (0, 16), "{again}");
    }
}

#[test]
fn labels_of_a_person_stand_beside_what_the_lake_has() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, &["export", "parquet", "tables", "--lake", small_lake(), "--where", "neuron < 4"]);
    ok(folder, &["import", "parquet", "tables", "--lake", "lake"]);
    let unit = csv(folder, "lake", "SELECT DISTINCT model, hook_point, corpus FROM neurons WHERE layer = 1");
    let unit: Vec<&str> = unit.lines().nth(1).unwrap().split(',').collect();
    let [model, hook_point, corpus] = unit[..] else { panic!("{unit:?}") };
    // As spreadsheets write it: a mark of the byte order, quotes, lines inside of them.
    let labels = "\u{feff}neuron,text,judged by hand accuracy top_and_random,notes\r\n\
        0,\"says \"\"no\"\",\nor so\",0.75,\r\n1,plural nouns,,sure\r\n1,another thing,1,\r\n";
    write(folder, "labels.csv", labels);
    let arguments = [
        "import",
        "csv",
        "labels.csv",
        "--lake",
        "lake",
        "--model",
        model,
        "--hook",
        hook_point,
        "--corpus",
        corpus,
        "--explainer",
        "human",
    ];
    let report = ok(folder, &arguments);
    assert_eq!((counted(&report, "explanations"), counted(&report, "scores")), (3, 2), "{report}");
    assert!(report.contains("not kept 1  column 'notes'"), "{report}");
    let sql = "SELECT e.neuron, e.sample_no, e.text, s.value FROM explanations e JOIN neurons n USING (model, hook_point, neuron, corpus) \
        LEFT JOIN scores s ON s.explanation = e.explanation WHERE e.explainer = 'human' ORDER BY 1, 2";
    let found = csv(folder, "lake", sql);
    assert_eq!(
        found,
        "neuron,sample_no,text,value\n0,0,\"says \"\"no\"\",\nor so\",0.75\n1,0,plural nouns,\n1,1,another thing,1.0\n"
    );
}

#[test]
fn a_line_that_is_no_label_is_told_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let header = "model,hook_point,layer,neuron,corpus,text,detection f1 top_only";
    let good = "own,blocks.2.mlp.hook_post,2,7,tales,kings,0.5";
    for (line, told) in [
        (
            "own,blocks.2.mlp.hook_post,2,seven,tales,kings,",
            "column 'neuron': expected a whole number from 0, got 'seven'",
        ),
        (
            "own,blocks.2.mlp.hook_post,3,7,tales,kings,",
            "column 'layer': expected that of 'blocks.2.mlp.hook_post', got 3",
        ),
        ("own,blocks.2.mlp.hook_post,2,7,tales,,", "column 'text': expected an explanation, got none"),
        ("own,blocks.2.mlp.hook_post,2,7,,kings,", "column 'corpus': expected a value, or --corpus"),
        (
            "own,blocks.2.mlp.hook_post,2,7,tales,kings,NaN",
            "column 'detection f1 top_only': expected a number of at most 1",
        ),
        ("own,blocks.2.mlp.hook_post,2,7,tales", "found record with 5 fields"),
    ] {
        write(folder, "bad.csv", &format!("{header}\n{good}\n{line}\nother,hook_embed,,0,tales,queens,\n"));
        let error = refused(folder, &["import", "csv", "bad.csv", "--lake", "strict"], 1);
        assert!(error.contains("bad.csv', line 3: ") && error.contains(told), "{error}");
        let lake = folder.join("lenient");
        let report = ok(folder, &["import", "csv", "bad.csv", "--keep-going", "--lake", "lenient"]);
        assert_eq!((counted(&report, "explanations"), counted(&report, "failed")), (2, 1), "{report}");
        assert!(report.contains(told), "{report}");
        std::fs::remove_dir_all(lake).unwrap();
    }
    write(folder, "bad.jsonl", "{\"neuron\": 1, \"text\": \"a\"}\n{\"neuron\": 2,\n");
    let arguments = ["import", "jsonl", "bad.jsonl", "--lake", "lines", "--model", "m", "--hook", "h", "--corpus", "c"];
    let error = refused(folder, &arguments, 1);
    assert!(error.contains("bad.jsonl', line 2: "), "{error}");
    assert_eq!(csv(folder, "lines", "SELECT count(*) AS n FROM explanations"), "n\n1\n");
    let error = refused(folder, &["import", "csv", "none.csv", "--lake", "lake"], 1);
    assert!(error.contains("none.csv': expected a file, got none"), "{error}");
}
