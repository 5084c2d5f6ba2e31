//! Against a direct computation in two passes over stored activations, in f64.

use super::*;
use crate::models::source::ModelSource;
use crate::random::mix;
use crate::token_sequences::split::Split;

fn windows(model: &SubjectModel, lengths: &[usize]) -> Vec<OwnedWindow> {
    let window = |(i, n): (usize, &usize)| OwnedWindow {
        sequence: i as i64,
        document: i as i64,
        split: Split::Train,
        token_ids: (0..*n as u64).map(|k| (mix(i as u64, k, 9) % model.config().n_vocab as u64) as u32).collect(),
        recordable: true,
    };
    lengths.iter().enumerate().map(window).collect()
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f64>();
    let (aa, bb) = (sum(&|a, _| a * a), sum(&|_, b| b * b));
    (aa > 0.0 && bb > 0.0).then(|| sum(&|a, b| a * b) / (aa * bb).sqrt())
}

#[test]
fn correlations_are_those_of_the_stored_activations() {
    let model = Arc::new(SubjectModel::load(&ModelSource::Embedded).unwrap());
    let hooks = model.select_hook_points("blocks.*.mlp.hook_post").unwrap();
    let target = hooks[1].clone();
    let windows = windows(&model, &[40, 3, 17, 64, 64, 1, 20, 33, 12, 50, 16]);
    for first_counted in [0, 1] {
        let mut correlation = Correlation::new(Arc::clone(&model), (target.clone(), 5), hooks.clone(), first_counted);
        correlation.observe(&windows[..4]).unwrap();
        correlation.observe(&windows[4..]).unwrap();
        // Every value of every unit, window by window.
        let mut values: Vec<Vec<Vec<f64>>> = hooks.iter().map(|hook| vec![Vec::new(); hook.width()]).collect();
        for window in &windows {
            let offsets = [0, window.token_ids.len()];
            let batch = TokenBatch::new(&window.token_ids, &offsets).unwrap();
            let mut read = |hook: usize, found: &[f32]| {
                for row in found.chunks_exact(hooks[hook].width()).skip(first_counted) {
                    values[hook].iter_mut().zip(row).for_each(|(unit, value)| unit.push(f64::from(*value)));
                }
            };
            model.forward(&batch, &hooks, &mut read, &mut Scratch::default()).unwrap();
        }
        assert_eq!(correlation.n_tokens() as usize, values[0][0].len());
        for hook in 0..hooks.len() {
            for (unit, found) in correlation.finish(hook).into_iter().enumerate() {
                let expected = pearson(&values[1][5], &values[hook][unit]);
                match (found, expected) {
                    (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-9, "{hook} {unit}"),
                    other => panic!("{hook} {unit}: {other:?}"),
                }
            }
        }
        assert_eq!(correlation.finish(1)[5], Some(1.0));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_and_too_little_is_undefined() {
    let model = Arc::new(SubjectModel::load(&ModelSource::Embedded).unwrap());
    let hooks = model.select_hook_points("blocks.0.*").unwrap();
    let windows = windows(&model, &[20; 30]);
    let run = |threads: usize, windows: &[OwnedWindow]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let target = model.select_hook_points("blocks.3.mlp.hook_post").unwrap().remove(0);
        let mut correlation = Correlation::new(Arc::clone(&model), (target, 0), hooks.clone(), 0);
        pool.install(|| correlation.observe(windows)).unwrap();
        (0..hooks.len()).flat_map(|hook| correlation.finish(hook)).collect::<Vec<_>>()
    };
    assert_eq!(run(1, &windows), run(3, &windows));
    assert!(run(1, &[]).iter().all(Option::is_none));
    let one = OwnedWindow { token_ids: vec![7], ..windows[0].clone() };
    assert!(run(1, &[one]).iter().all(Option::is_none), "one position has no spread");
}
