//! Windows side by side.

use super::*;

#[test]
fn each_line_has_one_scale_over_all_windows() {
    let rows: Vec<Map<String, Value>> = serde_json::from_value(json!([
        {
            "sample": "top", "rank": 0, "split": "valid", "corpus": "default", "tokens": ["a", "b"], "activations": [4.0, 1.0],
            "a_expected": [5.0, null], "a_simulator": "token_lookup", "b_expected": null, "b_simulator": null,
        },
        {
            "sample": "random", "rank": 3, "split": "valid", "corpus": "default", "tokens": ["c", "d"], "activations": [2.0, -1.0],
            "a_expected": [10.0, 0.0], "a_simulator": "token_lookup", "b_expected": [0.5, 1.0], "b_simulator": "n2g",
        },
    ]))
    .unwrap();
    let windows = simulated_windows(&rows);
    let classes = |window: usize, line: &str| -> Vec<String> {
        let cells = windows[window][line].as_array();
        cells.unwrap().iter().map(|cell| cell["class"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(classes(0, "real"), ["a32", "a8"]);
    assert_eq!(classes(1, "real"), ["a16", "an8"]);
    assert_eq!(classes(0, "a"), ["s16", ""]);
    assert_eq!(classes(1, "a"), ["s32", ""]);
    assert_eq!(windows[0]["b"], Value::Null, "not simulated is no line of zeros");
    assert_eq!(classes(1, "b"), ["s16", "s32"]);
    assert_eq!(windows[0]["a"][1]["title"], "–");
}
