//! Crosscoders of others: what tells which models a latent is for becomes rows of table `crosscoder_latents`.
//!
//! A crosscoder's latents are no units: to encode with them takes the activations of all its models on the same tokens. A file in the
//! folder of the autoencoders keeps the id, so that asking for its latents is refused with the reason.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use serde_json::json;
use sparse_autoencoders::formats::crosscoder::{Crosscoder, read};

use super::publish::{check_id, folder, is_published};
use super::rows::definition;
use crate::activation_store::manifest::write_whole;
use crate::error::autoencoder::AutoencoderError;
use crate::error::{Error, Result};
use crate::functions::literal;
use crate::models::latents::CROSSCODER_FILE;
use crate::session::Session;
use crate::tables::runs::RunRow;
use crate::tables::writer::TableWriter;

/// What is imported, and what its files may leave open.
#[derive(Debug, Clone)]
pub struct CrosscoderSettings {
    /// Its file or folder.
    pub path: PathBuf,
    /// Names of the models of its sites, in the order of its weights. They need not be at hand.
    pub models: Vec<String>,
    /// Hook points of its sites, or one for all; what the files say when empty.
    pub hook_points: Vec<String>,
    /// Its id.
    pub id: String,
}

/// A crosscoder that is in the lake now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCrosscoder {
    /// Its id.
    pub id: String,
    /// How many latents.
    pub n_latents: usize,
    /// Models of its sites.
    pub models: Vec<String>,
}

/// Reads a crosscoder and writes the norms of its latents.
///
/// # Errors
/// [`Error::Argument`] unless there is a model for each site, and a hook point for each or for all; [`AutoencoderError::Exists`] for an
/// id that is taken; what the reader says.
pub async fn import(session: &Session, settings: &CrosscoderSettings) -> Result<ImportedCrosscoder> {
    let id = &settings.id;
    check_id(id)?;
    let taken = format!("SELECT crosscoder FROM crosscoder_latents WHERE crosscoder = {} LIMIT 1", literal(id));
    let rows = session.sql(&taken).await?.collect().await?;
    if rows.iter().any(|batch| batch.num_rows() > 0) || is_published(session, id).await? {
        return Err(AutoencoderError::Exists { id: id.clone() }.into());
    }
    let path = settings.path.clone();
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    let read = read.map_err(|error| Error::internal(format!("the reading thread died: {error}")))?;
    let crosscoder = read.map_err(AutoencoderError::from)?;
    let sites = sites(settings, &crosscoder)?;
    let parameters = json!({
        "id": id,
        "format": crosscoder.format,
        "source": settings.path.display().to_string(),
        "sites": sites.iter().map(|(model, hook_point)| json!({"model": model, "hook_point": hook_point})).collect::<Vec<_>>(),
    });
    let folder = folder(session.lake())?.join(id);
    let text = serde_json::to_vec_pretty(&parameters).map_err(|error| Error::internal(error.to_string()))?;
    write_whole(&folder.join(CROSSCODER_FILE), &text)?;
    let run = RunRow::starting("sae_import_crosscoder", parameters.to_string());
    run.record(session.lake()).await?;
    let mut writer = TableWriter::open(session.lake(), definition("crosscoder_latents")?, &run.id).await?;
    writer.write(&latent_rows(id, &crosscoder, &sites, &run.id)?).await?;
    writer.commit().await?;
    run.finish(session.lake(), crosscoder.n_latents * crosscoder.n_sites, 0.0).await?;
    Ok(ImportedCrosscoder { id: id.clone(), n_latents: crosscoder.n_latents, models: settings.models.clone() })
}

/// Model and hook point of each site.
fn sites(settings: &CrosscoderSettings, crosscoder: &Crosscoder) -> Result<Vec<(String, String)>> {
    let n_sites = crosscoder.n_sites;
    let argument = |argument: &str, expected: String, got: String| {
        Err(Error::Argument { argument: argument.to_owned(), expected, got })
    };
    if settings.models.len() != n_sites {
        return argument("--models", format!("{n_sites} names, one for each site"), settings.models.join(","));
    }
    let hook_points = match (settings.hook_points.as_slice(), &crosscoder.hook_point) {
        ([one], _) => vec![one.clone(); n_sites],
        ([], Some(named)) => vec![named.clone(); n_sites],
        ([], None) => {
            let expected = "the hook point that it reads: its files do not name it".to_owned();
            return argument("--hook", expected, String::new());
        }
        (several, _) if several.len() == n_sites => several.to_vec(),
        (several, _) => {
            return argument("--hook", format!("one hook point, or {n_sites}, one for each site"), several.join(","));
        }
    };
    let sites: Vec<(String, String)> = settings.models.iter().cloned().zip(hook_points).collect();
    if let Some((at, (model, hook_point))) = sites.iter().enumerate().find(|(at, site)| sites[..*at].contains(site)) {
        let got = format!("model '{model}' at '{hook_point}' for sites {} and {at}", at - 1);
        return argument("--models", "another model or hook point for each site".to_owned(), got);
    }
    Ok(sites)
}

/// Rows by latent, then by site.
fn latent_rows(id: &str, crosscoder: &Crosscoder, sites: &[(String, String)], run: &str) -> Result<RecordBatch> {
    let (n_sites, n_latents) = (crosscoder.n_sites, crosscoder.n_latents);
    let n = n_sites * n_latents;
    let of_sites = |of: &dyn Fn(usize) -> Vec<Option<f64>>| -> ArrayRef {
        let columns: Vec<Vec<Option<f64>>> = (0..n_sites).map(of).collect();
        let values = (0..n_latents).flat_map(|latent| columns.iter().map(move |column| column[latent]));
        Arc::new(values.collect::<Float64Array>())
    };
    let known = |values: Vec<f64>| values.into_iter().map(Some).collect();
    let texts = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((0..n).map(|row| Some(of(row % n_sites))).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| id.to_owned()),
        Arc::new((0..n).map(|row| (row / n_sites) as i32).collect::<Int32Array>()),
        Arc::new((0..n).map(|row| (row % n_sites) as i32).collect::<Int32Array>()),
        texts(&|site| sites[site].0.clone()),
        texts(&|site| sites[site].1.clone()),
        of_sites(&|site| known(crosscoder.decoder_norms(site))),
        of_sites(&|site| known(crosscoder.encoder_norms(site))),
        of_sites(&|site| crosscoder.decoder_cosines(0, site)),
        texts(&|_| run.to_owned()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&definition("crosscoder_latents")?.schema), columns)?)
}
