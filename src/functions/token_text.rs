//! `token_text(token_id, model)`: the surface text of a token.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, integers, literal_string, signature};
use crate::models::cache::Models;

#[derive(Debug)]
pub(crate) struct TokenText {
    signature: Signature,
    documentation: Documentation,
    models: Arc<Models>,
}

super::same_by_name!(TokenText);

impl TokenText {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "The surface text of a token of the model's vocabulary; U+FFFD where the token is a fragment of a \
                 character. NULL when token_id is NULL or outside the vocabulary.",
                "token_text(token_id, model)",
                "SELECT token_text(0, 'default') AS token",
            ),
            models: Arc::clone(models),
        }
    }
}

impl ScalarUDFImpl for TokenText {
    fn name(&self) -> &str {
        "token_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ids = integers(&args.args[0], args.number_rows)?;
        let model = self.models.get(&literal_string("token_text", "model", &args.args[1])?)?;
        let tokenizer = model.tokenizer()?;
        let n_tokens = tokenizer.n_tokens();
        let texts: StringArray = ids
            .iter()
            .map(|id| id.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < n_tokens))
            .map(|id| id.map(|id| tokenizer.token_text(id)))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
