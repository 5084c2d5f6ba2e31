//! `token_windows(text, model, length, minimum)`: a document's windows of tokens.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, ListArray, ListBuilder, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, literal_integer, literal_string, signature, strings};
use crate::models::cache::Models;
use crate::token_sequences::windows::windows;

#[derive(Debug)]
pub(crate) struct TokenWindows {
    signature: Signature,
    documentation: Documentation,
    models: Arc<Models>,
}

super::same_by_name!(TokenWindows);

impl TokenWindows {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self {
            signature: signature(4),
            documentation: document(
                "Cuts a text into consecutive windows of `length` tokens by the model's tokenizer; a shorter last window \
                 is kept when it has at least `minimum` tokens. A list of structs: number (0-based), token_offset, \
                 token_ids, tokens (surface texts). NULL when the text is NULL.",
                "token_windows(text, model, length, minimum)",
                "SELECT w['token_offset'] AS token_offset, w['tokens'] AS tokens \
                 FROM (SELECT unnest(token_windows('In the beginning God created', 'default', 3, 1)) AS w)",
            ),
            models: Arc::clone(models),
        }
    }
}

fn window_fields() -> Fields {
    let list = |inner| DataType::List(Arc::new(Field::new("element", inner, true)));
    Fields::from(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("token_offset", DataType::Int32, false),
        Field::new("token_ids", list(DataType::Int32), false),
        Field::new("tokens", list(DataType::Utf8), false),
    ])
}

impl ScalarUDFImpl for TokenWindows {
    fn name(&self) -> &str {
        "token_windows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new("element", DataType::Struct(window_fields()), true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = strings("token_windows", &args.args[0], args.number_rows)?;
        let source = literal_string("token_windows", "model", &args.args[1])?;
        let size = |name, argument| match usize::try_from(literal_integer("token_windows", name, argument)?) {
            Ok(size) if size > 0 => Ok(size),
            _ => exec_err!("'token_windows': {name}: expected at least 1"),
        };
        let (length, minimum) = (size("length", &args.args[2])?, size("minimum", &args.args[3])?);
        let model = self.models.get(&source)?;
        let tokenizer = model.tokenizer()?;

        let mut number = Int64Builder::new();
        let mut token_offset = Int32Builder::new();
        let mut token_ids =
            ListBuilder::new(Int32Builder::new()).with_field(Field::new("element", DataType::Int32, true));
        let mut tokens = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
        let mut lengths = Vec::with_capacity(args.number_rows);
        for text in texts.iter() {
            let ids = text
                .map(|text| tokenizer.encode(text))
                .transpose()?
                .map(|encoding| encoding.token_ids)
                .unwrap_or_default();
            let mut n_windows = 0;
            for range in windows(ids.len(), length, minimum) {
                number.append_value(n_windows);
                token_offset.append_value(range.start as i32);
                for &id in &ids[range] {
                    token_ids.values().append_value(id as i32);
                    tokens.values().append_value(tokenizer.token_text(id));
                }
                token_ids.append(true);
                tokens.append(true);
                n_windows += 1;
            }
            lengths.push(n_windows as usize);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(number.finish()),
            Arc::new(token_offset.finish()),
            Arc::new(token_ids.finish()),
            Arc::new(tokens.finish()),
        ];
        let structs = StructArray::try_new(window_fields(), columns, None)?;
        let element = Arc::new(Field::new("element", DataType::Struct(window_fields()), true));
        let lists =
            ListArray::try_new(element, OffsetBuffer::from_lengths(lengths), Arc::new(structs), texts_nulls(&texts))?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn texts_nulls(texts: &arrow::array::StringArray) -> Option<arrow::buffer::NullBuffer> {
    arrow::array::Array::nulls(texts).cloned()
}
