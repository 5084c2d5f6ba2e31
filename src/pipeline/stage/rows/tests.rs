use super::*;

#[test]
fn units_are_cut_into_ranges_that_leave_nothing_out() {
    let all: Vec<u32> = (0..7).collect();
    let check = |units: &[u32], within, expected: &[(i64, i64)]| {
        let expected: Vec<Bounds> = expected.iter().map(|(first, last)| bounds(*first, *last)).collect();
        assert_eq!(cut(units, within, 3), expected, "{units:?} within {within:?}");
    };
    // What a lake has beyond a hook point's width is read too, as by a query that is not cut.
    check(&all, (0, 1_000), &[(0, 2), (3, 5), (6, 1_000)]);
    check(&all[..3], (0, 1_000), &[(0, 1_000)]);
    check(&[2, 3, 10, 50, 51], (2, 51), &[(2, 49), (50, 51)]);
    check(&[], (0, 0), &[(0, 0)]);
}

#[test]
fn tasks_are_of_one_size_and_there_are_several() {
    for (n_units, expected) in [(0, 1), (1, 1), (4, 1), (16, 4), (3_072, 768), (6_400, 1_600), (49_152, 4_096)] {
        assert_eq!(of_a_task(n_units), expected, "{n_units} units");
    }
}
