//! `document_split(text, strategy, seed)`: the split of a document.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, literal_integer, literal_string, signature, strings};
use crate::hash;
use crate::token_sequences::split::SplitStrategy;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DocumentSplit {
    signature: Signature,
    documentation: Documentation,
}

impl Default for DocumentSplit {
    fn default() -> Self {
        Self {
            signature: signature(3),
            documentation: document(
                "The split of a document by a seeded hash of its text, so that copies of one text never stand on both \
                 sides. Strategy 'document': train .6, calibration .1, valid .2, test .1. Strategy 'paper': half train \
                 (token means only), half pool, whose records get their split from their rank.",
                "document_split(text, strategy, seed)",
                "SELECT document_split('Once upon a time', 'document', 0) AS split",
            ),
        }
    }
}

impl ScalarUDFImpl for DocumentSplit {
    fn name(&self) -> &str {
        "document_split"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = strings("document_split", &args.args[0], args.number_rows)?;
        let strategy = literal_string("document_split", "strategy", &args.args[1])?;
        let seed = literal_integer("document_split", "seed", &args.args[2])?;
        let strategy = SplitStrategy::parse(&strategy, seed.cast_unsigned())?;
        let splits: StringArray =
            texts.iter().map(|text| text.map(|text| strategy.split_of_document(hash::key(text)).as_str())).collect();
        Ok(ColumnarValue::Array(Arc::new(splits)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
