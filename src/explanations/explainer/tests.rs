//! Names and prompt hashes.

use std::collections::HashSet;

use super::Explainer;
use crate::error::Error;

#[test]
fn names_are_read_as_they_are_written() {
    for explainer in Explainer::ALL {
        assert_eq!(explainer.to_string().parse::<Explainer>().unwrap(), explainer);
    }
    let error = "tokens".parse::<Explainer>().unwrap_err();
    assert!(matches!(&error, Error::MethodUnknown { kind: "explainer", got, .. } if got == "tokens"), "{error:?}");
    assert_eq!(
        error.to_string(),
        "explainer: expected one of token_lookup, token_activation, summary, max_activation, logits, contrastive, n2g, got \
         'tokens'"
    );
}

#[test]
fn every_prompt_has_its_own_hash() {
    let hashes: Vec<Option<String>> = Explainer::ALL.iter().map(|explainer| explainer.prompt_hash()).collect();
    for (explainer, hash) in Explainer::ALL.iter().zip(&hashes) {
        assert_eq!(hash.is_some(), explainer.needs_model(), "{explainer}");
        assert!(hash.iter().all(|hash| hash.len() == 64));
    }
    let different: HashSet<&String> = hashes.iter().flatten().collect();
    assert_eq!(different.len(), 5);
}
