//! Fetching models from the Hugging Face hub into its own cache, where a model folder is a snapshot of a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hf_hub::api::RepoInfo;
use hf_hub::api::tokio::{Api, ApiBuilder, ApiError, Progress};
use hf_hub::{Cache, Repo, RepoType};

use super::hash;
use super::weights::safetensors::SafetensorsFiles;
use crate::error::{Error, Result};

/// Short names of models known to work.
const ALIASES: [(&str, &str); 3] = [
    ("gpt2", "openai-community/gpt2"),
    ("minilm", "sentence-transformers/all-MiniLM-L6-v2"),
    ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
];

/// Files of a repository that are fetched beside the weights, where it has them.
const SMALL_FILES: [&str; 11] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "generation_config.json",
    "modules.json",
    "1_Pooling/config.json",
];

/// Which hub, which cache and on whose behalf.
#[derive(Clone)]
pub struct Hub {
    /// Base address, without a slash at the end.
    pub endpoint: String,
    /// The cache folder that holds `models--owner--name`.
    pub cache: PathBuf,
    /// Access token; never shown.
    pub token: Option<String>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "hidden");
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &token)
            .finish()
    }
}

impl Hub {
    /// What `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` say, else huggingface.co, `~/.cache/huggingface` and its stored token.
    pub fn from_env() -> Self {
        let variable = |name| {
            std::env::var(name).ok().map(|value: String| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let cache = Cache::from_env();
        Self {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token: variable("HF_TOKEN").or_else(|| cache.token()),
            cache: cache.path().clone(),
        }
    }

    fn api(&self) -> std::result::Result<Api, ApiError> {
        ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(false)
            .build()
    }
}

/// How far the download of one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// The file's name in the repository.
    pub file: String,
    /// Bytes received.
    pub received: u64,
    /// Bytes of the file.
    pub size: u64,
}

/// Called as bytes arrive.
pub type OnProgress = Arc<dyn Fn(&FileProgress) + Send + Sync>;

#[derive(Clone)]
struct Reporter {
    state: FileProgress,
    report: OnProgress,
}

impl Progress for Reporter {
    async fn init(&mut self, size: usize, file: &str) {
        self.state = FileProgress { file: file.to_owned(), received: 0, size: size as u64 };
        (self.report)(&self.state);
    }

    async fn update(&mut self, received: usize) {
        self.state.received += received as u64;
        (self.report)(&self.state);
    }

    async fn finish(&mut self) {
        self.state.received = self.state.size;
        (self.report)(&self.state);
    }
}

/// The repository that an alias or an `owner/name` means.
///
/// # Errors
/// [`Error::Hub`] if it is neither.
pub fn repository(name: &str) -> Result<String> {
    if let Some((_, repository)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok((*repository).to_owned());
    }
    let mut parts = name.split('/');
    let valid = |part: Option<&str>| {
        part.is_some_and(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    if !(valid(parts.next()) && valid(parts.next()) && parts.next().is_none()) {
        let aliases: Vec<&str> = ALIASES.iter().map(|(alias, _)| *alias).collect();
        let reason = format!("expected owner/name or one of {}", aliases.join(", "));
        return Err(Error::Hub { repository: name.to_owned(), revision: "main".to_owned(), reason });
    }
    Ok(name.to_owned())
}

/// Fetches configuration, tokenizer and safetensors weights of a repository and returns the folder they are in.
///
/// `revision` is a branch, tag or commit. Files that are in the cache already are not fetched again; without a network
/// the cached snapshot of that revision is used.
///
/// # Errors
/// [`Error::Hub`] for an unknown repository or revision, a missing permission, no network, or no safetensors in it.
pub async fn pull(hub: &Hub, name: &str, revision: &str, progress: OnProgress) -> Result<PathBuf> {
    let repository = repository(name)?;
    let fault = |reason: String| Error::Hub { repository: repository.clone(), revision: revision.to_owned(), reason };
    let explain = |e: ApiError| fault(explain(hub, &repository, &e));
    let named = Repo::with_revision(repository.clone(), RepoType::Model, revision.to_owned());
    let cache = Cache::new(hub.cache.clone()).repo(named.clone());

    let api = hub.api().map_err(explain)?;
    let info = match api.repo(named).info().await {
        Ok(info) => info,
        Err(e) => {
            let cached = cache.get("config.json").and_then(|path| path.parent().map(Path::to_path_buf));
            let complete = cached.filter(|folder| {
                SafetensorsFiles::list(folder).is_ok_and(|files| files.iter().all(|file| file.is_file()))
            });
            return match complete.filter(|_| is_network_fault(&e)) {
                Some(folder) => {
                    tracing::warn!(repository, revision, "hub not reachable, using the cached snapshot");
                    Ok(folder)
                }
                None => Err(explain(e)),
            };
        }
    };
    let files = wanted(&info).ok_or_else(|| {
        fault("expected model.safetensors or model-*-of-*.safetensors in the repository, got neither".to_owned())
    })?;
    // All files are asked for by commit: a push between two of them cannot mix versions.
    let repo = api.repo(Repo::with_revision(repository.clone(), RepoType::Model, info.sha.clone()));
    let snapshot = cache.pointer_path(&info.sha);
    for file in &files {
        let path = snapshot.join(file);
        if path.exists() {
            continue;
        }
        let state = FileProgress { file: file.clone(), received: 0, size: 0 };
        let path = repo
            .download_with_progress(file, Reporter { state, report: Arc::clone(&progress) })
            .await
            .map_err(explain)?;
        verify(&path).map_err(|reason| fault(format!("file '{file}': {reason}")))?;
    }
    // The revision is recorded last, so what it leads to is complete.
    cache.create_ref(&info.sha).map_err(|source| Error::File { path: snapshot.clone(), source })?;
    Ok(snapshot)
}

/// Files to fetch: small ones, then one weights file or all parts of it; none without safetensors.
fn wanted(info: &RepoInfo) -> Option<Vec<String>> {
    let names: Vec<&str> = info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).collect();
    let mut wanted: Vec<&str> = SMALL_FILES.into_iter().filter(|file| names.contains(file)).collect();
    if names.contains(&"model.safetensors") {
        wanted.push("model.safetensors");
    } else if names.contains(&"model.safetensors.index.json") {
        wanted.push("model.safetensors.index.json");
        wanted.extend(names.iter().filter(|name| name.starts_with("model-") && name.ends_with(".safetensors")));
    } else {
        return None;
    }
    Some(wanted.into_iter().map(str::to_owned).collect())
}

/// Checks a large file's content: the hub names it by its SHA-256, and a snapshot's entry links to that name.
fn verify(path: &Path) -> std::result::Result<(), String> {
    let Ok(target) = std::fs::canonicalize(path) else {
        return Err("is not in the cache after its download".to_owned());
    };
    let expected = target.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if expected.len() != 64 || !expected.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let got = hash::of_files(std::slice::from_ref(&target)).map_err(|e| e.to_string())?;
    if got == expected {
        return Ok(());
    }
    // Left in place, the damaged file would be taken for a good one next time.
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(&target);
    Err(format!("expected SHA-256 {expected}, got {got}; it was removed, try again"))
}

/// Whether the hub could not be asked, as opposed to having refused.
fn is_network_fault(e: &ApiError) -> bool {
    matches!(e, ApiError::RequestError(e) if e.status().is_none() || e.status().is_some_and(|status| status.is_server_error()))
}

/// What went wrong and what to do about it.
fn explain(hub: &Hub, repository: &str, e: &ApiError) -> String {
    let Hub { endpoint, token, .. } = hub;
    let ApiError::RequestError(request) = e else {
        return e.to_string();
    };
    let status = request.status().map(|status| status.as_u16());
    match (status, token) {
        (Some(401), None) => "not found, or private: set HF_TOKEN to a token that may read it".to_owned(),
        (Some(401), Some(_)) => "not found, or the token may not read it".to_owned(),
        (Some(403), _) => format!("access is restricted: accept its terms at {endpoint}/{repository} and set HF_TOKEN"),
        (Some(404), _) => "no such repository, revision or file".to_owned(),
        (Some(429), _) => "too many requests, try again later".to_owned(),
        (Some(status), _) => format!("{endpoint} answered with status {status}"),
        (None, _) => {
            let mut cause: &dyn std::error::Error = request;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("cannot reach {endpoint}: {cause}")
        }
    }
}

#[cfg(test)]
mod tests;
