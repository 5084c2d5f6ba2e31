//! Object stores by address, with the credentials of the environment.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};

/// Prefixes of the environment variables that configure a cloud's store (`AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`, …).
const CREDENTIAL_PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];

/// Opens the store that an address lies in and returns it with the address's path inside that store.
///
/// Credentials, region and endpoint come from the environment (`AWS_*`, `AZURE_*`, `GOOGLE_*`). `http://` is
/// spoken without encryption because the address says so; clouds need their own `AWS_ALLOW_HTTP=true`.
///
/// # Errors
/// [`Error::Store`] if the scheme is unknown or the configuration is wrong.
pub fn open_store(url: &Url) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let mut options: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?)))
        .filter(|(key, _)| CREDENTIAL_PREFIXES.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    if url.scheme() == "http" {
        options.push(("allow_http".to_owned(), "true".to_owned()));
    }
    match object_store::parse_url_opts(url, options) {
        Ok((store, path)) => Ok((Arc::from(store), path)),
        Err(source) => Err(Error::Store { url: shown(url), source: Box::new(source) }),
    }
}

/// The address without the password and the query (which may be a signature): fit for logs, tables and messages.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Only addresses that cannot have a password refuse this.
        let _ = shown.set_password(None);
    }
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}
