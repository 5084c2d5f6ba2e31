//! `mentions(text, words)`: does a text hold a word or phrase, as a word.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use regex::Regex;

use super::arguments::{document, signature, strings};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mentions {
    signature: Signature,
    documentation: Documentation,
}

impl Default for Mentions {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "True when the text holds the word or phrase, whole and in any case; the last word may carry a plural or \
                 possessive ending (s, es, 's), so 'plural' finds \"plurals\" but not \"pluralism\". Words of a phrase may \
                 be parted by any space or punctuation. NULL when an argument is NULL.",
                "mentions(text, words)",
                "SELECT mentions('Plurals of nouns', 'plural') AS found, mentions('pluralism', 'plural') AS not_found",
            ),
        }
    }
}

impl ScalarUDFImpl for Mentions {
    fn name(&self) -> &str {
        "mentions"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = strings("mentions", &args.args[0], args.number_rows)?;
        let words = strings("mentions", &args.args[1], args.number_rows)?;
        // A query has one needle as a rule: compile again only when it changes.
        let mut current: Option<(&str, Regex)> = None;
        let mut found = Vec::with_capacity(args.number_rows);
        for (text, words) in texts.iter().zip(words.iter()) {
            let (Some(text), Some(words)) = (text, words) else {
                found.push(None);
                continue;
            };
            if current.as_ref().is_none_or(|(compiled, _)| *compiled != words) {
                current = Some((words, pattern(words)?));
            }
            found.push(current.as_ref().map(|(_, regex)| regex.is_match(text)));
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(found))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Word boundaries are taken around letters and digits only, so that the quotes of a token list part words.
fn pattern(words: &str) -> Result<Regex> {
    let parts: Vec<String> =
        words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(regex::escape).collect();
    if parts.is_empty() {
        return exec_err!("'mentions': expected a word or phrase, got '{words}'");
    }
    let phrase = parts.join(r"[^\p{L}\p{N}]+");
    Regex::new(&format!(r"(?i)(?:^|[^\p{{L}}\p{{N}}]){phrase}(?:e?s|['’]s)?(?:[^\p{{L}}\p{{N}}]|$)"))
        .or_else(|e| exec_err!("'mentions': {e}"))
}
