//! The lake: a folder or bucket prefix that holds one Delta table a definition.

use std::path::{Path, PathBuf};

use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use serde::{Deserialize, Serialize};
use url::Url;

use super::definition::TableDefinition;
use super::versions::{self, Commit};
use crate::error::{Error, Result};

/// Where the tables of one lake are.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Url,
}

impl Lake {
    /// The lake at a local path or URL, whether or not anything is there yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for a URL that cannot be a folder.
    pub fn at(location: &str) -> Result<Self> {
        let fault = || Error::Argument {
            argument: "--lake".to_owned(),
            expected: "a folder, as a path or a file:// URL".to_owned(),
            got: location.to_owned(),
        };
        let mut root = match Url::parse(location) {
            Ok(url) if location.contains("://") => url,
            _ => {
                let absolute = std::path::absolute(location)
                    .map_err(|source| Error::File { path: PathBuf::from(location), source })?;
                Url::from_directory_path(absolute).map_err(|()| fault())?
            }
        };
        if root.cannot_be_a_base() || root.scheme() != "file" {
            return Err(fault());
        }
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        Ok(Self { root })
    }

    /// The lake at `location`, which must hold tables already.
    ///
    /// # Errors
    /// [`Error::Missing`] when a local folder is not there or holds no table.
    pub fn existing(location: &str) -> Result<Self> {
        let lake = Self::at(location)?;
        match lake.local_path() {
            Some(path) if !path.join("documents/_delta_log").is_dir() && !path.join("runs/_delta_log").is_dir() => {
                Err(Error::Missing { kind: "lake", path: location.to_owned() })
            }
            _ => Ok(lake),
        }
    }

    /// Root of the lake, ending in a slash.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// Root of a lake on the local disk.
    pub fn local_path(&self) -> Option<PathBuf> {
        self.root.to_file_path().ok()
    }

    /// Folder for work in progress: inside a local lake, else in the user's cache.
    pub fn scratch_path(&self) -> PathBuf {
        match self.local_path() {
            Some(path) => path.join("_collections"),
            None => std::env::temp_dir().join("neuronlake").join(crate::hash::text(self.root.as_str())),
        }
    }

    /// The newest version of a table, or `None` when it was never written.
    ///
    /// # Errors
    /// [`Error::LakeVersion`] when its columns are not those of the definition.
    pub async fn open(&self, definition: &TableDefinition) -> Result<Option<DeltaTable>> {
        let url = self.table_url(definition)?;
        // The builder would make the folder of a local table; a look must not leave a trace.
        if url.to_file_path().is_ok_and(|path| !path.join("_delta_log").is_dir()) {
            return Ok(None);
        }
        match DeltaTableBuilder::from_url(url)?.load().await {
            Ok(table) => {
                check_schema(definition, &table)?;
                Ok(Some(table))
            }
            Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One version of a table.
    ///
    /// # Errors
    /// [`Error::Argument`] with the versions there are when it is not among them, or when its files were removed; as
    /// [`Lake::open`].
    pub(crate) async fn open_version(&self, definition: &TableDefinition, asked: &str) -> Result<DeltaTable> {
        let commits = self.commits(definition)?;
        let number = asked.parse::<u64>().ok().filter(|_| asked.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(commit) = commits.iter().find(|commit| commit.readable && Some(commit.version) == number) else {
            return Err(versions::no_such_version(definition, &commits, asked));
        };
        let table =
            DeltaTableBuilder::from_url(self.table_url(definition)?)?.with_version(commit.version).load().await?;
        check_schema(definition, &table)?;
        Ok(table)
    }

    /// Every commit of a table, oldest first; none where it was never written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn commits(&self, definition: &TableDefinition) -> Result<Vec<Commit>> {
        let url = self.table_url(definition)?;
        let folder = url.to_file_path().map_err(|()| Error::internal("a lake that is no folder"))?;
        versions::commits(&url, &folder.join("_delta_log"))
    }

    /// The newest version of a table, made empty when it was never written.
    ///
    /// # Errors
    /// As [`Lake::open`]; also when the store refuses.
    pub async fn open_or_create(&self, definition: &TableDefinition) -> Result<DeltaTable> {
        if let Some(table) = self.open(definition).await? {
            return Ok(table);
        }
        let url = self.table_url(definition)?;
        if let Ok(path) = url.to_file_path() {
            make_folder(&path)?;
        }
        let created = DeltaTableBuilder::from_url(url)?
            .build()?
            .create()
            .with_table_name(&definition.name)
            .with_comment(&definition.summary)
            .with_columns(kernel_schema(definition)?.fields().cloned())
            .with_partition_columns(&definition.partition_columns)
            .await;
        match created {
            // Another process made the table between our look and our commit.
            Err(_) => match self.open(definition).await? {
                Some(table) => Ok(table),
                None => Err(created.map(|_| ()).map_or_else(Error::from, |()| Error::internal("table vanished"))),
            },
            Ok(table) => Ok(table),
        }
    }

    /// Which version of a table is the newest, without reading the table: `None` when it was never written.
    ///
    /// # Errors
    /// When the folder or its log cannot be read.
    pub async fn version(&self, definition: &TableDefinition) -> Result<Option<TableVersion>> {
        let url = self.table_url(definition)?;
        let Ok(log) = url.to_file_path().map(|path| path.join("_delta_log")) else {
            let Some(table) = self.open(definition).await? else { return Ok(None) };
            let number = table.version().map_or(0, |version| version);
            return Ok(Some(TableVersion { number, commit: String::new() }));
        };
        newest_commit(&log).map_err(|source| Error::File { path: log, source })
    }

    /// Folder of the search index: inside a local lake, else in the user's cache.
    pub fn search_path(&self) -> PathBuf {
        match self.local_path() {
            Some(path) => path.join("_search"),
            None => self.scratch_path().join("_search"),
        }
    }

    /// Folder of the sparse autoencoders' weights, where the lake is on the local disk.
    pub fn autoencoders_path(&self) -> Option<PathBuf> {
        self.local_path().map(|path| path.join("_sparse_autoencoders"))
    }

    fn table_url(&self, definition: &TableDefinition) -> Result<Url> {
        self.root.join(&format!("{}/", definition.name)).map_err(|e| Error::internal(e.to_string()))
    }
}

/// One version of a table. Two tables of one name and version, the second made after the first was removed, differ in the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVersion {
    /// Delta's number.
    pub number: u64,
    /// Hash of the commit that made it.
    pub commit: String,
}

/// The newest commit of a log, by the names of its files.
fn newest_commit(log: &Path) -> std::io::Result<Option<TableVersion>> {
    let entries = match std::fs::read_dir(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest: Option<u64> = None;
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|name| name.parse().ok());
        newest = newest.max(number);
    }
    let Some(number) = newest else { return Ok(None) };
    let commit = std::fs::read(log.join(format!("{number:020}.json")))?;
    Ok(Some(TableVersion { number, commit: crate::hash::hex(&crate::hash::number(&commit).to_be_bytes()) }))
}

fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn kernel_schema(definition: &TableDefinition) -> Result<StructType> {
    definition.schema.as_ref().try_into_kernel().map_err(Error::from)
}

fn check_schema(definition: &TableDefinition, table: &DeltaTable) -> Result<()> {
    let expected = kernel_schema(definition)?;
    let stored = table.snapshot()?.schema();
    let difference = |column: &str, expected: String, got: String| Error::LakeVersion {
        path: table.table_url().to_string(),
        column: column.to_owned(),
        expected,
        got,
    };
    for field in expected.fields() {
        let want = field.data_type().to_string();
        match stored.field(field.name()) {
            None => return Err(difference(field.name(), want, "no such column".to_owned())),
            Some(found) if found.data_type().to_string() != want => {
                return Err(difference(field.name(), want, found.data_type().to_string()));
            }
            Some(_) => {}
        }
    }
    match stored.fields().find(|field| expected.field(field.name()).is_none()) {
        Some(extra) => Err(difference(extra.name(), "no such column".to_owned(), extra.data_type().to_string())),
        None => Ok(()),
    }
}
