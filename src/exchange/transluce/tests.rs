//! Files made here in the observatory's layout, and files that are none.

use std::path::Path;

use super::exemplars::{self, Folders, Texts};
use super::read::{Exemplars, Settings, Transluce, neuron_file};
use super::rows::ExemplarSplit;
use crate::exchange::importer::Importer;
use crate::exchange::pump::found;
use crate::exchange::source::Source;
use crate::exchange::unit::{UnitData, UnitKey};
use crate::models::tokenizer::Tokenizer;
use crate::token_sequences::split::Split;

fn empty(neuron: i32) -> UnitData {
    UnitData {
        unit: UnitKey {
            model: "llama".to_owned(),
            hook_point: "blocks.2.mlp.hook_post".to_owned(),
            layer: Some(2),
            neuron,
            corpus: "fineweb".to_owned(),
        },
        statistics: None,
        records: Vec::new(),
        explanations: Vec::new(),
        token_means: Vec::new(),
        token_effects: Vec::new(),
        links: Vec::new(),
    }
}

fn window(tokens: &str, calibrated: &str, before: &str, actual: &str) -> String {
    format!(
        r#"{{"simulation":{{"tokens":{tokens},"expected_activations":{calibrated},"activation_scale":"neuron_activations","uncalibrated_simulation":{{"tokens":{tokens},"expected_activations":{before},"activation_scale":"simulated_normalized_activations"}}}},"true_activations":{actual},"ev_correlation_score":1.0}}"#
    )
}

fn neuron(explanations: &str) -> String {
    format!(r#"{{"neuron_id":{{"layer_index":2,"neuron_index":7}},"explanations":{explanations}}}"#)
}

#[test]
fn explanations_of_either_end_are_told_apart_and_values_are_raw() {
    let tokens = r#"["a","b","c"]"#;
    let valid = window(tokens, "[0.0,1.0,2.0]", "[0,5,10]", "[0.0,1.0,2.0]");
    let random = window(tokens, "[0.0,0.0,1.0]", "[0,0,10]", "[0.0,0.0,0.0]");
    let simulations = |valid: &str, random: &str| {
        format!(
            r#"{{"valid":{{"simulation_data":{{"3":{valid}}},"ev_correlation_score":1.0,"rsquared_score":1.0,"absolute_dev_explained_score":0.5}},"random_valid":{{"simulation_data":{{"0":{random}}},"ev_correlation_score":null,"rsquared_score":null,"absolute_dev_explained_score":NaN}}}}"#
        )
    };
    let json = neuron(&format!(
        r#"{{"positive":[{{"explanation":"up","simulations":{0}}},{{"explanation":"up too","simulations":null}}],"negative":[{{"explanation":"down","simulations":{0}}}]}}"#,
        simulations(&valid, &random)
    ));
    let (unit, notes) =
        neuron_file(json.as_bytes(), "7.json", empty(7), (Some("openai:gpt-4o"), Some("simulator"))).unwrap();
    let texts: Vec<_> =
        unit.explanations.iter().map(|e| (e.explainer.as_str(), e.sample_no, e.text.as_str())).collect();
    assert_eq!(texts, [("observatory", 0, "up"), ("observatory", 1, "up too"), ("observatory_negative", 0, "down")]);

    let up = &unit.explanations[0];
    assert_eq!(up.simulations.len(), 4);
    let first = &up.simulations[0];
    assert_eq!((first.sample.as_str(), first.rank, first.split), ("top", 3, Split::Valid));
    assert_eq!((first.scale.as_str(), &first.actual), ("neuron_activations", &vec![0.0, 1.0, 2.0]));
    assert_eq!(up.simulations[1].scale, "simulated_normalized_activations");
    let scores: Vec<_> =
        up.scores.iter().map(|s| (s.metric.as_str(), s.sample_set.as_str(), s.value, s.reason.as_deref())).collect();
    assert_eq!(
        scores[..6],
        [
            ("ev_correlation", "top_only", Some(1.0), None),
            ("explained_variance", "top_only", Some(1.0), None),
            ("d2_absolute_error", "top_only", Some(0.5), None),
            ("ev_correlation", "random_only", None, Some("constant_activations")),
            ("explained_variance", "random_only", None, Some("constant_activations")),
            ("d2_absolute_error", "random_only", None, Some("constant_activations")),
        ]
    );
    let (metric, set, value, _) = scores[6];
    assert_eq!((metric, set), ("ev_correlation", "top_and_random"));
    // Correlation of [0,1,2,0,0,0] with [0,5,10,0,0,10].
    assert!((value.unwrap() - 0.607_830_673_854_830_9).abs() < 1e-12, "{value:?}");

    // What the files have of the negative end is its size: the unit's own values are below 0.
    let down = &unit.explanations[2];
    assert_eq!(down.simulations.len(), 2);
    assert_eq!((down.simulations[0].sample.as_str(), &down.simulations[0].actual), ("bottom", &vec![-0.0, -1.0, -2.0]));
    assert_eq!(down.simulations[0].expected, [Some(-0.0), Some(-1.0), Some(-2.0)]);
    assert_eq!(notes, ["uncalibrated simulation of the negative end"; 2]);
}

#[test]
fn files_that_are_none_are_faults() {
    let check = |json: &str, expected: &str| {
        let fault = neuron_file(json.as_bytes(), "7.json", empty(7), (None, None)).unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault} / {expected}");
    };
    check("{", "'7.json', line 1: EOF while parsing");
    check("[]", "expected struct NeuronFile");
    check(&neuron("{}").replace(":7", ":8"), "expected neuron 7 of layer 2, got neuron 8 of layer 2");
    check(&neuron(r#"{"sideways":[]}"#), "unknown variant `sideways`");
    let short = window(r#"["a","b"]"#, "[1.0,2.0]", "[1,2]", "[1.0]");
    let json = neuron(&format!(
        r#"{{"positive":[{{"explanation":"x","simulations":{{"valid":{{"simulation_data":{{"0":{short}}}}}}}}}]}}"#
    ));
    check(&json, "explanation 0: window 0 of top:");
    // A stored correlation that its own windows do not give is told.
    let wrong = window(r#"["a","b"]"#, "[1.0,2.0]", "[1,2]", "[1.0,2.0]");
    let json = neuron(&format!(
        r#"{{"positive":[{{"explanation":"x","simulations":{{"test":{{"simulation_data":{{"0":{wrong}}},"ev_correlation_score":0.25}}}}}}],"negative":null}}"#
    ));
    let (_, notes) = neuron_file(json.as_bytes(), "7.json", empty(7), (None, None)).unwrap();
    assert_eq!(notes, ["difference: a stored correlation is not that of its own windows"]);
}

/// An array as numpy saves it, of 32-bit floats or 64-bit whole numbers.
fn npy(path: &Path, shape: [usize; 3], floats: &[f32], whole: &[i64]) {
    let descr = if whole.is_empty() { "<f4" } else { "<i8" };
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}, {}, {}), }}",
        shape[0], shape[1], shape[2]
    );
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    floats.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    whole.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn gpt2(folder: &Path) {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/gpt2-bpe");
    std::fs::copy(shared.join("encoder.json"), folder.join("vocab.json")).unwrap();
    std::fs::copy(shared.join("vocab.bpe"), folder.join("merges.txt")).unwrap();
}

#[test]
fn exemplars_of_a_layer_are_records() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tempfile::tempdir().unwrap();
    gpt2(tokenizer.path());
    let train = folder.path().join("exemplars/train/layer2");
    // Two neurons, one window of three tokens each; the second window is filled up on the left.
    npy(&train.join("max_seq_acts.npy"), [2, 1, 3], &[0.5, 4.0, 1.0, 9.0, 2.0, -1.0], &[]);
    npy(&train.join("max_seq_ids.npy"), [2, 1, 3], &[], &[15496, 995, 13, 50256, 18435, 995]);
    npy(&train.join("min_seq_acts.npy"), [2, 1, 3], &[-3.0, 0.0, 0.0, 0.0, 0.0, -7.0], &[]);
    npy(&train.join("min_seq_ids.npy"), [2, 1, 3], &[], &[15496, 995, 13, 15496, 995, 13]);
    std::fs::write(train.join("num_tokens_seen.txt"), "1000").unwrap();
    std::fs::write(
        folder.path().join("exemplars/exemplar_config.json"),
        r#"{"hf_model_id":"llama","hf_dataset_configs":[{"hf_dataset_id":"a/fineweb"},{"hf_dataset_id":"b/lmsys"}]}"#,
    )
    .unwrap();
    let texts = Texts { tokenizer: Tokenizer::from_folder(tokenizer.path(), None).unwrap(), pad: Some(50256) };
    let folders: Folders = [(ExemplarSplit::Train, train.clone())].into();
    assert_eq!(exemplars::n_neurons(&folders).unwrap(), 2);
    let read = found(|pump| exemplars::read(&folders, 0..32, &texts, empty, pump));
    assert_eq!(read.faults, Vec::<String>::new());
    let rows: Vec<_> = read
        .units
        .iter()
        .flat_map(|unit| {
            unit.records
                .iter()
                .map(|r| (unit.unit.neuron, r.sample.as_str(), r.split, r.window.text.as_str(), r.activations.clone()))
        })
        .collect();
    assert_eq!(
        rows,
        [
            (0, "top", Split::Train, "Hello world.", vec![0.5, 4.0, 1.0]),
            (0, "bottom", Split::Train, "Hello world.", vec![-3.0, 0.0, 0.0]),
            (1, "top", Split::Train, " Hello world", vec![2.0, -1.0]),
            (1, "bottom", Split::Train, "Hello world.", vec![0.0, 0.0, -7.0]),
        ]
    );
    let statistics = read.units[1].statistics.as_ref().unwrap();
    assert_eq!((statistics.n_tokens, statistics.min, statistics.max), (Some(1000), Some(-7.0), Some(2.0)));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = |settings: Settings| {
        runtime.block_on(Transluce::open(Source::open(folder.path().to_str().unwrap(), 4).unwrap(), settings))
    };
    let error = open(Settings::default()).err().unwrap().to_string();
    assert!(error.contains("--tokenizer"), "{error}");
    let settings = Settings { tokenizer: Some(tokenizer.path().to_owned()), ..Settings::default() };
    let found_there = open(settings).ok().unwrap();
    assert_eq!((found_there.model(), found_there.corpus()), ("llama", "a/fineweb+b/lmsys"));
    let error = open(Settings { exemplars: Exemplars::LeaveOut, ..Settings::default() }).err().unwrap();
    assert!(error.to_string().contains("expected explanations/<layer>/<neuron>.json"), "{error}");

    // Arrays that do not fit each other, and token ids of another model.
    npy(&train.join("max_seq_ids.npy"), [2, 1, 3], &[], &[0, 0, 0, 0, 0, 90_000]);
    npy(&train.join("min_seq_ids.npy"), [1, 2, 3], &[], &[0, 0, 0, 0, 0, 0]);
    let read = found(|pump| exemplars::read(&folders, 0..32, &texts, empty, pump));
    assert_eq!(read.faults.len(), 2);
    assert!(read.faults[0].contains("got [2, 1, 3] and [1, 2, 3]"), "{}", read.faults[0]);
    assert!(read.faults[1].contains("neuron 1: expected token ids below 50257 in exemplar 0"), "{}", read.faults[1]);
    std::fs::write(train.join("max_seq_ids.npy"), b"\x93NUMPY\x01\x00\xff\x00{}").unwrap();
    let read = found(|pump| exemplars::read(&folders, 0..32, &texts, empty, pump));
    assert!(read.faults[0].contains("expected a numpy array, got something else"), "{}", read.faults[0]);
}
