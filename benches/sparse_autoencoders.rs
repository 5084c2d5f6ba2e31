//! Times encoding and a training step of a TopK autoencoder and prints one JSON object; `scripts/bench_sae.py` runs it
//! beside PyTorch. Seconds are medians of the repetitions, on the clock and
//! of the processor: a shared machine lengthens the first alone.
//!
//! Run: `cargo bench -p sparse_autoencoders --bench sparse_autoencoders -- --threads 1 --repetitions 5`

use std::time::Instant;

use sparse_autoencoders::codes::Codes;
use sparse_autoencoders::random::Random;
use sparse_autoencoders::training::config::TrainingConfig;
use sparse_autoencoders::training::trainer::{Batch, Trainer};

/// The number after a flag on the command line.
fn flag(name: &str, default: usize) -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == name);
    at.and_then(|at| arguments.get(at + 1)).map_or(default, |value| value.parse().expect("a whole number"))
}

/// Processor time that this process has used, in seconds to the hundredth (Linux; 0 elsewhere).
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: state, and then utime and stime as the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The median times of a few runs, in seconds: on the clock, and of the processor.
fn median(repetitions: usize, mut run: impl FnMut()) -> [f64; 2] {
    let (mut clock, mut processor): (Vec<f64>, Vec<f64>) = (0..repetitions)
        .map(|_| {
            let (start, used) = (Instant::now(), processor_seconds());
            run();
            (start.elapsed().as_secs_f64(), processor_seconds() - used)
        })
        .unzip();
    clock.sort_by(f64::total_cmp);
    processor.sort_by(f64::total_cmp);
    [clock[repetitions / 2], processor[repetitions / 2]]
}

#[expect(clippy::print_stdout, reason = "the numbers are what it is for")]
fn main() {
    let (width, n_latents, k) = (flag("--width", 768), flag("--latents", 24_576), flag("--k", 32));
    let (batch, threads, repetitions) = (flag("--batch", 2_048), flag("--threads", 1), flag("--repetitions", 5));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    let mut random = Random::seeded(1);
    let mut rows = || (0..batch * width).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let (first, second) = (rows(), rows());
    let config = TrainingConfig::top_k(width, n_latents, k, batch, 1_000);
    let mut trainer = Trainer::new(config, Batch::of(&first)).expect("a configuration that fits");
    // The first steps fill caches and moments.
    for rows in [&first, &second] {
        trainer.step(Batch::of(rows)).expect("a finite loss");
    }
    let mut turn = 0;
    let step = median(repetitions, || {
        turn += 1;
        trainer.step(Batch::of(if turn % 2 == 0 { &first } else { &second })).expect("a finite loss");
    });
    let autoencoder = trainer.snapshot();
    let mut codes = Codes::default();
    let encode = median(repetitions, || autoencoder.encode(&first, &mut codes).expect("whole rows"));
    let mut out = vec![0.0_f32; batch * width];
    let decode = median(repetitions, || autoencoder.decode(&codes, &mut out).expect("codes of its own"));
    // The floor: the product alone, written whole, by the library that multiplies here.
    let mut products = vec![0.0_f32; batch * n_latents];
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let product = median(repetitions, || {
        // SAFETY: `products` is [batch, n_latents], `first` [batch, width] and `w_enc` [n_latents, width], all row-major.
        unsafe {
            gemm::gemm(
                batch,
                n_latents,
                width,
                products.as_mut_ptr(),
                1,
                n_latents as isize,
                false,
                first.as_ptr(),
                1,
                width as isize,
                autoencoder.w_enc.as_ptr(),
                width as isize,
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    });
    println!(
        "{{\"threads\":{threads},\"batch\":{batch},\"width\":{width},\"latents\":{n_latents},\"k\":{k},\"product_s\":{product:?},\
         \"encode_s\":{encode:?},\"decode_s\":{decode:?},\"step_s\":{step:?}}}"
    );
}
