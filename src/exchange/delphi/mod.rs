//! delphi's result folders, in and out: cached latents, explanations, and what its scorers were told of each window.
//!
//! `results/<name>/` has `run_config.json`; `latents/<hookpoint>/<first>_<last>.safetensors` with `config.json` beside them;
//! `explanations/<hookpoint>_latent<n>.txt` and `scores/<scorer>/<hookpoint>_latent<n>.txt`, both JSON. docs/exchange-delphi.md has every
//! field. Source: EleutherAI/delphi, PyPI `eai-delphi` 0.1.3, `delphi/__main__.py`, `delphi/config.py`, `delphi/latents/cache.py`,
//! `delphi/latents/loader.py`, `delphi/scorers/`, `delphi/log/result_analysis.py`.

mod config;
mod hook;
mod latents;
mod scored;
mod split_file;

pub mod read;
pub mod write;
pub mod write_latents;

#[cfg(test)]
mod tests;
