//! Trainings on a device, which tests of the program do not reach without a GPU: here it is candle's processor device.

use sparse_autoencoders::training::trainer::Batch;

use super::*;
use sparse_autoencoders::random::Random;

const WIDTH: usize = 5;

fn rows(n_rows: usize, random: &mut Random) -> Vec<f32> {
    (0..n_rows * WIDTH).map(|_| random.normal() as f32).collect()
}

#[test]
fn a_training_on_a_device_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(1);
    let (sample, batches) = (rows(64, &mut random), [rows(16, &mut random), rows(16, &mut random)]);
    let wanted: Vec<Wanted> =
        [(20, Method::TopK { k: 3 }), (12, Method::JumpRelu { l0: 0.1, bandwidth: 0.5, initial_threshold: 0.1 })]
            .into_iter()
            .map(|(n_latents, method)| {
                let config = TrainingConfig::with_method(method, WIDTH, n_latents, 16, 4);
                Wanted { id: format!("of-{n_latents}"), config }
            })
            .collect();
    let begun: Vec<Trainer> =
        wanted.iter().map(|wanted| Trainer::new(wanted.config.clone(), Batch::of(&sample)).unwrap()).collect();
    let place = |trainers: Vec<Trainer>| -> Vec<Placed> {
        trainers.into_iter().map(|trainer| Placed::new(trainer, Some(&Accelerator::Cpu)).unwrap()).collect()
    };
    let step = |placed: &mut [Placed], batch: &[f32]| {
        for training in placed {
            training.step(Batch::of(batch)).unwrap();
        }
    };
    let mut once = place(begun.clone());
    step(&mut once, &batches[0]);
    checkpoints::save(folder.path(), &wanted, &mut once, 1).unwrap();
    step(&mut once, &batches[1]);

    let checkpoint = checkpoints::newest(folder.path()).unwrap().unwrap();
    let mut again = place(checkpoints::load(&checkpoint, &wanted).unwrap());
    assert!(again.iter().all(|training| training.n_steps() == 1));
    step(&mut again, &batches[1]);
    // Or on the processor, with other roundings.
    let resumed = checkpoints::load(&checkpoint, &wanted).unwrap();
    let mut elsewhere: Vec<Placed> = resumed.into_iter().map(|trainer| Placed::new(trainer, None).unwrap()).collect();
    step(&mut elsewhere, &batches[1]);
    for ((once, again), elsewhere) in once.into_iter().zip(again).zip(elsewhere) {
        let (once, again, elsewhere) =
            (once.into_trainer().unwrap(), again.into_trainer().unwrap(), elsewhere.into_trainer().unwrap());
        assert!(once == again, "not the same bits");
        assert_eq!(elsewhere.n_steps(), 2);
        let weights = once.parameters().w_enc.iter().zip(&elsewhere.parameters().w_enc);
        assert!(weights.into_iter().all(|(a, b)| (a - b).abs() < 1e-5), "the processor goes elsewhere");
    }
    assert_eq!((device_name(Some(&Accelerator::Cpu)), device_name(None)), ("cpu".to_owned(), "cpu".to_owned()));
}
