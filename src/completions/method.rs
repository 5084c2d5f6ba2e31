//! How a user names a method and the language model behind it: `method@engine:model`, or one of the two.

use super::model_name::ModelName;
use crate::error::Result;

/// A method, a model, or both: `summary@openai:gpt-4o`, `openai:gpt-4o`, `token_lookup`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MethodName {
    /// The method; `None` for the one a model is used for by default.
    pub method: Option<String>,
    /// The model; `None` for a method without one.
    pub model: Option<ModelName>,
}

impl MethodName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for what stands after `@` and is no model.
    pub fn parse(text: &str) -> Result<Self> {
        let (method, rest) = match text.split_once('@') {
            // A path may hold an @: only what stands before the first colon can be a method.
            Some((method, rest)) if !method.contains(':') => (Some(method), rest),
            _ if text.contains(':') => (None, text),
            _ => return Ok(Self { method: Some(text.to_owned()), model: None }),
        };
        Ok(Self { method: method.map(str::to_owned), model: Some(rest.parse()?) })
    }
}
