//! Rows of the search index as a table: filters are applied before anything is ranked, and the first k by score are found without
//! looking at the others' columns.
//!
//! The engine hands down filters on the explanation's columns (all of them are honoured exactly), the columns wanted, and, by
//! `try_pushdown_sort`, that only the first k by score are wanted. Nothing of this changes a result: without it the same rows come
//! out, later.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_expr::equivalence::EquivalenceProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SortOrderPushdownResult,
};
use rayon::prelude::*;
use tokio::sync::mpsc::Sender;

use crate::search::bm25::{self, KeywordQuery, SegmentMatches};
use crate::search::index::{Index, Segment};
use crate::search::nearest::{Search, Selection, nearest};
use crate::search::rank::{Hit, TopHits};
use crate::search::rows::{BATCH_ROWS, EXPLANATION, SCHEMA};
use crate::search::vectors::QueryVector;

/// Most rows wanted for which an approximate search may stand in for the exact one.
const APPROXIMATE_AT_MOST: usize = 10_000;

/// What a row's score is.
#[derive(Debug)]
pub(crate) enum Ranking {
    /// Rows without one: the view.
    None,
    /// BM25; rows without any of the words are left out.
    Keyword(KeywordQuery),
    /// Cosine with a query's vector.
    Semantic { encoder: String, query: QueryVector },
}

/// The columns of the view and a score of this name.
pub(crate) fn schema_with(score: Option<&str>) -> SchemaRef {
    let score = score.map(|name| Arc::new(Field::new(name, DataType::Float32, false)));
    Arc::new(Schema::new(SCHEMA.fields().iter().cloned().chain(score).collect::<Vec<_>>()))
}

/// Whether the scan can apply a filter itself: it reads the explanation's own columns, and says the same whenever it is asked.
pub(crate) fn takes(filter: &Expr) -> bool {
    static KNOWN: LazyLock<SchemaRef> = LazyLock::new(|| Arc::clone(&SCHEMA));
    let mut takes = true;
    let walked = filter.apply(|expr| {
        takes &= match expr {
            Expr::Column(column) => KNOWN.field_with_name(&column.name).is_ok(),
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Volatile,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..) => false,
            Expr::Placeholder(_) | Expr::AggregateFunction(_) | Expr::WindowFunction(_) => false,
            _ => true,
        };
        Ok(if takes { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.is_ok() && takes
}

/// A condition over some columns of the view.
#[derive(Debug, Clone)]
struct Filter {
    condition: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// The scan as a plan.
#[derive(Debug, Clone)]
pub(crate) struct ExplanationScan {
    name: &'static str,
    index: Arc<Index>,
    ranking: Arc<Ranking>,
    /// Columns of `schema_with(score)`.
    projection: Vec<usize>,
    filter: Option<Filter>,
    fetch: Option<usize>,
    sorted: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ExplanationScan {
    /// A scan with these filters, all of which [`takes`] accepts.
    pub(crate) fn new(
        name: &'static str,
        index: Arc<Index>,
        ranking: Ranking,
        score: Option<&str>,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Self> {
        let schema = schema_with(score);
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let filter = conjunction(filters.to_vec()).map(|filter| Filter::new(&filter, state)).transpose()?;
        let n_partitions = match ranking {
            Ranking::Keyword(_) => 1,
            _ => index.segments.len().clamp(1, state.config().target_partitions().max(1)),
        };
        let projected = Arc::new(schema.project(&projection)?);
        let properties = properties(EquivalenceProperties::new(projected), n_partitions);
        let metrics = ExecutionPlanMetricsSet::new();
        let ranking = Arc::new(ranking);
        Ok(Self { name, index, ranking, projection, filter, fetch: None, sorted: false, properties, metrics })
    }

    /// The scan with its rows in this order, if it is one by falling score and then, maybe, by key.
    fn in_order(&self, order: &[PhysicalSortExpr]) -> Option<Self> {
        let column = |sort: &PhysicalSortExpr| {
            let column = sort.expr.downcast_ref::<Column>()?;
            self.projection.get(column.index()).copied()
        };
        let (first, rest) = order.split_first()?;
        let by_score = column(first)? == SCHEMA.fields().len() && first.options.descending;
        let by_key = match rest {
            [] => true,
            [sort] => column(sort)? == EXPLANATION && !sort.options.descending,
            _ => false,
        };
        if !by_score || !by_key || matches!(*self.ranking, Ranking::None) {
            return None;
        }
        let ordering = LexOrdering::new(order.to_vec())?;
        let schema = Arc::clone(self.properties.equivalence_properties().schema());
        let equivalence = EquivalenceProperties::new_with_orderings(schema, [ordering]);
        Some(Self { sorted: true, properties: properties(equivalence, 1), ..self.clone() })
    }

    fn work(&self, partition: usize, sender: &Sender<Result<RecordBatch>>) -> Result<()> {
        if self.sorted {
            let hits = self.first_hits()?;
            for hits in hits.chunks(BATCH_ROWS) {
                if sender.blocking_send(self.gather(hits)).is_err() {
                    break;
                }
            }
            return Ok(());
        }
        let matches = match &*self.ranking {
            Ranking::Keyword(query) => Some(bm25::matches(&self.index, query)),
            _ => None,
        };
        let n_partitions = self.properties.partitioning.partition_count();
        let mut left = self.fetch.unwrap_or(usize::MAX);
        for (number, segment) in self.index.segments.iter().enumerate().skip(partition).step_by(n_partitions) {
            for batch in 0..segment.n_batches() {
                let rows = self.rows_of(number, segment, batch, matches.as_ref().map(|matches| &matches[number]))?;
                let n = rows.len().min(left);
                if n == 0 {
                    continue;
                }
                left -= n;
                // Nobody listens any more once a limit above is reached.
                if sender.blocking_send(self.batch(segment, batch, rows.first(n))).is_err() || left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The rows of a batch that pass, with their scores.
    fn rows_of(
        &self,
        number: usize,
        segment: &Segment,
        batch: usize,
        matches: Option<&SegmentMatches>,
    ) -> Result<Rows> {
        let n_rows = segment.batch_rows(batch);
        let first = (batch * BATCH_ROWS) as u32;
        if let Some(matches) = matches {
            let start = matches.rows.partition_point(|row| *row < first);
            let end = matches.rows.partition_point(|row| *row < first + n_rows as u32);
            if start == end {
                return Ok(Rows::Some(Vec::new(), Vec::new()));
            }
            let passes = self.passes(segment, batch)?;
            let found = matches.rows[start..end].iter().map(|row| row - first).zip(&matches.scores[start..end]);
            let found = found.filter(|(row, _)| passes.as_ref().is_none_or(|passes| passes[*row as usize]));
            let (rows, scores) = found.map(|(row, score)| (row, *score)).unzip();
            return Ok(Rows::Some(rows, scores));
        }
        let passes = self.passes(segment, batch)?;
        let rows = || (0..n_rows as u32).filter(|row| passes.as_ref().is_none_or(|passes| passes[*row as usize]));
        match &*self.ranking {
            Ranking::Semantic { encoder, query } => {
                let rows: Vec<u32> = rows().collect();
                let scores = match self.wants_score() {
                    true => self.index.similarities(encoder, number, query, first, &rows)?,
                    false => vec![0.0; rows.len()],
                };
                Ok(Rows::Some(rows, scores))
            }
            _ if passes.is_none() => Ok(Rows::All(n_rows)),
            _ => Ok(Rows::Some(rows().collect(), Vec::new())),
        }
    }

    fn wants_score(&self) -> bool {
        self.projection.contains(&SCHEMA.fields().len())
    }

    /// Which rows of a batch pass the filter; `None` where there is none.
    fn passes(&self, segment: &Segment, batch: usize) -> Result<Option<Vec<bool>>> {
        self.filter.as_ref().map(|filter| filter.passes(segment, batch)).transpose()
    }

    /// The first hits by score, as many as are wanted.
    fn first_hits(&self) -> Result<Vec<Hit>> {
        let k = self.fetch.unwrap_or(usize::MAX).min(self.index.n_rows());
        match &*self.ranking {
            Ranking::None => Ok(Vec::new()),
            Ranking::Keyword(query) => {
                let matches = bm25::matches(&self.index, query);
                let parts = self.index.segments.par_iter().zip(matches).enumerate();
                let parts: Vec<TopHits<'_>> = parts
                    .map(|(number, (segment, matches))| self.best_of(number, segment, &matches, k))
                    .collect::<Result<_>>()?;
                Ok(TopHits::merge(&self.index, k, parts)?)
            }
            Ranking::Semantic { encoder, query } => {
                let selection: Selection = match &self.filter {
                    None => vec![None; self.index.segments.len()],
                    Some(filter) => {
                        let select = |segment: &Arc<Segment>| -> Result<Option<Vec<bool>>> {
                            let mut selected = Vec::with_capacity(segment.n_rows);
                            for batch in 0..segment.n_batches() {
                                selected.extend(filter.passes(segment, batch)?);
                            }
                            Ok(Some(selected))
                        };
                        self.index.segments.par_iter().map(select).collect::<Result<_>>()?
                    }
                };
                let n_selected = match &self.filter {
                    None => self.index.n_rows(),
                    Some(_) => selection.iter().flatten().flatten().filter(|passes| **passes).count(),
                };
                let search = if k > APPROXIMATE_AT_MOST { Search::Exact } else { Search::among(n_selected) };
                Ok(nearest(&self.index, encoder, query, &selection, k.min(n_selected), search)?)
            }
        }
    }

    fn best_of(&self, number: usize, segment: &Segment, matches: &SegmentMatches, k: usize) -> Result<TopHits<'_>> {
        let mut top = TopHits::new(&self.index, k);
        let mut looked_at = None;
        let mut passes = None;
        for (row, score) in matches.rows.iter().zip(&matches.scores) {
            if !top.takes(*score) {
                continue;
            }
            let batch = *row as usize / BATCH_ROWS;
            if looked_at != Some(batch) {
                passes = self.passes(segment, batch)?;
                looked_at = Some(batch);
            }
            if passes.as_ref().is_none_or(|passes| passes[*row as usize % BATCH_ROWS]) {
                top.offer(Hit { score: *score, segment: number as u32, row: *row })?;
            }
        }
        Ok(top)
    }

    /// Rows of one batch with the columns wanted.
    fn batch(&self, segment: &Segment, batch: usize, rows: Rows) -> Result<RecordBatch> {
        let n_rows = rows.len();
        let (indices, scores) = match rows {
            Rows::All(_) => (None, Vec::new()),
            Rows::Some(rows, scores) => (Some(UInt32Array::from(rows)), scores),
        };
        let scores: ArrayRef = Arc::new(Float32Array::from(scores));
        let columns = self.projection.iter().map(|column| -> Result<ArrayRef> {
            if *column == SCHEMA.fields().len() {
                return Ok(Arc::clone(&scores));
            }
            let column = segment.column(batch, *column)?;
            Ok(match &indices {
                None if n_rows == column.len() => Arc::clone(column),
                None => column.slice(0, n_rows),
                Some(indices) => take(column, indices, None)?,
            })
        });
        self.record_batch(columns.collect::<Result<_>>()?, n_rows)
    }

    /// Hits from anywhere with the columns wanted.
    fn gather(&self, hits: &[Hit]) -> Result<RecordBatch> {
        let mut batches: Vec<(u32, usize)> =
            hits.iter().map(|hit| (hit.segment, hit.row as usize / BATCH_ROWS)).collect();
        batches.sort_unstable();
        batches.dedup();
        let place = |hit: &Hit| {
            let batch = (hit.segment, hit.row as usize / BATCH_ROWS);
            (batches.partition_point(|other| *other < batch), hit.row as usize % BATCH_ROWS)
        };
        let places: Vec<(usize, usize)> = hits.iter().map(place).collect();
        let columns = self.projection.iter().map(|column| -> Result<ArrayRef> {
            if *column == SCHEMA.fields().len() {
                return Ok(Arc::new(hits.iter().map(|hit| Some(hit.score)).collect::<Float32Array>()));
            }
            let arrays: Vec<&dyn Array> = batches
                .iter()
                .map(|(segment, batch)| Ok(self.index.segments[*segment as usize].column(*batch, *column)?.as_ref()))
                .collect::<Result<_>>()?;
            Ok(interleave(&arrays, &places)?)
        });
        self.record_batch(columns.collect::<Result<_>>()?, hits.len())
    }

    fn record_batch(&self, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        Ok(RecordBatch::try_new_with_options(self.schema(), columns, &options)?)
    }
}

/// Some rows of a batch, and their scores where they have any.
enum Rows {
    All(usize),
    Some(Vec<u32>, Vec<f32>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::All(n) => *n,
            Self::Some(rows, _) => rows.len(),
        }
    }

    fn first(self, n: usize) -> Self {
        match self {
            Self::All(_) => Self::All(n),
            Self::Some(mut rows, mut scores) => {
                rows.truncate(n);
                scores.truncate(n);
                Self::Some(rows, scores)
            }
        }
    }
}

impl Filter {
    fn new(filter: &Expr, state: &dyn Session) -> Result<Self> {
        // Filters come with the name of the table, or an alias, before a column: the scan knows its columns by name alone.
        let filter = filter.clone().transform(|expr| {
            Ok(match expr {
                Expr::Column(mut column) if column.relation.is_some() => {
                    column.relation = None;
                    datafusion::common::tree_node::Transformed::yes(Expr::Column(column))
                }
                other => datafusion::common::tree_node::Transformed::no(other),
            })
        })?;
        let schema = DFSchema::try_from(SCHEMA.as_ref().clone())?;
        let condition = state.create_physical_expr(filter.data, &schema)?;
        let mut columns: Vec<usize> = collect_columns(&condition).iter().map(Column::index).collect();
        columns.sort_unstable();
        let schema: SchemaRef = Arc::new(SCHEMA.project(&columns)?);
        Ok(Self { condition: reassign_expr_columns(condition, &schema)?, columns, schema })
    }

    fn passes(&self, segment: &Segment, batch: usize) -> Result<Vec<bool>> {
        let n_rows = segment.batch_rows(batch);
        let columns = self.columns.iter().map(|column| Ok(Arc::clone(segment.column(batch, *column)?)));
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let answers = self.condition.evaluate(&batch)?.into_array(n_rows)?;
        // NULL is not true.
        Ok(answers.as_boolean().iter().map(|answer| answer == Some(true)).collect())
    }
}

fn properties(equivalence: EquivalenceProperties, n_partitions: usize) -> Arc<PlanProperties> {
    let partitioning = Partitioning::UnknownPartitioning(n_partitions);
    Arc::new(PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded))
}

impl DisplayAs for ExplanationScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} explanations", self.name, self.index.n_rows())?;
        if let Some(filter) = &self.filter {
            write!(f, ", filter={}", filter.condition)?;
        }
        if self.sorted {
            write!(f, ", by score")?;
        }
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ExplanationScan {
    fn name(&self) -> &str {
        self.name
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.filter {
            Some(filter) => f(&filter.condition),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        Ok(match self.in_order(order) {
            Some(inner) => SortOrderPushdownResult::Exact { inner: Arc::new(inner) },
            None => SortOrderPushdownResult::Unsupported,
        })
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { fetch, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema(), 2);
        let sender = builder.tx();
        let scan = self.clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        builder.spawn_blocking(move || {
            let _timer = metrics.elapsed_compute().timer();
            scan.work(partition, &sender)
        });
        Ok(builder.build())
    }
}
