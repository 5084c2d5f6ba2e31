//! What `search` and `index` take.

use clap::{Args, ValueEnum};

use super::arguments::{ExistingLake, positive};
use super::language::LanguageArguments;
use super::table::Format;

/// How explanations are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Words and meaning, by reciprocal rank fusion
    Hybrid,
    /// Words, by BM25
    Keyword,
    /// Meaning, by the cosine of sentence vectors
    Semantic,
}

impl Mode {
    /// The query of `queries/search`.
    pub(crate) fn query(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Keyword => "keyword",
            Self::Semantic => "semantic",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake search \"words about royalty\"
  neuronlake search \"words about royalty\" --where \"layer >= 8 AND score > 0.5\" --top 20
  neuronlake search plural --mode keyword --where \"mentions(text, 'noun') AND explainer = 'token_lookup'\" --format json
  neuronlake search \"closing brackets\" --mode semantic --encoder openai:text-embedding-3-small

Filters hold before the best are taken. Columns: model, hook_point, layer, neuron, corpus, explanation, explainer, explainer_model,
text, score, density, max_activation. docs/search.md has the SQL.")]
pub(crate) struct Search {
    /// Words, a phrase or a sentence.
    #[arg(value_name = "WORDS")]
    pub(crate) words: String,
    /// Only explanations for which this SQL condition is true, e.g. "layer >= 8 AND score > 0.5".
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) condition: Option<String>,
    /// Show so many.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = positive)]
    pub(crate) top: usize,
    /// How explanations are ranked.
    #[arg(long, value_enum, default_value = "hybrid")]
    pub(crate) mode: Mode,
    /// What turns texts into vectors: a folder with a BERT sentence encoder, or openai:NAME [default: all-MiniLM-L6-v2].
    #[arg(long, value_name = "ENCODER")]
    pub(crate) encoder: Option<String>,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) lake: ExistingLake,
    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake index
  neuronlake index --lake ./lake --encoder openai:text-embedding-3-small --budget 1usd
  neuronlake index --keyword-only

A search brings the index up to date by itself; this does it beforehand. Vectors that are committed stay when it is stopped.")]
pub(crate) struct Index {
    /// What turns texts into vectors: a folder with a BERT sentence encoder, or openai:NAME; may be repeated [default: all-MiniLM-L6-v2].
    #[arg(long = "encoder", value_name = "ENCODER")]
    pub(crate) encoders: Vec<String>,
    /// Compute no vectors.
    #[arg(long, conflicts_with = "encoders")]
    pub(crate) keyword_only: bool,
    /// Remove the index first; stored vectors stay.
    #[arg(long)]
    pub(crate) rebuild: bool,
    #[command(flatten)]
    pub(crate) lake: ExistingLake,
    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}
