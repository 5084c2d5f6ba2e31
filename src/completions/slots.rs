//! Prompts with places where a distribution is read instead of a text generated.

use super::request::Message;

/// A part of the answer that a model is made to read as its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Text as it stands.
    Text(String),
    /// A place where the distribution over the candidates is read; the model then reads this text there.
    Slot(String),
}

/// A conversation whose last answer is given, with slots in it.
///
/// The values of all slots cost one forward pass: a slot's distribution depends only on what stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotPrompt {
    /// The conversation up to the answer; ends with the user's turn.
    pub messages: Vec<Message>,
    /// The answer. Each text is cut into tokens by itself, so that a slot stands between tokens.
    pub answer: Vec<Piece>,
    /// What may stand at a slot, such as "0" to "9".
    pub candidates: Vec<String>,
}

impl SlotPrompt {
    /// Slots in the answer.
    pub fn n_slots(&self) -> usize {
        self.answer.iter().filter(|piece| matches!(piece, Piece::Slot(_))).count()
    }

    /// The whole conversation as the model reads it, the answer its last turn.
    pub fn whole(&self) -> Vec<Message> {
        let answer = self.answer.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Slot(text) => text.as_str(),
        });
        let mut messages = self.messages.clone();
        messages.push(Message::assistant(answer.collect::<String>()));
        messages
    }
}

/// What was read at one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotReading {
    /// Natural log-probability of each candidate; `None` where the engine told none.
    pub log_probabilities: Vec<Option<f64>>,
}

/// What was read inside a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<T> {
    /// What was read.
    pub values: T,
    /// Key in table `completions`; `None` where readings are not stored.
    pub key: Option<String>,
}

impl<T> Reading<T> {
    /// What nobody keeps: it can be had again for nothing.
    pub fn unstored(values: T) -> Self {
        Self { values, key: None }
    }
}

/// A text whose tokens' losses are read, after a text that is only read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Continuation {
    /// What stands before, without a chat template.
    pub prefix: String,
    /// The text whose losses are wanted.
    pub text: String,
}
