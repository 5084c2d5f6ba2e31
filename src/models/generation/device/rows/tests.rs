//! Rows are handed out once, come back, and keep what they hold when the store grows.

use proptest::prelude::*;

use super::*;

fn shape() -> KeyValueShape {
    KeyValueShape { n_layers: 2, n_kv_heads: 3, d_head: 4, precision: DType::F32, device: Device::Cpu }
}

proptest! {
    #[test]
    fn nobody_gets_a_row_that_another_holds(steps in prop::collection::vec((1_usize..400, any::<bool>()), 1..40)) {
        let shape = shape();
        let mut store = KeyValueRows::new(&shape).unwrap();
        let mut held: Vec<Rows> = Vec::new();
        for (n, give_back) in steps {
            if give_back && !held.is_empty() {
                held.remove(n % held.len());
            } else {
                let taken = store.take(&shape, n).unwrap();
                held.extend(taken.split([n / 2, n - n / 2].into_iter()));
            }
            let mut rows: Vec<usize> = held.iter().flat_map(|rows| rows.start..rows.start + rows.n).collect();
            let n = rows.len();
            rows.sort_unstable();
            rows.dedup();
            prop_assert_eq!(rows.len(), n);
            prop_assert!(rows.last().is_none_or(|last| *last < store.capacity));
            let n_free: usize = store.free.lock().0.values().sum();
            prop_assert_eq!(n_free + n, store.capacity);
        }
        held.clear();
        // All in one run again.
        prop_assert!(store.free.lock().0.iter().eq([(&0, &store.capacity)]));
    }
}

#[test]
fn what_is_kept_survives_growth() {
    let shape = shape();
    let mut store = KeyValueRows::new(&shape).unwrap();
    let first = store.take(&shape, 2).unwrap();
    let values = Tensor::arange(0_f32, 24.0, &Device::Cpu).unwrap().reshape((3, 2, 4)).unwrap();
    store.layer(1)[0].slice_set(&values, 1, first.start).unwrap();
    let second = store.take(&shape, 1000).unwrap();
    assert_eq!((first.start, second.start, store.capacity), (0, 2, 256 + 1024));
    let kept = store.layer(1)[0].narrow(1, 0, 2).unwrap();
    assert_eq!(kept.flatten_all().unwrap().to_vec1::<f32>().unwrap(), (0..24).map(|i| i as f32).collect::<Vec<_>>());
}
