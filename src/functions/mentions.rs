//! `mentions(text, words)`: does a text hold a word or phrase, as a word.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, signature, strings};
use crate::search::mentions::Needle;

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
                 be parted by any space or punctuation. NULL when an argument is NULL. For patterns there is the operator ~, \
                 and ~* in any case: text ~* '\\bplural\\w*'.",
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
        let n_rows = args.number_rows;
        if let ColumnarValue::Scalar(words) = &args.args[1]
            && let Some(words) = words.try_as_str()
        {
            let texts = args.args[0].to_array(n_rows)?;
            let found = match words {
                Some(words) => answers(&texts, words)?,
                None => BooleanArray::new_null(texts.len()),
            };
            return Ok(match &args.args[0] {
                ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
                ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(found)),
            });
        }
        let texts: ArrayRef = Arc::new(strings("mentions", &args.args[0], n_rows)?);
        let words = strings("mentions", &args.args[1], n_rows)?;
        // Rows that ask for the same words stand together as a rule.
        let mut parts: Vec<ArrayRef> = Vec::new();
        let mut first = 0;
        while first < n_rows {
            let wanted = words.is_valid(first).then(|| words.value(first));
            let next = |row: &usize| words.is_valid(*row).then(|| words.value(*row)) != wanted;
            let end = (first + 1..n_rows).find(next).unwrap_or(n_rows);
            parts.push(match wanted {
                Some(wanted) => Arc::new(answers(&texts.slice(first, end - first), wanted)?),
                None => Arc::new(BooleanArray::new_null(end - first)),
            });
            first = end;
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(match parts.is_empty() {
            true => Arc::new(BooleanArray::new_null(0)),
            false => concat(&parts)?,
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn answers(texts: &ArrayRef, words: &str) -> Result<BooleanArray> {
    let Some(needle) = Needle::new(words) else {
        let shown: String = words.chars().take(60).collect();
        return exec_err!("'mentions': expected a word or phrase, got '{shown}'");
    };
    match texts.data_type() {
        DataType::Utf8View => Ok(needle.in_views(texts.as_string_view())),
        DataType::Utf8 => Ok(needle.in_strings(texts.as_string::<i32>())),
        DataType::Dictionary(_, values) if values.is_string() => {
            Ok(needle.in_strings(cast(texts, &DataType::Utf8)?.as_string::<i32>()))
        }
        DataType::LargeUtf8 | DataType::Null => Ok(needle.in_strings(cast(texts, &DataType::Utf8)?.as_string::<i32>())),
        other => exec_err!("'mentions': expected text, got {other}"),
    }
}
