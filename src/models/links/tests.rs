//! Weights against sums over the plain vectors.

use super::*;
use crate::models::directions::Side;
use crate::models::source::ModelSource;

fn model() -> SubjectModel {
    SubjectModel::load(&ModelSource::Embedded).unwrap()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn hook(model: &SubjectModel, layer: usize) -> HookPoint {
    model.select_hook_points(&format!("blocks.{layer}.mlp.hook_post")).unwrap().remove(0)
}

/// `W_out[l1][n1] · diag(gains of l2) · W_in[l2][:, n2]`, from the weights as the files have them.
fn weight(model: &SubjectModel, from: (usize, u32), to: (usize, u32)) -> f64 {
    let written = model.unit_weights(&hook(model, from.0), from.1, Side::Output).unwrap().unwrap();
    let read = model.unit_weights(&hook(model, to.0), to.1, Side::Input).unwrap().unwrap();
    let gains = model.decoder().blocks[to.0].mlp_norm.weight();
    dot(&written, &scaled(read, gains))
}

#[test]
fn links_are_the_strongest_of_all_weights() {
    let model = model();
    let (layer, neuron, k) = (2, 17, 3);
    let links = model.weight_links(&hook(&model, layer), neuron, k).unwrap();
    assert_eq!(links.len(), 4 * k);
    for link in &links {
        let (this, other) = ((layer, neuron), (link.layer, link.neuron));
        let expected = if link.downstream { weight(&model, this, other) } else { weight(&model, other, this) };
        assert!((f64::from(link.weight) - expected).abs() < 1e-5, "{link:?}: {expected}");
        assert_eq!(link.downstream, link.layer > layer, "{link:?}");
    }
    // No neuron downstream has a larger weight than the first.
    let first = links.iter().find(|link| link.downstream && link.rank == 0 && link.weight > 0.0).unwrap();
    for later in layer + 1..model.config().n_layers {
        for other in 0..hook(&model, later).width() as u32 {
            assert!(weight(&model, (layer, neuron), (later, other)) <= f64::from(first.weight) + 1e-5);
        }
    }
    let signs: Vec<(bool, bool, usize)> = links.iter().map(|l| (l.downstream, l.weight > 0.0, l.rank)).collect();
    let expected: Vec<(bool, bool, usize)> = [(false, true), (false, false), (true, true), (true, false)]
        .into_iter()
        .flat_map(|(downstream, positive)| (0..k).map(move |rank| (downstream, positive, rank)))
        .collect();
    assert_eq!(signs, expected);
}

#[test]
fn the_ends_of_the_net_have_links_on_one_side() {
    let model = model();
    let last = model.config().n_layers - 1;
    assert!(model.weight_links(&hook(&model, 0), 0, 2).unwrap().iter().all(|link| link.downstream));
    assert!(model.weight_links(&hook(&model, last), 0, 2).unwrap().iter().all(|link| !link.downstream));
    let stream = model.select_hook_points("blocks.1.hook_resid_post").unwrap().remove(0);
    assert!(model.weight_links(&stream, 0, 2).unwrap().is_empty());
    assert!(model.weight_tokens(&stream, 0, 2).unwrap().is_empty());
    let width = hook(&model, 0).width() as u32;
    assert!(matches!(model.weight_links(&hook(&model, 0), width, 2), Err(Error::NeuronOutOfRange { .. })));
    assert!(matches!(model.weight_tokens(&hook(&model, 0), width, 2), Err(Error::NeuronOutOfRange { .. })));
}

#[test]
fn tokens_are_those_that_move_the_neuron_and_that_it_moves() {
    let model = model();
    let hook = hook(&model, 1);
    let effects = model.weight_tokens(&hook, 9, 5).unwrap();
    assert_eq!(effects.len(), 20);
    let promoted: Vec<u32> =
        effects.iter().filter(|e| e.output && e.strength > 0.0).map(|effect| effect.token_id).collect();
    assert_eq!(promoted, model.promoted_tokens(&hook, &[9], 5).unwrap()[0]);
    let read = model.unit_weights(&hook, 9, Side::Input).unwrap().unwrap();
    let read = scaled(read, model.decoder().blocks[1].mlp_norm.weight());
    for effect in effects.iter().filter(|effect| !effect.output) {
        let embedding: Vec<f32> = model.decoder().embedding.column(effect.token_id as usize).collect();
        assert!((f64::from(effect.strength) - dot(&embedding, &read)).abs() < 1e-4, "{effect:?}");
    }
}

#[test]
fn of_each_sign_the_strongest_come_first() {
    let values = [0.5, -2.0, 0.0, 3.0, 0.5, f32::NAN, -0.1];
    assert_eq!(strongest_of_signs(&values, 2), [(0, 3), (1, 0), (0, 1), (1, 6)]);
    assert_eq!(strongest_of_signs(&[0.0], 2), []);
}
