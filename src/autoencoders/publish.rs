//! Making an autoencoder part of a lake: its files, then its row.

use std::path::PathBuf;

use sparse_autoencoders::autoencoder::SparseAutoencoder;
use sparse_autoencoders::files;

use super::rows::{Origin, autoencoder_row, definition};
use crate::activation_store::manifest::write_whole;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::functions::literal;
use crate::models::latents::{CROSSCODER_FILE, PLACE_FILE, Place};
use crate::models::subject_model::SubjectModel;
use crate::session::Session;
use crate::tables::lake::Lake;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;

/// An id that can name a folder and stand in a hook point's name.
///
/// # Errors
/// [`Error::Argument`].
pub fn check_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.starts_with('.') || !id.chars().all(plain) {
        return Err(Error::Argument {
            argument: "--id".to_owned(),
            expected: "letters, digits and any of . _ -, not beginning with a dot".to_owned(),
            got: id.to_owned(),
        });
    }
    Ok(())
}

/// Folder of the autoencoders of a lake.
///
/// # Errors
/// [`Error::Argument`] for a lake that is not on the local disk.
pub fn folder(lake: &Lake) -> Result<PathBuf> {
    lake.autoencoders_path().ok_or_else(|| Error::Argument {
        argument: "--lake".to_owned(),
        expected: "a lake on the local disk: weights are kept there only".to_owned(),
        got: lake.root().to_string(),
    })
}

/// Whether the table has a row of that id.
///
/// # Errors
/// When the table cannot be read.
pub async fn is_published(session: &Session, id: &str) -> Result<bool> {
    let sql = format!("SELECT autoencoder FROM sparse_autoencoders WHERE autoencoder = {}", literal(id));
    let batches = session.sql(&sql).await?.collect().await?;
    Ok(batches.iter().any(|batch| batch.num_rows() > 0))
}

/// Writes an autoencoder's files and then its row; a publication that was cut short is taken up.
///
/// # Errors
/// [`AutoencoderError::Exists`] for an id that is taken; [`Error::HookPointUnknown`] and [`AutoencoderError::Unusable`] for one that
/// does not fit the model.
pub async fn publish(
    session: &Session,
    model: &SubjectModel,
    id: &str,
    place: &Place,
    autoencoder: &SparseAutoencoder,
    origin: &Origin,
    run: &RunRow,
) -> Result<()> {
    check_id(id)?;
    let folder = folder(session.lake())?.join(id);
    if is_published(session, id).await? || folder.join(CROSSCODER_FILE).is_file() {
        return Err(AutoencoderError::Exists { id: id.to_owned() }.into());
    }
    let widths = [
        (&place.input_hook_point, autoencoder.config.n_inputs, "inputs"),
        (&place.output_hook_point, autoencoder.config.n_outputs, "outputs"),
    ];
    let mut layer = None;
    for (name, width, what) in widths {
        let hook = match model.select_hook_points(name)?.as_slice() {
            [one] if one.latents().is_none() => one.clone(),
            _ => {
                return Err(Error::Argument {
                    argument: "hook point".to_owned(),
                    expected: "one hook point of the model itself".to_owned(),
                    got: name.clone(),
                });
            }
        };
        if hook.width() != width {
            let reason = format!("expected {} {what}, as '{hook}' has values, got {width}", hook.width());
            return Err(AutoencoderError::Unusable { id: id.to_owned(), reason }.into());
        }
        layer = layer.or(hook.layer());
    }
    let hash = files::save(autoencoder, &folder).map_err(AutoencoderError::from)?;
    let text = serde_json::to_vec_pretty(place).map_err(|error| Error::internal(error.to_string()))?;
    // Last of the files: before it is there, the autoencoder is not.
    write_whole(&folder.join(PLACE_FILE), &text)?;
    let row = autoencoder_row(id, place, layer, autoencoder, &hash, origin, &run.id)?;
    let mut writer = TableWriter::open(session.lake(), definition("sparse_autoencoders")?, &run.id).await?;
    writer.write(&row).await?;
    writer.commit().await
}
