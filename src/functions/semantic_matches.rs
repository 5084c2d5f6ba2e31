//! `semantic_matches(words [, encoder])`: every explanation, with how close its meaning is.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::Documentation;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::explanation_matches::{ExplanationMatches, Wanted};

pub(crate) struct SemanticMatches {
    host: Host,
}

impl std::fmt::Debug for SemanticMatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("semantic_matches")
    }
}

impl SemanticMatches {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl TableFunctionImpl for SemanticMatches {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("semantic_matches", &["words", "encoder"], 1, args.exprs())?;
        let words = text_argument("semantic_matches", "words", &values[0])?;
        let encoder = values.get(1).map(|value| text_argument("semantic_matches", "encoder", value)).transpose()?;
        let encoder = encoder.filter(|encoder| !encoder.is_empty());
        let wanted = Wanted::Semantic { words, encoder };
        Ok(Arc::new(ExplanationMatches::new("semantic_matches", &self.host, wanted)))
    }
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Every explanation with the cosine between its text's vector and that of the words: the columns of view \
         searchable_explanations and similarity (-1..1, larger is closer). The encoder is a folder with a BERT sentence encoder, \
         openai:NAME for an endpoint's /embeddings, or, when left out, all-MiniLM-L6-v2. Vectors that table explanation_vectors lacks are \
         computed first. Conditions on the columns hold before an ORDER BY similarity DESC LIMIT k; among more than 4 million \
         explanations that pass them such a query is approximate.",
        "semantic_matches(words [, encoder])",
        "SELECT count(*) AS n_found, max(similarity) AS best FROM semantic_matches('kings and queens') WHERE layer = 0",
    )
}
