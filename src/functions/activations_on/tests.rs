//! Against a forward pass, with and without conditions that are pushed down.

use std::collections::BTreeMap;

use arrow::datatypes::{Float32Type, Int32Type};

use super::*;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

fn session(folder: &tempfile::TempDir) -> Session {
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap()
}

/// Activation by hook point, neuron and position.
type Values = BTreeMap<(String, i32, i32), f32>;

async fn values(session: &Session, from_where: &str) -> Values {
    let sql = format!("SELECT hook_point, neuron, position, activation, token, token_id, layer FROM {from_where}");
    let model = session.models().get("default").unwrap();
    let mut found = BTreeMap::new();
    for batch in session.sql(&sql).await.unwrap().collect().await.unwrap() {
        let integers = |column: usize| batch.column(column).as_primitive::<Int32Type>().clone();
        let (neurons, positions, ids, layers) = (integers(1), integers(2), integers(5), integers(6));
        let (hooks, tokens) = (batch.column(0).as_string::<i32>(), batch.column(4).as_string::<i32>());
        let activations = batch.column(3).as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let text = model.tokenizer().unwrap().token_text(ids.value(row).cast_unsigned());
            assert_eq!(tokens.value(row), text);
            assert!(hooks.value(row).starts_with(&format!("blocks.{}.", layers.value(row))));
            let key = (hooks.value(row).to_owned(), neurons.value(row), positions.value(row));
            assert!(found.insert(key, activations.value(row)).is_none(), "a row twice");
        }
    }
    found
}

fn expected(model: &SubjectModel, text: &str, pattern: &str, first: usize) -> Values {
    let ids = model.tokenizer().unwrap().encode(text).unwrap().token_ids;
    let hooks = model.select_hook_points(pattern).unwrap();
    let mut found = BTreeMap::new();
    for (window, ids) in ids.chunks(model.config().n_context).enumerate() {
        let offsets = [0, ids.len()];
        let mut read = |hook: usize, values: &[f32]| {
            let hook = &hooks[hook];
            for (place, row) in values.chunks_exact(hook.width()).enumerate().skip(first) {
                let position = (window * model.config().n_context + place) as i32;
                for (neuron, value) in row.iter().enumerate() {
                    found.insert((hook.name().to_owned(), neuron as i32, position), *value);
                }
            }
        };
        let batch = TokenBatch::new(ids, &offsets).unwrap();
        model.forward(&batch, &hooks, &mut read, &mut Scratch::default()).unwrap();
    }
    found
}

#[tokio::test]
async fn values_are_those_of_a_forward_pass() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let model = session.models().get("default").unwrap();
    // Longer than the model's context, so that it is cut.
    let long = "The old man went to the sea and the sea was calm. ".repeat(20);
    assert!(model.tokenizer().unwrap().encode(&long).unwrap().token_ids.len() > model.config().n_context);
    let first = FirstToken::default_of(&model);
    let first = if first == FirstToken::Mask { 1 } else { 0 };
    let short = "The king rode home.";
    let all = values(&session, &format!("activations_on('default', '{short}')")).await;
    assert_eq!(all, expected(&model, short, "blocks.*.mlp.hook_post", first));
    for (policy, first) in [("keep", 0), ("mask", 1)] {
        let from = format!("activations_on('default', '{long}', 'blocks.1.mlp.*', '{policy}')");
        assert!(values(&session, &from).await == expected(&model, &long, "blocks.1.mlp.*", first), "{policy}");
    }
    assert!(values(&session, "activations_on('default', '')").await.is_empty());
    assert!(values(&session, "activations_on('default', 'x', 'blocks.0.mlp.hook_post', 'mask')").await.is_empty());
}

#[tokio::test]
async fn conditions_choose_the_same_rows_before_as_after() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&folder);
    let from = "activations_on('default', 'The king rode to the castle by the sea.', 'blocks.*')";
    let all = values(&session, from).await;
    type Condition = (&'static str, fn(&str, i32, i32, f32) -> bool);
    let conditions: [Condition; 7] = [
        ("layer = 2", |hook, _, _, _| hook.starts_with("blocks.2.")),
        ("hook_point LIKE '%mlp.hook_post' AND neuron IN (3, 7)", |hook, neuron, _, _| {
            hook.ends_with("mlp.hook_post") && [3, 7].contains(&neuron)
        }),
        ("activation > 0.5 AND neuron BETWEEN 10 AND 20", |_, neuron, _, value| {
            value > 0.5 && (10..=20).contains(&neuron)
        }),
        ("layer = 1 AND position = 4", |hook, _, position, _| hook.starts_with("blocks.1.") && position == 4),
        ("layer + neuron = 3", |hook, neuron, _, _| hook[7..8].parse::<i32>().unwrap() + neuron == 3),
        ("abs(activation) > 1 OR neuron = 0", |_, neuron, _, value| value.abs() > 1.0 || neuron == 0),
        ("layer > 100", |_, _, _, _| false),
    ];
    for (condition, holds) in conditions {
        let found = values(&session, &format!("{from} WHERE {condition}")).await;
        let expected: Values = all
            .iter()
            .filter(|((hook, neuron, position), value)| holds(hook, *neuron, *position, **value))
            .map(|(key, value)| (key.clone(), *value))
            .collect();
        assert!(found == expected, "{condition}: {} and {}", found.len(), expected.len());
    }
    // The conditions reach the function: its scan stands below the filter with fewer rows.
    let plan = session.sql(&format!("EXPLAIN SELECT neuron FROM {from} WHERE layer = 2")).await.unwrap();
    let text = arrow::util::pretty::pretty_format_batches(&plan.collect().await.unwrap()).unwrap().to_string();
    assert!(text.contains("partial_filters"), "{text}");
}
