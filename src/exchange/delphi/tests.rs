//! Runs made here in delphi's layout, and files that are none.

use std::path::Path;

use super::config::RunConfig;
use super::latents::{self, Module};
use super::read::{Delphi, Latents, Settings};
use super::scored::{self, Records};
use super::split_file::{Content, SplitFile};
use crate::exchange::importer::Importer;
use crate::exchange::pump::{Found, found};
use crate::exchange::source::Source;
use crate::exchange::unit::ExchangedExplanation;
use crate::models::tokenizer::Tokenizer;
use crate::token_sequences::split::Split;

/// GPT-2's own encoder, under the names transformers gives its files.
fn gpt2() -> Tokenizer {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/gpt2-bpe");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shared.join("encoder.json"), folder.path().join("vocab.json")).unwrap();
    std::fs::copy(shared.join("vocab.bpe"), folder.path().join("merges.txt")).unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

type Firing = ([u32; 3], f32);

/// A file as delphi's cache saves it: locations of 16 or 32 bits, activations of half precision, the whole token matrix.
fn split_file(firings: &[Firing], tokens: &[Vec<i64>], small: bool) -> Vec<u8> {
    let width = if small { 2 } else { 4 };
    let n = firings.len();
    let (a, l) = (2 * n, 3 * width * n);
    let t = 8 * tokens.iter().map(Vec::len).sum::<usize>();
    let header = serde_json::json!({
        "activations": {"dtype": "F16", "shape": [n], "data_offsets": [0, a]},
        "locations": {"dtype": if small { "U16" } else { "U32" }, "shape": [n, 3], "data_offsets": [a, a + l]},
        "tokens": {"dtype": "I64", "shape": [tokens.len(), tokens[0].len()], "data_offsets": [a + l, a + l + t]},
    })
    .to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    firings.iter().for_each(|(_, value)| bytes.extend(half::f16::from_f32(*value).to_le_bytes()));
    for number in firings.iter().flat_map(|(place, _)| place) {
        if small { bytes.extend((*number as u16).to_le_bytes()) } else { bytes.extend(number.to_le_bytes()) }
    }
    tokens.iter().flatten().for_each(|id| bytes.extend(id.to_le_bytes()));
    bytes
}

fn module() -> Module {
    Module {
        model: "gpt2".to_owned(),
        hook_point: "blocks.3.hook_mlp_out/sae".to_owned(),
        layer: Some(3),
        corpus: "pile".to_owned(),
    }
}

fn read(bytes: Vec<u8>, range: (i32, i32)) -> Found {
    let tokenizer = gpt2();
    let content = Content::Fetched(bytes.into());
    found(move |pump| latents::read("l.safetensors", &content, range, &module(), &tokenizer, pump))
}

fn tokens() -> Vec<Vec<i64>> {
    vec![vec![15496, 995, 13], vec![18435, 220, 995]]
}

#[test]
fn cached_latents_are_firings_of_windows() {
    let firings = [([0, 1, 4], 0.5), ([0, 2, 0], 2.25), ([1, 0, 4], 3.0), ([1, 2, 4], -0.125)];
    for small in [true, false] {
        let read = read(split_file(&firings, &tokens(), small), (10, 14));
        assert_eq!(read.faults, Vec::<String>::new());
        let texts: Vec<_> = read.windows.iter().map(|(_, window)| window.tokens().collect::<Vec<_>>()).collect();
        assert_eq!(texts, [vec!["Hello", " world", "."], vec![" Hello", " ", " world"]]);
        assert_eq!(read.windows[1].1.token_ids, Some(vec![18435, 220, 995]));
        assert!(read.windows.iter().all(|(sequence, window)| *sequence == window.sequence()));
        let of: Vec<_> = read.firings.iter().map(|unit| unit.unit.neuron).collect();
        assert_eq!(of, [10, 14]);
        let last = &read.firings[1];
        let [hello, space] = [0, 1].map(|row| read.windows[row].0);
        assert_eq!(last.sequences, [hello, space, space]);
        assert_eq!(last.positions, [1, 0, 2]);
        assert_eq!(last.activations, [0.5, 3.0, -0.125]);
        let statistics = read.units[1].statistics.as_ref().unwrap();
        assert_eq!((statistics.n_tokens, statistics.max, statistics.density), (Some(6), Some(3.0), Some(2.0 / 6.0)));
    }
}

#[test]
fn damaged_latents_are_faults() {
    let good = split_file(&[([0, 1, 4], 0.5)], &tokens(), true);
    let check = |bytes: Vec<u8>, expected: &str| {
        let read = read(bytes, (10, 14));
        assert_eq!(read.faults.len(), 1, "{expected}");
        assert!(read.faults[0].contains(expected), "{} / {expected}", read.faults[0]);
        assert_eq!(read.firings.len(), 0);
    };
    check(good[..good.len() - 1].to_vec(), "expected a whole safetensors file");
    check(good[..5].to_vec(), "expected a whole safetensors file, got 5 bytes");
    check(vec![0xff; 64], "expected a whole safetensors file");
    check(split_file(&[([2, 0, 0], 1.0)], &tokens(), true), "expected a row below 2 at locations[0], got 2");
    check(split_file(&[([0, 3, 0], 1.0)], &tokens(), true), "expected a position below 3 at locations[0], got 3");
    check(split_file(&[([0, 0, 5], 1.0)], &tokens(), true), "a latent, counted from the file's first one, below 5");
    check(split_file(&[([0, 0, 0], f32::NAN)], &tokens(), true), "expected a finite number at activations[0]");
    check(split_file(&[([0, 0, 0], 1.0)], &[vec![0, 0, 50_257]], true), "expected token ids from 0 to 50256 in row 0");
    let renamed = String::from_utf8_lossy(&good[8..]).find("tokens").unwrap();
    let mut without = good.clone();
    without[8 + renamed..8 + renamed + 6].copy_from_slice(b"tokenz");
    check(without, "expected a tensor 'tokens', got none");
    assert!(SplitFile::parse(&good).is_ok());
}

fn explanation() -> ExchangedExplanation {
    ExchangedExplanation::new("delphi_default".to_owned(), None, 0, "greetings".to_owned())
}

fn config() -> RunConfig {
    serde_json::from_str(
        r#"{"explainer_model":"llama","explainer_provider":"offline","sampler_cfg":{"n_quantiles":10}}"#,
    )
    .unwrap()
}

#[test]
fn judged_windows_give_the_numbers_that_follow_from_them() {
    let window = |text: &str, activating: bool, prediction: &str, distance: i32| {
        format!(
            r#"{{"str_tokens":["{text}","."],"activations":[{},0.0],"distance":{distance},"activating":{activating},"prediction":{prediction},"probability":null,"correct":null}}"#,
            f64::from(u8::from(activating))
        )
    };
    let json = [
        window("a", true, "true", 0),
        window("b", true, "true", 9),
        window("c", true, "false", 0),
        window("d", false, "true", -1),
        window("e", false, "false", -1),
        window("f", false, "null", -1),
    ]
    .join(",");
    let (mut explanation, mut records) = (explanation(), Records::default());
    scored::judged(format!("[{json}]").as_bytes(), "detection", &config(), &mut explanation, &mut records).unwrap();
    let value = |metric: &str| {
        let score = explanation.scores.iter().find(|score| score.metric == metric).unwrap();
        assert_eq!(score.scorer_model.as_deref(), Some("offline:llama"));
        (score.value, score.n_windows, score.n_failed)
    };
    // Three activating windows, two of them found; two others, one of them taken for activating; one reply missing.
    assert_eq!(value("accuracy"), (Some(3.0 / 5.0), 5, 1));
    assert_eq!(value("precision"), (Some(2.0 / 3.0), 5, 1));
    assert_eq!(value("recall").0, Some(2.0 / 3.0));
    assert_eq!(value("f1").0, Some(2.0 / 3.0));
    assert_eq!(value("balanced_accuracy").0, Some((2.0 / 3.0 + 0.5) / 2.0));
    assert_eq!(value("roc_auc").0, None);
    let places: Vec<_> = records.records.iter().map(|record| (record.sample.as_str(), record.rank)).collect();
    assert_eq!(
        places,
        [("quantile_9", 0), ("quantile_0", 0), ("quantile_9", 1), ("random", 0), ("random", 1), ("random", 2)]
    );
    assert!(records.records.iter().all(|record| record.split == Split::Valid));

    // Another judge's windows are the same records, whatever their order.
    let json = [window("e", false, "false", -1), window("a", true, "true", 0)].join(",");
    scored::judged(format!("[{json}]").as_bytes(), "fuzzing", &config(), &mut explanation, &mut records).unwrap();
    assert_eq!(records.records.len(), 6);
    assert_eq!((explanation.judgements[6].sample.as_str(), explanation.judgements[6].rank), ("random", 1));
    assert_eq!((explanation.judgements[7].sample.as_str(), explanation.judgements[7].rank), ("quantile_9", 0));

    let bad = r#"[{"str_tokens":["a"],"activations":[],"distance":0,"activating":true,"prediction":null}]"#;
    let reason = scored::judged(bad.as_bytes(), "fuzzing", &config(), &mut explanation, &mut records).unwrap_err();
    assert_eq!(reason, "expected an activation for each of 1 tokens in window 0, got 0");
    let cut = scored::judged(b"[{\"str_tokens\":[", "fuzzing", &config(), &mut explanation, &mut records).unwrap_err();
    assert!(cut.contains("EOF while parsing"), "{cut}");
}

#[test]
fn simulations_keep_their_stored_correlation_and_tell_when_it_is_another() {
    let window = |text: &str, distance: i32, expected: &str, actual: &str| {
        format!(
            r#"{{"distance":{distance},"simulation":{{"tokens":["{text}","b","c"],"expected_activations":{expected},"activation_scale":"simulated_normalized_activations"}},"true_activations":{actual},"ev_correlation_score":1.0}}"#
        )
    };
    let one = window("a", 0, "[0,5,10]", "[0,4,10]");
    let other = window("x", -1, "[0,0,1]", "[0,0,0]");
    let group = |distance: i32, windows: &str, score: &str| {
        format!(r#"{{"distance":{distance},"scored_sequence_simulations":[{windows}],"ev_correlation_score":{score}}}"#)
    };
    // The correlation of [0,4,10,0,0,0] with [0,5,10,0,0,1].
    let right = 0.992;
    for (stored, same) in [(right.to_string(), true), ("0.5".to_owned(), false), ("\"nan\"".to_owned(), false)] {
        let json = format!("[{},{}]", group(1, &one, "1.0"), group(0, &format!("{one},{other}"), &stored));
        let (mut explanation, mut records) = (explanation(), Records::default());
        let found = scored::simulated(json.as_bytes(), &config(), &mut explanation, &mut records).unwrap();
        assert_eq!(found, same, "{stored}");
        assert_eq!(explanation.simulations.len(), 2);
        let score = &explanation.scores[0];
        assert_eq!((score.metric.as_str(), score.value), ("ev_correlation", stored.parse().ok()));
        assert_eq!((score.n_windows, score.n_tokens, score.scorer.as_str()), (2, 6, "all_at_once"));
        assert_eq!(explanation.simulations[1].sample, "random");
    }
}

#[tokio::test]
async fn a_run_is_found_with_its_modules() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write(
        "run_config.json",
        br#"{"model":"gpt2","sparse_model":"EleutherAI/sae-gpt2-32x","cache_cfg":{"dataset_repo":"pile"}}"#,
    );
    write("latents/h.3.mlp/0_4.safetensors", &split_file(&[([0, 1, 4], 0.5)], &tokens(), true));
    write("latents/h.3.mlp/config.json", br#"{"dataset_repo":"pile"}"#);
    write("explanations/h.3.mlp_latent4.txt", br#""greetings""#);
    write("scores/detection/h.3.mlp_latent4.txt", b"[]");
    write("log/hookpoint_firing_counts.pt", b"pickle");
    let open = |settings: Settings| async {
        Delphi::open(Source::open(folder.path().to_str().unwrap(), 4).unwrap(), settings).await
    };
    let error = open(Settings::default()).await.unwrap_err().to_string();
    assert!(error.contains("--tokenizer with the model's tokenizer.json"), "{error}");
    let run = open(Settings { latents: Latents::LeaveOut, ..Settings::default() }).await.unwrap();
    assert_eq!((run.model(), run.corpus()), ("gpt2", "pile"));
    write("explanations/h.3.mlp.inner_latent0.txt", br#""x""#);
    let error = open(Settings { latents: Latents::LeaveOut, ..Settings::default() }).await.unwrap_err().to_string();
    assert!(error.contains("expected the hook point of module 'h.3.mlp.inner'"), "{error}");
    let hooks = vec!["h.3.mlp.inner=blocks.3.mlp.hook_post".to_owned()];
    open(Settings { latents: Latents::LeaveOut, hooks, ..Settings::default() }).await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    let source = Source::open(empty.path().to_str().unwrap(), 4).unwrap();
    let error = Delphi::open(source, Settings::default()).await.unwrap_err().to_string();
    assert!(error.contains("expected a run's folder"), "{error}");
}
