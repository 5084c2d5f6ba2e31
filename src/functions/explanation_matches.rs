//! Tables over the search index: what `keyword_matches`, `semantic_matches` and the view `searchable_explanations` have in common.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::collect_activations::Host;
use super::explanation_scan::{ExplanationScan, Ranking, schema_with, takes};
use crate::error::Error;
use crate::search::bm25::KeywordQuery;
use crate::search::index::Index;
use crate::search::vectors::QueryVector;
use crate::tables::catalog::Materialised;

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Texts that hold any of the words.
    Keyword(KeywordQuery),
    /// All texts, by meaning.
    Semantic { words: String, encoder: Option<String> },
}

/// A table function's rows.
pub(crate) struct ExplanationMatches {
    name: &'static str,
    host: Host,
    wanted: Wanted,
    schema: SchemaRef,
}

impl std::fmt::Debug for ExplanationMatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.name).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl ExplanationMatches {
    pub(crate) fn new(name: &'static str, host: &Host, wanted: Wanted) -> Self {
        let schema = schema_with(Some(wanted.score()));
        Self { name, host: host.clone(), wanted, schema }
    }

    async fn rank(&self) -> Result<(Arc<Index>, Ranking), Error> {
        let engine = self.host.session.context()?;
        match &self.wanted {
            Wanted::Keyword(query) => Ok((self.host.search.current(&engine).await?, Ranking::Keyword(query.clone()))),
            Wanted::Semantic { words, encoder } => {
                let encoder = self.host.methods.text_encoder(encoder.as_deref())?;
                let index = self.host.search.with_vectors(&engine, encoder.as_ref(), &|_, _| ()).await?;
                let vectors = encoder.embed_all(std::slice::from_ref(words)).await?;
                let vector = vectors.first().ok_or_else(|| Error::internal("an encoder gave no vector"))?;
                let encoder = encoder.name().to_owned();
                if let Some(expected) = index.width(&encoder).filter(|width| *width != vector.len()) {
                    let got = vector.len();
                    return Err(crate::search::error::SearchError::Width { encoder, expected, got }.into());
                }
                Ok((index, Ranking::Semantic { encoder, query: QueryVector::new(vector) }))
            }
        }
    }
}

impl Wanted {
    /// The score's column.
    fn score(&self) -> &'static str {
        match self {
            Self::Keyword(_) => "bm25",
            Self::Semantic { .. } => "similarity",
        }
    }
}

#[async_trait]
impl TableProvider for ExplanationMatches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushed_down(filters))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (index, ranking) = self.rank().await?;
        let score = Some(self.wanted.score());
        if index.n_rows() == 0 {
            return empty(&self.schema, projection);
        }
        Ok(Arc::new(ExplanationScan::new(self.name, index, ranking, score, state, projection, filters)?))
    }
}

/// The view `searchable_explanations` out of the index, while it is in step with the tables.
#[derive(Debug)]
pub(crate) struct SearchableExplanations {
    index: Arc<Index>,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for SearchableExplanations {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_table_definition(&self) -> Option<&str> {
        None
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, datafusion::logical_expr::LogicalPlan>> {
        None
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushed_down(filters))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let index = Arc::clone(&self.index);
        if index.n_rows() == 0 {
            return empty(&self.schema, projection);
        }
        let name = "searchable_explanations";
        Ok(Arc::new(ExplanationScan::new(name, index, Ranking::None, None, state, projection, filters)?))
    }
}

fn pushed_down(filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    let answer = |filter: &&Expr| match takes(filter) {
        true => TableProviderFilterPushDown::Exact,
        false => TableProviderFilterPushDown::Unsupported,
    };
    filters.iter().map(answer).collect()
}

fn empty(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = match projection {
        Some(projection) => Arc::new(schema.project(projection)?),
        None => Arc::clone(schema),
    };
    Ok(Arc::new(EmptyExec::new(schema)))
}

/// Stands in for the view where the index can.
#[derive(Debug)]
pub(crate) struct IndexedViews {
    search: Arc<crate::search::build::SearchIndex>,
}

impl IndexedViews {
    pub(crate) fn new(search: &Arc<crate::search::build::SearchIndex>) -> Self {
        Self { search: Arc::clone(search) }
    }
}

#[async_trait]
impl Materialised for IndexedViews {
    async fn provider(&self, view: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if view != "searchable_explanations" {
            return Ok(None);
        }
        let index = self.search.fresh().await.map_err(DataFusionError::from)?;
        Ok(index.map(|index| Arc::new(SearchableExplanations { index, schema: schema_with(None) }) as _))
    }
}
