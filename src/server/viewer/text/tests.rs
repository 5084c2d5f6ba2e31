//! Rows of queries as lines of tokens.

use super::*;

fn rows(json: Value) -> Vec<Map<String, Value>> {
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_layer_is_coloured_by_what_the_lake_knows_else_by_itself() {
    let names: Vec<String> = ["The", " king"].map(str::to_owned).to_vec();
    let found = rows(json!([
        { "hook_point": "blocks.1.x", "layer": 1, "position": 0, "activation": 2.0, "of_max": 0.25, "neuron": 7 },
        { "hook_point": "blocks.1.x", "layer": 1, "position": 1, "activation": 1.0, "of_max": 0.75, "neuron": 8 },
        { "hook_point": "blocks.0.x", "layer": 0, "position": 1, "activation": 9.0, "of_max": 0.5, "neuron": 9 },
        { "hook_point": "ln_final", "layer": null, "position": 5, "activation": 9.0, "of_max": 0.5, "neuron": 9 },
    ]));
    let layers = by_layer(&found, names.len());
    let keys: Vec<&str> = layers.keys().map(|(_, hook)| hook.as_str()).collect();
    assert_eq!(keys, ["blocks.0.x", "blocks.1.x", "ln_final"], "in the order of the model");
    let line = |place: usize, known| {
        let (key, rows) = layers.iter().nth(place).unwrap();
        serde_json::to_value(layer(key, rows, &names, known)).unwrap()
    };
    let known = line(1, true);
    assert_eq!(known["cells"][0]["class"], "a8");
    assert_eq!(known["cells"][1]["class"], "a24");
    assert_eq!(known["cells"][1]["title"], "neuron 8: 1, 75 % of its largest");
    let unknown = line(1, false);
    assert_eq!((&unknown["cells"][0]["class"], &unknown["cells"][1]["class"]), (&json!("a32"), &json!("a16")));
    assert_eq!(line(0, true)["cells"][0], json!({ "text": "The", "class": "", "title": "–" }), "nothing fires there");
    assert_eq!(line(2, true)["layer"], Value::Null);

    let tokens = strongest_tokens(&names, &layers, true);
    let classes: Vec<Value> = tokens.iter().map(|token| serde_json::to_value(&token.cell).unwrap()).collect();
    assert_eq!(classes[0]["title"], "blocks.1.x:7: 2, 25 % of its largest");
    assert_eq!(
        classes[1]["title"], "blocks.1.x:8: 1, 75 % of its largest",
        "the larger share, not the larger activation"
    );
}

#[test]
fn a_neuron_is_read_from_its_name() {
    let good = |text: &str| unit(text).unwrap_or_else(|fault| panic!("{}", fault.detail()));
    assert_eq!(good(""), None);
    assert_eq!(good(" blocks.3.mlp.hook_post:7 "), Some(("blocks.3.mlp.hook_post".to_owned(), 7)));
    assert_eq!(good("a:b:3"), Some(("a:b".to_owned(), 3)));
    for text in
        ["7", "blocks.3.mlp.hook_post", "a:", "a:-1", "a:1.5", "a:99999999999", ":3", "blocks.*.mlp.hook_post:3"]
    {
        let fault = unit(text).expect_err(text);
        assert_eq!(fault.status(), StatusCode::BAD_REQUEST);
        assert!(fault.detail().ends_with(&format!("got '{text}'")), "{}", fault.detail());
    }
}

#[test]
fn values_stand_at_their_tokens() {
    let found = rows(json!([
        { "position": 2, "activation": 1.5 },
        { "position": 0, "activation": -0.5 },
        { "position": 9, "activation": 1.0 },
    ]));
    assert_eq!(by_position(&found, 3), [Some(-0.5), None, Some(1.5)]);
}
