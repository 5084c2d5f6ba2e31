//! What the command line says about language models.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::completions::budget::BudgetLimit;
use crate::completions::http::Api;
use crate::completions::language_models::LanguageModelOptions;
use crate::completions::limits::LimitOptions;
use crate::error::Result;
use crate::models::device::Device;
use crate::models::generation::placement::{Placement, Precision};

/// Where language models are, how fast they may be asked, and what they may cost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Language models")]
pub(crate) struct LanguageArguments {
    /// Address of the OpenAI-compatible endpoint that openai: models are asked at [default: OpenAI's own].
    #[arg(long, env = "NEURONLAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Interface that openai: models are asked through. Replies that came through another than chat are kept under keys of their own.
    #[arg(long, value_enum, default_value = "chat", value_name = "API")]
    api: Api,
    /// The most that endpoints may cost: dollars or tokens, such as 5usd or 200000tokens. A run that reaches it stops and can go on.
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<String>,
    /// Calls in flight at most.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = super::arguments::positive)]
    concurrency: usize,
    /// Calls a minute at most.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// Tokens a minute at most, of prompts and replies.
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,
    /// Seconds that one try of a call may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    time_out: u64,
    /// Prices of tokens, a TOML file [default: prices.toml in the lake, else those inside the program].
    #[arg(long, value_name = "PATH")]
    prices: Option<PathBuf>,
    /// What local: models are computed on: cpu, cuda or cuda:NUMBER, or auto, which takes the first CUDA device where the program was
    /// built with CUDA and there is one.
    #[arg(long, env = "NEURONLAKE_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: Device,
    /// Type of local: models' weights on a CUDA device: f32, bf16 or f16.
    #[arg(long, env = "NEURONLAKE_PRECISION", default_value = "f32", value_name = "TYPE")]
    precision: Precision,
}

impl LanguageArguments {
    /// As a session takes them; the lake is the session's own.
    pub(crate) fn options(&self) -> Result<LanguageModelOptions> {
        let placement = Placement { device: self.device, precision: self.precision };
        placement.check()?;
        let limits = LimitOptions {
            in_flight: self.concurrency,
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            time_out: Duration::from_secs(self.time_out),
            ..LimitOptions::default()
        };
        Ok(LanguageModelOptions {
            base_url: self.base_url.clone(),
            api: self.api,
            limits,
            placement,
            prices: self.prices.clone(),
            budget: self.budget.as_deref().map(str::parse::<BudgetLimit>).transpose()?,
            ..LanguageModelOptions::default()
        })
    }
}
