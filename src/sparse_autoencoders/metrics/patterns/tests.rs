//! Toy latents whose patterns are known.

use super::*;

const PADDING: u32 = 0;

/// Patterns of a latent that fires as a function of the tokens up to one.
fn patterns(fires: impl Fn(&[u32]) -> f32, texts: &[&[u32]]) -> Patterns {
    let examples: Vec<Example> = texts
        .iter()
        .map(|tokens| Example {
            tokens: tokens.to_vec(),
            activations: (0..tokens.len()).map(|last| fires(&tokens[..=last])).collect(),
        })
        .collect();
    let mut last = |texts: &[Vec<u32>]| Ok(texts.iter().map(|tokens| fires(tokens)).collect());
    Patterns::find(&examples, PADDING, &mut last).unwrap()
}

#[test]
fn a_latent_of_one_token() {
    let found = patterns(|tokens| if tokens.ends_with(&[7]) { 2.0 } else { 0.0 }, &[&[1, 2, 7], &[7, 3]]);
    assert_eq!(found.predict(&[7, 1, 7, 2]), [2.0, 0.0, 2.0, 0.0]);
}

#[test]
fn a_latent_of_the_first_position() {
    let found = patterns(|tokens| if tokens.len() == 1 { 1.0 } else { 0.0 }, &[&[4, 5], &[6, 6]]);
    assert_eq!(found.predict(&[9, 4, 6]), [1.0, 0.0, 0.0]);
}

#[test]
fn a_latent_of_two_tokens_with_any_between() {
    let fires = |tokens: &[u32]| match tokens {
        [.., 3, _, 5] => 4.0,
        _ => 0.0,
    };
    let found = patterns(fires, &[&[1, 1, 3, 2, 5], &[3, 9, 5, 1]]);
    assert_eq!(found.predict(&[3, 8, 5, 5]), [0.0, 0.0, 4.0, 0.0]);
    let mut firings = Firings::default();
    firings.add(&found.predict(&[3, 8, 5, 5]), &[0.0, 0.0, 4.0, 4.0], 2.0);
    firings.add(&[4.0], &[0.0], 2.0);
    assert_eq!((firings.recall(), firings.precision()), (Some(0.5), Some(0.5)));
}

#[test]
fn a_latent_that_never_fires() {
    let found = patterns(|_| 0.0, &[&[1, 2, 3]]);
    assert_eq!(found, Patterns::default());
    assert_eq!(found.predict(&[1, 2]), [0.0, 0.0]);
    let mut firings = Firings::default();
    firings.add(&found.predict(&[1, 2]), &[0.0, 0.0], 1.0);
    assert_eq!((firings.recall(), firings.precision()), (None, None));
}
