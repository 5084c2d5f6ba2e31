//! A run that is stopped and goes on has the bits of one that was not.

use std::ops::ControlFlow;

use super::*;
use crate::random::Random;
use crate::source::InMemory;
use crate::training::config::{AuxiliaryLoss, Method};
use crate::training::feed::feed;
use crate::training::trainer::Batch;

fn data() -> Vec<f32> {
    let mut random = Random::seeded(7);
    (0..500 * 16).map(|_| random.normal() as f32).collect()
}

fn begun(method: Method) -> Trainer {
    let mut config = TrainingConfig::with_method(method, 16, 96, 64, 30);
    config.dead_after_rows = 256;
    config.auxiliary = config.auxiliary.map(|auxiliary| AuxiliaryLoss { k: 8, ..auxiliary });
    Trainer::new(config, Batch::of(&data())).unwrap()
}

#[test]
fn resuming_gives_the_same_bits() {
    let methods = [
        Method::TopK { k: 4 },
        Method::MultiTopK { k: 3, factor: 4, weight: 0.125 },
        Method::BatchTopK { k: 4 },
        Method::Matryoshka { k: 4, prefixes: vec![24, 48, 96] },
        Method::Relu { l1: 0.1 },
        Method::Gated { l1: 0.1 },
        Method::JumpRelu { l0: 0.1, bandwidth: 0.1, initial_threshold: 0.1 },
    ];
    for method in methods {
        let mut source = InMemory::new(16, data()).unwrap();
        let mut whole = [begun(method.clone())];
        feed(&mut source, &mut whole, |_, _| Ok(ControlFlow::Continue(()))).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let mut part = [begun(method)];
        feed(&mut source, &mut part, |trainers, metrics| {
            trainers[0].checkpoint(folder.path())?;
            Ok(if metrics[0].step == 16 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
        // The state of the last checkpoint alone is left.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let mut resumed = [Trainer::resume(folder.path()).unwrap()];
        assert_eq!(resumed, part);
        feed(&mut source, &mut resumed, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
        assert_eq!(resumed[0].n_steps(), 30);
        // `PartialEq` of floats would take 0 for −0: bits are compared.
        for ((name, a), (_, b)) in whole[0].parameters().named().iter().zip(resumed[0].parameters().named()) {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(a), bits(b), "{name}");
        }
        assert_eq!(whole, resumed);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut trainers = [begun(Method::TopK { k: 4 })];
            let mut source = InMemory::new(16, data()).unwrap();
            feed(&mut source, &mut trainers, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
            trainers
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn runs_fed_together_are_those_fed_alone() {
    let mut source = InMemory::new(16, data()).unwrap();
    let mut alone = [begun(Method::BatchTopK { k: 6 })];
    feed(&mut source, &mut alone, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    let mut together = [begun(Method::TopK { k: 4 }), begun(Method::BatchTopK { k: 6 })];
    feed(&mut source, &mut together, |_, _| Ok(ControlFlow::Continue(()))).unwrap();
    assert_eq!(alone[0], together[1]);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = begun(Method::TopK { k: 4 });
    trainer.checkpoint(folder.path()).unwrap();
    let state = folder.path().join("state-0.safetensors");
    let mut bytes = fs::read(&state).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&state, bytes).unwrap();
    let error = Trainer::resume(folder.path()).unwrap_err().to_string();
    assert!(error.contains("state-0.safetensors") && error.contains("SHA-256"), "{error}");
    fs::remove_file(state).unwrap();
    assert!(matches!(Trainer::resume(folder.path()), Err(Error::Io { .. })));
}

#[test]
fn a_crash_while_writing_leaves_the_checkpoint_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = begun(Method::TopK { k: 4 });
    trainer.checkpoint(folder.path()).unwrap();
    let before = trainer.clone();
    trainer.step(Batch::of(&data()[..64 * 16])).unwrap();
    // What is on disk once the next state is written and its name is not yet in place.
    fs::write(folder.path().join("state-1.safetensors"), b"half").unwrap();
    fs::write(folder.path().join("checkpoint.json.writing-1"), b"{").unwrap();
    fs::write(folder.path().join(".tmpAb12"), b"half").unwrap();
    assert_eq!(Trainer::resume(folder.path()).unwrap(), before);
    trainer.checkpoint(folder.path()).unwrap();
    assert_eq!(Trainer::resume(folder.path()).unwrap(), trainer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
