//! Which language models a session may ask: all of them for the person at the terminal, few for those whom a server answers.

use super::model_name::{Engine, ModelName};
use crate::error::{Error, Result};

/// Which language models may be asked.
#[derive(Debug, Clone)]
pub enum Permission {
    /// Every one that is named; endpoints when `spend` says so.
    Any {
        /// Whether endpoints, which cost money, may be asked.
        spend: bool,
    },
    /// Models run in this process that are listed, by their whole name; endpoints when `spend` says so.
    Listed {
        /// Whether endpoints, which cost money, may be asked.
        spend: bool,
        /// Names such as `local:./model.gguf`.
        named: Vec<String>,
    },
}

impl Default for Permission {
    fn default() -> Self {
        Self::Any { spend: true }
    }
}

impl Permission {
    /// Whether a model may be asked.
    ///
    /// # Errors
    /// [`Error::Refused`] when not.
    pub(crate) fn check(&self, name: &ModelName) -> Result<()> {
        let shown = name.to_string();
        let reason = match (name.engine, self) {
            (Engine::OpenAi, Self::Any { spend: true } | Self::Listed { spend: true, .. }) => return Ok(()),
            (Engine::OpenAi, _) => "it costs money, and the server was started without --allow-spend",
            (Engine::Local | Engine::Replay, Self::Any { .. }) => return Ok(()),
            (Engine::Local | Engine::Replay, Self::Listed { named, .. }) if named.contains(&shown) => return Ok(()),
            (Engine::Local | Engine::Replay, _) => "the server was not started with it",
        };
        Err(Error::Refused { what: format!("language model '{shown}'"), reason: reason.to_owned() })
    }
}
