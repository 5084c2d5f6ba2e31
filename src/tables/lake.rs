//! The lake: a folder or bucket prefix that holds one Delta table a definition.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use url::Url;

use super::bucket::Bucket;
use super::definition::TableDefinition;
use super::store::{CLOUD_SCHEMES, shown};
use super::versions::{self, Commit};
use crate::error::{Error, Result};

/// Where the tables of one lake are.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Url,
    /// The store of a lake that is not on the local disk.
    bucket: Option<Arc<Bucket>>,
}

impl Lake {
    /// The lake at a local path or URL, whether or not anything is there yet; no store is asked.
    ///
    /// # Errors
    /// [`Error::Argument`] for a URL that cannot be a folder or bucket, [`Error::Store`] for credentials that cannot be used.
    pub fn at(location: &str) -> Result<Self> {
        let fault = || Error::Argument {
            argument: "--lake".to_owned(),
            expected: "a folder or bucket: a path, file://, s3://, gs://, az:// or abfss://".to_owned(),
            // An address of another kind may hold a password.
            got: Url::parse(location).map_or_else(|_| location.to_owned(), |url| shown(&url)),
        };
        let mut root = match Url::parse(location) {
            Ok(url) if location.contains("://") => url,
            _ => {
                let absolute = std::path::absolute(location)
                    .map_err(|source| Error::File { path: PathBuf::from(location), source })?;
                Url::from_directory_path(absolute).map_err(|()| fault())?
            }
        };
        let is_cloud = CLOUD_SCHEMES.contains(&root.scheme()) && root.has_host();
        if root.cannot_be_a_base() || (root.scheme() != "file" && !is_cloud) {
            return Err(fault());
        }
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        let bucket = if is_cloud { Some(Arc::new(Bucket::open(&root)?)) } else { None };
        Ok(Self { root, bucket })
    }

    /// The lake at `location`, whether or not anything is there yet, after a first question to its store.
    ///
    /// # Errors
    /// As [`Lake::at`], and [`Error::LakeStore`] when the store refuses.
    pub async fn reach(location: &str) -> Result<Self> {
        let lake = Self::at(location)?;
        if let Some(bucket) = &lake.bucket {
            bucket.reach().await?;
        }
        Ok(lake)
    }

    /// The lake at `location`, which must hold tables already.
    ///
    /// # Errors
    /// [`Error::Missing`] when the folder is not there or holds no table, [`Error::LakeStore`] when its store refuses.
    pub async fn existing(location: &str) -> Result<Self> {
        let lake = Self::at(location)?;
        let is_there = match (&lake.bucket, lake.local_path()) {
            (Some(bucket), _) => {
                let folders = bucket.reach().await?;
                folders.contains("documents") || folders.contains("runs")
            }
            (None, Some(path)) => path.join("documents/_delta_log").is_dir() || path.join("runs/_delta_log").is_dir(),
            (None, None) => false,
        };
        if is_there { Ok(lake) } else { Err(Error::Missing { kind: "lake", path: location.to_owned() }) }
    }

    /// A lake in a store of the caller's.
    #[cfg(test)]
    pub(crate) fn over(location: &str, store: Arc<dyn ObjectStore>) -> Self {
        let root = Url::parse(&format!("{location}/")).expect("an address");
        let bucket = Some(Arc::new(Bucket::over(&root, store)));
        Self { root, bucket }
    }

    /// The store of a lake that is not on the local disk.
    pub(crate) fn bucket(&self) -> Option<&Arc<Bucket>> {
        self.bucket.as_ref()
    }

    /// The store that an engine must know to read the tables, with its address; `None` on the local disk.
    pub(crate) fn object_store(&self) -> Option<(&Url, Arc<dyn ObjectStore>)> {
        self.bucket.as_ref().map(|bucket| (&self.root, Arc::clone(&bucket.store)))
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
            None => self.cache_path().join("collections"),
        }
    }

    /// The file that processes of this machine lock while they use the scratch folder.
    pub(crate) fn scratch_lock_path(&self) -> PathBuf {
        match self.local_path() {
            Some(path) => path.join("_leases/collections.lock"),
            None => self.cache_path().join("collections.lock"),
        }
    }

    /// Where files that only this machine needs are kept for a lake in a store: the user's cache, by the lake's address.
    fn cache_path(&self) -> PathBuf {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        // The bucket stands in the name for people, the hash for the rest of the address.
        let host: String =
            self.root.host_str().unwrap_or("lake").chars().filter(|c| c.is_alphanumeric() || *c == '-').collect();
        let name = format!("{host}-{}", crate::hash::text(self.root.as_str()));
        cache.unwrap_or_else(std::env::temp_dir).join("neuronlake/lakes").join(name)
    }

    /// The newest version of a table, or `None` when it was never written.
    ///
    /// # Errors
    /// [`Error::LakeVersion`] when its columns are not those of the definition.
    pub async fn open(&self, definition: &TableDefinition) -> Result<Option<DeltaTable>> {
        if let Some(bucket) = &self.bucket {
            let table = bucket.newest(&definition.name).await?;
            return table.map(|table| check_schema(definition, &table).map(|()| table)).transpose();
        }
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
        let commits = self.commits(definition).await?;
        let number = asked.parse::<u64>().ok().filter(|_| asked.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(commit) = commits.iter().find(|commit| commit.readable && Some(commit.version) == number) else {
            return Err(versions::no_such_version(definition, &commits, asked));
        };
        let table = self.builder(definition)?.with_version(commit.version).load().await?;
        check_schema(definition, &table)?;
        Ok(table)
    }

    /// Every commit of a table, oldest first; none where it was never written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn commits(&self, definition: &TableDefinition) -> Result<Vec<Commit>> {
        if let Some(bucket) = &self.bucket {
            return bucket.commits(&definition.name).await;
        }
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
        let created = self
            .builder(definition)?
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
        if let Some(bucket) = &self.bucket {
            return bucket.version(&definition.name).await;
        }
        let folder = self.table_url(definition)?.to_file_path();
        let log = folder.map_err(|()| Error::internal("a lake that is no folder"))?.join("_delta_log");
        newest_commit(&log).map_err(|source| Error::File { path: log, source })
    }

    /// Folder of the search index: inside a local lake, else in the user's cache.
    pub fn search_path(&self) -> PathBuf {
        match self.local_path() {
            Some(path) => path.join("_search"),
            None => self.cache_path().join("search"),
        }
    }

    fn builder(&self, definition: &TableDefinition) -> Result<DeltaTableBuilder> {
        match &self.bucket {
            Some(bucket) => bucket.builder(&definition.name),
            None => Ok(DeltaTableBuilder::from_url(self.table_url(definition)?)?),
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
    /// Hash of the commit that made it; in an object store its entity tag.
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
