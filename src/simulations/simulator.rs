//! Which simulators there are.

use std::fmt;
use std::str::FromStr;

use super::prompt::{EXAMPLES, Prompt, Scale};
use super::simulate::Task;
use super::{all_at_once, embedding, log_probability_free, one_at_a_time};
use crate::completions::Abilities;
use crate::error::{Error, Result};
use crate::hash;

/// A way to say what activations an explanation leads one to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Simulator {
    /// The unit's mean activation at each token, read off the table and not off the text: the baseline of the paper.
    TokenLookup,
    /// The pattern that the explainer `n2g` writes, matched against the tokens.
    N2g,
    /// A language model that reads the window once; the distribution over numbers at every token.
    AllAtOnce,
    /// A language model asked once a token; the distribution over numbers at the head of its reply.
    OneAtATime,
    /// A language model that writes the numbers of a window.
    LogProbabilityFree,
    /// The cosine between each word and the explanation.
    Embedding,
}

impl Simulator {
    /// Every simulator.
    pub const ALL: [Self; 6] =
        [Self::TokenLookup, Self::N2g, Self::AllAtOnce, Self::OneAtATime, Self::LogProbabilityFree, Self::Embedding];

    /// Its name in SQL, in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenLookup => "token_lookup",
            Self::N2g => "n2g",
            Self::AllAtOnce => "all_at_once",
            Self::OneAtATime => "one_at_a_time",
            Self::LogProbabilityFree => "log_probability_free",
            Self::Embedding => "embedding",
        }
    }

    /// Whether it asks a language model.
    pub fn needs_model(self) -> bool {
        matches!(self, Self::AllAtOnce | Self::OneAtATime | Self::LogProbabilityFree)
    }

    /// Whether it asks a text encoder.
    pub fn needs_encoder(self) -> bool {
        self == Self::Embedding
    }

    /// The simulator for a language model that was named without one: the cheapest that reads a distribution.
    pub fn default_for(abilities: Abilities) -> Self {
        if abilities.prompt_log_probabilities {
            Self::AllAtOnce
        } else if abilities.reply_log_probabilities {
            Self::OneAtATime
        } else {
            Self::LogProbabilityFree
        }
    }

    /// The scale of its values: `neuron_activations` (the unit's own units) or `simulated_normalized_activations` (0..10).
    pub fn scale(self) -> &'static str {
        match self {
            Self::TokenLookup => "neuron_activations",
            _ => "simulated_normalized_activations",
        }
    }

    /// 16 hexadecimal digits of everything that decides its values beside explanation, tokens and model: the prompt with its
    /// examples, or the constants.
    pub fn prompt_hash(self) -> String {
        hash::text(&format!("{self}\n{}", self.definition()))
    }

    fn definition(self) -> String {
        let task = Task { explanation: "explanation".to_owned(), tokens: vec!["first".to_owned(), " last".to_owned()] };
        let both = |prompt: &dyn Fn(Scale) -> Prompt| format!("{:?}\n{:?}", prompt(Scale::Ten), prompt(Scale::Nine));
        match self {
            Self::TokenLookup | Self::N2g => String::new(),
            Self::AllAtOnce => both(&|scale| all_at_once::prompt(&task, scale, EXAMPLES.len())),
            Self::OneAtATime => both(&|scale| one_at_a_time::prompt(&task, 1, scale, EXAMPLES.len())),
            Self::LogProbabilityFree => format!("{:?}", log_probability_free::prompt(&task, EXAMPLES.len())),
            Self::Embedding => embedding::definition(),
        }
    }
}

impl FromStr for Simulator {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|simulator| simulator.name() == name).ok_or_else(|| Error::MethodUnknown {
            kind: "simulator",
            known: Self::ALL.map(Self::name).to_vec(),
            got: name.to_owned(),
        })
    }
}

impl fmt::Display for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
