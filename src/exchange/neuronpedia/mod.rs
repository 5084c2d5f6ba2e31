//! Neuronpedia's public dumps, in and out, and the batches of SAEDashboard that such dumps are made from.
//!
//! A dump is a tree `<model>/<source>/` with `model.jsonl`, `source.jsonl`, `sourceset.jsonl` and `release.jsonl`, and the folders
//! `features`, `activations` and `explanations`, each of files `batch-<n>.jsonl.gz` with rows of the site's database. A source
//! is a layer of an SAE set (`8-res-jb`); its features are our latents. docs/exchange-neuronpedia.md has every field.
//! Source: hijohnnylin/neuronpedia `utils/neuronpedia-utils/neuronpedia_utils/export-data.py` and
//! `apps/webapp/prisma/schema.prisma`; jbloomAus/SAEDashboard `sae_dashboard/neuronpedia/neuronpedia_dashboard.py`.

mod dashboard;
mod hook;
pub mod layout;
pub(crate) mod names;
mod records;
mod rows;
mod units;

pub mod read;
pub mod write;

#[cfg(test)]
mod tests;
