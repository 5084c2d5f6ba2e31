use crate::planted::rules::Kind;
use crate::planted::trials::{Preset, Truth};
use crate::planted::{Noise, activations_of, subject, subject_with};

#[test]
fn a_trial_has_the_truth_first_and_nothing_half_true_among_the_false() {
    let subject = subject(0);
    let trials = subject.trials(&Preset::FULL, 0);
    assert_eq!(trials.len(), subject.units.len());
    for trial in &trials {
        let own = subject.units[trial.unit].rule;
        let truths: Vec<Truth> = trial.candidates.iter().map(|candidate| candidate.truth).collect();
        assert_eq!(truths[..2], [Truth::True, Truth::Paraphrase]);
        assert_eq!(truths[2..], [Truth::False; 4], "{}", own.name);
        assert_eq!(trial.candidates[0].text(), own.explanation);
        assert_eq!(trial.candidates[1].text(), own.paraphrase);
        for candidate in &trial.candidates[2..] {
            assert_ne!(candidate.rule.name, own.name);
        }
    }
    // "animals" is half true of "animals_or_money", and never offered as false for it, whatever the seed.
    for seed in 0..10 {
        for trial in subject.trials(&Preset::FULL, seed) {
            if subject.units[trial.unit].rule.name == "animals_or_money" {
                assert!(
                    trial
                        .candidates
                        .iter()
                        .all(|c| c.truth != Truth::False || !["animals", "money"].contains(&c.rule.name))
                );
            }
        }
    }
}

#[test]
fn the_small_preset_asks_for_units_of_every_kind() {
    let subject = subject(0);
    let trials = subject.trials(&Preset::SMALL, 7);
    let n_of = |kind: Kind| trials.iter().filter(|trial| subject.units[trial.unit].rule.kind == kind).count();
    assert_eq!(Kind::ALL.map(n_of), [4, 2, 1, 1]);
    assert!(trials.iter().all(|trial| trial.candidates.len() == 3));
    let units = |seed| subject.trials(&Preset::SMALL, seed).iter().map(|trial| trial.unit).collect::<Vec<_>>();
    assert_eq!(units(7), units(7));
    assert_ne!(units(7), units(8));
}

#[test]
fn windows_are_drawn_of_both_kinds() {
    let subject = subject(0);
    let third: Vec<usize> = (0..subject.documents.len()).step_by(3).collect();
    for (i, unit) in subject.units.iter().enumerate() {
        let windows = subject.windows(i, &third, 4, 0);
        assert_eq!(windows, subject.windows(i, &third, 4, 0));
        assert_eq!(windows.firing.len(), 4, "{}", unit.rule.name);
        let greatest = |window: &usize| unit.activations[*window].iter().copied().fold(0.0, f32::max);
        assert!(windows.firing.iter().all(|window| window % 3 == 0 && greatest(window) >= 5.0));
        assert!(windows.silent.iter().all(|window| window % 3 == 0 && greatest(window) < 5.0));
        assert_eq!(windows.silent.is_empty(), unit.rule.name == "sentence_start");
    }
}

#[test]
fn an_excerpt_is_whole_sentences_and_keeps_what_the_unit_does() {
    let subject = subject_with(0, Noise::Off);
    for (i, unit) in subject.units.iter().enumerate() {
        for (number, document) in subject.documents.iter().enumerate() {
            let excerpt = subject.excerpt(i, number, 32);
            let (tokens, activations) = (&document.tokens[excerpt.clone()], &unit.activations[number][excerpt.clone()]);
            assert_eq!(activations_of(unit.rule, tokens), activations, "{}: {}", unit.rule.name, tokens.concat());
            assert!((4..=32).contains(&tokens.len()), "{}", tokens.concat());
            assert!(matches!(tokens.last().unwrap().as_str(), "." | "?" | "\""), "{}", tokens.concat());
            let greatest = |values: &[f32]| values.iter().copied().fold(0.0, f32::max);
            assert_eq!(greatest(activations), greatest(&unit.activations[number]));
        }
    }
}
