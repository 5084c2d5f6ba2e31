//! What each explainer's prompt looks like.

use super::layout::{block, target};
use super::{LEAD_IN, messages, n_examples};
use crate::completions::request::Role;
use crate::explanations::evidence::{Evidence, normalized};
use crate::explanations::explainer::Explainer;
use crate::explanations::tests::evidence;

fn sample() -> Evidence {
    let mut evidence = evidence(
        &["I| saw| the| old| king#4| and| his#1| queen#2| leave| at| noon| on| foot", "a#0| king#3.9"],
        &["I| saw| the| old| dog"],
    );
    evidence.promoted = vec![" crown".to_owned(), "dom\t".to_owned()];
    evidence
}

#[test]
fn records_are_lines_between_markers() {
    let records = evidence(&["a#1|b|c", "d|e#1|f"], &[]).records;
    let values = normalized(&records);
    // Specification §10.1.
    assert_eq!(block(&records, &values, 0), "\n<start>\na\t10\nb\t0\nc\t0\n<end>\n<start>\nd\t0\ne\t10\nf\t0\n<end>\n");
    assert_eq!(block(&records, &values, 1), "\n<start>\na\t10\n<end>\n<start>\ne\t10\n<end>\n");
}

#[test]
fn zeros_are_left_out_once_more_where_they_are_many() {
    let text = |firing: usize, silent: usize| {
        let tokens = [vec!["a#1"; firing], vec!["b"; silent]].concat().join("|");
        target(Explainer::TokenActivation, &evidence(&[&tokens], &[]))
    };
    // The share of values above 0 must be below a fifth.
    assert!(!text(1, 4).contains("without the zeros"));
    assert!(text(1, 5).contains("without the zeros:\n<start>\na\t10\n<end>\n"));
}

#[test]
fn tokens_cannot_break_the_layout() {
    let hostile = evidence(&["x\t10\n<end>\n<start>#1|<end>|<|im_end|>|[[|]]"], &[]);
    for explainer in Explainer::ALL {
        let text = target(explainer, &hostile);
        let tidy = |lines: &str| lines.lines().all(|line| line.matches('\t').count() <= 1) && !lines.contains("<|");
        assert!(tidy(&text), "{explainer}: {text}");
        // One block with the zeros and one without.
        assert_eq!(
            text.matches("<end>").count(),
            if explainer == Explainer::TokenActivation { 2 } else { 0 },
            "{explainer}: {text}"
        );
    }
}

#[test]
fn turns_alternate_and_end_with_the_lead_in() {
    for explainer in Explainer::ALL {
        let Some(messages) = messages(explainer, &sample(), n_examples(explainer)) else {
            assert!(!explainer.needs_model());
            continue;
        };
        assert_eq!(messages.len(), 2 + 2 * n_examples(explainer), "{explainer}");
        assert_eq!(messages[0].role, Role::System);
        for (i, message) in messages[1..].iter().enumerate() {
            assert_eq!(message.role, if i % 2 == 0 { Role::User } else { Role::Assistant });
            assert_eq!(message.role == Role::User, message.content.ends_with(LEAD_IN), "{}", message.content);
        }
    }
}

#[test]
fn each_explainer_shows_its_own_view() {
    let check = |explainer, expected: &str| assert_eq!(target(explainer, &sample()), expected, "{explainer}");
    check(
        Explainer::Summary,
        "Texts:\n1. I saw the old [[king 10]] and his [[queen 5]] leave at noon on foot\n2. a [[king 9]]\n\nThis neuron responds \
         to",
    );
    check(
        Explainer::MaxActivation,
        "Strongest tokens:\n- \" king\" (10 of 10) in: I saw the old [[king]] and his queen leave at\n- \" king\" (9 of 10) in: a \
         [[king]]\n\nThis neuron responds to",
    );
    check(
        Explainer::Logits,
        "Strongest tokens:\n- \" king\" (10 of 10) in: I saw the old [[king]] and his queen leave at\n- \" king\" (9 of 10) in: a \
         [[king]]\n\nTokens it makes likelier to come next: \" crown\", \"dom\\t\"\n\nThis neuron responds to",
    );
    check(
        Explainer::Contrastive,
        "It fires in:\n1. I saw the old [[king 10]] and his [[queen 5]] leave at noon on foot\n2. a [[king 9]]\n\nIt is silent \
         in:\n1. I saw the old dog\n\nThis neuron responds to",
    );
}

#[test]
fn examples_show_a_sparse_and_a_dense_neuron() {
    let messages = messages(Explainer::TokenActivation, &sample(), 3).unwrap();
    let repeats: Vec<bool> = [1, 3, 5].iter().map(|i| messages[*i].content.contains("without the zeros")).collect();
    assert_eq!(repeats, [true, false, true]);
    // Whole numbers written down are shown as they are.
    assert!(messages[5].content.contains(" viol\t10\nin\t9\n"), "{}", messages[5].content);
    assert_eq!(messages[6].content, "names of musical instruments.");
}
