//! What a unit's page makes of rows.

use serde_json::json;

use super::*;

fn rows(value: Value) -> Rows {
    serde_json::from_value(value).unwrap()
}

#[test]
fn quantiles_rise_and_end_at_the_largest_value() {
    let statistics = rows(json!([{
        "min": -1.0, "max": 3.0, "quantile_levels": [0.5, 0.9, 0.99], "quantiles": [0.0, null, 3.05],
    }]));
    let pairs = quantile_pairs(&statistics[0]);
    assert_eq!(pairs, [(0.0, -1.0), (0.5, 0.0), (0.99, 3.0), (1.0, 3.0)]);
    assert!(histogram(&statistics[0]).is_some());
    let none = rows(json!([{ "min": null, "max": null, "quantile_levels": [], "quantiles": null }]));
    assert!(histogram(&none[0]).is_none());
}

#[test]
fn explanations_come_best_first_with_all_that_was_measured() {
    let explained = rows(json!([
        { "explanation": "a", "text": "first" }, { "explanation": "b", "text": "second" }, { "explanation": "c", "text": null },
    ]));
    let scores = rows(json!([
        { "explanation": "a", "scorer": "x", "scorer_model": null, "split": "calibration", "value": 0.9 },
        { "explanation": "b", "scorer": "x", "scorer_model": null, "split": "valid", "value": 0.5, "low": 0.4, "high": 0.6 },
        { "explanation": "a", "scorer": "y", "scorer_model": "m", "split": "valid", "value": 0.2, "control": 0.1 },
    ]));
    let judges = rows(json!([{ "explanation": "c", "scorer": "detection", "value": null, "reason": "no_windows" }]));
    let (joined, best) = explanations::joined(explained, &scores, &judges);
    let order: Vec<String> = joined.iter().map(|row| text(row, "explanation")).collect();
    assert_eq!(order, ["b", "a", "c"], "calibration does not count");
    assert_eq!(best.as_deref(), Some("second"));
    assert_eq!(joined[1]["scores"].as_array().unwrap().len(), 2);
    assert_eq!(joined[2]["judges"][0]["line"], Value::Null);

    let simulators = || {
        rows(json!([
            { "explanation": "a", "simulator": "y", "simulator_model": "m" }, { "explanation": "b", "simulator": "x", "simulator_model": null },
        ]))
    };
    let (options, chosen) = explanations::simulations(simulators(), &scores, &joined, None);
    assert_eq!(chosen.unwrap().explanation, "b", "the first scored one that was simulated");
    assert_eq!(options[0]["key"], "a|y|m");
    let (_, chosen) = explanations::simulations(simulators(), &scores, &joined, Some("a|y|m"));
    assert_eq!(chosen.unwrap().explanation, "a");
    let (options, chosen) = explanations::simulations(Rows::new(), &scores, &joined, Some("b|x"));
    assert!(options.is_empty() && chosen.is_none());
}

#[test]
fn neighbours_are_the_next_ones_that_there_are() {
    let unit = unit::Unit {
        model: "m/1".to_owned(),
        hook_point: "blocks.3.mlp.hook_post".to_owned(),
        neuron: 7,
        corpus: "c".to_owned(),
        layer: Some(3),
    };
    let found = rows(json!([
        { "place": "elsewhere", "hook_point": "blocks.0.mlp.hook_post", "layer": 0, "other_neuron": 7 },
        { "place": "elsewhere", "hook_point": "blocks.2.hook_resid_post", "layer": 2, "other_neuron": 7 },
        { "place": "elsewhere", "hook_point": "blocks.1.mlp.hook_post", "layer": 1, "other_neuron": 7 },
        { "place": "elsewhere", "hook_point": "blocks.13.mlp.hook_post", "layer": 13, "other_neuron": 7 },
        { "place": "elsewhere", "hook_point": "ln_final.hook_normalized", "layer": null, "other_neuron": 7 },
        { "place": "next", "hook_point": "blocks.3.mlp.hook_post", "layer": 3, "other_neuron": 12 },
    ]));
    let links = neighbours::chosen(&unit, &found);
    let shown: Vec<(&str, &str)> =
        links.iter().map(|link| (link["key"].as_str().unwrap(), link["address"].as_str().unwrap())).collect();
    assert_eq!(
        shown,
        [
            ("ArrowRight", "/neuron/m%2F1/blocks.3.mlp.hook_post/12?corpus=c"),
            ("ArrowUp", "/neuron/m%2F1/blocks.13.mlp.hook_post/7"),
            ("ArrowDown", "/neuron/m%2F1/blocks.1.mlp.hook_post/7"),
        ]
    );
    let outside = unit::Unit { hook_point: "ln_final.hook_normalized".to_owned(), layer: None, ..unit };
    let links = neighbours::chosen(&outside, &found);
    assert!(links.iter().all(|link| link["key"] == "ArrowRight"), "without a layer there is no up and down: {links:?}");
}

#[test]
fn samples_stand_in_an_order_of_their_own() {
    let mut samples = ["random", "quantile_0", "scored_1", "top", "quantile_4"];
    samples.sort_by_key(|sample| place(sample));
    assert_eq!(samples, ["top", "quantile_4", "quantile_0", "random", "scored_1"]);
}
