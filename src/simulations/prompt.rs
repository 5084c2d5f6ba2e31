//! What the simulators that ask a language model share: the examples, the scale, tokens as lines, room in the context.

use crate::completions::LanguageModel;
use crate::completions::request::{Message, Request};
use crate::completions::slots::Piece;
use crate::error::{Error, Result};

/// A made-up neuron, shown with its values before the one that is asked about.
#[derive(Debug)]
pub(super) struct Example {
    /// What it responds to.
    pub(super) explanation: &'static str,
    /// Tokens, each with a bar after it and, where the neuron responds, its value on a scale of 10 after a colon.
    text: &'static str,
    /// Tokens before this one are shown without their values where values are to be unknown at first.
    pub(super) first_known: usize,
    /// Tokens asked about where one token is asked about at a time.
    pub(super) asked: [usize; 2],
}

/// Our own neurons and sentences: a topic, a set of words cut into pieces, and one that depends on the word before.
pub(super) const EXAMPLES: [Example; 3] = [
    Example {
        explanation: "rain, rivers and other water in nature",
        text: "All| night| the| rain:8| fell|,| and| by| morning| the| river:9| had| left| its| bed|.| A| flood:10| of| brown| \
               water:7| stood| in| the| street|.|",
        first_known: 7,
        asked: [10, 13],
    },
    Example {
        explanation: "family relations such as aunt or brother",
        text: "The| baker|'s| grand:5|mother:10| was| the| eld|est| of| nine|;| her| broth:6|ers:8| went| to| sea|,| and| her| \
               son:9| keeps| the| shop|.|",
        first_known: 3,
        asked: [21, 11],
    },
    Example {
        explanation: "the word that comes after a negation",
        text: "It| was| not| cold:9| that| day|,| but| nobody| swam:6|.| We| did| not| even:8| take| our| shoes| off|,| for| \
               there| was| no| time:7| left|.|",
        first_known: 5,
        asked: [14, 18],
    },
];

/// The numbers that a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// 0 to 10, as in the paper.
    Ten,
    /// 0 to 9, for tokenizers that cut "10" into two tokens: the first of them could not be told from "1".
    Nine,
}

impl Scale {
    /// The scale whose numbers all are one token.
    ///
    /// # Errors
    /// [`Error::MethodModel`] for a tokenizer that cuts single digits.
    pub(super) fn of(model: &dyn LanguageModel, simulator: &str) -> Result<Self> {
        let tokens = |number: u32| model.count_tokens(&number.to_string());
        match tokens(10) {
            // Without a tokenizer there is no knowing; the paper's scale stands, and keys are taken as told.
            None => return Ok(Self::Ten),
            Some(1) if (0..10).all(|digit| tokens(digit) == Some(1)) => return Ok(Self::Ten),
            Some(_) => {}
        }
        match (0..10).find(|digit| tokens(*digit) != Some(1)) {
            None => Ok(Self::Nine),
            Some(digit) => Err(Error::MethodModel {
                kind: "simulator",
                method: format!("{simulator}@{}", model.name()),
                reason: format!(
                    "expected a tokenizer with one token a digit, got {} for '{digit}'; use log_probability_free",
                    tokens(digit).unwrap_or(0)
                ),
            }),
        }
    }

    pub(super) fn max(self) -> u32 {
        match self {
            Self::Ten => 10,
            Self::Nine => 9,
        }
    }

    /// Every number of the scale, as text.
    pub(super) fn numbers(self) -> Vec<String> {
        (0..=self.max()).map(|number| number.to_string()).collect()
    }

    /// A value of this scale on the scale of 0..10.
    pub(super) fn to_ten(self, value: f64) -> f64 {
        value * 10.0 / f64::from(self.max())
    }

    /// A whole number of 0..10 on this scale, rounded.
    pub(super) fn rounded(self, value: u32) -> u32 {
        (value * self.max() + 5) / 10
    }
}

impl Example {
    /// Its tokens with their values, 0..10.
    pub(super) fn tokens(&self) -> Vec<(&'static str, u32)> {
        let pieces = self.text.split_terminator('|');
        pieces
            .map(|piece| match piece.rsplit_once(':') {
                Some((token, value)) => (token, value.parse().unwrap_or(0)),
                None => (piece, 0),
            })
            .collect()
    }
}

/// A token on one line: tabs, line ends, other control characters and backslashes are written as escapes, so that no token
/// can break the layout. Upstream writes them as they are and loses such windows.
pub(super) fn escape(token: &str) -> String {
    let mut escaped = String::with_capacity(token.len());
    for c in token.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An explanation on one line, without the full stop at its end.
pub(super) fn one_line(explanation: &str) -> String {
    let words: Vec<&str> = explanation.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// A prompt: messages, and the answer that the model reads as its own, if any.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    pub(super) messages: Vec<Message>,
    pub(super) answer: Vec<Piece>,
    /// Tokens kept for the reply.
    pub(super) max_tokens: u32,
}

/// The prompt with as many examples as the model's context has room for; `prompt` makes it with the first n examples.
///
/// # Errors
/// [`Error::ContextTooShort`] when it does not fit without any.
pub(super) fn fit(model: &dyn LanguageModel, prompt: impl Fn(usize) -> Prompt) -> Result<Prompt> {
    let Some(context_length) = model.abilities().context_length else { return Ok(prompt(EXAMPLES.len())) };
    let mut n_examples = EXAMPLES.len();
    loop {
        let candidate = prompt(n_examples);
        let needed = tokens_of(model, &candidate)?;
        if needed <= context_length {
            return Ok(candidate);
        }
        if n_examples == 0 {
            return Err(Error::ContextTooShort { model: model.name().to_string(), needed, context_length });
        }
        n_examples -= 1;
    }
}

fn tokens_of(model: &dyn LanguageModel, prompt: &Prompt) -> Result<usize> {
    let messages = model.count_prompt_tokens(&Request::greedy(prompt.messages.clone(), prompt.max_tokens))?;
    let piece = |piece: &Piece| {
        let (Piece::Text(text) | Piece::Slot(text)) = piece;
        // Without a tokenizer: no text has more tokens than bytes.
        model.count_tokens(text).unwrap_or(text.len())
    };
    Ok(messages + prompt.answer.iter().map(piece).sum::<usize>() + prompt.max_tokens as usize)
}
