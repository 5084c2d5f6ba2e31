//! Autoencoders of others, made part of a lake.

use std::path::{Path, PathBuf};

use serde_json::json;
use sparse_autoencoders::autoencoder::{InputNormalization, RowMean, SparseAutoencoder};
use sparse_autoencoders::formats::{Format, Imported, WritingWeights, read};

use super::publish::{check_id, publish};
use super::rows::Origin;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::models::config::Family;
use crate::models::hook_points::{HookKind, HookPoint};
use crate::models::latents::Place;
use crate::models::subject_model::SubjectModel;
use crate::session::Session;
use crate::tables::runs::RunRow;

#[cfg(test)]
mod tests;

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
    /// Whether rows lose their mean before they are encoded; what the files say of the model it was trained on when `None`.
    pub row_mean: Option<RowMean>,
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
    let Imported { mut autoencoder, format, model: named_model, hook_point: named_hook, writing_weights } =
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
    if let [hook] = model.select_hook_points(&input_hook_point)?.as_slice() {
        autoencoder.config.row_mean = row_mean(settings.row_mean, writing_weights, &model, hook, &autoencoder)?;
        autoencoder.validate().map_err(AutoencoderError::from)?;
    }
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

/// Whether rows of a hook point of the unprocessed model lose their mean, so that they are those of the model whose writing weights
/// were or were not centred.
///
/// Only what writing weights write has its mean taken away with theirs, and only under layer norms: TransformerLens leaves the
/// weights of a model with RMS norms as they are, whatever it is asked.
fn row_mean(
    asked: Option<RowMean>,
    said: WritingWeights,
    model: &SubjectModel,
    hook: &HookPoint,
    autoencoder: &SparseAutoencoder,
) -> Result<RowMean> {
    let argument = |expected: &str, got: &str| {
        let (expected, got) = (expected.to_owned(), got.to_owned());
        Err(Error::Argument { argument: "--row-mean".to_owned(), expected, got })
    };
    let is_written = match hook.kind() {
        HookKind::Embed
        | HookKind::PosEmbed
        | HookKind::ResidPre
        | HookKind::AttnOut
        | HookKind::ResidMid
        | HookKind::MlpOut
        | HookKind::ResidPost => true,
        HookKind::AttnZ
        | HookKind::AttnResult
        | HookKind::MlpPre
        | HookKind::MlpPreLinear
        | HookKind::MlpPost
        | HookKind::LnFinalNormalized => false,
    };
    let has_layer_norms = model.config().family == Family::Gpt2;
    // These take the mean away themselves.
    let normalization = autoencoder.config.input_normalization;
    let is_centred = matches!(normalization, InputNormalization::LayerNorm { .. } | InputNormalization::UnitNorm);
    match (asked, said) {
        (None, WritingWeights::Centred) if has_layer_norms && hook.kind() == HookKind::AttnResult => argument(
            "kept, if it is of an unprocessed model: with centred writing weights every head loses a mean of its own, which is not \
             supported",
            "",
        ),
        (Some(RowMean::Removed), _) if !(is_written && has_layer_norms) => {
            argument("kept: only what is added to a residual stream under layer norms is centred", "removed")
        }
        (Some(asked), _) => Ok(asked),
        _ if !is_written || !has_layer_norms || is_centred => Ok(RowMean::Kept),
        (None, WritingWeights::Centred) => Ok(RowMean::Removed),
        (None, WritingWeights::AsTheyAre) => Ok(RowMean::Kept),
        (None, WritingWeights::Unsaid) => argument(
            "removed or kept: the files do not say whether the weights that write to the residual stream were centred when its \
             inputs were read (center_writing_weights; SAELens did so by default in its first versions, as for gpt2-small-res-jb)",
            "",
        ),
    }
}

/// The name of a file or folder, without what an id cannot hold.
pub(crate) fn name_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}
