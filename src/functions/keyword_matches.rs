//! `keyword_matches(words)`: every explanation that holds any of the words, with its BM25.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Documentation;

use super::arguments::{document, table_arguments, text_argument};
use super::collect_activations::Host;
use super::explanation_matches::{ExplanationMatches, Wanted};
use crate::error::Error;
use crate::search::bm25::KeywordQuery;
use crate::search::error::SearchError;

pub(crate) struct KeywordMatches {
    host: Host,
}

impl std::fmt::Debug for KeywordMatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("keyword_matches")
    }
}

impl KeywordMatches {
    pub(crate) fn new(host: &Host) -> Self {
        Self { host: host.clone() }
    }
}

impl TableFunctionImpl for KeywordMatches {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let values = table_arguments("keyword_matches", &["words"], 1, args.exprs())?;
        let words = text_argument("keyword_matches", "words", &values[0])?;
        let Some(query) = KeywordQuery::new(&words) else {
            let error =
                SearchError::NoWords { place: "'keyword_matches'".to_owned(), got: words.chars().take(60).collect() };
            return Err(DataFusionError::from(Error::from(error)));
        };
        Ok(Arc::new(ExplanationMatches::new("keyword_matches", &self.host, Wanted::Keyword(query))))
    }
}

pub(crate) fn documentation() -> Documentation {
    document(
        "Every explanation whose text holds any of the words: the columns of view searchable_explanations and bm25 (above 0, larger is \
         better). Words as for mentions: whole, in any case; here a plural ending (s, es) is ignored on both sides. Reads the search \
         index, which is first brought up to date with the tables. Conditions on the columns hold before an ORDER BY bm25 DESC LIMIT k.",
        "keyword_matches(words)",
        "SELECT count(*) AS n_found, max(bm25) AS best FROM keyword_matches('king queen') WHERE layer = 0",
    )
}
