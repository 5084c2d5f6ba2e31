//! `read_corpus(url, options)`: the documents of a corpus as rows.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::arguments::{document, table_arguments, text_argument};
use super::stream;
use crate::documents::{self, CorpusSpec, DEFAULT_DOCUMENT_CHARS, Document};

/// The options, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorpusOptions {
    /// JSON field or Parquet column of the text.
    pub(crate) field: Option<String>,
    /// Read at most this many documents.
    pub(crate) limit: Option<u64>,
    /// Length from which a plain-text file is cut into documents.
    pub(crate) document_chars: usize,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { field: None, limit: None, document_chars: DEFAULT_DOCUMENT_CHARS }
    }
}

#[derive(Debug)]
pub(crate) struct ReadCorpus;

impl TableFunctionImpl for ReadCorpus {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("read_corpus", &["url", "options"], 1, args.exprs())?;
        let url = text_argument("read_corpus", "url", &values[0])?;
        let options = match values.get(1) {
            None => CorpusOptions::default(),
            Some(value) => {
                let text = text_argument("read_corpus", "options", value)?;
                match serde_json::from_str(if text.is_empty() { "{}" } else { &text }) {
                    Ok(options) => options,
                    Err(e) => return plan_err!("'read_corpus': options: {e}"),
                }
            }
        };
        let spec =
            CorpusSpec { url, field: options.field, limit: options.limit, document_chars: options.document_chars };
        let schema = schema();
        let rows_schema = Arc::clone(&schema);
        stream::table(
            "read_corpus",
            schema,
            &["document"],
            Arc::new(move || {
                let schema = Arc::clone(&rows_schema);
                documents::read_corpus(&spec)
                    .map_err(DataFusionError::from)
                    .map(move |batch| rows(&schema, &batch?))
                    .boxed()
            }),
        )
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("document", DataType::Int64, false),
        Field::new("source", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, false),
    ]))
}

fn rows(schema: &SchemaRef, documents: &[Document]) -> Result<RecordBatch> {
    let number: Int64Array = documents.iter().map(|d| Some(d.document)).collect();
    let source: StringArray = documents.iter().map(|d| Some(d.source.as_str())).collect();
    let text: StringArray = documents.iter().map(|d| Some(d.text.as_str())).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(number), Arc::new(source), Arc::new(text)])?)
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Reads the texts of a corpus: columns document (0-based number), source, text. The url is a path, a pattern, a \
         folder, a URL that the object store knows, or 'default' for the corpus inside the program. Options is a JSON \
         object: field (JSON field or Parquet column of the text), limit, document_chars (length from which a plain-text \
         file is cut into documents at blank lines).",
        "read_corpus(url [, options])",
        "SELECT document, source FROM read_corpus('default', '{\"limit\": 2}') ORDER BY document",
    )
}
