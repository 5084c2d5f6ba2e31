//! Windows as one line of text, plain or with marked tokens.

use super::judge::Example;
use crate::random::mix;

/// Share of a window's largest activation above which a token counts as active (delphi's threshold).
const ACTIVE_ABOVE: f32 = 0.3;

/// Draws of random marks, beside those of the order of windows.
const MARKS: u64 = 0x006d_6172_6b73;

/// The window as it stands, with line breaks and control characters escaped.
pub(super) fn plain(tokens: &[String]) -> String {
    tokens.iter().flat_map(|token| token.chars()).flat_map(visible).collect::<String>().trim().to_owned()
}

/// The window with every run of marked tokens between « and »; a text's own « and » become ‹ and ›.
pub(super) fn marked(tokens: &[String], marks: &[bool]) -> String {
    let mut text = String::new();
    let mut open = false;
    for (token, &mark) in tokens.iter().zip(marks) {
        let shown: String = token.chars().flat_map(visible).map(unmarked).collect();
        let word = shown.trim_start_matches(' ');
        if open && !mark {
            text.push('»');
        }
        if mark && !open {
            // The space before a word stays outside.
            text.push_str(&shown[..shown.len() - word.len()]);
            text.push('«');
            text.push_str(word);
        } else {
            text.push_str(&shown);
        }
        open = mark;
    }
    if open {
        text.push('»');
    }
    text.trim().to_owned()
}

/// The tokens that are active: above three tenths of the window's largest activation. None where that is not positive.
pub(super) fn active(example: &Example) -> Vec<bool> {
    let max = example.activations.iter().copied().fold(0.0_f32, f32::max);
    example.activations.iter().map(|&activation| max > 0.0 && activation > ACTIVE_ABOVE * max).collect()
}

/// Number of marks.
pub(super) fn count(marks: &[bool]) -> usize {
    marks.iter().filter(|mark| **mark).count()
}

/// `n_marks` tokens of `n_tokens`, or all of them if there are no more, chosen by seed and window.
pub(super) fn random_marks(n_tokens: usize, n_marks: usize, seed: u64, window: usize) -> Vec<bool> {
    let order = shuffled(n_tokens, mix(seed, MARKS, window as u64));
    let mut marks = vec![false; n_tokens];
    order.into_iter().take(n_marks).for_each(|i| marks[i] = true);
    marks
}

/// The mean of some counts, rounded, at least 1.
pub(super) fn mean_count(counts: &[usize]) -> usize {
    let n = counts.len().max(1);
    ((counts.iter().sum::<usize>() + n / 2) / n).max(1)
}

/// The numbers below `n` in an order that the seed decides.
pub(super) fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| (mix(seed, i as u64, 0), i));
    order
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

fn unmarked(c: char) -> char {
    match c {
        '«' => '‹',
        '»' => '›',
        other => other,
    }
}
