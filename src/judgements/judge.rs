//! The judges, what they are given and what they say.

use std::fmt;
use std::str::FromStr;

use super::{classify, embedding, intruder, prompts, surprisal};
use crate::completions::LanguageModel;
use crate::embeddings::TextEncoder;
use crate::error::{Error, Result};
use crate::hash;

/// What is said of windows that are nobody's intruder: no judgement was wanted, and so none failed.
pub const NOT_JUDGED: &str = "only intruders are judged";

/// A way to tell windows on which a neuron is active from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Judge {
    /// A language model reads the explanation and plain windows, and says which of them fit.
    Detection,
    /// A language model reads the explanation and windows with marked tokens, and says in which of them the marks fit.
    Fuzzing,
    /// A language model reads four windows with their active tokens marked and one with random marks, and names the odd one.
    /// It sees no explanation: this scores the records.
    Intruder,
    /// Cosine between the embeddings of the explanation and of the window.
    Embedding,
    /// How much the explanation lowers a language model's loss on the window.
    Surprisal,
}

impl Judge {
    /// Every judge.
    pub const ALL: [Self; 5] = [Self::Detection, Self::Fuzzing, Self::Intruder, Self::Embedding, Self::Surprisal];

    /// What a language model does as a judge when nothing else is said.
    pub const OF_A_MODEL: Self = Self::Detection;

    /// The judge's name in tables and functions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Fuzzing => "fuzzing",
            Self::Intruder => "intruder",
            Self::Embedding => "embedding",
            Self::Surprisal => "surprisal",
        }
    }

    /// Whether it asks a language model.
    pub fn needs_model(self) -> bool {
        self != Self::Embedding
    }

    /// Whether it compares embeddings.
    pub fn needs_encoder(self) -> bool {
        self == Self::Embedding
    }

    /// Whether it reads the explanation; the score of one that does not has no control.
    pub fn reads_explanation(self) -> bool {
        self != Self::Intruder
    }

    /// Names of the metrics that mean something over its judgements, the headline first.
    pub fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Detection | Self::Fuzzing => {
                &["balanced_accuracy", "accuracy", "precision", "recall", "f1", "roc_auc"]
            }
            Self::Intruder => &["hit_rate"],
            Self::Embedding | Self::Surprisal => &["roc_auc"],
        }
    }

    /// A hash of everything that the judge says to a model beside explanation and windows: another hash, other judgements.
    pub fn prompt_hash(self) -> String {
        hash::text(&match self {
            Self::Detection => prompts::fingerprint(&prompts::DETECTION),
            Self::Fuzzing => prompts::fingerprint(&prompts::FUZZING),
            Self::Intruder => prompts::fingerprint(&prompts::INTRUDER),
            Self::Embedding => "embedding: explanation and window as they are".to_owned(),
            Self::Surprisal => {
                format!("{}\n{}", surprisal::prefix("{explanation}"), surprisal::prefix(surprisal::NEUTRAL))
            }
        })
    }
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Judge {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let judge = Self::ALL.into_iter().find(|judge| judge.name() == name);
        judge.ok_or_else(|| Error::MethodUnknown {
            kind: "scorer",
            known: Self::ALL.map(Self::name).to_vec(),
            got: name.to_owned(),
        })
    }
}

/// A held-out window.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Texts of its tokens.
    pub tokens: Vec<String>,
    /// The neuron's activations, one a token, in its own units.
    pub activations: Vec<f32>,
    /// Whether it is one of those on which the neuron is active: what the judge is to find out.
    pub activating: bool,
}

/// An explanation and the windows that it is judged on.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The text.
    pub explanation: String,
    /// The windows.
    pub examples: Vec<Example>,
    /// Seed of the order in which windows are shown and of random marks.
    pub seed: u64,
}

/// What a judge says of one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Whether the window is held to be activating; `None` where the judge makes no such decision or failed.
    pub predicted: Option<bool>,
    /// Larger for what is rather activating. Detection, fuzzing and intruder: a probability, 0..=1, where the model tells
    /// log-probabilities; embedding: a cosine, -1..=1; surprisal: nats saved per token.
    pub value: Option<f64>,
    /// Why there is neither.
    pub reason: Option<String>,
    /// The key of the stored reply it was read from.
    pub completion: Option<String>,
}

impl Judgement {
    /// A judgement that is missing.
    pub(super) fn missing(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }

    /// A judgement that is a number only.
    pub(super) fn of_value(value: f64) -> Self {
        Self { value: Some(value), ..Self::default() }
    }
}

/// Judges every window of every task: one judgement an example, in order.
///
/// All calls of all tasks are handed to the model at once, and equal ones are made once. A reply that cannot be read, that is
/// refused for its content or that does not fit the model's context is a judgement that is missing, with its reason.
///
/// # Errors
/// [`Error::MethodModel`] without the model or encoder that the judge needs, [`Error::LogProbabilitiesMissing`] for surprisal
/// with a model that tells none, [`Error::LengthMismatch`] for a window whose activations are not as many as its tokens; and
/// faults of network, key, budget or store, after which the same call goes on where this one stopped.
pub async fn judge_all(
    judge: Judge,
    model: Option<&dyn LanguageModel>,
    encoder: Option<&dyn TextEncoder>,
    tasks: &[Task],
) -> Result<Vec<Vec<Judgement>>> {
    for example in tasks.iter().flat_map(|task| &task.examples) {
        if example.tokens.len() != example.activations.len() {
            return Err(Error::LengthMismatch { actual: example.tokens.len(), expected: example.activations.len() });
        }
    }
    let without =
        |reason: &str| Error::MethodModel { kind: "scorer", method: judge.to_string(), reason: reason.to_owned() };
    let model = || {
        model.ok_or_else(|| without(&format!("expected a language model: {judge}@openai:NAME or {judge}@local:PATH")))
    };
    match judge {
        Judge::Detection => classify::judge_all(&classify::DETECTION, model()?, tasks).await,
        Judge::Fuzzing => classify::judge_all(&classify::FUZZING, model()?, tasks).await,
        Judge::Intruder => intruder::judge_all(model()?, tasks).await,
        Judge::Surprisal => surprisal::judge_all(model()?, tasks).await,
        Judge::Embedding => {
            let encoder = encoder.ok_or_else(|| without("expected a sentence encoder"))?;
            embedding::judge_all(encoder, tasks).await
        }
    }
}
