//! Cached against whole forward passes, however a sequence is cut; plans; draws.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::extension::Extender;
use super::key_values::Keep;
use super::prefix_tree::{Plan, Prompt, Run};
use super::runner::{Extension, Growing, Runner};
use super::sampling::{Distribution, Sampling};
use crate::error::Error;
use crate::models::config::ModelConfig;
use crate::models::subject_model::{Gpt2Shape, SubjectModel};
use crate::models::weights::safetensors::SafetensorsFiles;
use crate::random::mix;

/// Sums are taken in another order than in a whole pass; logits of these models are below 10.
pub(super) const TOLERANCE: f32 = 2e-4;

pub(super) fn gpt2() -> SubjectModel {
    let shape = Gpt2Shape { n_vocab: 211, n_layers: 2, d_model: 60, n_heads: 5, n_context: 120 };
    SubjectModel::random_gpt2(shape, 7).unwrap()
}

/// Grouped-query attention, rotary positions.
pub(super) fn llama() -> SubjectModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference/llama-tied");
    let path = folder.join("config.json");
    let config = ModelConfig::from_hugging_face(&std::fs::read(&path).unwrap(), &path).unwrap();
    let weights = SafetensorsFiles::open(&folder).unwrap();
    SubjectModel::without_tokenizer("llama-tied".to_owned(), config, &weights, String::new(), &folder).unwrap()
}

pub(super) fn tokens(model: &SubjectModel, n: usize, seed: u64) -> Vec<u32> {
    (0..n as u64).map(|i| (mix(seed, i, 0) % model.config().n_vocab as u64) as u32).collect()
}

pub(super) fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < tolerance, "[{i}]: expected {expected}, got {got}");
    }
}

/// Logits of all tokens, run part by part; a part ends in a shared segment where `shared` says so.
pub(super) fn in_parts<R: Runner>(runner: &mut R, token_ids: &[u32], parts: &[(usize, bool)]) -> Vec<f32> {
    let mut past: Vec<Arc<R::Segment>> = Vec::new();
    let mut sequence = runner.sequence(&past, Keep::All);
    let mut logits = Vec::new();
    let mut start = 0;
    for (n, shared) in parts.iter().copied().chain([(token_ids.len(), false)]) {
        let end = token_ids.len().min(start + n);
        if start == end {
            continue;
        }
        runner.extend(&mut [Extension { sequence: &mut sequence, token_ids: &token_ids[start..end] }]).unwrap();
        let rows: Vec<usize> = (0..end - start).collect();
        logits.extend(runner.read(&rows, |_, logits| logits.to_vec()).unwrap().concat());
        start = end;
        if shared {
            past = runner.share(sequence);
            sequence = runner.sequence(&past, Keep::All);
        }
    }
    assert_eq!(sequence.n_tokens(), token_ids.len());
    logits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_sequence_cut_anywhere_has_the_logits_of_a_whole_pass(
        n in 1_usize..64,
        parts in prop::collection::vec((1_usize..40, any::<bool>()), 0..6),
        seed in 0_u64..1000,
    ) {
        for model in [gpt2(), llama()] {
            let n = n.min(model.config().n_context);
            let token_ids = tokens(&model, n, seed);
            let got = in_parts(&mut Extender::new(&model), &token_ids, &parts);
            assert_close(&got, &model.logits(&token_ids).unwrap(), TOLERANCE);
        }
    }

    #[test]
    fn prompts_that_share_beginnings_have_the_logits_of_each_alone(
        lengths in prop::collection::vec((0_usize..30, 1_usize..30, 0_u64..3), 1..12),
        batch_tokens in 1_usize..200,
    ) {
        let model = gpt2();
        let prompts = prompts_that_share(&model, &lengths);
        let last = last_logits(&mut Extender::new(&model), &prompts, batch_tokens);
        for (prompt, last) in prompts.iter().zip(&last) {
            let logits = model.logits(&prompt.token_ids).unwrap();
            assert_close(last, &logits[logits.len() - model.config().n_vocab..], TOLERANCE);
        }
    }
}

/// Prompts with a common start of up to 29 tokens, then one of three middles, then each prompt's own end.
pub(super) fn prompts_that_share(model: &SubjectModel, lengths: &[(usize, usize, u64)]) -> Vec<Prompt> {
    let start = tokens(model, 30, 1);
    lengths
        .iter()
        .enumerate()
        .map(|(i, (shared, own, middle))| {
            let mut token_ids = start[..*shared].to_vec();
            token_ids.extend(tokens(model, 20, 2 + middle));
            token_ids.extend(tokens(model, *own, 100 + i as u64));
            let n_shareable = token_ids.len() - 1;
            Prompt { token_ids, n_shareable, n_reserved: 0 }
        })
        .collect()
}

/// The logits after each prompt's last token.
pub(super) fn last_logits<R: Runner>(runner: &mut R, prompts: &[Prompt], batch_tokens: usize) -> Vec<Vec<f32>> {
    let mut last = vec![Vec::new(); prompts.len()];
    let run = Run { prompts, keep: Keep::Nothing, batch_tokens, stopped: &|| false };
    run.visit(runner, &mut |runner, leaves| {
        for leaf in leaves.iter() {
            let row = leaf.row(prompts[leaf.prompt].token_ids.len() - 1);
            assert!(last[leaf.prompt].is_empty(), "visited twice");
            last[leaf.prompt] = runner.read(&[row], |_, logits| logits.to_vec())?.concat();
        }
        Ok(())
    })
    .unwrap();
    last
}

#[test]
fn a_rows_values_are_the_same_bits_beside_any_others_and_on_any_threads() {
    for model in [gpt2(), llama()] {
        let context = model.config().n_context;
        let lengths = [40, 17, 1, context, 33];
        let sequences: Vec<Vec<u32>> = (0..5).map(|i| tokens(&model, lengths[i].min(context), i as u64)).collect();
        let run = |chosen: &[usize], threads: usize| -> Vec<Vec<f32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut extender = Extender::new(&model);
                let mut grown: Vec<_> = chosen.iter().map(|_| extender.sequence(&[], Keep::Nothing)).collect();
                let mut extensions: Vec<_> = chosen
                    .iter()
                    .zip(&mut grown)
                    .map(|(i, sequence)| Extension { sequence, token_ids: &sequences[*i] })
                    .collect();
                extender.extend(&mut extensions).unwrap();
                let mut first = 0;
                let read = |i: &usize| {
                    let rows: Vec<usize> = (first..first + sequences[*i].len()).collect();
                    first += sequences[*i].len();
                    extender.read(&rows, |_, logits| logits.to_vec()).unwrap().concat()
                };
                chosen.iter().map(read).collect()
            })
        };
        let alone: Vec<Vec<f32>> = (0..5).flat_map(|i| run(&[i], 1)).collect();
        for (chosen, threads) in [(vec![4, 3, 2, 1, 0], 1), (vec![0, 1, 2, 3, 4], 3), (vec![2, 2, 0], 2)] {
            for (i, together) in chosen.iter().zip(run(&chosen, threads)) {
                assert!(together == alone[*i], "sequence {i} among {chosen:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn a_beginning_is_run_once() {
    let prompt = |parts: &[(u32, usize)]| {
        let token_ids: Vec<u32> = parts.iter().flat_map(|(token, n)| vec![*token; *n]).collect();
        Prompt { n_shareable: token_ids.len() - 1, token_ids, n_reserved: 0 }
    };
    // 3 explanations after one example of 600 tokens, 4 windows each.
    let prompts: Vec<Prompt> = (0..12).map(|i| prompt(&[(1, 600), (10 + i / 4, 40), (100 + i, 64)])).collect();
    let plan = Plan::new(&prompts);
    assert_eq!(plan.n_tokens(&prompts), 600 + 3 * 40 + 12 * 64);
    // What nobody shares, or too little to be worth it, is run for each.
    let prompts = [prompt(&[(1, 5), (2, 50)]), prompt(&[(1, 5), (3, 50)]), prompt(&[(4, 9)])];
    assert_eq!(Plan::new(&prompts).n_tokens(&prompts), 55 + 55 + 9);
    // One prompt that is the start of another, which stands there twice: its last tokens are too few to share.
    let prompts = [prompt(&[(1, 50)]), prompt(&[(1, 60)]), prompt(&[(1, 60)])];
    assert_eq!(Plan::new(&prompts).n_tokens(&prompts), 49 + 1 + 11 + 11);
    assert_eq!(Plan::new(&[]).n_tokens(&[]), 0);
}

#[test]
fn what_cannot_be_run_is_refused() {
    let model = gpt2();
    refuses(&mut Extender::new(&model));
}

/// With a GPT-2 of 120 positions and 211 tokens.
pub(super) fn refuses<R: Runner>(runner: &mut R) {
    let mut sequence = runner.sequence(&[], Keep::All);
    let mut read_once = runner.sequence(&[], Keep::Nothing);
    let mut extend = |sequence: &mut R::Sequence, token_ids: &[u32]| {
        runner.extend(&mut [Extension { sequence, token_ids }]).map(|()| sequence.n_tokens())
    };
    assert_eq!(extend(&mut sequence, &[1; 100]).unwrap(), 100);
    assert!(matches!(extend(&mut sequence, &[1; 21]), Err(Error::SequenceTooLong { expected: 120, got: 121 })));
    assert!(matches!(extend(&mut sequence, &[211]), Err(Error::TokenOutOfRange { token_id: 211, n_vocab: 211 })));
    assert!(matches!(extend(&mut sequence, &[]), Err(Error::Internal { .. })));
    // What was refused left nothing behind.
    assert_eq!(extend(&mut sequence, &[1; 20]).unwrap(), 120);
    assert_eq!(extend(&mut read_once, &[1, 2]).unwrap(), 2);
    assert!(matches!(extend(&mut read_once, &[3]), Err(Error::Internal { .. })));
    let prompts = [Prompt { token_ids: vec![1, 2], n_shareable: 1, n_reserved: 0 }];
    let run = Run { prompts: &prompts, keep: Keep::Nothing, batch_tokens: 10, stopped: &|| true };
    assert!(matches!(run.visit(runner, &mut |_, _| Ok(())), Err(Error::Interrupted)));
}

#[test]
fn a_distribution_agrees_with_f64() {
    let logits: Vec<f32> = (0..5003).map(|i| (mix(5, i, 0) >> 40) as f32 / (1 << 20) as f32 - 8.0).collect();
    let distribution = Distribution::new(&logits);
    let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
    for id in [0, 17, 5002] {
        let expected = f64::from(logits[id as usize]) - total;
        assert!((distribution.log_probability(id) - expected).abs() < 1e-6);
    }
    let mut order: Vec<u32> = (0..5003).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
    let top: Vec<u32> = distribution.top(20).into_iter().map(|(id, _)| id).collect();
    assert_eq!(top, order[..20]);
    assert_eq!((distribution.likeliest(), distribution.top(0).len()), (order[0], 0));
}

#[test]
fn draws_follow_the_distribution() {
    let logits: Vec<f32> = [0.5_f32, 0.25, 0.15, 0.1].iter().map(|p| p.ln()).collect();
    let distribution = Distribution::new(&logits);
    let shares = |temperature: f32, top_p: f32| -> Vec<usize> {
        let mut counts = vec![0; 4];
        for i in 0..10_000 {
            let uniform = (f64::from(i) + 0.5) / 10_000.0;
            counts[distribution.pick(Sampling { temperature, top_p }, uniform) as usize] += 1;
        }
        counts
    };
    assert_eq!(shares(1.0, 1.0), [5000, 2500, 1500, 1000]);
    // The square of each, over their sum .345.
    assert_eq!(shares(0.5, 1.0), [7246, 1812, 652, 290]);
    // Two tokens have .75 of the probability; a third is needed for more.
    assert_eq!(shares(1.0, 0.74), [6667, 3333, 0, 0]);
    assert_eq!(shares(1.0, 0.8), [5556, 2777, 1667, 0]);
    assert_eq!(shares(0.0, 1.0), [10_000, 0, 0, 0]);
    assert_eq!(shares(1.0, 0.0), [10_000, 0, 0, 0]);
}
