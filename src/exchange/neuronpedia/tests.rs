//! Real batches of SAEDashboard, dumps made here in the site's layout, and files that are none.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::dashboard;
use super::layout::{self, Dump, Selection};
use super::read::testing::{activations, explanations, features};
use super::units::Shared;
use crate::exchange::fault::ExchangeError;
use crate::exchange::lines::Input;
use crate::exchange::pump::{Found, found};
use crate::exchange::source::Source;
use crate::exchange::unit::{EffectSide, LinkSide};
use crate::token_sequences::split::Split;

fn shared() -> Shared {
    Shared {
        model: "gpt2-small".to_owned(),
        hook_point: "blocks.0.hook_resid_pre/0-res-jb".to_owned(),
        layer: Some(0),
        corpus: "pile".to_owned(),
        base: "blocks.0.hook_resid_pre".to_owned(),
        n_tokens: Some(1_000),
    }
}

fn real(name: &str) -> Found {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/neuronpedia-gpt2-small");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let input = Input::bytes(name, bytes);
    found(|pump| dashboard::read(&input, &shared(), pump))
}

#[test]
fn real_batches_of_sae_dashboard_are_read_whole() {
    let header = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/neuronpedia-gpt2-small");
        dashboard::header(&Input::bytes(name, std::fs::read(folder.join(name)).unwrap())).unwrap().unwrap()
    };
    assert_eq!(header("batch-1.json"), header("batch-0.json"));
    assert_eq!(header("batch-0.json").source, "0-res-jb");
    assert_eq!(header("batch-0.json").model, "gpt2-small");

    let first = real("batch-0.json");
    assert_eq!(first.faults, Vec::<String>::new());
    assert_eq!(first.units.iter().map(|unit| unit.unit.neuron).collect::<Vec<_>>(), [0, 1]);
    let unit = &first.units[0];
    let statistics = unit.statistics.as_ref().unwrap();
    assert_eq!((statistics.n_tokens, statistics.density), (Some(640_000), Some(0.0002)));
    assert_eq!(statistics.max, Some(2.214));
    assert_eq!(statistics.mean, None);

    let strongest = &unit.token_effects[0];
    assert_eq!((strongest.token.as_str(), strongest.strength), (" Brigade", Some(3.753)));
    assert_eq!((strongest.side, strongest.positive), (EffectSide::Output, true));
    let weakest = unit.token_effects.iter().find(|effect| !effect.positive).unwrap();
    assert_eq!((weakest.token.as_str(), weakest.strength, weakest.rank), ("sequence", Some(-0.707), 0));
    assert_eq!(unit.token_effects.len(), 20);

    // 38 activations: 30 strongest, 3 in the fifth bin, 5 in the first.
    let of = |sample: &str| unit.records.iter().filter(|record| record.sample == sample).count();
    let n_twice = first.not_kept.get("activation listed twice").copied().unwrap_or(0);
    assert!(unit.records.len() <= 38 && of("top") <= 30 && of("quantile_4") <= 3);
    let all: u64 = first.units.iter().map(|unit| unit.records.len() as u64).sum();
    let listed: u64 = serde_json::from_slice::<serde_json::Value>(
        &std::fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/neuronpedia-gpt2-small/batch-0.json"),
        )
        .unwrap(),
    )
    .unwrap()["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["activations"].as_array().unwrap().len() as u64)
        .sum();
    assert_eq!(all + n_twice, listed);
    assert_eq!(of("quantile_0"), 5);
    assert!(unit.records.iter().all(|record| record.window.len() == 127));
    let top = &unit.records[0];
    assert_eq!((top.sample.as_str(), top.rank, top.split), ("top", 0, Split::Train));
    assert_eq!(top.activations.iter().copied().reduce(f32::max), Some(2.214));
    // Tokens are kept as they stand there: pieces of characters in GPT-2's own letters.
    assert!(unit.records.iter().any(|record| record.window.tokens().any(|token| token == "âĢ")));

    let link = &unit.links[0];
    assert_eq!((link.side, link.other_hook_point.as_str()), (LinkSide::Downstream, "blocks.0.hook_resid_pre"));
    assert_eq!((link.other_neuron, link.weight), (217, Some(0.112)));
    // Feature 1 has no histogram of its activations.
    assert_eq!(first.not_kept.get("histogram of activations"), Some(&1));
    for what in ["histogram of logits", "neurons correlated on text"] {
        assert_eq!(first.not_kept.get(what), Some(&2), "{what}");
    }
    assert_eq!(real("batch-1.json").units.iter().map(|unit| unit.unit.neuron).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_damaged_batch_is_a_fault_and_what_was_before_it_is_kept() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/neuronpedia-gpt2-small");
    let whole = std::fs::read(folder.join("batch-0.json")).unwrap();
    let cut = Input::bytes("cut.json", whole[..whole.len() * 3 / 4].to_vec());
    let read = found(|pump| dashboard::read(&cut, &shared(), pump));
    assert_eq!(read.units.len(), 1);
    assert_eq!(read.faults.len(), 1);
    assert!(read.faults[0].starts_with("'cut.json', line "), "{}", read.faults[0]);
    assert!(read.faults[0].contains("EOF while parsing"), "{}", read.faults[0]);

    let check = |json: &str, expected: &str| {
        let input = Input::bytes("b.json", json.to_owned());
        let read = found(|pump| dashboard::read(&input, &shared(), pump));
        assert!(read.faults.join("\n").contains(expected), "{json}: {:?}", read.faults);
    };
    let head = r#""model_id":"m","layer":0,"sae_set":"s""#;
    check("[]", "expected an object with model_id");
    check("", "EOF while parsing");
    check(&format!(r#"{{"features":[],{head}}}"#), "expected model_id, layer and sae_set before features");
    check(&format!("{{{head}}}"), "missing field `features`");
    check(&format!(r#"{{{head},"features":[{{"feature_index":-1}}]}}"#), "invalid value: integer `-1`");
    check(
        &format!(r#"{{{head},"features":[{{"feature_index":0,"frac_nonzero":7}}]}}"#),
        "feature 0: expected frac_nonzero",
    );
    check(
        &format!(r#"{{{head},"features":[{{"feature_index":4,"activations":[{{"tokens":["a"],"values":[]}}]}}]}}"#),
        "feature 4, activations[0]: expected one value for each of 1 tokens, got 0",
    );
    // Feature 5 is well and comes through.
    let input = Input::bytes(
        "b.json",
        format!(r#"{{{head},"features":[{{"feature_index":4,"frac_nonzero":7}},{{"feature_index":5}}]}}"#),
    );
    let read = found(|pump| dashboard::read(&input, &shared(), pump));
    assert_eq!(read.units.iter().map(|unit| unit.unit.neuron).collect::<Vec<_>>(), [5]);
    // NaN, as Python writes it.
    let json = format!(
        r#"{{{head},"features":[{{"feature_index":1,"correlated_features_pearson":[NaN],"pos_str":["a"],"pos_values":[NaN]}}]}}"#
    );
    let read = found(|pump| dashboard::read(&Input::bytes("b.json", json), &shared(), pump));
    assert_eq!(read.faults, Vec::<String>::new());
    assert_eq!(read.units[0].token_effects[0].strength, None);
}

const ROW: &str = r#""modelId":"gpt2-small","layer":"0-res-jb""#;

#[test]
fn lines_of_features_are_read_and_bad_ones_named() {
    let long = "x".repeat(100_000);
    let text = [
        format!(
            r#"{{{ROW},"index":"10","maxActApprox":3.5,"frac_nonzero":0.01,"pos_str":["{long}","b"],"pos_values":[2.0,1.0],"neg_str":[],"neg_values":[],"hookName":"blocks.0.hook_resid_pre","topkCosSimIndices":[1],"correlated_neurons_pearson":[NaN,Infinity]}}"#
        ),
        format!(r#"{{{ROW},"index":11,"maxActApprox":null,"frac_nonzero":0,"pos_str":null,"vector":[1.0]}}"#),
        format!(r#"{{{ROW},"index":"eleven"}}"#),
        format!(r#"{{{ROW},"index":12,"pos_str":["a"],"pos_values":[1,2]}}"#),
        r#"{"modelId":"gpt2-xl","layer":"0-res-jb","index":13}"#.to_owned(),
        format!(r#"{{{ROW},"index":14,"neuron_alignment_indices":[3,4,5],"neuron_alignment_values":[0.5,-0.25,null]}}"#),
        "not json".to_owned(),
        format!(r#"{{{ROW}}}"#),
        format!(r#"{{{ROW},"index":"3000000000"}}"#),
    ]
    .join("\n");
    let read = features("f.jsonl", text, &shared(), "0-res-jb");
    assert_eq!(read.units.iter().map(|unit| unit.unit.neuron).collect::<Vec<_>>(), [10, 11, 14]);
    assert_eq!(read.units[0].token_effects[0].token.len(), 100_000);
    assert_eq!(read.units[0].statistics.as_ref().unwrap().max, Some(3.5));
    assert_eq!(read.units[0].statistics.as_ref().unwrap().n_tokens, Some(1_000));
    let links: Vec<_> = read.units[2].links.iter().map(|link| (link.rank, link.positive, link.weight)).collect();
    assert_eq!(links, [(0, true, Some(0.5)), (0, false, Some(-0.25)), (1, true, None)]);
    let expected = [
        "'f.jsonl', line 3: invalid value: string \"eleven\", expected a whole number from 0 to 2147483647, as a number or in quotes",
        "'f.jsonl', line 4: expected 1 pos_values, got 2",
        "'f.jsonl', line 5: expected rows of 'gpt2-small', source '0-res-jb', got one of 'gpt2-xl', source '0-res-jb'",
        "'f.jsonl', line 7: expected ident at column 2",
        "'f.jsonl', line 8: expected a field 'index', got none",
        "'f.jsonl', line 9: invalid value: string \"3000000000\"",
    ];
    assert_eq!(read.faults.len(), expected.len(), "{:#?}", read.faults);
    for (fault, expected) in read.faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n{expected}");
    }
    assert_eq!(read.not_kept.get("vector"), Some(&1));
    assert_eq!(read.not_kept.get("features with similar decoders"), Some(&1));
}

fn activation(index: u32, token: &str, value: f32, bin: &str) -> String {
    format!(r#"{{{ROW},"index":"{index}","tokens":["{token}","."],"values":[{value},0],"maxValue":{value},{bin}}}"#)
}

#[test]
fn activations_of_one_feature_are_together_wherever_they_stand() {
    let top = r#""binMin":-1,"binMax":4,"binContains":-1"#;
    let middle = r#""binMin":1.6,"binMax":2.4,"binContains":0.01"#;
    let lines = [
        activation(2, "late", 1.0, top),
        activation(1, "b", 2.0, middle),
        activation(1, "c", 4.0, top),
        activation(2, "early", 3.0, top),
        activation(1, "d", 3.0, r#""binMin":null,"binMax":null"#),
    ];
    let read = activations("a.jsonl", lines.join("\n"), &shared(), "0-res-jb", usize::MAX);
    assert_eq!(read.faults, Vec::<String>::new());
    let rows: Vec<_> = read
        .units
        .iter()
        .flat_map(|unit| {
            unit.records.iter().map(|record| {
                let word = record.window.tokens().next().unwrap().to_owned();
                (unit.unit.neuron, record.sample.clone(), record.rank, word)
            })
        })
        .collect();
    let row = |neuron, sample: &str, rank, word: &str| (neuron, sample.to_owned(), rank, word.to_owned());
    assert_eq!(
        rows,
        [
            row(1, "top", 0, "c"),
            row(1, "top", 1, "d"),
            row(1, "quantile_2", 0, "b"),
            row(2, "top", 0, "early"),
            row(2, "top", 1, "late"),
        ]
    );
}

#[test]
fn a_file_larger_than_what_may_be_held_is_read_more_than_once_with_the_same_result() {
    let top = r#""binMin":-1,"binMax":4,"binContains":-1"#;
    let mut lines: Vec<String> =
        (0..60).map(|i| activation(i * 7 % 10, &format!("word{i}"), i as f32 / 8.0, top)).collect();
    lines.insert(30, "broken".to_owned());
    lines.insert(10, lines[0].clone());
    let length = lines[0].len();
    let read = |limit: usize| activations("a.jsonl", lines.join("\n"), &shared(), "0-res-jb", limit);
    let whole = read(usize::MAX);
    assert_eq!(whole.units.iter().map(|unit| unit.unit.neuron).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(whole.faults.len(), 1);
    for limit in [length * 8, length * 20, length * 45] {
        let parts = read(limit);
        assert_eq!(parts.units, whole.units, "{limit}");
        assert_eq!(parts.not_kept, whole.not_kept, "{limit}");
        // A fault is told once.
        assert_eq!(parts.faults, whole.faults, "{limit}");
        assert_eq!(parts.n_files, 1);
    }
    // One feature alone is more than may be held.
    let small = read(length * 2);
    assert!(small.faults.iter().any(|fault| fault.contains("bytes of activations of feature")), "{:?}", small.faults);
}

#[test]
fn explanations_have_numbers_and_our_names() {
    let line = |index: &str, kind: &str, model: &str, text: &str, more: &str| {
        format!(
            r#"{{"id":"{text}",{ROW},"index":"{index}","description":"{text}","typeName":{kind},"explanationModelName":{model}{more}}}"#
        )
    };
    let pair = r#""oai_token-act-pair""#;
    let scores = r#","scores":[{"value":0.75,"explanationScoreTypeName":"eleuther_recall","explanationScoreModelName":"gpt-4o-mini","jsonDetails":"[{\"prediction\":true},{\"prediction\":null}]"},{"value":0.5,"explanationScoreTypeName":"eleuther_recall","explanationScoreModelName":"gpt-4o-mini"},{"value":null,"explanationScoreTypeName":"nla_reconstructor"}]"#;
    let lines = [
        line("1", pair, r#""gpt-4o-mini""#, "first", scores),
        line("1", pair, r#""gpt-4o-mini""#, "second", ""),
        line("1", pair, r#""gpt-3.5-turbo""#, "other model", ""),
        line("1", "null", "null", "by a person", ""),
        line("2", r#""np_max-act-logits""#, r#""gemini-2.0-flash""#, "beside", ""),
        r#"{"index":"3"}"#.to_owned(),
    ];
    let beside = r#"{"explanationId":"beside","value":0.25,"explanationScoreTypeName":"recall_alt","explanationScoreModelName":"claude-x","jsonDetails":""}"#;
    let read = explanations("e.jsonl", lines.join("\n"), Some(beside.to_owned()), &shared(), "0-res-jb");
    assert_eq!(read.faults, ["'e.jsonl', line 6: expected a field 'description' with a text, got none"]);
    let texts: Vec<_> = read
        .units
        .iter()
        .flat_map(|unit| &unit.explanations)
        .map(|e| (e.explainer.as_str(), e.explainer_model.as_deref(), e.sample_no, e.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            ("token_activation", Some("openai:gpt-4o-mini"), 0, "first"),
            ("token_activation", Some("openai:gpt-4o-mini"), 1, "second"),
            ("token_activation", Some("openai:gpt-3.5-turbo"), 0, "other model"),
            ("human", None, 0, "by a person"),
            ("logits", Some("google:gemini-2.0-flash"), 0, "beside"),
        ]
    );
    let scores: Vec<_> = read
        .units
        .iter()
        .flat_map(|unit| &unit.explanations)
        .flat_map(|explanation| &explanation.scores)
        .map(|s| (s.scorer.as_str(), s.metric.as_str(), s.value, s.split, s.n_windows, s.n_failed))
        .collect();
    assert_eq!(
        scores,
        [
            ("detection", "balanced_accuracy", Some(0.75), Split::Train, 1, 1),
            ("nla_reconstructor", "value", None, Split::Train, 0, 0),
            ("recall_alt", "accuracy", Some(0.25), Split::Train, 0, 0),
        ]
    );
    assert_eq!(read.not_kept.get("second score of the same scorer"), Some(&1));
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.extension().is_some_and(|end| end == "gz") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        std::fs::write(path, encoder.finish().unwrap()).unwrap();
    } else {
        std::fs::write(path, text).unwrap();
    }
}

async fn found_in(folder: &Path, selection: &Selection) -> crate::error::Result<Vec<Dump>> {
    layout::dumps(&Source::open(folder.to_str().unwrap(), 4)?, selection).await
}

#[tokio::test]
async fn sources_are_found_with_their_hook_points() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("v1");
    let feature = |source: &str| format!(r#"{{"modelId":"gpt2-small","layer":"{source}","index":"0"}}"#);
    write(&root.join("gpt2-small/8-res-jb/features/batch-0.jsonl.gz"), &feature("8-res-jb"));
    write(&root.join("gpt2-small/8-res-jb/features/batch-10.jsonl.gz"), &feature("8-res-jb"));
    write(&root.join("gpt2-small/8-res-jb/features/batch-2.jsonl"), &feature("8-res-jb"));
    write(&root.join("gpt2-small/8-res-jb/features/batch-2.jsonl.gz"), &feature("8-res-jb"));
    write(&root.join("gpt2-small/8-res-jb/explanations/batch-0.jsonl.gz"), &feature("8-res-jb"));
    write(&root.join("gpt2-small/8-res-jb/model.jsonl"), "{}");
    write(&root.join("gpt2-small/3-mine/explanations/batch-0.jsonl"), &feature("3-mine"));
    let told = r#"{"id":"3-mine","modelId":"gpt2-small","saelensConfig":{"metadata":{"hook_name":"blocks.3.hook_mlp_out"}},"dataset":null}"#;
    write(&root.join("gpt2-small/3-mine/source.jsonl"), told);
    write(&root.join("notes.json"), "{}");

    let all = found_in(folder.path(), &Selection::default()).await.unwrap();
    let hooks: Vec<_> = all.iter().map(|dump| (dump.shared.layer, dump.shared.hook_point.as_str())).collect();
    assert_eq!(hooks, [(Some(3), "blocks.3.hook_mlp_out/3-mine"), (Some(8), "blocks.8.hook_resid_pre/8-res-jb")]);
    assert_eq!(all[1].shared.corpus, "neuronpedia");
    let names: Vec<_> = all[1].files.features.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    // In the order of their numbers; a file and its packed copy are one.
    assert_eq!(names, ["batch-0.jsonl.gz", "batch-2.jsonl", "batch-10.jsonl.gz"]);

    // The source's own folder does as well, and so does a part of the tree.
    for below in ["v1/gpt2-small/8-res-jb", "v1/gpt2-small"] {
        let selection = Selection { sources: vec!["8-res-jb".to_owned()], ..Selection::default() };
        let found = found_in(&folder.path().join(below), &selection).await.unwrap();
        assert_eq!(found.len(), 1, "{below}");
        assert_eq!(found[0].shared.model, "gpt2-small");
    }

    // Nothing is guessed.
    write(&root.join("gpt2-small/4-unknown/features/batch-0.jsonl"), &feature("4-unknown"));
    let error = found_in(folder.path(), &Selection::default()).await.unwrap_err().to_string();
    assert!(error.contains("expected the hook point of source '4-unknown': give --hook"), "{error}");
    let given = Selection { hooks: vec!["4-unknown=blocks.4.ln1.hook_normalized".to_owned()], ..Selection::default() };
    let found = found_in(folder.path(), &given).await.unwrap();
    assert_eq!(found[1].shared.hook_point, "blocks.4.ln1.hook_normalized/4-unknown");

    write(
        &root.join("pythia/0-res-sm/features/batch-0.jsonl"),
        r#"{"modelId":"pythia","layer":"0-res-sm","index":"0"}"#,
    );
    let error = found_in(folder.path(), &given).await.unwrap_err().to_string();
    assert!(error.contains("expected one model, or --model NAME"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = found_in(empty.path(), &Selection::default()).await.unwrap_err();
    assert!(matches!(&error, crate::error::Error::Exchange(ExchangeError::NoSuchSource { .. })), "{error}");
}
