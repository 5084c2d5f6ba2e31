//! Tokens per second of the forward pass alone, and with everything that a run keeps.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use neuronlake::models::hook_points::HookPoint;
use neuronlake::models::subject_model::SubjectModel;
use neuronlake::neurons::collector::{Collector, CollectorConfig};
use neuronlake::neurons::pass::ForwardPass;

use crate::collection::warm_up;
use crate::shapes::{THREADS, WINDOW, Windows, everything, flops_per_token, model, pool, top_windows_only};

/// Batches of the size a run takes, new random tokens in every one.
pub(crate) fn benches(criterion: &mut Criterion) {
    let (model, hooks) = model();
    let mut group = criterion.benchmark_group("forward");
    for threads in THREADS {
        let pool = pool(threads);
        let n_windows = pool.install(|| ForwardPass::new(&model, hooks.clone()).batch_windows(WINDOW));
        let n_tokens = n_windows * WINDOW;
        let shape = format!("12x3072/64/{threads}");

        group.throughput(Throughput::Elements(n_tokens as u64));
        let mut windows = Windows::new();
        let mut pass = ForwardPass::new(&model, hooks.clone());
        group.bench_function(format!("gpt2_small/{shape}"), |bencher| {
            bencher.iter_batched(
                || windows.take(n_windows),
                |batch| pool.install(|| pass.run(&batch).map(|tiles| tiles.len())).expect("windows fit the model"),
                criterion::BatchSize::PerIteration,
            );
        });
        drop(pass);
        for (name, config) in [("gpt2_small+top_windows", top_windows_only()), ("gpt2_small+collection", everything())]
        {
            // Made when it is first wanted: a filter on the command line may leave it out.
            let mut both = None;
            group.bench_function(format!("{name}/{shape}"), |bencher| {
                let both = both.get_or_insert_with(|| Both::new(&model, &hooks, &config, &pool));
                bencher.iter_custom(|iterations| (0..iterations).map(|_| both.step()).sum());
            });
            if let Some(both) = both {
                both.report(name, threads);
            }
        }
    }
    group.finish();
}

/// The pass and the collection, batch after batch, with the time of each apart.
struct Both<'a> {
    pass: ForwardPass<'a>,
    collector: Collector,
    windows: Windows,
    pool: &'a rayon::ThreadPool,
    n_windows: usize,
    forward: Duration,
    collection: Duration,
    n_steps: usize,
}

impl<'a> Both<'a> {
    fn new(
        model: &'a SubjectModel,
        hooks: &[HookPoint],
        config: &CollectorConfig,
        pool: &'a rayon::ThreadPool,
    ) -> Self {
        let mut pass = ForwardPass::new(model, hooks.to_vec());
        let n_windows = pool.install(|| pass.batch_windows(WINDOW));
        let mut windows = Windows::new();
        let collector = warm_up(config, hooks, &mut pass, &mut windows);
        Self {
            pass,
            collector,
            windows,
            pool,
            n_windows,
            forward: Duration::ZERO,
            collection: Duration::ZERO,
            n_steps: 0,
        }
    }

    fn step(&mut self) -> Duration {
        let batch = self.windows.take(self.n_windows);
        let start = Instant::now();
        let (pass, collector) = (&mut self.pass, &mut self.collector);
        let forward = self.pool.install(|| {
            let tiles = pass.run(&batch).expect("windows fit the model");
            let forward = start.elapsed();
            let windows: Vec<_> = batch.iter().map(|window| window.as_window(0)).collect();
            collector.observe(&windows, &tiles).expect("activations are finite");
            forward
        });
        let took = start.elapsed();
        self.forward += forward;
        self.collection += took - forward;
        self.n_steps += 1;
        took
    }

    /// What only a look inside the step shows, one line for scripts/bench.
    #[expect(clippy::print_stdout, reason = "scripts/bench reads the line from standard output")]
    fn report(&self, name: &str, threads: usize) {
        let n_tokens = (self.n_steps * self.n_windows * WINDOW) as f64;
        let forward = self.forward.as_secs_f64();
        println!(
            "overhead {name}/{threads}: {:.1} % of the forward pass, batches of {} windows; forward {:.1} GFLOP/s",
            100.0 * self.collection.as_secs_f64() / forward,
            self.n_windows,
            n_tokens * flops_per_token() / forward / 1e9
        );
    }
}
