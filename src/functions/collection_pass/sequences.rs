//! The token sequences of a model and corpus, in order.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::execution::context::SessionContext;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use std::str::FromStr;

use super::literal;
use crate::error::{Error, Result};
use crate::neurons::pass::OwnedWindow;
use crate::token_sequences::split::Split;

/// Marks a token that is a fragment of a character.
const REPLACEMENT: char = '\u{FFFD}';

/// Sequences of a range: 512 documents' worth of numbers (a document has 2^20 of them).
const RANGE: usize = 512 << 20;

/// Reads the token sequences of one model and corpus.
pub(crate) struct SequenceReader<'a> {
    context: &'a SessionContext,
    condition: String,
    model: &'a str,
    corpus: &'a str,
}

impl<'a> SequenceReader<'a> {
    pub(crate) fn new(context: &'a SessionContext, model: &'a str, corpus: &'a str) -> Self {
        let condition = format!("model = {} AND corpus = {}", literal(model), literal(corpus));
        Self { context, condition, model, corpus }
    }

    /// The condition that selects the sequences.
    pub(super) fn condition(&self) -> &str {
        &self.condition
    }

    /// Tokens of the longest sequence.
    ///
    /// # Errors
    /// [`Error::SequencesMissing`] when there is no sequence.
    pub(crate) async fn longest(&self) -> Result<usize> {
        let longest = self.number("max(array_length(token_ids))").await?;
        longest
            .map(|n| n as usize)
            .filter(|&n| n > 0)
            .ok_or_else(|| Error::SequencesMissing { model: self.model.to_owned(), corpus: self.corpus.to_owned() })
    }

    /// Number of sequences.
    pub(crate) async fn count(&self) -> Result<u64> {
        Ok(self.number("count(*)").await?.unwrap_or_default())
    }

    /// The sequences after one, or all, in order, with their tokens: read range by range, so that only one range is ever sorted.
    pub(crate) async fn after(&self, sequence: Option<i64>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let last = self.number("max(sequence)").await?.map_or(-1, u64::cast_signed);
        let (context, condition) = (self.context.clone(), self.condition.clone());
        let ranges = (sequence.unwrap_or(-1)..last).step_by(RANGE).map(move |after| {
            let sql = format!(
                "SELECT sequence, document, split, token_ids, \
                 NOT contains(array_to_string(tokens, ''), '{REPLACEMENT}') AS recordable \
                 FROM token_sequences WHERE {condition} AND sequence > {after} AND sequence <= {} ORDER BY sequence",
                after.saturating_add(RANGE as i64)
            );
            let context = context.clone();
            async move { context.sql(&sql).await?.execute_stream().await }
        });
        Ok(stream::iter(ranges).then(|range| range).try_flatten().map_err(Error::from).boxed())
    }

    async fn number(&self, expression: &str) -> Result<Option<u64>> {
        let sql = format!("SELECT CAST({expression} AS BIGINT) FROM token_sequences WHERE {}", self.condition);
        let batches = self.context.sql(&sql).await?.collect().await?;
        let value = batches.first().and_then(|b| b.column(0).as_primitive::<Int64Type>().iter().next().flatten());
        Ok(value.map(i64::cast_unsigned))
    }
}

/// The ids of the `n` most frequent tokens of the train split, ascending.
pub(crate) async fn tracked_tokens(context: &SessionContext, model: &str, corpus: &str, n: usize) -> Result<Vec<u32>> {
    let sql = format!(
        "SELECT token_id FROM (SELECT unnest(token_ids) AS token_id FROM token_sequences \
         WHERE model = {} AND corpus = {} AND split = 'train') \
         GROUP BY token_id ORDER BY count(*) DESC, token_id LIMIT {n}",
        literal(model),
        literal(corpus)
    );
    let batches = context.sql(&sql).await?.collect().await?;
    let mut ids: Vec<u32> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().iter().map(|id| id.cast_unsigned()))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The rows of [`SequenceReader::after`].
pub(crate) fn windows(batch: &RecordBatch) -> Result<Vec<OwnedWindow>> {
    let sequence = batch.column(0).as_primitive::<Int64Type>();
    let document = batch.column(1).as_primitive::<Int64Type>();
    let split = arrow::compute::cast(batch.column(2), &arrow::datatypes::DataType::Utf8)?;
    let split = split.as_string::<i32>();
    let token_ids = batch.column(3).as_list::<i32>();
    let ids = token_ids.values().as_primitive::<Int32Type>();
    let recordable = batch.column(4).as_boolean();
    (0..batch.num_rows())
        .map(|row| {
            let range = token_ids.value_offsets()[row] as usize..token_ids.value_offsets()[row + 1] as usize;
            Ok(OwnedWindow {
                sequence: sequence.value(row),
                document: document.value(row),
                split: Split::from_str(split.value(row))?,
                token_ids: ids.values()[range].iter().map(|id| id.cast_unsigned()).collect(),
                recordable: recordable.value(row),
            })
        })
        .collect()
}
