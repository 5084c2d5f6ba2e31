//! What the queries of a unit's page found, for the unit and for its neighbours, kept until the lake changes.
//!
//! Planning a query takes longer than reading some units in place of one, which lie beside each other in the files, and people walk
//! from unit to unit. So a page's queries run for a block of numbers, and the next pages have their rows already.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, SchemaRef};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::gate::{Asked, Gate};
use super::lake_state::LakeState;
use crate::error::{Error, Result};
use crate::pipeline::queries::{self, Parameter, Query};

/// Units that are read together.
const BLOCK: i64 = 16;

/// Bytes of all kept rows.
const CAPACITY: u64 = 128 << 20;

/// The state of the lake, and a statement.
type Key = (u64, String);

/// The rows of a block of units, by their number in the column `neuron`.
#[derive(Debug)]
struct Block {
    rows: RecordBatch,
    /// Whether these are all rows of every unit: a block of units with too many is kept as one that is not to be used.
    whole: bool,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<Key, Arc<Block>> for Bytewise {
    fn weight(&self, key: &Key, block: &Arc<Block>) -> u64 {
        (key.1.len() + block.rows.get_array_memory_size() + 512) as u64
    }
}

/// Rows of units by statement. One caller reads a block, those who ask meanwhile wait for it.
#[derive(Debug)]
pub(crate) struct KeptRows {
    state: Arc<LakeState>,
    blocks: Cache<Key, Arc<Block>, Bytewise>,
}

impl KeptRows {
    pub(crate) fn of(state: &Arc<LakeState>) -> Self {
        // The number of blocks only sizes the table of keys.
        Self { state: Arc::clone(state), blocks: Cache::with_weighter(1_024, CAPACITY, Bytewise) }
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
        let query = queries::find(name)?;
        let most = most_rows(query)?;
        let sql = bound(query, values, (neuron, neuron), most)?;
        let first = neuron - neuron.rem_euclid(BLOCK);
        let of_block = bound(query, values, (first, first + BLOCK - 1), most * BLOCK)?;
        let key = (self.state.number().await?, of_block);
        let block = self.blocks.get_or_insert_async(&key, Block::read(gate, &key.1, most * BLOCK)).await?;
        let (schema, batches) = match block.whole {
            true => (block.rows.schema(), vec![block.unit(neuron, most)?]),
            false => gate.rows(&sql).await?,
        };
        Ok(Asked { name, sql, schema, batches })
    }
}

impl Block {
    async fn read(gate: &Gate, sql: &str, limit: i64) -> Result<Arc<Self>> {
        let (schema, batches) = gate.rows(sql).await?;
        // The types that the rows have: a plan's own, before its parts were made to agree, may be others.
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let whole = n_rows < limit as usize;
        let rows = match whole {
            true => concat_batches(&schema, &batches)?,
            false => RecordBatch::new_empty(schema),
        };
        Ok(Arc::new(Self { rows, whole }))
    }

    /// The first rows of a unit.
    fn unit(&self, neuron: i64, most: i64) -> Result<RecordBatch> {
        let numbers = numbers(&self.rows)?;
        let first = numbers.partition_point(|number| i64::from(*number) < neuron);
        let n_rows = numbers[first..].partition_point(|number| i64::from(*number) == neuron);
        Ok(self.rows.slice(first, n_rows.min(most as usize)))
    }
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
    let values: Vec<_> = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain(range).collect();
    query.bind(&values)
}

#[cfg(test)]
mod tests;
