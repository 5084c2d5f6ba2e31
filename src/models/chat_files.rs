//! What a model's files say about conversations: the chat template, and the tokens that begin and end a turn.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::Value as Json;

use super::source::ModelSource;
use super::tokenizer::Tokenizer;
use super::weights::gguf::as_u64;
use crate::error::{Error, Result};

/// Tokens that end a reply in published models whose files may name only one of several: taken when the vocabulary has them as
/// special tokens (the names llama.cpp looks for in `llama-vocab.cpp`, where it collects end-of-generation tokens).
const END_NAMES: [&str; 11] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endofturn|>",
    "<end_of_turn>",
    "<|return|>",
    "</s>",
    "<EOT>",
];

/// The chat template and special tokens of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatFiles {
    /// The template, in Jinja; `None` for a model that was not made for conversations.
    pub template: Option<String>,
    /// The token that starts a text.
    pub bos_token_id: Option<u32>,
    /// The token that ends a text.
    pub eos_token_id: Option<u32>,
    /// Every token that ends a reply, ascending.
    pub end_token_ids: Vec<u32>,
    /// Whether a text without a template starts with the first of these.
    pub starts_with_bos: bool,
}

impl ChatFiles {
    /// Reads a model's files; what they do not say is left out.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::ModelFormat`] for a file that is there and cannot be read.
    pub fn read(source: &ModelSource, tokenizer: &Tokenizer) -> Result<Self> {
        let mut files = match source {
            ModelSource::Path(path) if path.is_dir() => Self::from_folder(path, tokenizer)?,
            ModelSource::Path(path) if path.extension().is_some_and(|ending| ending == "gguf") => {
                Self::from_gguf(path)?
            }
            ModelSource::Path(_) | ModelSource::Embedded => Self::default(),
        };
        files.bos_token_id = files.bos_token_id.or(tokenizer.bos_token_id());
        files.end_token_ids.extend(files.eos_token_id);
        let special = tokenizer.special_tokens();
        let known = special.iter().filter(|(name, _)| END_NAMES.contains(&name.as_str()));
        files.end_token_ids.extend(known.map(|(_, token_id)| *token_id));
        files.end_token_ids.sort_unstable();
        files.end_token_ids.dedup();
        Ok(files)
    }

    fn from_gguf(path: &Path) -> Result<Self> {
        let fault = |source| Error::File { path: path.to_path_buf(), source };
        let content = Content::read(&mut BufReader::new(File::open(path).map_err(fault)?))
            .map_err(|e| Error::ModelFormat { path: path.to_path_buf(), reason: e.to_string() })?;
        let value = |key: &str| content.metadata.get(&format!("tokenizer.{key}"));
        let id = |key: &str| value(key).and_then(as_u64).map(|id| id as u32);
        Ok(Self {
            template: match value("chat_template") {
                Some(Value::String(text)) => Some(text.clone()),
                _ => None,
            },
            bos_token_id: id("ggml.bos_token_id"),
            eos_token_id: id("ggml.eos_token_id"),
            end_token_ids: ["ggml.eot_token_id", "ggml.eom_token_id"].into_iter().filter_map(id).collect(),
            starts_with_bos: matches!(value("ggml.add_bos_token"), Some(Value::Bool(true))),
        })
    }

    fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let settings = json(&folder.join("tokenizer_config.json"))?;
        let generation = json(&folder.join("generation_config.json"))?;
        let config = json(&folder.join("config.json"))?;
        let file = folder.join("chat_template.jinja");
        let template = if file.is_file() {
            Some(std::fs::read_to_string(&file).map_err(|source| Error::File { path: file, source })?)
        } else {
            template(&settings["chat_template"])
        };
        // A token is named by its text, alone or in an object.
        let named = |token: &Json| {
            let name = token.as_str().or_else(|| token["content"].as_str())?;
            tokenizer.token_id(name)
        };
        let end_token_ids: Vec<u32> =
            [&generation, &config].into_iter().flat_map(|from| ids(&from["eos_token_id"])).collect();
        Ok(Self {
            template,
            bos_token_id: named(&settings["bos_token"]),
            eos_token_id: named(&settings["eos_token"]).or(end_token_ids.first().copied()),
            end_token_ids,
            starts_with_bos: settings["add_bos_token"].as_bool().unwrap_or(false),
        })
    }
}

/// Some configurations list several templates by name; the one called `default` is meant.
fn template(value: &Json) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let named = value.as_array()?.iter().find(|template| template["name"] == "default")?;
    named["template"].as_str().map(str::to_owned)
}

/// One id, or several.
fn ids(value: &Json) -> Vec<u32> {
    let several = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    several.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// A JSON file, or null where there is none.
fn json(path: &Path) -> Result<Json> {
    if !path.is_file() {
        return Ok(Json::Null);
    }
    let bytes = std::fs::read(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::ModelFormat { path: path.to_path_buf(), reason: format!("expected JSON, got {e}") })
}
