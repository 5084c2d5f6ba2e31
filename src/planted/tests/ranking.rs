use crate::planted::ranking::{Outcome, Ranking, Verdict};
use crate::planted::report::Report;
use crate::planted::trials::{Candidate, Preset, Trial, Truth};
use crate::planted::{PlantedSubject, activations_of, rules, subject};
use crate::random::mix;

/// Trials with one true and `n_false` false explanations.
fn trials(n: usize, n_false: usize) -> Vec<Trial> {
    let candidates: Vec<Candidate> = (0..=n_false)
        .map(|i| Candidate { truth: if i == 0 { Truth::True } else { Truth::False }, rule: &rules()[i] })
        .collect();
    (0..n).map(|unit| Trial { unit, candidates: candidates.clone() }).collect()
}

fn scores(rows: &[&[f64]]) -> Vec<Vec<Outcome>> {
    rows.iter().map(|row| row.iter().map(|score| Outcome::Score(*score)).collect()).collect()
}

fn close(got: Option<f64>, expected: f64) -> bool {
    got.is_some_and(|got| (got - expected).abs() < 1e-4)
}

/// A score for every candidate, made by `score`.
fn outcomes(trials: &[Trial], score: impl Fn(&Trial, &Candidate) -> Outcome) -> Vec<Vec<Outcome>> {
    trials.iter().map(|trial| trial.candidates.iter().map(|candidate| score(trial, candidate)).collect()).collect()
}

#[test]
fn numbers_by_hand() {
    let rows = scores(&[&[0.9, 0.1, 0.2], &[0.5, 0.6, 0.1], &[0.3, 0.3, 0.3], &[0.0, 0.5, 0.4]]);
    let ranking = Ranking::of(&trials(4, 2), &rows).unwrap();
    assert_eq!(ranking.placements.iter().map(|place| place.rank).collect::<Vec<_>>(), [1, 2, 3, 3], "a tie is lost");
    assert_eq!((ranking.n_first, ranking.n_top_two, ranking.n_missing), (1, 2, 0));
    assert!(close(ranking.outranked, (1.0 + 0.5 + 0.5 + 0.0) / 4.0), "a tie counts half");
    assert!(close(ranking.mean_reciprocal_rank, (1.0 + 0.5 + 2.0 / 3.0) / 4.0));
    assert!(close(ranking.mean_true, 1.7 / 4.0));
    assert!(close(ranking.mean_false, 2.5 / 8.0));
    // 1 - (2/3)^4: at least one of four by chance.
    assert!((ranking.chance - 65.0 / 81.0).abs() < 1e-12);
    assert_eq!(ranking.placements[3].best_false, 1);
}

#[test]
fn intervals_and_chances_agree_with_published_values() {
    let rows = [vec![[1.0, 0.0, 0.0]; 8], vec![[0.0, 1.0, 0.0]; 2]].concat();
    let ranking =
        Ranking::of(&trials(10, 2), &scores(&rows.iter().map(<[f64; 3]>::as_slice).collect::<Vec<_>>())).unwrap();
    // Clopper and Pearson for 8 of 10: 0.4439 to 0.9748 (R's binom.test(8, 10)).
    let interval = ranking.first_interval.unwrap();
    assert!((interval.low - 0.4439).abs() < 1e-4 && (interval.high - 0.9748).abs() < 1e-4, "{interval:?}");
    // R's pbinom(7, 10, 1/3, lower.tail = FALSE).
    assert!((ranking.chance - 0.003_404).abs() < 1e-6, "{}", ranking.chance);
    let never = Ranking::of(&trials(10, 1), &scores(&[&[0.0, 1.0][..]; 10])).unwrap();
    let interval = never.first_interval.unwrap();
    assert!(interval.low == 0.0 && (interval.high - 0.3085).abs() < 1e-4, "{interval:?}");
    assert!((never.chance - 1.0).abs() < 1e-12);
}

#[test]
fn a_missing_answer_is_neither_wrong_nor_zero() {
    let mut rows = scores(&[&[0.9, 0.1, 0.2], &[0.9, 0.1, 0.2], &[0.9, 0.1, 0.2]]);
    rows[0][0] = Outcome::from(None);
    rows[1][2] = Outcome::from(Some(f64::NAN));
    rows[2][1] = Outcome::Missing;
    rows[2][2] = Outcome::Missing;
    let ranking = Ranking::of(&trials(3, 2), &rows).unwrap();
    assert_eq!(ranking.n_missing, 4);
    assert_eq!(ranking.placements.len(), 1, "no place without a true score, nor without a false one");
    assert_eq!((ranking.placements[0].n_ranked, ranking.n_first), (2, 1));
    assert!((ranking.chance - 0.5).abs() < 1e-12, "chance is of those that are there");
    assert!(close(ranking.mean_true, 0.9));
    assert_eq!(ranking.verdict(), Verdict::Undecided);
    let nothing = Ranking::of(&trials(8, 2), &vec![vec![Outcome::Missing; 3]; 8]).unwrap();
    assert_eq!((nothing.verdict(), nothing.outranked, nothing.first_interval), (Verdict::Undecided, None, None));
    assert!(Ranking::of(&trials(2, 2), &rows).is_err(), "shapes must agree");
    assert!(Ranking::of(&trials(3, 3), &rows).is_err());
}

#[test]
fn flat_simulations_rank_as_nothing() {
    let rows = vec![vec![Outcome::Score(0.4), Outcome::Flat, Outcome::Score(-0.2)]; 8];
    let ranking = Ranking::of(&trials(8, 2), &rows).unwrap();
    assert_eq!((ranking.n_first, ranking.n_flat, ranking.n_missing), (8, 8, 0));
    assert!(close(ranking.mean_false, -0.2), "flat is in no mean");
    let flat = Ranking::of(&trials(8, 2), &vec![vec![Outcome::Flat; 3]; 8]).unwrap();
    assert_eq!((flat.n_first, flat.verdict()), (0, Verdict::CannotTell));
}

/// Pearson correlation of what an explanation's rule does with what the unit does, over the windows of a trial.
fn simulated(subject: &PlantedSubject, trial: &Trial, candidate: &Candidate) -> Outcome {
    let all: Vec<usize> = (0..subject.documents.len()).collect();
    let windows = subject.windows(trial.unit, &all, 2, 0);
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for window in windows.firing.iter().chain(&windows.silent) {
        expected.extend(activations_of(candidate.rule, &subject.documents[*window].tokens));
        actual.extend(&subject.units[trial.unit].activations[*window]);
    }
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (x, y) = (mean(&expected), mean(&actual));
    let sum = |of: &dyn Fn(f32, f32) -> f32| expected.iter().zip(&actual).map(|(a, b)| of(a - x, b - y)).sum::<f32>();
    let (xx, yy, xy) = (sum(&|a, _| a * a), sum(&|_, b| b * b), sum(&|a, b| a * b));
    if xx == 0.0 { Outcome::Flat } else { Outcome::Score(f64::from(xy / (xx * yy).sqrt())) }
}

#[test]
fn whoever_knows_the_rules_can_tell() {
    let subject = subject(0);
    for preset in [Preset::FULL, Preset::SMALL] {
        for seed in 0..3 {
            let trials = subject.trials(&preset, seed);
            let rows = outcomes(&trials, |trial, candidate| simulated(&subject, trial, candidate));
            let ranking = Ranking::of(&trials, &rows).unwrap();
            assert_eq!((ranking.n_first, ranking.verdict()), (trials.len(), Verdict::CanTell));
            assert!(ranking.mean_true.unwrap() > 0.98, "{:?}", ranking.mean_true);
            assert!(ranking.mean_false.unwrap_or(0.0) < 0.1, "{:?}", ranking.mean_false);
        }
    }
}

/// Uniform in 0..1.
fn noise(seed: u64, trial: &Trial, candidate: &Candidate) -> f64 {
    (mix(seed, trial.unit as u64, crate::hash::key(candidate.text())) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn guessing_is_seldom_believed_and_mostly_right_is() {
    let subject = subject(0);
    for (preset, most_believed) in [(Preset::SMALL, 20), (Preset::FULL, 5)] {
        let trials = subject.trials(&preset, 0);
        let believed = |seed: u64, bonus: f64| {
            let rows = outcomes(&trials, |trial, candidate| {
                let truth = f64::from(u8::from(candidate.truth != Truth::False));
                Outcome::Score(noise(seed, trial, candidate) + bonus * truth)
            });
            Ranking::of(&trials, &rows).unwrap().verdict() == Verdict::CanTell
        };
        let n_guesses = (0..500).filter(|seed| believed(*seed, 0.0)).count();
        assert!(n_guesses <= most_believed, "{n_guesses} of 500 guessers were believed");
        let n_able = (0..500).filter(|seed| believed(*seed, 0.7)).count();
        assert!(n_able >= 490, "{n_able} of 500 able methods were believed");
    }
}

#[test]
fn the_report_is_a_table() {
    let subject = subject(0);
    let trials = subject.trials(&Preset::SMALL, 0);
    let mut report = Report::default();
    let right =
        outcomes(&trials, |_, candidate| Outcome::Score(if candidate.truth == Truth::True { 0.5 } else { 0.1 }));
    let wrong =
        outcomes(&trials, |_, candidate| Outcome::Score(if candidate.truth == Truth::True { 0.1 } else { 0.5 }));
    report.add("embedding", &subject, &trials, &right).unwrap();
    report.add("backwards", &subject, &trials, &wrong[..]).unwrap();
    assert_eq!(report.verdict("embedding"), Some(Verdict::CanTell));
    assert_eq!(report.verdict("backwards"), Some(Verdict::CannotTell));
    assert_eq!(report.verdict("nobody"), None);
    assert_eq!(report.rows().len(), 2 * (1 + 4));
    let text = report.to_string();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert_eq!(
        line("embedding  all"),
        "embedding  all        8/8  100 % (63-100)  100 %       100 % (100-100)              0.50  0.10   0        can tell"
    );
    assert!(line("backwards  all").ends_with("0.10  0.50   0        cannot tell"), "{text}");
    assert!(text.contains("not ahead of at least half of the false explanations:\n  backwards: "), "{text}");
    assert!(report.rows()[5].ranking.found().starts_with("the true explanation came first for 0 of 8 planted units"));
}
