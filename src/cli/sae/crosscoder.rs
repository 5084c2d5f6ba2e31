//! `neuronlake sae import-crosscoder`.

use std::path::PathBuf;

use clap::Args;

use super::super::{open, print};
use crate::autoencoders::crosscoders::{CrosscoderSettings, ImportedCrosscoder, import};
use crate::autoencoders::import::name_of;
use crate::error::Result;
use crate::session::SessionOptions;
use crate::tables::lake::Lake;

#[derive(Debug, Args)]
pub(crate) struct ImportCrosscoder {
    /// The file or folder.
    path: PathBuf,
    /// Names of its models in the order of its weights, e.g. gemma-2-2b,gemma-2-2b-it. They need not be at hand.
    #[arg(long, required = true, value_name = "LIST", value_delimiter = ',')]
    models: Vec<String>,
    /// Hook point that it reads, or one for each model [default: what its files say].
    #[arg(long = "hook", value_name = "LIST", value_delimiter = ',')]
    hook_points: Vec<String>,
    /// Its id [default: the name of the file or folder].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Where the tables are, or are to be [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    lake: String,
}

pub(crate) async fn import_crosscoder(command: &ImportCrosscoder) -> Result<()> {
    let session = open(Lake::reach(&command.lake).await?, SessionOptions::default())?;
    let settings = CrosscoderSettings {
        path: command.path.clone(),
        models: command.models.clone(),
        hook_points: command.hook_points.clone(),
        id: command.id.clone().unwrap_or_else(|| name_of(&command.path)),
    };
    let ImportedCrosscoder { id, n_latents, models } = import(&session, &settings).await?;
    let models = models.join(" and ");
    print(&format!("{id}: decoder norms of {n_latents} latents for {models} written to table crosscoder_latents\n"))
}
