//! Cosines against a computation with the plain vectors.

use std::path::Path;

use super::*;
use crate::models::config::ModelConfig;
use crate::models::source::ModelSource;
use crate::models::subject_model::Gpt2Shape;
use crate::models::weights::safetensors::SafetensorsFiles;

fn models() -> Vec<SubjectModel> {
    let shape = Gpt2Shape { n_vocab: 50, n_layers: 2, d_model: 60, n_heads: 5, n_context: 16 };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference/llama-tied");
    let path = folder.join("config.json");
    let config = ModelConfig::from_hugging_face(&std::fs::read(&path).unwrap(), &path).unwrap();
    let weights = SafetensorsFiles::open(&folder).unwrap();
    vec![
        SubjectModel::random_gpt2(shape, 3).unwrap(),
        SubjectModel::without_tokenizer("llama-tied".to_owned(), config, &weights, String::new(), &folder).unwrap(),
        SubjectModel::load(&ModelSource::Embedded).unwrap(),
    ]
}

fn naive(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn cosines_are_those_of_the_vectors() {
    for model in models() {
        for side in [Side::Input, Side::Output] {
            let mut compared = 0;
            for hook in model.hook_points().to_vec() {
                let neuron = hook.width() as u32 / 3;
                let Some(vector) = model.unit_weights(&hook, neuron, side).unwrap() else {
                    assert_eq!(model.cosines(&hook, &[], side), vec![None; hook.width()], "{hook}");
                    continue;
                };
                assert_eq!(vector.len(), model.config().d_model);
                for other in model.hook_points().iter().filter(|other| other.kind() == hook.kind()) {
                    let found = model.cosines(other, &vector, side);
                    assert_eq!(found.len(), other.width());
                    for (n, found) in found.iter().enumerate() {
                        let weights = model.unit_weights(other, n as u32, side).unwrap().unwrap();
                        // Sums of f32 products over at most a few hundred weights.
                        assert!((found.unwrap() - naive(&vector, &weights)).abs() < 1e-5, "{hook} {other} {n}");
                    }
                    if *other == hook {
                        assert!((found[neuron as usize].unwrap() - 1.0).abs() < 1e-6);
                    }
                }
                compared += 1;
            }
            assert!(compared >= model.config().n_layers, "{side:?}");
        }
    }
}

/// The weights themselves, by what the forward pass does with them: a unit's output weights are what it adds when it fires alone.
#[test]
fn output_weights_are_rows_of_the_mlps_output_matrix() {
    let model = &models()[0];
    let hook = model.select_hook_points("blocks.1.mlp.hook_post").unwrap().remove(0);
    let Mlp::Gelu { input, output } = &model.decoder().blocks[1].mlp else { panic!("a GPT-2 has a GELU") };
    let expected: Vec<f32> = (0..60).map(|column| output.weight.column(column).nth(7).unwrap()).collect();
    assert_eq!(model.unit_weights(&hook, 7, Side::Output).unwrap().unwrap(), expected);
    let expected: Vec<f32> = (0..60).map(|row| input.weight.row(row).nth(7).unwrap()).collect();
    assert_eq!(model.unit_weights(&hook, 7, Side::Input).unwrap().unwrap(), expected);
    assert!(matches!(model.unit_weights(&hook, 240, Side::Input), Err(Error::NeuronOutOfRange { n_neurons: 240, .. })));
}
