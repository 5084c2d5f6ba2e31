//! Where a model comes from.

use std::path::PathBuf;

/// Where a model's weights, configuration and tokenizer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// The small model inside the binary.
    Embedded,
    /// A Hugging Face folder, a `.gguf` file or a llama2.c `.bin` file.
    Path(PathBuf),
}

impl From<&str> for ModelSource {
    /// `default` names the embedded model; anything else is a path.
    fn from(text: &str) -> Self {
        match text {
            "default" => Self::Embedded,
            path => Self::Path(PathBuf::from(path)),
        }
    }
}
