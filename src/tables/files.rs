//! The data files of a table's version, and scans of some of them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use deltalake::DeltaTable;
use deltalake::kernel::Add;

use crate::error::Result;

/// One data file of a table's version.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// The same for a file whose rows are the same: its path and which of its rows are deleted.
    pub(crate) name: String,
    add: Add,
}

impl DataFile {
    /// The value of a partition column for all rows of the file.
    pub(crate) fn partition(&self, column: &str) -> Option<&str> {
        self.add.partition_values.get(column)?.as_deref()
    }
}

/// What the log says of the data files of the version that is open.
pub(super) fn adds(table: &DeltaTable) -> Result<Vec<Add>> {
    #[expect(
        deprecated,
        reason = "scans of some files are asked for by these; nothing else carries path, partition and deletions"
    )]
    let adds = table.snapshot()?.log_data().into_iter().map(|file| file.add_action()).collect();
    Ok(adds)
}

/// The data files of the version that is open, by name.
pub(crate) fn data_files(table: &DeltaTable) -> Result<Vec<DataFile>> {
    let mut files: Vec<DataFile> = adds(table)?
        .into_iter()
        .map(|add| {
            let name = match &add.deletion_vector {
                None => add.path.clone(),
                Some(deleted) => format!("{} {deleted:?}", add.path),
            };
            DataFile { name, add }
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The rows of some data files of the version that is open.
pub(crate) async fn scan_files(table: &DeltaTable, files: Vec<DataFile>) -> Result<Arc<dyn TableProvider>> {
    Ok(table.table_provider().with_adds(files.into_iter().map(|file| file.add)).await?)
}
