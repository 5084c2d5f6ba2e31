//! Autoencoders of others, made part of a lake.

use std::path::{Path, PathBuf};

use serde_json::json;
use sparse_autoencoders::formats::{Format, Imported, read};

use super::publish::{check_id, publish};
use super::rows::Origin;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::models::latents::Place;
use crate::session::Session;
use crate::tables::runs::RunRow;

/// What is imported, and what its files may leave open.
#[derive(Debug, Clone)]
pub struct ImportSettings {
    /// Its file or folder.
    pub path: PathBuf,
    /// Subject model: `default`, a folder or a file.
    pub model: String,
    /// Hook point that it reads; what the files say when `None`.
    pub hook_point: Option<String>,
    /// Hook point whose values it gives, of a transcoder; the one it reads when `None`.
    pub output_hook_point: Option<String>,
    /// Its id; the name of the file or folder when `None`.
    pub id: Option<String>,
    /// The format that it must be in; whatever it is in when `None`.
    pub format: Option<String>,
}

/// An autoencoder that is in the lake now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InLake {
    /// Its id.
    pub id: String,
    /// Hook point of its latents.
    pub hook_point: String,
    /// The format it was read from.
    pub format: &'static str,
}

/// Reads an autoencoder and publishes it.
///
/// # Errors
/// [`Error::Argument`] where neither the files nor the settings name a hook point, or the format is not the one asked for; what the
/// format's reader and [`publish`] say.
pub async fn import(session: &Session, settings: &ImportSettings) -> Result<InLake> {
    let id = match &settings.id {
        Some(id) => id.clone(),
        None => name_of(&settings.path),
    };
    check_id(&id)?;
    if let Some(wanted) = &settings.format {
        let found = Format::of(&settings.path).map_err(AutoencoderError::from)?.name();
        if found != wanted {
            return Err(Error::Argument {
                argument: "--format".to_owned(),
                expected: format!("the format of '{}', {found}", settings.path.display()),
                got: wanted.clone(),
            });
        }
    }
    let path = settings.path.clone();
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    let imported = read.map_err(|error| Error::internal(format!("the reading thread died: {error}")))?;
    let Imported { autoencoder, format, model: named_model, hook_point: named_hook } =
        imported.map_err(AutoencoderError::from)?;
    let model = session.models().get(&settings.model)?;
    let Some(input_hook_point) = settings.hook_point.clone().or_else(|| named_hook.clone()) else {
        return Err(Error::Argument {
            argument: "--hook".to_owned(),
            expected: "the hook point that the autoencoder reads: its files do not name it".to_owned(),
            got: String::new(),
        });
    };
    let output_hook_point = match &settings.output_hook_point {
        Some(output) => output.clone(),
        None if autoencoder.config.n_inputs == autoencoder.config.n_outputs => input_hook_point.clone(),
        None => {
            return Err(Error::Argument {
                argument: "--output-hook".to_owned(),
                expected: "the hook point whose values the transcoder gives".to_owned(),
                got: String::new(),
            });
        }
    };
    let place = Place { model: model.id().to_owned(), input_hook_point, output_hook_point };
    let parameters = json!({
        "config": autoencoder.config,
        "named_model": named_model,
        "named_hook_point": named_hook,
    });
    let origin = Origin {
        source_format: format.name().to_owned(),
        source: Some(settings.path.display().to_string()),
        k: None,
        first_token: None,
        norm_limit: None,
        n_tokens: None,
        seed: None,
        parameters: parameters.to_string(),
    };
    let run = RunRow {
        model: Some(model.id().to_owned()),
        weights_hash: Some(model.weights_hash().to_owned()),
        ..RunRow::starting("sae_import", json!({"id": id, "format": format.name()}).to_string())
    };
    run.record(session.lake()).await?;
    publish(session, &model, &id, &place, &autoencoder, &origin, &run).await?;
    run.finish(session.lake(), 1, 0.0).await?;
    let hook_point = format!("{}/{id}", place.input_hook_point);
    Ok(InLake { id, hook_point, format: format.name() })
}

/// The name of a file or folder, without what an id cannot hold.
fn name_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}
