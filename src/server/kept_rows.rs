//! What the queries of a unit's page found, for the unit and for its neighbours, kept until the lake changes.
//!
//! Planning a query takes longer than reading some hundred units in place of one, which lie beside each other in the files. So a
//! page's queries run for a block of numbers, as wide as the rows of its units are small, and the pages of all of them have their
//! rows already, whoever asks for them next or waits for them now.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, SchemaRef};
use futures::TryStreamExt;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::gate::{Asked, Gate};
use super::lake_state::LakeState;
use super::limits::LimitReached;
use crate::error::{Error, Result};
use crate::pipeline::queries::{self, Parameter, Query};

/// Units that are read together at least: what a query is tried with before anything is known of its rows.
const NARROWEST: i64 = 16;

/// Units that are read together at most.
const WIDEST: i64 = 1_024;

/// Bytes that the rows of a block are to have, and a little more.
const BLOCK_BYTES: usize = 8 << 20;

/// Bytes of rows at which the reading of a block ends: its units are to be read in narrower ones.
const MOST_BYTES: usize = 4 * BLOCK_BYTES;

/// Bytes of all kept rows: those of two thousand units with forty windows each, and in each of the cache's parts room for many blocks.
const CAPACITY: u64 = 256 << 20;

/// Blocks that size the cache's table of keys, and by that the number of its parts.
const N_BLOCKS: usize = 64;

/// Pages of a table that are asked for together.
const PAGES: i64 = 8;

/// The state of the lake, a statement without its numbers of units, the first number and how many.
type Key = (u64, Arc<str>, i64, i64);

/// The rows of a block of units, by their number in the column `neuron`; `None` where they are too many for a block of this width.
#[derive(Debug)]
struct Block {
    rows: Option<RecordBatch>,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Block>> for Bytewise {
    fn weight(&self, key: &Key, block: &Arc<Block>) -> u64 {
        (key.1.len() + block.n_bytes() + 512) as u64
    }
}

/// A function of models that is read in place of a table.
pub(crate) struct InPlace<'a> {
    /// The table.
    pub(crate) table: &'static str,
    /// The function's call for the units of a range.
    pub(crate) call: &'a (dyn Fn(i64, i64) -> String + Sync),
    /// The first number that is no unit's any more: the function takes no such number.
    pub(crate) end: i64,
    /// Units that it computes in a moment.
    pub(crate) widest: i64,
}

/// A query of `queries/viewer` about units, with everything but the numbers of the units.
struct Statement<'a> {
    name: &'static str,
    query: &'static Query,
    values: &'a [(&'a str, Parameter)],
    in_place: Option<InPlace<'a>>,
    /// The most rows that a unit has.
    most: i64,
}

/// Rows of units by statement. One caller reads a block, those who ask meanwhile wait for it.
#[derive(Debug)]
pub(crate) struct KeptRows {
    state: Arc<LakeState>,
    blocks: Cache<Key, Arc<Block>, Bytewise>,
    /// Bytes of a unit's rows by the name of the query, as of what was read.
    unit_bytes: Mutex<HashMap<&'static str, usize>>,
    /// Who reads the first block of a query: the others wait for what it tells of the width.
    first: Mutex<HashMap<&'static str, Arc<tokio::sync::Mutex<()>>>>,
}

impl KeptRows {
    pub(crate) fn of(state: &Arc<LakeState>) -> Self {
        Self {
            state: Arc::clone(state),
            blocks: Cache::with_weighter(N_BLOCKS, CAPACITY, Bytewise),
            unit_bytes: Mutex::default(),
            first: Mutex::default(),
        }
    }

    /// What a query of `queries/viewer` finds of one unit: as [`Gate::ask`] with `$first_neuron` and `$last_neuron` its number.
    ///
    /// The query returns the column `neuron` and is sorted by it first; its parameter `$rows` is the most rows that a unit has.
    ///
    /// # Errors
    /// As [`Gate::ask`], and when the lake cannot be read.
    pub(crate) async fn ask(
        &self,
        gate: &Gate,
        name: &'static str,
        values: &[(&str, Parameter)],
        neuron: i64,
    ) -> Result<Asked> {
        self.find(gate, &Statement::new(name, values, None)?, neuron).await
    }

    /// The same with a function of models, such as a table function, in place of a table.
    ///
    /// # Errors
    /// As [`KeptRows::ask`].
    pub(crate) async fn ask_of(
        &self,
        gate: &Gate,
        name: &'static str,
        values: &[(&str, Parameter)],
        neuron: i64,
        in_place: InPlace<'_>,
    ) -> Result<Asked> {
        self.find(gate, &Statement::new(name, values, Some(in_place))?, neuron).await
    }

    /// What a query finds that is about no unit: as [`Gate::ask`], but once while the lake is the same.
    ///
    /// # Errors
    /// As [`KeptRows::ask`].
    pub(crate) async fn ask_once(
        &self,
        gate: &Gate,
        name: &'static str,
        values: &[(&str, Parameter)],
    ) -> Result<Asked> {
        let sql = queries::find(name)?.bind(&owned(values))?;
        self.once(gate, name, &sql, sql.clone(), 0, i64::MAX).await
    }

    /// A page of a table whose query takes `$top` and `$skip`: as [`Gate::ask`], with the pages beside it asked for together.
    ///
    /// # Errors
    /// As [`KeptRows::ask`].
    pub(crate) async fn ask_page(
        &self,
        gate: &Gate,
        name: &'static str,
        values: &[(&str, Parameter)],
        (page, size): (i64, i64),
    ) -> Result<Asked> {
        let query = queries::find(name)?;
        let bound = |top: i64, skip: i64| {
            let range =
                [("top", top), ("skip", skip)].map(|(name, value)| (name.to_owned(), Parameter::Integer(value)));
            query.bind(&owned(values).into_iter().chain(range).collect::<Vec<_>>())
        };
        let first = page - page.rem_euclid(PAGES);
        let together = bound(PAGES.saturating_mul(size), first.saturating_mul(size))?;
        self.once(gate, name, &together, bound(size, page.saturating_mul(size))?, (page - first) * size, size).await
    }

    /// Some of a statement's rows, shown as those of another.
    async fn once(
        &self,
        gate: &Gate,
        name: &'static str,
        statement: &str,
        sql: String,
        skip: i64,
        top: i64,
    ) -> Result<Asked> {
        let key = (self.state.number().await?, Arc::from(statement), 0, 0);
        let read = async {
            let read = Read::of(gate, statement, MOST_BYTES).await?;
            let rows = (read.bytes <= MOST_BYTES).then(|| read.in_one_piece()).transpose()?;
            Ok::<_, Error>(Arc::new(Block { rows }))
        };
        let block = match self.blocks.get_or_insert_async(&key, read).await {
            Ok(block) => block,
            // Some of the rows may need less than all of them.
            Err(error) if is_too_large(&error) => Arc::new(Block { rows: None }),
            Err(error) => return Err(error),
        };
        let Some(rows) = &block.rows else {
            let (schema, batches) = gate.rows(&sql).await?;
            return Ok(Asked { name, sql, schema, batches });
        };
        let skip = rows.num_rows().min(skip as usize);
        let rows = rows.slice(skip, (rows.num_rows() - skip).min(top as usize));
        Ok(Asked { name, sql, schema: rows.schema(), batches: vec![rows] })
    }

    async fn find(&self, gate: &Gate, statement: &Statement<'_>, neuron: i64) -> Result<Asked> {
        let sql = statement.sql((neuron, neuron), statement.most)?;
        let asked = |schema, batches| Ok(Asked { name: statement.name, sql: sql.clone(), schema, batches });
        let (widest, end) = statement.in_place.as_ref().map_or((WIDEST, i64::MAX), |other| (other.widest, other.end));
        if neuron < end {
            let (state, text) = (self.state.number().await?, statement.key());
            if let Some(rows) = self.kept(state, &text, neuron) {
                let unit = unit(&rows, neuron, statement.most)?;
                return asked(unit.schema(), vec![unit]);
            }
            // A block that has too many rows is tried narrower, with what was learnt of it.
            let mut widest = widest;
            while widest >= NARROWEST {
                let (width, _first) = self.width(statement.name, widest).await;
                // Who waited for the first block may have its rows now.
                let rows = match self.kept(state, &text, neuron) {
                    Some(rows) => Some(rows),
                    None => self.block(gate, statement, (state, Arc::clone(&text), neuron, width), end).await?,
                };
                if let Some(rows) = rows {
                    let unit = unit(&rows, neuron, statement.most)?;
                    return asked(unit.schema(), vec![unit]);
                }
                widest = width / 2;
            }
        }
        let (schema, batches) = gate.rows(&sql).await?;
        asked(schema, batches)
    }

    /// The rows of a kept block that has a unit.
    fn kept(&self, state: u64, text: &Arc<str>, neuron: i64) -> Option<RecordBatch> {
        widths(WIDEST).find_map(|width| {
            let key = (state, Arc::clone(text), neuron - neuron.rem_euclid(width), width);
            self.blocks.get(&key).and_then(|block| block.rows.clone())
        })
    }

    /// Units that are to be read together, at most `widest`. Of a query that nothing is known of, one caller at a time gets an answer: whoever
    /// holds the guard.
    async fn width(&self, name: &'static str, widest: i64) -> (i64, Option<tokio::sync::OwnedMutexGuard<()>>) {
        let known = || self.unit_bytes.lock().get(name).copied();
        if let Some(unit_bytes) = known() {
            return (width(unit_bytes, widest), None);
        }
        let first = Arc::clone(self.first.lock().entry(name).or_default());
        let guard = first.lock_owned().await;
        match known() {
            Some(unit_bytes) => (width(unit_bytes, widest), None),
            None => (NARROWEST, Some(guard)),
        }
    }

    /// Reads the block of a unit, or waits for who does; `None` where its rows are too many, for us or for the limits of a query.
    async fn block(
        &self,
        gate: &Gate,
        statement: &Statement<'_>,
        (state, text, neuron, width): Key,
        end: i64,
    ) -> Result<Option<RecordBatch>> {
        let first = neuron - neuron.rem_euclid(width);
        let key = (state, text, first, width);
        let limit = statement.most * width;
        // One row more than there may be tells whether these are all.
        let sql = statement.sql((first, (first + width).min(end) - 1), limit + 1)?;
        let read = async {
            let most_bytes = if width > NARROWEST { MOST_BYTES } else { usize::MAX };
            let read = Read::of(gate, &sql, most_bytes).await?;
            self.learn(statement.name, &read)?;
            let (n_rows, bytes) = (read.n_rows(), read.bytes);
            tracing::debug!(name = statement.name, first, width, n_rows, bytes, "read a block of units");
            let whole = read.n_rows() <= limit as usize && read.bytes <= most_bytes;
            Ok(Arc::new(Block { rows: whole.then(|| read.in_one_piece()).transpose()? }))
        };
        match self.blocks.get_or_insert_async(&key, read).await {
            Ok(block) => Ok(block.rows.clone()),
            // One unit may need less than many: what it needs itself is told of it alone.
            Err(error) if is_too_large(&error) => {
                self.unit_bytes.lock().insert(statement.name, BLOCK_BYTES);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps in mind how large the rows of a unit are; a block of large ones is forgotten over the next blocks.
    fn learn(&self, name: &'static str, read: &Read) -> Result<()> {
        let now = read.bytes / read.n_units()?.max(1);
        let mut known = self.unit_bytes.lock();
        let before = known.get(name).copied().unwrap_or_default();
        known.insert(name, now.max(before - before / 4));
        Ok(())
    }
}

/// Whether a query reached a limit that fewer units may keep to.
fn is_too_large(error: &Error) -> bool {
    matches!(error.itself(), Error::Limit(LimitReached::Memory { .. } | LimitReached::Rows { .. }))
}

/// Units of so many bytes that are to be read together.
fn width(unit_bytes: usize, widest: i64) -> i64 {
    let most = (BLOCK_BYTES / unit_bytes.max(1)) as i64;
    widths(widest).find(|width| *width <= most).unwrap_or(NARROWEST)
}

/// Widths of blocks from the widest on, each half of the one before.
fn widths(widest: i64) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(WIDEST), |width| Some(width / 2))
        .take_while(|width| *width >= NARROWEST)
        .skip_while(move |width| *width > widest)
}

impl<'a> Statement<'a> {
    fn new(name: &'static str, values: &'a [(&'a str, Parameter)], in_place: Option<InPlace<'a>>) -> Result<Self> {
        let query = queries::find(name)?;
        Ok(Self { name, query, values, in_place, most: most_rows(query)? })
    }

    /// For the units of a range.
    fn sql(&self, neurons: (i64, i64), rows: i64) -> Result<String> {
        let sql = bound(self.query, self.values, neurons, rows)?;
        match &self.in_place {
            Some(other) => queries::with_relation(&sql, other.table, &(other.call)(neurons.0, neurons.1)),
            None => Ok(sql),
        }
    }

    /// What tells it from other statements, whatever the units: no two have the same.
    fn key(&self) -> Arc<str> {
        let mut text = self.name.to_owned();
        for (name, value) in self.values {
            text += &format!("\n{name} = {}", value.to_sql());
        }
        if let Some(other) = &self.in_place {
            text += &format!("\n{} = {}", other.table, (other.call)(0, 0));
        }
        text.into()
    }
}

impl Block {
    fn n_bytes(&self) -> usize {
        self.rows.as_ref().map_or(0, RecordBatch::get_array_memory_size)
    }
}

/// What was read for a block.
struct Read {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Read {
    /// The rows of a query, until they have more bytes than they may: then the query ends.
    async fn of(gate: &Gate, sql: &str, most_bytes: usize) -> Result<Self> {
        let mut answer = gate.read(sql).await?;
        let mut read = Self { schema: answer.schema(), batches: Vec::new(), bytes: 0 };
        while let Some(batch) = answer.try_next().await? {
            // The types that the rows have: a plan's own, before its parts were made to agree, may be others.
            read.schema = batch.schema();
            for column in batch.columns() {
                let data = column.to_data();
                read.bytes += data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size());
            }
            read.batches.push(batch);
            if read.bytes > most_bytes {
                break;
            }
        }
        Ok(read)
    }

    fn n_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Units that have rows.
    fn n_units(&self) -> Result<usize> {
        let mut n_units = 0;
        let mut before = None;
        for batch in &self.batches {
            for number in numbers(batch)? {
                n_units += usize::from(before != Some(*number));
                before = Some(*number);
            }
        }
        Ok(n_units)
    }

    fn in_one_piece(&self) -> Result<RecordBatch> {
        Ok(concat_batches(&self.schema, &self.batches)?)
    }
}

/// The first rows of a unit.
fn unit(rows: &RecordBatch, neuron: i64, most: i64) -> Result<RecordBatch> {
    let numbers = numbers(rows)?;
    let first = numbers.partition_point(|number| i64::from(*number) < neuron);
    let n_rows = numbers[first..].partition_point(|number| i64::from(*number) == neuron);
    Ok(rows.slice(first, n_rows.min(most as usize)))
}

/// The column `neuron`, which is sorted.
fn numbers(rows: &RecordBatch) -> Result<&[i32]> {
    let schema: SchemaRef = rows.schema();
    let column = rows.column_by_name("neuron").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let column = column.ok_or_else(|| {
        let got: Vec<_> =
            schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        Error::internal(format!("rows of units: expected a column 'neuron' of Int32, got {}", got.join(", ")))
    })?;
    Ok(column.values())
}

/// The most rows that a unit has, by the query's own word.
fn most_rows(query: &Query) -> Result<i64> {
    match query.params.iter().find(|(name, _)| name == "rows") {
        Some((_, Some(Parameter::Integer(most)))) => Ok(*most),
        _ => Err(Error::internal(format!("query '{}' has no '$rows = …'", query.name))),
    }
}

fn bound(query: &Query, values: &[(&str, Parameter)], neurons: (i64, i64), rows: i64) -> Result<String> {
    let range = [("first_neuron", neurons.0), ("last_neuron", neurons.1), ("rows", rows)];
    let range = range.map(|(name, value)| (name.to_owned(), Parameter::Integer(value)));
    query.bind(&owned(values).into_iter().chain(range).collect::<Vec<_>>())
}

fn owned(values: &[(&str, Parameter)]) -> Vec<(String, Parameter)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
