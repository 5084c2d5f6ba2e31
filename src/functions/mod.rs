//! The SQL surface: each function of ours in the file of its name.
//!
//! A function only moves values between Arrow and the stage that does the work; `register` is the one list of them.

use std::sync::Arc;

use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{AggregateUDF, Documentation, ScalarUDF};

use crate::completions::language_models::{LanguageModelOptions, LanguageModels};
use crate::models::cache::Models;

/// Functions that hold the shared models compare and hash by their type alone: there is one of each in a session.
macro_rules! same_by_name {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, _: &Self) -> bool {
                true
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                stringify!($name).hash(state);
            }
        }
    };
}
use same_by_name;

mod ablation;
mod ablation_summaries;
mod activations_on;
mod arguments;
mod calibrate;
mod collect_activations;
mod collection_pass;
mod completion_keys;
mod document_split;
mod encode;
mod explain;
mod explanation_matches;
mod explanation_scan;
mod firings;
mod fit_calibration;
mod grouped_summaries;
mod heatmap;
mod judge;
mod judgement_summaries;
mod keyword_matches;
mod logit_lens;
mod lookups;
mod mentions;
mod methods;
mod metric_aggregates;
mod neurons_like;
mod normalize_activations;
mod parameter_changes;
mod promoted_tokens;
mod read_corpus;
mod records;
mod revision;
mod score_summaries;
mod semantic_matches;
mod similar_latents;
mod simulate;
mod split_records;
mod stream;
mod summaries;
mod table_versions;
mod token_text;
mod token_windows;
mod unit_schema;
mod weight_lists;
mod window_activations;
mod window_sums;

pub(crate) use collect_activations::Host;
pub use collection_pass::{CollectionOptions, FirstToken, Scratch};
pub(crate) use collection_pass::{SequenceReader, literal, sequence_windows};
pub(crate) use explanation_matches::IndexedViews;
pub use methods::{Method, MethodRegistry};
use weight_lists::{Listed, WeightLists};

/// One entry of docs/functions.md.
#[derive(Debug, Clone)]
pub struct FunctionDoc {
    /// The function's name in SQL.
    pub name: String,
    /// `scalar`, `aggregate` or `table`.
    pub kind: &'static str,
    /// What it computes, with shapes and NULL behaviour.
    pub description: String,
    /// How it is called.
    pub syntax: String,
    /// An example that runs.
    pub example: String,
}

/// Adds every function of ours to a session.
pub(crate) fn register(context: &SessionContext, host: &Host) {
    for function in scalars(&host.models) {
        context.register_udf(function);
    }
    for function in askers(&host.methods, &host.models) {
        context.register_udf(AsyncScalarUDF::new(function).into_scalar_udf());
    }
    for function in aggregates() {
        context.register_udaf(function);
    }
    context.register_udtf("read_corpus", Arc::new(read_corpus::ReadCorpus));
    context.register_udtf("collect_activations", Arc::new(collect_activations::CollectActivations::new(host)));
    context.register_udtf("firings", Arc::new(firings::Firings::new(host)));
    context.register_udtf("encode", Arc::new(encode::Encode::new(host)));
    context.register_udtf("keyword_matches", Arc::new(keyword_matches::KeywordMatches::new(host)));
    context.register_udtf("semantic_matches", Arc::new(semantic_matches::SemanticMatches::new(host)));
    context.register_udtf("activations_on", Arc::new(activations_on::ActivationsOn::new(host)));
    context.register_udtf("neurons_like", Arc::new(neurons_like::NeuronsLike::new(host)));
    context.register_udtf("similar_latents", Arc::new(similar_latents::SimilarLatents::new(host)));
    context.register_udtf("logit_lens", Arc::new(logit_lens::LogitLens::new(host)));
    for listed in [Listed::Links, Listed::Tokens] {
        context.register_udtf(listed.name(), Arc::new(WeightLists::new(listed, &host.models)));
    }
    context.register_udtf("table_versions", Arc::new(table_versions::TableVersions::new(host)));
}

/// What docs/functions.md and `\df` say, in alphabetical order.
pub fn documentation() -> Vec<FunctionDoc> {
    let models = Arc::new(Models::default());
    let entry = |name: &str, kind, documentation: Option<&Documentation>| {
        documentation.map(|doc| FunctionDoc {
            name: name.to_owned(),
            kind,
            description: doc.description.clone(),
            syntax: doc.syntax_example.clone(),
            example: doc.sql_example.clone().unwrap_or_default(),
        })
    };
    let scalars = scalars(&models);
    let unused = LanguageModels::open(LanguageModelOptions::default()).expect("a test opens them with default options");
    let askers = askers(&Arc::new(MethodRegistry::new(unused)), &models);
    let aggregates = aggregates();
    let tables = [
        ("read_corpus", read_corpus::documentation()),
        ("collect_activations", collect_activations::documentation()),
        ("firings", firings::documentation()),
        ("encode", encode::documentation()),
        ("keyword_matches", keyword_matches::documentation()),
        ("semantic_matches", semantic_matches::documentation()),
        ("activations_on", activations_on::documentation()),
        ("neurons_like", neurons_like::documentation()),
        ("similar_latents", similar_latents::documentation()),
        ("logit_lens", logit_lens::documentation()),
        ("weight_links", weight_lists::links_documentation()),
        ("weight_tokens", weight_lists::tokens_documentation()),
        ("table_versions", table_versions::documentation()),
    ];
    let mut docs: Vec<FunctionDoc> = scalars
        .iter()
        .filter_map(|f| entry(f.name(), "scalar", f.documentation()))
        .chain(askers.iter().filter_map(|f| entry(f.name(), "scalar", f.documentation())))
        .chain(aggregates.iter().filter_map(|f| entry(f.name(), "aggregate", f.documentation())))
        .chain(tables.iter().filter_map(|(name, doc)| entry(name, "table", Some(doc))))
        .collect();
    docs.sort_by(|a, b| a.name.cmp(&b.name));
    docs
}

fn scalars(models: &Arc<Models>) -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(ablation::Ablation::new(models)),
        ScalarUDF::from(calibrate::Calibrate::default()),
        ScalarUDF::from(document_split::DocumentSplit::default()),
        ScalarUDF::from(heatmap::Heatmap::default()),
        ScalarUDF::from(mentions::Mentions::default()),
        ScalarUDF::from(normalize_activations::NormalizeActivations::default()),
        ScalarUDF::from(parameter_changes::ParameterChanges::default()),
        ScalarUDF::from(promoted_tokens::PromotedTokens::new(models)),
        ScalarUDF::from(simulate::SimulationScale::default()),
        ScalarUDF::from(split_records::SplitRecords::default()),
        ScalarUDF::from(token_text::TokenText::new(models)),
        ScalarUDF::from(token_windows::TokenWindows::new(models)),
        ScalarUDF::from(window_activations::WindowActivations::new(models)),
        ScalarUDF::from(window_sums::WindowSumsFunction::default()),
    ]
}

/// Functions that may ask a model: asynchronous, many rows at once.
fn askers(methods: &Arc<MethodRegistry>, models: &Arc<Models>) -> Vec<Arc<dyn AsyncScalarUDFImpl>> {
    vec![
        Arc::new(explain::Explain::new(methods)),
        Arc::new(explain::Explanation::new(methods)),
        Arc::new(judge::JudgeFunction::new(methods)),
        Arc::new(revision::RevisionFunction::new(methods, models)),
        Arc::new(simulate::Simulate::new(methods)),
        Arc::new(simulate::SimulationFunction::new(methods)),
    ]
}

fn aggregates() -> Vec<AggregateUDF> {
    metric_aggregates::all()
        .into_iter()
        .map(AggregateUDF::from)
        .chain([
            AggregateUDF::from(ablation_summaries::AblationSummaries::default()),
            AggregateUDF::from(fit_calibration::FitCalibration::default()),
            AggregateUDF::from(judgement_summaries::JudgementSummaries::default()),
            AggregateUDF::from(score_summaries::ScoreSummaries::default()),
        ])
        .collect()
}

#[cfg(test)]
mod tests;
