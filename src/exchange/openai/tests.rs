//! The dataset's files, in memory: every spelling, what is missing, and what is wrong.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::dataset::Distributions;
use super::exact::Number;
use super::interleave::{of_random, of_top, random_index, top_index};
use super::read_part::{Files, ReadPart, read_part};
use super::read_unit::{self, Authors, Flaw};
use crate::exchange::importer::OnBadFile;
use crate::exchange::known::Known;
use crate::exchange::rows::TABLES;
use crate::exchange::unit::{ExchangedScore, UnitData, UnitKey};
use crate::token_sequences::split::Split;

fn unit() -> UnitData {
    UnitData {
        unit: UnitKey {
            model: "gpt2-xl".to_owned(),
            hook_point: "blocks.3.mlp.hook_post".to_owned(),
            layer: Some(3),
            neuron: 7,
            corpus: "webtext".to_owned(),
        },
        statistics: None,
        records: Vec::new(),
        explanations: Vec::new(),
        token_means: Vec::new(),
        token_effects: Vec::new(),
        links: Vec::new(),
    }
}

fn authors() -> Authors {
    Authors {
        explainer: "token_activation".to_owned(),
        explainer_model: None,
        simulator: "all_at_once".to_owned(),
        simulator_model: None,
        distributions: Distributions::Rounded,
    }
}

fn record(number: usize) -> Value {
    json!({"tokens": [format!("t{number}"), " \u{e9}\n"], "activations": [number as f64, -0.5]})
}

fn records(file: &Value) -> Result<UnitData, Flaw> {
    let mut unit = unit();
    read_unit::records(file.to_string().as_bytes(), &mut unit).map(|()| unit)
}

fn explanations(unit: &mut UnitData, file: &Value) -> Result<Vec<&'static str>, Flaw> {
    read_unit::explanations(format!("\n{file}\n\n").as_bytes(), &authors(), unit)
}

fn simulation(expected: &Value, scale_key: &str) -> Value {
    json!({
        "tokens": ["t2", " \u{e9}\n"],
        "expected_activations": expected,
        scale_key: "simulated_normalized_activations",
        "distribution_values": [[0, 10], []],
        "distribution_probabilities": [[0.25, 0.75], []],
    })
}

fn results(sequences: &[Value]) -> Value {
    json!({
        "neuron_id": {"layer_index": 3, "neuron_index": 7},
        "scored_explanations": [{
            "explanation": " words. ",
            "scored_simulation": {
                "scored_sequence_simulations": sequences,
                "ev_correlation_score": 0.5, "rsquared_score": null, "absolute_dev_explained_score": -1.25,
            },
        }],
    })
}

#[test]
fn old_and_new_names_say_the_same() {
    let old = json!({
        "neuron_id": {"layer": "3", "idx": "7"},
        "top_activations": (0..20).map(record).collect::<Vec<_>>(),
        "random_sample": (20..35).map(record).collect::<Vec<_>>(),
        "random_sample_by_decile": (0..5).map(|q| vec![record(40 + q)]).collect::<Vec<_>>(),
    });
    let new = json!({
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": 3, "neuron_index": 7},
        "most_positive_activation_records": (0..20).map(record).collect::<Vec<_>>(),
        "random_sample": (20..35).map(record).collect::<Vec<_>>(),
        "random_sample_by_quantile": (0..5).map(|q| vec![record(40 + q)]).collect::<Vec<_>>(),
        "quantile_boundaries": null, "mean": null, "variance": null, "skewness": null, "kurtosis": null,
    });
    let (old, new) = (records(&old).unwrap(), records(&new).unwrap());
    assert_eq!(old, new);
    assert_eq!((new.records.len(), new.statistics.as_ref().unwrap().max), (40, Some(19.0)));
    let quantile = new.records.iter().filter(|record| record.sample == "quantile_4").count();
    assert_eq!(quantile, 1);
    let valid = |sample: &str| -> Vec<f32> {
        let of = new.records.iter().filter(|r| r.sample == sample && r.split == Split::Valid);
        of.map(|record| record.activations[0]).collect()
    };
    // Indices 2, 6, 10 … of the top list, 1, 4, 7 … of the random one: specification §2.1.
    assert_eq!(valid("top"), [2.0, 6.0, 10.0, 14.0, 18.0]);
    assert_eq!(valid("random"), [21.0, 24.0, 27.0, 30.0, 33.0]);
    let window = &new.records[0].window;
    assert_eq!(window.tokens().collect::<Vec<_>>(), ["t0", " \u{e9}\n"]);

    let (mut with_old, mut with_new) = (old, new);
    let scored = |key: &str, scale: &str| {
        json!({
            key: simulation(&json!([7.5, null]), scale), "true_activations": [2.0, -0.5],
            "ev_correlation_score": null, "rsquared_score": 0.25, "absolute_dev_explained_score": 0.125,
        })
    };
    let renamed = json!({
        "neuron_id": {"layer_index": "3", "neuron_index": 7},
        "scored_explanation_or_baseline_list": [{
            "dataclass_name": "ScoredExplanationOrBaseline",
            "explanation_or_baseline": " words. ",
            "scored_simulation": results(&[scored("simulation", "unit")])["scored_explanations"][0]["scored_simulation"],
        }],
    });
    assert!(explanations(&mut with_old, &renamed).unwrap().is_empty());
    let scored = scored("sequence_simulation", "activation_scale");
    assert!(explanations(&mut with_new, &results(&[scored])).unwrap().is_empty());
    assert_eq!(with_old, with_new);
    let explanation = &with_new.explanations[0];
    assert_eq!(explanation.text, " words. ");
    let simulation = &explanation.simulations[0];
    assert_eq!(simulation.expected, [Some(7.5), None]);
    let mut first = [0.0; 22];
    (first[0], first[10]) = (0.25, 0.75);
    assert_eq!(simulation.distribution, first);
    let score = |metric: &str, set: &str| -> &ExchangedScore {
        explanation.scores.iter().find(|score| score.metric == metric && score.sample_set == set).unwrap()
    };
    assert_eq!(score("absolute_dev_explained", "top_and_random").value, Some(-1.25));
    let undefined = score("rsquared_uncentred", "top_and_random");
    assert_eq!((undefined.value, undefined.reason.as_deref()), (None, Some("undefined_at_source")));
    assert_eq!(
        (score("rsquared_uncentred", "top_0").value, score("ev_correlation", "top_0").value),
        (Some(0.25), None)
    );
}

#[test]
fn calibrated_and_uncalibrated_simulations_are_told_apart() {
    let check = |outer: Value, expected: &[(&str, usize)], calibration: &str| {
        let mut calibrated = simulation(&outer, "activation_scale");
        calibrated["activation_scale"] = json!("neuron_activations");
        calibrated["uncalibrated_simulation"] = simulation(&json!([1.0, 3.0]), "activation_scale");
        let scored = json!({"simulation": calibrated, "true_activations": [2.0, -0.5]});
        let mut unit = unit();
        explanations(&mut unit, &results(&[scored])).unwrap();
        let explanation = &unit.explanations[0];
        let got: Vec<(&str, usize)> =
            explanation.simulations.iter().map(|s| (s.scale.as_str(), s.distribution.len())).collect();
        assert_eq!(got, expected);
        assert_eq!(explanation.scores[0].calibration, calibration);
    };
    // Upstream's default calibrates by nothing and still calls the result the neuron's activations.
    check(json!([1.0, 3.0]), &[("simulated_normalized_activations", 22)], "none");
    check(json!([0.5, 0.9]), &[("neuron_activations", 0), ("simulated_normalized_activations", 22)], "linear");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |result: Result<UnitData, Flaw>, line: Option<usize>, words: &str| {
        let flaw = result.unwrap_err();
        assert_eq!(flaw.line, line, "{flaw:?}");
        assert!(flaw.reason.contains(words), "{flaw:?}");
    };
    let id = json!({"layer_index": 3, "neuron_index": 7});
    let top = |record: Value| records(&json!({"neuron_id": id, "most_positive_activation_records": [record]}));
    check(
        top(json!({"tokens": ["a", "b"], "activations": [1.0]})),
        None,
        "expected 2 activations, one for each of tokens, got 1",
    );
    check(top(json!({"tokens": ["a"], "activations": [null]})), Some(1), "null");
    check(top(json!({"tokens": ["a"], "activations": [1e300]})), Some(1), "32 bits");
    check(top(json!({"tokens": [], "activations": []})), None, "expected tokens, got none");
    check(records(&json!({"neuron_id": {"layer": 4, "idx": 7}})), None, "got neuron 7 of layer 4");
    check(records(&json!({"neuron_id": {"layer": -1, "idx": 7}})), Some(1), "an index from 0");
    let mut broken = unit();
    check(read_unit::records(b"{\"neuron_id\":\n {\"layer\": 3,", &mut broken).map(|()| unit()), Some(2), "EOF");

    let line = results(&[]).to_string();
    let two = format!("{line}\n\n{line}\n");
    let result = read_unit::explanations(two.as_bytes(), &authors(), &mut unit());
    check(result.map(|_| unit()), Some(3), "got a second");
    let result = read_unit::explanations(b" \n", &authors(), &mut unit());
    check(result.map(|_| unit()), None, "got none");
    let result = read_unit::explanations(format!("\n\n{}", &line[..40]).as_bytes(), &authors(), &mut unit());
    check(result.map(|_| unit()), Some(3), "EOF");
}

#[test]
fn related_neurons_and_tokens_are_read_with_their_gaps() {
    let mut unit = unit();
    let half = json!({
        "top_positive_neurons": ["1_22", "0_3"], "top_positive_weights": [0.5, null],
        "top_negative_neurons": ["2_1"], "top_negative_weights": [-0.25],
    });
    read_unit::links(json!({"c_fc": half, "c_proj": null}).to_string().as_bytes(), &mut unit).unwrap();
    let links: Vec<_> =
        unit.links.iter().map(|l| (l.other_hook_point.as_str(), l.other_neuron, l.rank, l.weight)).collect();
    assert_eq!(
        links,
        [
            ("blocks.1.mlp.hook_post", 22, 0, Some(0.5)),
            ("blocks.0.mlp.hook_post", 3, 1, None),
            ("blocks.2.mlp.hook_post", 1, 0, Some(-0.25)),
        ]
    );
    let means = json!({"tokens": [" a", "b"], "average_activations": [2, null]});
    read_unit::token_means(means.to_string().as_bytes(), &mut unit).unwrap();
    assert_eq!((unit.token_means[0].mean_activation, unit.token_means[1].mean_activation), (Some(2.0), None));
    let list = json!({"tokens": ["x"], "strengths": [-1.5]});
    read_unit::token_effects(json!({"input_negative": list}).to_string().as_bytes(), &mut unit).unwrap();
    assert_eq!((unit.token_effects[0].positive, unit.token_effects[0].strength), (false, Some(-1.5)));
    let wrong = json!({"c_fc": {"top_positive_neurons": ["1-22"], "top_positive_weights": [1],
        "top_negative_neurons": [], "top_negative_weights": []}});
    let flaw = read_unit::links(wrong.to_string().as_bytes(), &mut unit).unwrap_err();
    assert!(flaw.reason.contains("'1-22'"), "{flaw:?}");
}

#[test]
fn probabilities_are_rounded_and_what_was_computed_from_them_is_not() {
    let simulation = |probabilities: [f64; 3]| {
        json!({
            "tokens": ["t2", " \u{e9}\n"],
            "expected_activations": [probabilities[1] + 9.0 * probabilities[2], 0.1234567],
            "activation_scale": "simulated_normalized_activations",
            "distribution_values": [[0, 1, 9], []],
            "distribution_probabilities": [probabilities, []],
        })
    };
    let scored = |probabilities| {
        results(&[json!({
            "simulation": simulation(probabilities), "true_activations": [2.0, -0.5],
            "ev_correlation_score": 0.25, "rsquared_score": null, "absolute_dev_explained_score": null,
        })])
    };
    let read = |distributions, probabilities| {
        let mut unit = records(&json!({
            "neuron_id": {"layer_index": 3, "neuron_index": 7},
            "most_positive_activation_records": (0..5).map(record).collect::<Vec<_>>(),
        }))
        .unwrap();
        let authors = Authors { distributions, ..authors() };
        let file = scored(probabilities).to_string();
        read_unit::explanations(file.as_bytes(), &authors, &mut unit).unwrap();
        unit.explanations.remove(0).simulations.remove(0)
    };
    let probabilities = [0.912_345_67, 0.087_6, 0.000_054_33];
    let rounded = read(Distributions::Rounded, probabilities);
    let exact = read(Distributions::Exact, probabilities);
    assert_eq!(rounded.expected, exact.expected);
    assert_eq!(exact.expected[0], Some((0.087_6 + 9.0 * 0.000_054_33) as f32));
    for (place, probability) in [0, 1, 9].into_iter().zip(probabilities) {
        assert_eq!(exact.distribution[place], probability as f32);
        let kept = rounded.distribution[place];
        assert!((f64::from(kept) - probability).abs() <= 1.0 / 8192.0, "{kept} of {probability}");
        assert_eq!((kept * 4096.0).fract(), 0.0, "{kept}");
    }
    assert_eq!(rounded.distribution[9], 0.0, "less than half a part");
    // What is rounded once stays as it is, so that what is exported and imported again is the same.
    let again = read(Distributions::Rounded, [0, 1, 9].map(|place| f64::from(rounded.distribution[place])));
    assert_eq!(again.distribution, rounded.distribution);
}

#[test]
fn boundaries_of_quantiles_between_infinite_ends_are_activations() {
    let read = |boundaries: Value| {
        let file = json!({"neuron_id": {"layer_index": 3, "neuron_index": 7}, "quantile_boundaries": boundaries});
        records(&file).map(|unit| {
            let statistics = unit.statistics.unwrap();
            (statistics.quantile_levels, statistics.quantiles)
        })
    };
    // As in published files of GPT-2 XL.
    let published = read(json!([null, -0.0032, 0.5005, 1.5146, 2.3789, null])).unwrap();
    assert_eq!(published, (vec![], vec![-0.0032, 0.5005, 1.5146, 2.3789]));
    assert_eq!(read(json!([null, 0.25, 0.5, null])).unwrap(), (vec![], vec![0.25, 0.5]), "no levels");
    assert_eq!(read(json!([0.5, 0.9])).unwrap(), (vec![0.5, 0.9], vec![]));
    assert_eq!(read(json!([0.5, 1.5])).unwrap(), (vec![], vec![0.5, 1.5]));
    for bad in [json!([null, 0.5]), json!([0.5, null, 0.9]), json!([null, 0.5, null, 0.9, null])] {
        let flaw = read(bad).unwrap_err();
        assert!(flaw.reason.contains("expected null at both ends or nowhere"), "{flaw:?}");
    }
    let flaw = read(json!(["inf"])).unwrap_err();
    assert!(flaw.reason.contains("expected a number that 64 bits hold, got \"inf\""), "{flaw:?}");
}

#[test]
fn a_part_ends_before_a_bad_file_or_goes_on_and_carries_no_window_that_is_known() {
    let file = |neuron: i32, token: &str| {
        let record = json!({"tokens": [token, "b"], "activations": [1.5, -0.25]});
        let file = json!({
            "neuron_id": {"layer_index": 3, "neuron_index": neuron}, "most_positive_activation_records": [record, record],
        });
        Some(Bytes::from(file.to_string()))
    };
    let known = Known::nothing();
    let read = |files: Vec<Option<Bytes>>, on_bad_file| {
        let wanted = (0..).zip(&files).map(|(neuron, _)| {
            let mut unit = unit();
            unit.unit.neuron = neuron;
            (unit, vec![0])
        });
        let wanted = wanted.collect();
        read_part(wanted, Files::Fetched(files.into_iter()), &authors(), &known, on_bad_file).unwrap()
    };
    let n_records = |part: &ReadPart| {
        let place = TABLES.iter().position(|table| *table == "activation_records").unwrap();
        part.block.batches[place].as_ref().map_or(0, |batch| batch.num_rows())
    };
    let files = || vec![file(0, "a"), None, file(1, "of another unit"), file(3, "c")];

    let stopped = read(files(), OnBadFile::Stop);
    assert_eq!((n_records(&stopped), stopped.block.windows.len()), (2, 1));
    assert_eq!((stopped.missing.len(), stopped.sizes.len()), (1, 2));
    assert!(matches!(stopped.flaws.as_slice(), [(2, 0, _)]), "{:?}", stopped.flaws);
    stopped.block.windows.iter().for_each(|(sequence, _)| assert!(known.claim_sequence(*sequence)));

    let went_on = read(files(), OnBadFile::KeepGoing);
    assert_eq!(n_records(&went_on), 2, "unit 0 is known, and 3 is not");
    let windows: Vec<&str> = went_on.block.windows.iter().map(|(_, window)| window.text.as_str()).collect();
    assert_eq!(windows, ["cb"]);
    let same_text = read(vec![None, None, None, None, file(4, "a")], OnBadFile::Stop);
    assert_eq!((n_records(&same_text), same_text.block.windows.len()), (2, 0), "the lake has the window");
}

#[test]
fn a_file_that_is_no_text_is_told_with_its_place() {
    let mut unit = unit();
    let bytes =
        b"{\"neuron_id\": {\"layer_index\": 3, \"neuron_index\": 7},\n \"random_sample\": [{\"tokens\": [\"a\xff\"]}]}";
    let flaw = read_unit::records(bytes, &mut unit).unwrap_err();
    assert_eq!(flaw.line, Some(2));
    assert!(flaw.reason.contains("invalid unicode code point"), "{flaw:?}");
}

proptest! {
    #[test]
    fn a_number_comes_back_to_the_last_digit(value in proptest::num::f64::NORMAL) {
        let document = json!({"a": value, "b": [null, value]}).to_string();
        #[derive(serde::Deserialize)]
        struct File { a: Option<Number>, b: Vec<Option<Number>> }
        let file: File = serde_json::from_str(&document).unwrap();
        prop_assert_eq!(file.a, Some(Number(value)));
        prop_assert_eq!(file.b, [None, Some(Number(value))]);
    }

    #[test]
    fn a_place_in_a_file_comes_back_from_split_and_rank(len in 1usize..60) {
        for index in 0..len {
            let (split, rank) = of_top(index);
            prop_assert_eq!(top_index(split, rank), Some(index));
        }
        let splits: Vec<(Split, i32)> = (0..len).map(|index| of_random(index, len)).collect();
        let with_test = splits.iter().any(|(split, _)| *split == Split::Test);
        for (index, (split, rank)) in splits.into_iter().enumerate() {
            prop_assert_eq!(random_index(split, rank, with_test), Some(index));
        }
    }
}
