//! The device's decoder on candle's processor device, against our own kernels.

use std::path::{Path, PathBuf};

use candle_core::Device;
use proptest::prelude::*;

use super::decoder::DeviceDecoder;
use crate::models::config::ModelConfig;
use crate::models::generation::key_values::Keep;
use crate::models::generation::placement::Precision;
use crate::models::generation::runner::{Extension, Runner};
use crate::models::generation::tests::{
    TOLERANCE, assert_close, gpt2, in_parts, last_logits, llama, prompts_that_share, refuses, tokens,
};
use crate::models::source::ModelSource;
use crate::models::subject_model::SubjectModel;
use crate::models::weights::safetensors::SafetensorsFiles;

fn on_device(model: &SubjectModel, precision: Precision) -> DeviceDecoder {
    DeviceDecoder::upload(model, &Device::Cpu, precision).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_sequence_cut_anywhere_has_the_logits_of_the_processor(
        n in 1_usize..64,
        parts in prop::collection::vec((1_usize..40, any::<bool>()), 0..6),
        seed in 0_u64..1000,
    ) {
        for model in [gpt2(), llama()] {
            let token_ids = tokens(&model, n.min(model.config().n_context), seed);
            let decoder = on_device(&model, Precision::F32);
            let got = in_parts(&mut decoder.runner().unwrap(), &token_ids, &parts);
            assert_close(&got, &model.logits(&token_ids).unwrap(), TOLERANCE);
        }
    }

    #[test]
    fn prompts_that_share_beginnings_have_the_logits_of_each_alone(
        lengths in prop::collection::vec((0_usize..30, 1_usize..30, 0_u64..3), 1..12),
        batch_tokens in 1_usize..200,
    ) {
        let model = gpt2();
        let decoder = on_device(&model, Precision::F32);
        let prompts = prompts_that_share(&model, &lengths);
        let last = last_logits(&mut decoder.runner().unwrap(), &prompts, batch_tokens);
        for (prompt, last) in prompts.iter().zip(&last) {
            let logits = model.logits(&prompt.token_ids).unwrap();
            assert_close(last, &logits[logits.len() - model.config().n_vocab..], TOLERANCE);
        }
    }

    #[test]
    fn ragged_batches_grow_together(lengths in prop::collection::vec(1_usize..50, 1..9), steps in 1_usize..5) {
        for model in [gpt2(), llama()] {
            let decoder = on_device(&model, Precision::F32);
            let mut runner = decoder.runner().unwrap();
            let context = model.config().n_context;
            let lengths: Vec<usize> = lengths.iter().map(|n| (*n).min(context - steps)).collect();
            let token_ids: Vec<Vec<u32>> =
                lengths.iter().enumerate().map(|(i, n)| tokens(&model, n + steps, i as u64)).collect();
            let mut grown: Vec<_> = lengths.iter().map(|_| runner.sequence(&[], Keep::All)).collect();
            for step in 0..=steps {
                // First each sequence's beginning, then a token of each at a time.
                let new = |i: usize| if step == 0 { 0..lengths[i] } else { lengths[i] + step - 1..lengths[i] + step };
                let extend = |(i, sequence)| Extension { sequence, token_ids: &token_ids[i][new(i)] };
                let mut extensions: Vec<_> = grown.iter_mut().enumerate().map(extend).collect();
                runner.extend(&mut extensions).unwrap();
            }
            let rows: Vec<usize> = (0..lengths.len()).collect();
            let got = runner.read(&rows, |_, logits| logits.to_vec()).unwrap();
            for (got, token_ids) in got.iter().zip(&token_ids) {
                let logits = model.logits(token_ids).unwrap();
                assert_close(got, &logits[logits.len() - model.config().n_vocab..], TOLERANCE);
            }
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    refuses(&mut on_device(&gpt2(), Precision::F32).runner().unwrap());
}

/// Every reference model: GPT-2, and Llama with and without an unembedding of its own.
#[test]
fn every_architecture_has_the_logits_of_the_processor() {
    let references = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&references)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").is_file() && path.join("model.safetensors").is_file())
        .collect();
    folders.sort();
    assert!(folders.len() >= 3, "{folders:?}");
    for folder in folders {
        let path = folder.join("config.json");
        let config = ModelConfig::from_hugging_face(&std::fs::read(&path).unwrap(), &path).unwrap();
        let weights = SafetensorsFiles::open(&folder).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let model = SubjectModel::without_tokenizer(name, config, &weights, String::new(), &folder).unwrap();
        let token_ids = tokens(&model, model.config().n_context.min(40), 3);
        let expected = model.logits(&token_ids).unwrap();
        let decoder = on_device(&model, Precision::F32);
        assert_close(&in_parts(&mut decoder.runner().unwrap(), &token_ids, &[(9, true), (1, false)]), &expected, 1e-3);
    }
}

/// bf16 keeps 8 bits of a number, so logits of some units are off by hundredths; f16 keeps 11.
#[test]
fn half_precision_rounds_and_does_no_more() {
    let model = SubjectModel::load(&ModelSource::Embedded).unwrap();
    let token_ids = tokens(&model, 60, 5);
    let expected = model.logits(&token_ids).unwrap();
    let range = expected.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    for (precision, share) in [(Precision::Bf16, 0.03), (Precision::F16, 0.004)] {
        let decoder = on_device(&model, precision);
        let got = in_parts(&mut decoder.runner().unwrap(), &token_ids, &[(30, true)]);
        assert_close(&got, &expected, share * range);
        assert!(got != expected, "{precision} rounds");
    }
}
