//! Object stores by address, with the credentials of the environment.

pub(crate) mod fault;
pub(crate) mod sure;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use self::sure::SureStore;
use crate::error::{Error, Result};

/// Prefixes of the environment variables that configure a cloud's store (`AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`, …).
const CREDENTIAL_PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];

/// How long a cloud that fails is asked again, in seconds; an outage may last that long.
const PATIENCE: &str = "NEURONLAKE_STORE_PATIENCE";
/// Where the variable is not set. Credentials and signatures must live longer than a request with all its repetitions.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(180);
/// Longest wait between two tries: what an outage's end costs at most.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long the machine's own service for credentials is waited for: on a machine that has none nothing answers.
const CREDENTIALS_PATIENCE: Duration = Duration::from_secs(5);

/// Schemes of addresses that name a bucket or container.
pub(crate) const CLOUD_SCHEMES: [&str; 8] = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];

/// Opens the store that an address lies in and returns it with the address's path inside that store.
///
/// Credentials, region and endpoint come from the environment (`AWS_*`, `AZURE_*`, `GOOGLE_*`). `http://` is
/// spoken without encryption because the address says so; clouds need their own `AWS_ALLOW_HTTP=true`. What a cloud fails at is
/// tried again for three minutes, or as many seconds as `NEURONLAKE_STORE_PATIENCE` says.
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
    let opened = match ObjectStoreScheme::parse(url) {
        Ok((scheme, path)) if CLOUD_SCHEMES.contains(&url.scheme()) => {
            cloud(&scheme, url, &options).map(|store| (store, path))
        }
        _ => object_store::parse_url_opts(url, options).map(|(store, path)| (Arc::from(store), path)),
    };
    opened.map_err(|source| Error::Store { url: shown(url), source: Box::new(fault::told(source)) })
}

/// The store of a cloud, each of whose writes happens once.
fn cloud(
    scheme: &ObjectStoreScheme,
    url: &Url,
    options: &[(String, String)],
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let patience = patience();
    // Of the options that a cloud does not know, those of another cloud and of other programs, nothing is said.
    macro_rules! configured {
        ($builder:ty, $patience:expr) => {
            options
                .iter()
                .fold(<$builder>::new().with_url(url.as_str()), |builder, (key, value)| match key.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                })
                .with_retry(retry($patience))
        };
    }
    let store: Arc<dyn ObjectStore> = match scheme {
        ObjectStoreScheme::GoogleCloudStorage => Arc::new(configured!(GoogleCloudStorageBuilder, patience).build()?),
        ObjectStoreScheme::MicrosoftAzure => Arc::new(configured!(MicrosoftAzureBuilder, patience).build()?),
        _ => {
            let impatient = configured!(AmazonS3Builder, CREDENTIALS_PATIENCE.min(patience)).build()?;
            let credentials = Arc::clone(impatient.credentials());
            Arc::new(configured!(AmazonS3Builder, patience).with_credentials(credentials).build()?)
        }
    };
    Ok(Arc::new(SureStore::new(store, patience)))
}

/// How long a cloud that fails is asked again.
fn patience() -> Duration {
    let seconds = std::env::var(PATIENCE).ok().and_then(|text| text.parse().ok());
    seconds
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .map_or(DEFAULT_PATIENCE, Duration::from_secs_f64)
}

fn retry(patience: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: LONGEST_WAIT, base: 2. },
        // Time decides, not the number.
        max_retries: usize::MAX,
        retry_timeout: patience,
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
