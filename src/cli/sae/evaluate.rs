//! `neuronlake sae evaluate`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::arguments::{Arguments, positive};
use super::super::print;
use super::super::progress::StageProgress;
use super::super::run::{pipeline_session, run_pipeline};
use crate::autoencoders::evaluate::EvaluateSettings;
use crate::completions::language_models::LanguageModelOptions;
use crate::error::Result;
use crate::functions::FirstToken;
use crate::neurons::pass::PassProgress;
use crate::pipeline::settings::Settings;
use crate::tables::lake::Lake;
use crate::token_sequences::split::Split;

/// How often the bar is brought up to date.
const TICK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// The autoencoder's id.
    autoencoder: String,
    /// Subject model: 'default' (inside the program), a Hugging Face folder, a .gguf or a llama2.c .bin file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// Corpus: 'default' (inside the program), a file, pattern, folder or URL of .txt, .jsonl or .parquet, compressed or not.
    #[arg(long, default_value = "default", value_name = "URL")]
    corpus: String,
    /// JSON field or Parquet column that holds the text.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Read at most so many documents.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Split of the documents; stores are of 'train' unless told otherwise.
    #[arg(long, default_value = "valid", value_name = "SPLIT")]
    split: Split,
    /// Windows, at most.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = positive)]
    windows: usize,
    /// Tokens of a window.
    #[arg(long = "window", default_value_t = 64, value_name = "TOKENS")]
    window_length: usize,
    /// The first token of a window: 'keep' counts and replaces it, 'mask' leaves it as it is [default: mask for Llama, keep for GPT-2].
    #[arg(long, value_name = "POLICY")]
    first_token: Option<FirstToken>,
    /// Firings that are ablated one by one.
    #[arg(long, default_value_t = 64, value_name = "N")]
    ablations: usize,
    /// Latents that patterns of tokens (N2G) are found for, among those that fire; 0 leaves them out.
    #[arg(long, default_value_t = 32, value_name = "N")]
    pattern_latents: usize,
    /// Seed of their choice.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Where the tables are [default: ./lake].
    #[arg(long, env = "NEURONLAKE_LAKE", default_value = "./lake", hide_default_value = true)]
    lake: String,
}

pub(crate) async fn evaluate(arguments: &Arguments, command: &Evaluate) -> Result<()> {
    let session = pipeline_session(Lake::reach(&command.lake).await?, LanguageModelOptions::default())?;
    let hook = format!("*/{}", command.autoencoder);
    let settings = Settings {
        model: command.model.clone(),
        corpus: command.corpus.clone(),
        field: command.field.clone(),
        limit: command.limit,
        window_length: command.window_length,
        hooks: vec![hook],
        to: Some("token_sequences".to_owned()),
        ..Settings::default()
    };
    run_pipeline(arguments, &session, &settings).await?;
    let settings = EvaluateSettings {
        model: command.model.clone(),
        autoencoder: command.autoencoder.clone(),
        corpus: settings.corpus_id(),
        split: command.split,
        n_windows: command.windows,
        first_token: command.first_token,
        n_ablations: command.ablations,
        n_pattern_latents: command.pattern_latents,
        seed: command.seed,
    };
    let progress = Arc::new(PassProgress::default());
    let stage = StageProgress::new(1, arguments.verbosity()).stage("evaluation", "windows", None);
    let work = crate::autoencoders::evaluate::evaluate(&session, &settings, &progress);
    tokio::pin!(work);
    let metrics = loop {
        tokio::select! {
            done = &mut work => break done?,
            () = tokio::time::sleep(TICK) => {
                let (done, total) = progress.read();
                stage.set_total(total / 2);
                stage.resume_at(done / 2);
            }
        }
    };
    let (_, total) = progress.read();
    stage.resume_at(total / 2);
    stage.finish();
    let mut text = String::new();
    for metric in &metrics {
        let value = match metric.value {
            Ok(value) => format!("{value:>12.6}"),
            Err(reason) => format!("{:>12}  {reason}", "undefined"),
        };
        text.push_str(&format!("{:<30} {value}\n", metric.metric));
    }
    print(&text)
}
