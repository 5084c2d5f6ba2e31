//! Finds the files of a corpus, in the order in which they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use tokio::runtime::Handle;
use url::Url;

use crate::documents::format::{self, Compression, Format};
use crate::documents::{CorpusSpec, DEFAULT_CORPUS};
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};
use crate::tables::store::{open_store, shown};

/// Characters that make a path a pattern.
const PATTERN_CHARS: [char; 3] = ['*', '?', '['];

/// `*` stays within one folder and does not match hidden files, as in a shell.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One file to read.
#[derive(Debug)]
pub(crate) struct CorpusFile {
    /// Its address as it is shown and stored: without passwords.
    pub(crate) url: String,
    pub(crate) place: Place,
    pub(crate) format: Format,
    /// What the name says; the bytes may show another.
    pub(crate) compression: Option<Compression>,
}

/// Where a file's bytes are.
#[derive(Debug)]
pub(crate) enum Place {
    /// Inside the program.
    Embedded,
    Local(PathBuf),
    Store {
        store: Arc<dyn ObjectStore>,
        path: object_store::path::Path,
    },
}

/// What is done with a name whose ending is unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnknownEnding {
    /// The user named the file.
    Refuse,
    /// It only lies in the folder.
    Skip,
}

/// All files of a corpus, sorted by path; at least one.
pub(crate) fn find_files(spec: &CorpusSpec, handle: &Handle) -> Result<Vec<CorpusFile>> {
    let url = spec.url.as_str();
    if url == DEFAULT_CORPUS {
        let file = CorpusFile {
            url: "embedded".to_owned(),
            place: Place::Embedded,
            format: Format::Embedded,
            compression: Some(Compression::Zstd),
        };
        return Ok(vec![file]);
    }
    match url.split_once("://") {
        None => find_local(url, url),
        Some(("file", _)) => {
            let parsed = Url::parse(url).map_err(|error| bad_url(url, error.to_string()))?;
            let path = parsed.to_file_path().map_err(|()| bad_url(url, "not the path of a local file".to_owned()))?;
            let path = path.to_str().ok_or_else(|| bad_url(url, "not a UTF-8 path".to_owned()))?;
            find_local(url, path)
        }
        Some(("http" | "https", _)) => find_http(url),
        Some((scheme, rest)) => find_in_store(url, scheme, rest, handle),
    }
}

/// What a message may show of an address: everything but a password.
pub(crate) fn shown_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if parsed.password().is_some() => shown(&parsed),
        _ => url.to_owned(),
    }
}

fn bad_url(url: &str, reason: String) -> Error {
    CorpusError::Url { url: shown_url(url), reason }.into()
}

fn not_found(url: &str) -> Error {
    CorpusError::NotFound { url: url.to_owned() }.into()
}

/// Local file, folder or pattern; `url` is what the user wrote.
fn find_local(url: &str, path: &str) -> Result<Vec<CorpusFile>> {
    let mut paths = Vec::new();
    let mut unknown = UnknownEnding::Refuse;
    // A file may have a name that looks like a pattern, so the file system is asked first.
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            walk(Path::new(path), &mut paths)?;
            unknown = UnknownEnding::Skip;
        }
        Ok(_) => paths.push(PathBuf::from(path)),
        Err(_) if path.contains(PATTERN_CHARS) => {
            let matches = glob::glob_with(path, MATCHING).map_err(|error| bad_url(url, error.to_string()))?;
            for entry in matches {
                let path =
                    entry.map_err(|error| Error::File { path: error.path().to_owned(), source: error.into() })?;
                if !path.is_dir() {
                    paths.push(path);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(Error::File { path: PathBuf::from(path), source });
        }
    }
    if paths.is_empty() {
        return Err(not_found(url));
    }
    paths.sort();
    let names = paths.into_iter().map(|path| (path.to_string_lossy().into_owned(), Place::Local(path)));
    with_formats(url, names, unknown)
}

/// All files below a folder, without hidden ones; links to folders are not followed, so there are no cycles.
fn walk(root: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let fault = |source| Error::File { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(fault)?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                paths.push(entry.path());
            }
        }
    }
    Ok(())
}

/// A web server lists nothing, so an address there is one file.
fn find_http(url: &str) -> Result<Vec<CorpusFile>> {
    let parsed = Url::parse(url).map_err(|error| bad_url(url, error.to_string()))?;
    if parsed.query().is_some() {
        return Err(bad_url(&shown(&parsed), "web addresses with a query ('?…') are not supported".to_owned()));
    }
    let (store, path) = open_store(&parsed)?;
    let name = shown(&parsed);
    with_formats(&name, std::iter::once((name.clone(), Place::Store { store, path })), UnknownEnding::Refuse)
}

/// File, folder (prefix) or pattern in a cloud's store.
fn find_in_store(url: &str, scheme: &str, rest: &str, handle: &Handle) -> Result<Vec<CorpusFile>> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_pattern = key.contains(PATTERN_CHARS);
    // Only the folders before the first pattern character go into the address: '?' would start a query there.
    let fixed = match key.find(PATTERN_CHARS) {
        Some(first) => key.get(..first).and_then(|start| start.rsplit_once('/')).map_or("", |(folders, _)| folders),
        None => key,
    };
    let base = Url::parse(&format!("{scheme}://{bucket}/{fixed}")).map_err(|error| bad_url(url, error.to_string()))?;
    let (store, prefix) = open_store(&base)?;
    let fault = |source: object_store::Error| Error::Store { url: url.to_owned(), source: Box::new(source) };
    if !is_pattern && !key.is_empty() && !key.ends_with('/') {
        match handle.block_on(store.head(&prefix)) {
            Ok(_) => {
                let files = std::iter::once((url.to_owned(), Place::Store { store, path: prefix }));
                return with_formats(url, files, UnknownEnding::Refuse);
            }
            // Then it may be a folder: stores have no folders, only names that begin alike.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(fault(source)),
        }
    }
    let pattern = is_pattern.then(|| Pattern::new(key)).transpose().map_err(|error| bad_url(url, error.to_string()))?;
    let listed = store.list(Some(&prefix)).map_ok(|object| object.location).try_collect::<Vec<_>>();
    let mut paths = handle.block_on(listed).map_err(fault)?;
    paths.retain(|path| match &pattern {
        Some(pattern) => pattern.matches_with(path.as_ref(), MATCHING),
        None => !path.filename().is_some_and(|name| name.starts_with('.')),
    });
    if paths.is_empty() {
        return Err(not_found(url));
    }
    paths.sort();
    let files = paths
        .into_iter()
        .map(|path| (format!("{scheme}://{bucket}/{path}"), Place::Store { store: Arc::clone(&store), path }));
    with_formats(url, files, if is_pattern { UnknownEnding::Refuse } else { UnknownEnding::Skip })
}

/// Gives each file its format; every name is checked before the first file is read.
fn with_formats(
    url: &str,
    files: impl Iterator<Item = (String, Place)>,
    unknown: UnknownEnding,
) -> Result<Vec<CorpusFile>> {
    let mut found = Vec::new();
    for (name, place) in files {
        match format::of_name(&name) {
            Some((format, compression)) => found.push(CorpusFile { url: name, place, format, compression }),
            None if unknown == UnknownEnding::Skip => tracing::debug!(file = name, "file skipped, unknown ending"),
            None => {
                return Err(CorpusError::Format { url: name, known: format::KNOWN }.into());
            }
        }
    }
    if found.is_empty() {
        return Err(CorpusError::Format { url: url.to_owned(), known: format::KNOWN }.into());
    }
    Ok(found)
}
