//! The units beside a unit.

use serde_json::{Map, Value, json};

use super::unit::Unit;
use super::{Rows, integer, text};
use crate::server::viewer::links;

/// Links to the neuron before and after, and to the same number one layer up and down, each with the key that goes there.
pub(super) fn chosen(unit: &Unit, rows: &Rows) -> Vec<Value> {
    let beside = |place: &str| rows.iter().find(|row| text(row, "place") == place);
    let elsewhere = || {
        let alike = rows.iter().filter(|row| text(row, "place") == "elsewhere");
        let alike = alike.filter_map(|row| Some((layer(row)?, row)));
        alike.filter(|(layer, row)| {
            kind(&text(row, "hook_point"), *layer) == unit.layer.and_then(|own| kind(&unit.hook_point, own))
        })
    };
    let own = unit.layer.unwrap_or_default();
    let above = elsewhere().filter(|(layer, _)| *layer > own).min_by_key(|(layer, _)| *layer).map(|(_, row)| row);
    let below = elsewhere().filter(|(layer, _)| *layer < own).max_by_key(|(layer, _)| *layer).map(|(_, row)| row);
    let link = |row: Option<&Map<String, Value>>, key: &str, sign: &str, name: &str| {
        let row = row?;
        let (hook_point, neuron) = (text(row, "hook_point"), integer(row, "other_neuron"));
        // Another hook point may not have been read on this corpus: its page chooses.
        let corpus = if hook_point == unit.hook_point { unit.corpus.as_str() } else { "" };
        let label = match name {
            "layer" => format!("layer {}", layer(row).unwrap_or_default()),
            _ => format!("neuron {neuron}"),
        };
        let address = links::neuron(&unit.model, &hook_point, neuron, corpus);
        Some(json!({ "address": address, "key": key, "sign": sign, "label": label }))
    };
    [
        link(beside("previous"), "ArrowLeft", "←", "neuron"),
        link(beside("next"), "ArrowRight", "→", "neuron"),
        link(above, "ArrowUp", "↑", "layer"),
        link(below, "ArrowDown", "↓", "layer"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn layer(row: &Map<String, Value>) -> Option<i64> {
    row.get("layer").and_then(Value::as_i64)
}

/// A hook point without the number of its layer; `None` where the name does not have it.
fn kind(hook_point: &str, layer: i64) -> Option<String> {
    let number = format!(".{layer}.");
    let padded = format!(".{hook_point}.");
    padded.contains(&number).then(|| padded.replacen(&number, ".*.", 1))
}
