use super::probes::{Text, labels};
use super::*;

#[test]
fn windows_are_halved_between_documents() {
    let windows = |documents: &[i64]| -> Vec<OwnedWindow> {
        let one = |document: &i64| OwnedWindow {
            sequence: 0,
            document: *document,
            split: Split::Valid,
            token_ids: vec![0],
            recordable: true,
        };
        documents.iter().map(one).collect()
    };
    assert_eq!(second_half(&windows(&[1, 1, 2, 2])), Some(2));
    assert_eq!(second_half(&windows(&[1, 1, 1, 1, 1, 2])), Some(5));
    assert_eq!(second_half(&windows(&[1, 2, 2, 2, 2, 2])), Some(1));
    assert_eq!(second_half(&windows(&[3, 3])), None);
    assert_eq!(second_half(&windows(&[3])), None);
    assert_eq!(second_half(&[]), None);
}

#[test]
fn tokens_have_the_labels_of_their_texts() {
    let check = |text: &str, expected: [bool; 5]| {
        let Text { begins_word, capital, digit, punctuation, line_break } = Text::of(text);
        assert_eq!([begins_word, capital, digit, punctuation, line_break], expected, "{text:?}");
    };
    check(" King", [true, true, false, false, false]);
    check("ing", [false, false, false, false, false]);
    check(" 42nd", [true, false, true, false, false]);
    check(".\n", [false, false, false, true, true]);
    check(" -", [false, false, false, true, false]);
    check("don't", [false, false, false, false, false]);
    check("", [false; 5]);

    let texts = [" the", ".", " the"];
    let found = labels(&[0, 1, 0], &mut |token| Text::of(texts[token as usize]));
    let next = |at: usize| [found[at][6], found[at][7]];
    assert_eq!(found.iter().map(|labels| labels[5]).collect::<Vec<_>>(), [Some(false), Some(false), Some(true)]);
    assert_eq!(next(0), [Some(false), Some(true)]);
    assert_eq!(next(1), [Some(true), Some(false)]);
    assert_eq!(next(2), [None, None], "behind the last token there is none");
}
