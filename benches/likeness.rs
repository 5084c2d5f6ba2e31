//! The scan of all units' weights for those like one: bytes read a second, beside what memory gives.

use criterion::{BenchmarkId, Criterion, Throughput};
use neuronlake::models::directions::Side;
use neuronlake::models::subject_model::{Gpt2Shape, SubjectModel};

pub(crate) fn benches(criterion: &mut Criterion) {
    let model = SubjectModel::random_gpt2(Gpt2Shape::SMALL, 1).expect("its shape is sound");
    let hooks = model.select_hook_points("blocks.*.mlp.hook_post").expect("every GPT-2 has them");
    let n_units: usize = hooks.iter().map(|hook| hook.width()).sum();
    let n_bytes = n_units * model.config().d_model * size_of::<f32>();
    let mut group = criterion.benchmark_group("likeness");
    for (name, side) in [("input", Side::Input), ("output", Side::Output)] {
        let vector = model.unit_weights(&hooks[3], 7, side).ok().flatten().expect("MLP neurons have weights");
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be made");
            group.throughput(Throughput::Bytes(n_bytes as u64));
            group.bench_function(BenchmarkId::new(format!("gpt2-small-{name}"), threads), |bencher| {
                bencher.iter(|| {
                    pool.install(|| hooks.iter().map(|hook| model.cosines(hook, &vector, side).len()).sum::<usize>())
                });
            });
        }
    }
    group.finish();
}
