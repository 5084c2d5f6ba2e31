//! OpenAI's dataset in and out: a small one made here, imported, exported, imported again, served, damaged, killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fault_server::{FaultServer, Served};
use crate::support::{neuronlake, ok, program, refused, rows_of, small_lake};

/// Every table that an import writes.
pub(crate) const TABLES: [&str; 9] = [
    "token_sequences",
    "activation_records",
    "neurons",
    "token_activations",
    "token_effects",
    "neuron_links",
    "explanations",
    "simulations",
    "scores",
];
const LENGTH: usize = 12;

/// A number between 0 and 1 that depends on nothing but these.
fn draw(parts: [usize; 4]) -> f64 {
    let mixed = parts.iter().fold(0x9e37_79b9_u64, |mixed, part| {
        (mixed ^ (*part as u64 + 1)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29)
    });
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

fn record(neuron: usize, place: usize) -> Value {
    // Few windows for many records, as in the published data.
    let window = (draw([neuron, place, 0, 0]) * 50.0) as usize;
    let tokens: Vec<String> = (0..LENGTH).map(|i| format!(" w{}", (window * 7 + i * 3) % 40)).collect();
    // Values that 32 bits hold.
    let activations: Vec<f32> = (0..LENGTH).map(|i| (draw([neuron, place, i, 1]) * 8.0 - 2.0) as f32).collect();
    json!({"dataclass_name": "ActivationRecord", "tokens": tokens, "activations": activations})
}

fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| of(x - a, y - b)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

fn scores(pairs: &[(f64, f64)]) -> [f64; 3] {
    let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let rsquared = 1.0 - sum(|(r, p)| (r - p) * (r - p)) / sum(|(r, _)| r * r);
    let absolute = 1.0 - sum(|(r, p)| (r - p).abs()) / sum(|(r, _)| r.abs());
    [pearson(pairs), rsquared, absolute]
}

fn scored(into: &mut Value, scores: [f64; 3]) {
    let names = ["ev_correlation_score", "rsquared_score", "absolute_dev_explained_score"];
    for (name, score) in names.into_iter().zip(scores) {
        into[name] = json!(score);
    }
}

/// Every file of a neuron, by its path below the root.
pub(crate) fn files(layer: usize, neuron: usize) -> BTreeMap<String, Vec<u8>> {
    let unit = layer * 100 + neuron;
    let id = json!({"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": neuron});
    let list = |from: usize, n: usize| (from..from + n).map(|place| record(unit, place)).collect::<Vec<_>>();
    let (top, random) = (list(0, 20), list(20, 15));
    let quantiles: Vec<Vec<Value>> = (0..4).map(|quantile| list(40 + 5 * quantile, 3)).collect();
    // The public dataset has activations between infinite ends, which JSON cannot say.
    let boundaries = match neuron % 2 {
        0 => json!([0.5, 0.9, 0.99, 0.999]),
        _ => json!([null, -0.0032, 0.5005, 1.5146, 2.3789, null]),
    };
    let mut files = BTreeMap::new();
    let collated = json!({
        "dataclass_name": "NeuronRecord", "neuron_id": id, "random_sample": random, "random_sample_by_quantile": quantiles,
        "quantile_boundaries": boundaries, "mean": draw([unit, 0, 0, 2]), "variance": draw([unit, 0, 0, 3]),
        "skewness": null, "kurtosis": draw([unit, 0, 0, 4]) * 40.0, "most_positive_activation_records": top,
    });
    files.insert(format!("collated-activations/{layer}/{neuron}.json"), collated.to_string().into_bytes());

    let mut all = Vec::new();
    let valid =
        [2, 6, 10, 14, 18].map(|i: usize| &top[i]).into_iter().chain([1, 4, 7, 10, 13].map(|i: usize| &random[i]));
    let sequences: Vec<Value> = valid
        .enumerate()
        .map(|(place, source)| {
            let mut pairs = Vec::new();
            let (mut values, mut probabilities, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for (token, actual) in source["activations"].as_array().unwrap().iter().enumerate() {
                let share = f64::from(draw([unit, place, token, 5]) as f32);
                values.push(json!([0, 3 + token % 8]));
                probabilities.push(json!([1.0 - share, share]));
                expected.push(share * (3 + token % 8) as f64);
                pairs.push((actual.as_f64().unwrap(), share * (3 + token % 8) as f64));
            }
            all.extend_from_slice(&pairs);
            let mut sequence = json!({
                "dataclass_name": "ScoredSequenceSimulation",
                "simulation": {
                    "dataclass_name": "SequenceSimulation", "tokens": source["tokens"], "expected_activations": expected,
                    "activation_scale": "simulated_normalized_activations", "distribution_values": values,
                    "distribution_probabilities": probabilities, "uncalibrated_simulation": null,
                },
                "true_activations": source["activations"],
            });
            scored(&mut sequence, scores(&pairs));
            sequence
        })
        .collect();
    let mut simulation = json!({"dataclass_name": "ScoredSimulation", "scored_sequence_simulations": sequences});
    scored(&mut simulation, scores(&all));
    let results = json!({
        "dataclass_name": "NeuronSimulationResults", "neuron_id": id,
        "scored_explanations": [
            {"dataclass_name": "ScoredExplanation", "explanation": format!(" words, \"{unit}\"."), "scored_simulation": simulation},
        ],
    });
    files.insert(format!("explanations/{layer}/{neuron}.jsonl"), format!("{results}\n").into_bytes());
    let related = json!({
        "c_fc": null,
        "c_proj": {
            "top_positive_neurons": [format!("{}_5", layer + 1)], "top_positive_weights": [0.5],
            "top_negative_neurons": ["9_1", "8_2"], "top_negative_weights": [-0.25, null],
        },
    });
    files.insert(format!("related-neurons/weight-based/{layer}/{neuron}.json"), related.to_string().into_bytes());
    let means = json!({"dataclass_name": "TokenLookupTableSummaryOfNeuron", "tokens": [" w1", "w"], "average_activations": [1.5, null]});
    files.insert(format!("related-tokens/activation-based/{layer}/{neuron}.json"), means.to_string().into_bytes());
    let side = |sign: f64| json!({"dataclass_name": "TokensAndWeights", "tokens": [" x", " y"], "strengths": [2.0 * sign, 0.5 * sign]});
    let effects = json!({
        "dataclass_name": "WeightBasedSummaryOfNeuron", "input_positive": side(1.0), "input_negative": side(-1.0),
        "output_positive": side(1.0), "output_negative": side(-1.0),
    });
    files.insert(format!("related-tokens/weight-based/{layer}/{neuron}.json"), effects.to_string().into_bytes());
    files
}

/// A dataset of `n` neurons in layers 0 and 1, below `data`.
pub(crate) fn dataset(root: &Path, n: usize) {
    for (path, bytes) in (0..2).flat_map(|layer| (0..n).flat_map(move |neuron| files(layer, neuron))) {
        let path = root.join("data").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub(crate) fn import(folder: &Path, from: &str, lake: &str, more: &[&str]) -> String {
    ok(folder, &[&["import", "openai", from, "--lake", lake], more].concat())
}

fn all(folder: &Path, lake: &str, columns: &str) -> BTreeMap<&'static str, Vec<String>> {
    rows_of(folder, lake, &TABLES, columns)
}

pub(crate) fn values(folder: &Path, lake: &str) -> BTreeMap<&'static str, Vec<String>> {
    all(folder, lake, "* EXCEPT (run)")
}

#[track_caller]
pub(crate) fn assert_equal(got: &BTreeMap<&'static str, Vec<String>>, expected: &BTreeMap<&'static str, Vec<String>>) {
    for table in TABLES {
        assert_eq!(got[table].len(), expected[table].len(), "rows of {table}");
        for (got, expected) in got[table].iter().zip(&expected[table]) {
            assert_eq!(got, expected, "{table}");
        }
    }
}

/// The value with every number in 32 bits, as activations are kept and written.
fn narrowed(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64().unwrap() as f32),
        Value::Array(values) => values.iter().map(narrowed).collect(),
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), narrowed(value))).collect(),
        other => other.clone(),
    }
}

/// The counts that an import prints, by their first word.
pub(crate) fn counted(out: &str, word: &str) -> u64 {
    let line = out.lines().find(|line| line.split_whitespace().next() == Some(word));
    line.map_or(0, |line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[test]
fn what_is_imported_is_exported_and_imported_again_with_every_score() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 30);
    let first = import(path, ".", "lake", &["--layers", "0-1", "--verify"]);
    assert_eq!((counted(&first, "units"), counted(&first, "files")), (60, 300));
    assert_eq!((counted(&first, "activation_records"), counted(&first, "simulations")), (60 * 47, 600));
    assert_eq!((counted(&first, "scores"), counted(&first, "explanations")), (60 * 33, 60));
    assert!(first.contains("scores computed again: 1980\n  different by more than 1e-4: 0\n"), "{first}");
    assert!(first.contains("without their simulations: 0\n"), "{first}");
    let before = all(path, "lake", "*");
    assert!(before["token_sequences"].len() <= 50, "a window is stored once");

    let again = import(path, "data", "lake", &["--verify"]);
    assert_eq!((counted(&again, "units"), counted(&again, "skipped"), counted(&again, "files")), (0, 60, 0));
    assert!(again.contains("scores computed again: 1980\n"), "{again}");
    assert_eq!(all(path, "lake", "*"), before, "importing twice changes nothing");

    let exported = ok(path, &["export", "openai", "out", "--lake", "lake"]);
    assert_eq!(counted(&exported, "files"), 300);
    for (file, bytes) in files(1, 7) {
        let mut original: Value = serde_json::from_slice(&bytes).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(path.join("out").join(&file)).unwrap()).unwrap();
        if file.starts_with("explanations") {
            // Of a distribution the order is by value, and expected values have 32 bits; the layout is the same.
            let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            let sequences = "/scored_explanations/0/scored_simulation/scored_sequence_simulations/0";
            let (original, written) = (original.pointer_mut(sequences).unwrap(), written.pointer(sequences).unwrap());
            let simulation = original.as_object_mut().unwrap().remove("simulation").unwrap();
            original["sequence_simulation"] = simulation;
            assert_eq!(keys(original), keys(written));
            assert_eq!(keys(&original["sequence_simulation"]), keys(&written["sequence_simulation"]));
            assert_eq!(original["ev_correlation_score"], written["ev_correlation_score"]);
        } else {
            assert_eq!(narrowed(&written), narrowed(&original), "{file}");
        }
    }
    import(path, "out", "second", &[]);
    assert_equal(&values(path, "second"), &values(path, "lake"));
    let error = refused(path, &["export", "openai", "out", "--lake", "lake"], 2);
    assert!(error.contains("'out' is there already"), "{error}");
}

#[test]
fn a_condition_chooses_units_and_plain_tables_hold_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 6);
    import(path, ".", "lake", &[]);
    ok(path, &["export", "csv", "some.csv", "--lake", "lake", "--where", "layer = 1 AND neuron < 2"]);
    let csv = std::fs::read_to_string(path.join("some.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(
        lines[0].starts_with("model,hook_point,layer,neuron,corpus,explainer,explainer_model,sample_no,text,"),
        "{csv}"
    );
    assert!(lines[0].ends_with("all_at_once@openai:gpt-4 rsquared_uncentred top_and_random"), "{csv}");
    assert!(lines[2].contains(",\" words, \"\"101\"\".\","), "{csv}");
    ok(path, &["export", "jsonl", "some.jsonl", "--records", "--lake", "lake", "--where", "score IS NOT NULL"]);
    let objects = std::fs::read_to_string(path.join("some.jsonl")).unwrap();
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((objects.len(), objects[0]["records"].as_array().unwrap().len()), (12, 47));
    let report = ok(path, &["export", "parquet", "tables", "--lake", "lake", "--where", "layer = 0 AND neuron = 3"]);
    assert_eq!((counted(&report, "activation_records"), counted(&report, "scores")), (47, 33));
    for name in ["token_sequences", "simulations", "neuron_links", "token_effects"] {
        assert!(path.join(format!("tables/{name}.parquet")).exists(), "{name}");
    }
    let error = refused(path, &["export", "csv", "none.csv", "--lake", "lake", "--where", "layer = 9"], 1);
    assert!(error.contains("no unit fits layer = 9"), "{error}");
    assert!(!path.join("none.csv").exists());
    refused(path, &["export", "csv", "none.csv", "--lake", "lake", "--where", "nonsense = 9"], 1);
}

#[test]
fn a_lake_of_our_own_goes_out_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    ok(path, &["export", "openai", "out", "--lake", small_lake()]);
    import(path, "out", "back", &["--model", "own", "--explainer", "token_lookup", "--simulator", "token_lookup"]);
    let ran = |lake: &str, sql: &str| ok(path, &["sql", "--lake", lake, "--format", "csv", sql]);
    let same = |columns: &str, table: &str, condition: &str| {
        let order = (1..=columns.split(", ").count().min(4)).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order}");
        assert_eq!(ran("back", &sql), ran(small_lake(), &sql), "{table}");
    };
    same("layer, neuron, text, explainer", "explanations", "true");
    same("layer, neuron, mean, variance, skewness, kurtosis", "neurons", "true");
    same(
        "layer, neuron, metric, value, n_windows",
        "scores",
        "sample_set = 'top_and_random' AND metric <> 'explained_variance'",
    );
    // A window that is both a top and a random one may change its name, and nothing else.
    same("layer, neuron, scale, array_to_string(expected, ' ') AS expected", "simulations", "NOT control");
    let leaked = "SELECT count(*) AS n FROM activation_records b JOIN token_sequences t ON t.sequence = b.sequence WHERE b.split = 'train'";
    assert_ne!(ran("back", leaked), "n\n0\n", "the explainer's records are there");
}

#[test]
fn a_bad_file_ends_the_import_or_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 30);
    let bad = path.join("data/collated-activations/0/27.json");
    let whole = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &whole[..whole.len() / 2]).unwrap();
    std::fs::remove_file(path.join("data/explanations/0/3.jsonl")).unwrap();

    let error = refused(path, &["import", "openai", ".", "--lake", "lake"], 1);
    assert!(error.contains("data/collated-activations/0/27.json', line 1: "), "{error}");
    let units = "SELECT count(*) FROM neurons";
    // What was read whole before it is there.
    assert_eq!(ok(path, &["sql", "--lake", "lake", "--format", "csv", units]).lines().nth(1), Some("27"));

    let out = import(path, ".", "lake", &["--keep-going"]);
    assert_eq!((counted(&out, "failed"), counted(&out, "missing")), (1, 1));
    assert!(out.contains("collated-activations/0/27.json', line 1"), "{out}");
    std::fs::write(&bad, whole).unwrap();
    let out = import(path, ".", "lake", &[]);
    assert_eq!((counted(&out, "failed"), counted(&out, "missing"), counted(&out, "units")), (0, 1, 1));
    import(path, ".", "whole", &[]);
    assert_equal(&values(path, "lake"), &values(path, "whole"));
}

#[test]
fn killed_at_any_moment_an_import_ends_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 150);
    import(path, ".", "whole", &[]);
    let expected = values(path, "whole");
    let mut n_kills = 0;
    for (number, sign) in TABLES.into_iter().chain(["runs"]).enumerate() {
        let mut child = program(path)
            .args(["import", "openai", ".", "--lake", "lake"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sign = path.join("lake").join(sign).join("_delta_log");
        let start = Instant::now();
        let mut seen = None;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            if seen.is_none() && sign.exists() {
                seen = Some(Instant::now());
            }
            if seen.is_some_and(|seen| seen.elapsed() > Duration::from_millis(number as u64 * 7 % 23)) {
                child.kill().unwrap();
                child.wait().unwrap();
                n_kills += 1;
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "'{}' never appeared", sign.display());
            std::thread::sleep(Duration::from_micros(300));
        }
        if path.join("lake/runs/_delta_log/00000000000000000000.json").exists() {
            let now = values(path, "lake");
            for table in TABLES {
                let mut rows = now[table].clone();
                rows.dedup();
                assert_eq!(rows.len(), now[table].len(), "rows of {table} twice");
            }
        }
    }
    assert!(n_kills >= 5, "only {n_kills} kills came in time");
    import(path, ".", "lake", &[]);
    assert_equal(&values(path, "lake"), &expected);
}

/// Serves the files of a folder; the first request for some is answered with 503, of others with half the body.
fn serve(root: &Path) -> FaultServer {
    let root = root.to_owned();
    let seen: Mutex<BTreeSet<String>> = Mutex::default();
    FaultServer::start(move |asked| {
        let first = seen.lock().unwrap().insert(asked.path.clone());
        let Ok(text) = std::fs::read_to_string(root.join(asked.path.trim_start_matches("/v1/"))) else {
            return Served::status(404, "");
        };
        if first && asked.path.ends_with("explanations/0/1.jsonl") {
            return Served::status(503, "");
        }
        if first && asked.path.ends_with("collated-activations/0/2.json") {
            // Says more than it sends.
            return Served { length: Some(text.len()), ..Served::status(200, &text[..text.len() / 2]) };
        }
        Served::status(200, &text)
    })
}

#[test]
fn a_dataset_on_a_web_server_is_the_same_as_one_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 5);
    std::fs::remove_file(path.join("data/explanations/1/4.jsonl")).unwrap();
    import(path, ".", "local", &["--layers", "0-1", "--neurons", "0-5"]);
    let server = serve(path);
    let address = server.url();
    let out = import(path, &address, "remote", &["--layers", "0-1", "--neurons", "0-5", "--concurrency", "4"]);
    // Neuron 5 is not there at all, and one explanation of neuron 4.
    assert_eq!((counted(&out, "units"), counted(&out, "files")), (10, 49));
    assert!(out.contains("missing  3  explanations\n"), "{out}");
    assert!(out.contains("missing  2  collated-activations\n"), "{out}");
    assert!(server.most_at_once() <= 4);
    assert_equal(&values(path, "remote"), &values(path, "local"));
    let before = server.asked().len();
    import(path, &address, "remote", &["--layers", "0-1", "--neurons", "0-5"]);
    // Only what was missing is asked for again, with what its explanation would need.
    let asked = server.asked().len() - before;
    assert!(asked <= 5 + 5 + 2 + 10, "{asked} requests");
    let ran = neuronlake(path, &["import", "openai", &format!("{address}/nowhere"), "--lake", "none"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("expected a folder with one of collated-activations"), "{}", ran.err);
}
