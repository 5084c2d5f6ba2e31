use super::*;
#[test]
#[ignore]
fn speed() {
    let t = std::time::Instant::now();
    let model = SubjectModel::random_gpt2(Gpt2Shape::SMALL, 1).unwrap();
    eprintln!("load {:?}", t.elapsed());
    let hooks = model.select_hook_points("blocks.*.mlp.hook_post").unwrap();
    for (threads, windows) in [(1, 8), (2, 8), (1, 1), (1, 4), (2, 8), (1, 16), (2, 4)] {
        let t = std::time::Instant::now();
        let n = 4;
        std::thread::scope(|s| {
            for _ in 0..threads {
                s.spawn(|| {
                    let ids = tokens(windows * 64, 50257);
                    let offsets: Vec<usize> = (0..=windows).map(|i| i * 64).collect();
                    let mut scratch = Scratch::default();
                    let mut sum = 0.0;
                    for _ in 0..n {
                        model.forward(&TokenBatch::new(&ids, &offsets).unwrap(), &hooks, &mut |_, v| sum += v[0], &mut scratch).unwrap();
                    }
                    std::hint::black_box(sum);
                });
            }
        });
        let s = t.elapsed().as_secs_f64();
        eprintln!("{threads} threads, {windows} windows: {:.0} tokens/s", (threads * n * windows * 64) as f64 / s);
    }
}
