//! What a language model is asked for each explainer: the frame, solved examples, and the neuron in question.
//!
//! Wording and examples are our own. Every prompt alternates system, user, assistant, user … and ends with the user's turn,
//! whose last words are [`LEAD_IN`], so that the model completes a sentence.

mod examples;
mod layout;

use self::examples::examples;
use self::layout::target;
use super::evidence::Evidence;
use super::explainer::Explainer;
use crate::completions::request::Message;

#[cfg(test)]
mod tests;

/// How every explanation begins; no part of its text.
pub(super) const LEAD_IN: &str = "This neuron responds to";

/// Solved examples that an explainer's prompt has at most.
///
/// The short prompts have two: Lee et al. 2023 found that shorter ones lose nothing.
pub(super) fn n_examples(explainer: Explainer) -> usize {
    match explainer {
        Explainer::TokenLookup | Explainer::N2g => 0,
        Explainer::TokenActivation => 3,
        Explainer::Summary | Explainer::MaxActivation | Explainer::Logits | Explainer::Contrastive => 2,
    }
}

/// The conversation that asks for an explanation, with the last `n_examples` of the solved examples; `None` for an explainer
/// without a language model.
pub(super) fn messages(explainer: Explainer, evidence: &Evidence, n_examples: usize) -> Option<Vec<Message>> {
    let mut messages = vec![Message::system(frame(explainer)?)];
    let examples = examples();
    for example in &examples[examples.len().saturating_sub(n_examples)..] {
        messages.push(Message::user(target(explainer, &example.evidence)));
        messages.push(Message::assistant(format!("{}.", example.answer)));
    }
    messages.push(Message::user(target(explainer, evidence)));
    Some(messages)
}

/// The system's turn.
fn frame(explainer: Explainer) -> Option<String> {
    let shown = match explainer {
        Explainer::TokenLookup | Explainer::N2g => return None,
        Explainer::TokenActivation => {
            "You see the texts that move the neuron most, one token a line: the token, a tab, and a whole number from 0 (silent) \
             to 10 (its strongest)."
        }
        Explainer::Summary => {
            "You see the texts that move the neuron most. The words it fires on stand in double brackets, each with its strength \
             from 1 to 10."
        }
        Explainer::MaxActivation => {
            "For each of the texts that move the neuron most you see the one token it fires on most, and that token in double \
             brackets between its neighbours."
        }
        Explainer::Logits => {
            "For each of the texts that move the neuron most you see the one token it fires on most, and that token in double \
             brackets between its neighbours. You also see which tokens the neuron makes likelier to come next: they may tell \
             what it is for, or they may be noise."
        }
        Explainer::Contrastive => {
            "You see texts in which the neuron fires, with the words it fires on in double brackets and their strength from 1 to \
             10, and then texts that look alike but leave it silent. What you say must be true of the first and not of the second."
        }
    };
    Some(format!(
        "We want to know what single neurons of a language model look for when it reads. A neuron gives every token of a text a \
         number, which may depend on the token and on everything before it, but on nothing after it. {shown} Complete the last \
         sentence with one short phrase that says what the neuron looks for. Put it in general terms: do not list the words, \
         speak of no numbers and give no reasons."
    ))
}
