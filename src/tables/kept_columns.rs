//! Columns of data files kept in memory, decoded, for sessions that ask the same tables again.
//!
//! The files of a Delta table never change: what was decoded once holds for every version that has the file. Columns are kept from the
//! second time on that a query of this process asks for them, a file and a column at a time, so that a commit costs the new
//! files and nothing else. The conditions of a query are applied above the scan as they always are, and the files that its
//! folders decide are chosen before; only the pruning inside of files is given up, so what asks large files for a neuron's rows reads those
//! alone, as long as not all is kept.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::error::Result;
use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// How often a column is asked for before it is kept: what is read once is not read again, as a rule.
const ASKED: u32 = 2;

/// Files larger than this share of the room are not decoded to see whether their columns fit.
const LARGEST_SHARE: u64 = 4;

/// One column of one file. Size and time are there for a table that was removed and made again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ColumnKey {
    pub(super) path: Arc<str>,
    pub(super) size: u64,
    pub(super) modified: i64,
    /// Place of the column in the file's schema.
    pub(super) column: usize,
}

#[derive(Debug, Clone)]
struct Bytewise;

impl Weighter<ColumnKey, ArrayRef> for Bytewise {
    fn weight(&self, key: &ColumnKey, column: &ArrayRef) -> u64 {
        (column.get_array_memory_size() + key.path.len() + 128) as u64
    }
}

/// The columns that a session keeps.
#[derive(Debug)]
pub(crate) struct KeptColumns {
    columns: Cache<ColumnKey, ArrayRef, Bytewise>,
    room: u64,
    // By folder of the table and column.
    asked: Mutex<HashMap<(String, usize), Asked>>,
}

/// What is known of one column of a table.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Times(u32),
    /// Its files hold more than there is room for.
    TooLarge,
}

impl KeptColumns {
    /// Room for so many bytes of decoded columns; those that were asked for least are given up first.
    pub(crate) fn with_room(bytes: usize) -> Self {
        let room = bytes as u64;
        // One part: a column may take a good share of the room, and parts would divide it.
        let options = OptionsBuilder::new().shards(1).estimated_items_capacity(4_096).weight_capacity(room).build();
        // The options have all they need.
        let options = options.expect("capacities are given");
        let columns =
            Cache::with_options(options, Bytewise, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { columns, room, asked: Mutex::default() }
    }

    /// Bytes of all that is kept.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.columns.weight()
    }

    /// Counts a scan of these columns of a table's files, which are so large together; whether they are to be kept.
    pub(super) fn ask(&self, table: &str, columns: &[usize], bytes_of_files: u64) -> bool {
        if bytes_of_files > self.room / LARGEST_SHARE {
            return false;
        }
        let mut asked = self.asked.lock();
        let mut all = true;
        for column in columns {
            let asked = asked.entry((table.to_owned(), *column)).or_insert(Asked::Times(0));
            match asked {
                Asked::Times(times) => {
                    *times = times.saturating_add(1);
                    all &= *times >= ASKED;
                }
                Asked::TooLarge => all = false,
            }
        }
        all
    }

    pub(super) fn get(&self, key: &ColumnKey) -> Option<ArrayRef> {
        self.columns.get(key)
    }

    /// Keeps columns that were decoded; where they are too large together none is, and nobody tries again.
    pub(super) fn keep(&self, table: &str, decoded: &[(ColumnKey, ArrayRef)]) {
        let bytes: u64 = decoded.iter().map(|(key, column)| Bytewise.weight(key, column)).sum();
        if bytes > self.room / 2 {
            let mut asked = self.asked.lock();
            for (key, _) in decoded {
                asked.insert((table.to_owned(), key.column), Asked::TooLarge);
            }
            return;
        }
        for (key, column) in decoded {
            self.columns.insert(key.clone(), Arc::clone(column));
        }
    }
}

/// The columns of all batches of one file, each in one piece and in memory of its own.
pub(super) fn in_one_piece(schema: &Schema, batches: &[RecordBatch]) -> Result<Vec<ArrayRef>> {
    let column = |index: usize, field: &arrow::datatypes::FieldRef| -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        match parts.is_empty() {
            true => Ok(arrow::array::new_empty_array(field.data_type())),
            false => Ok(concat(&parts)?),
        }
    };
    schema.fields().iter().enumerate().map(|(index, field)| column(index, field)).collect()
}

/// Rows as batches of some thousands, which share the columns' memory.
pub(super) fn batches(schema: &SchemaRef, columns: Vec<ArrayRef>, rows_of_batch: usize) -> Result<Vec<RecordBatch>> {
    let whole = RecordBatch::try_new(Arc::clone(schema), columns)?;
    let n = whole.num_rows();
    Ok((0..n).step_by(rows_of_batch.max(1)).map(|from| whole.slice(from, rows_of_batch.min(n - from))).collect())
}

#[cfg(test)]
mod tests;
