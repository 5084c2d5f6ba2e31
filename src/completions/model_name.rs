//! The name of a language model: `engine:model`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which engine runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// An OpenAI-compatible endpoint.
    OpenAi,
    /// A GGUF file or safetensors folder, run in this process.
    Local,
    /// A file of recorded replies.
    Replay,
}

/// Engine and model, such as `openai:gpt-4o`, `local:./model.gguf` or `replay:replies.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelName {
    /// What runs it.
    pub engine: Engine,
    /// The endpoint's name of the model, or a path.
    pub model: String,
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fault = || Error::Argument {
            argument: "language model".to_owned(),
            expected: "openai:NAME, local:PATH or replay:PATH".to_owned(),
            got: text.to_owned(),
        };
        let (engine, model) = text.split_once(':').ok_or_else(fault)?;
        let engine = match engine {
            "openai" => Engine::OpenAi,
            "local" => Engine::Local,
            "replay" => Engine::Replay,
            _ => return Err(fault()),
        };
        if model.is_empty() {
            return Err(fault());
        }
        Ok(Self { engine, model: model.to_owned() })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Local => "local",
            Self::Replay => "replay",
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.engine, self.model)
    }
}
