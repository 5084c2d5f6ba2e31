//! Rows of the dump as parts of a unit.

use std::collections::HashMap;

use super::names;
use super::rows::{ExplanationRow, FeatureRow, Index, Judged, Present, ScoreRow, SourceRow, Tokens};
use crate::exchange::extra::ExplanationExtra;
use crate::exchange::unit::{
    EffectSide, ExchangedExplanation, ExchangedScore, Link, LinkSide, Statistics, TokenEffect, UnitData, UnitKey,
};
use crate::token_sequences::split::Split;

/// What all units of one source share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) model: String,
    pub(super) hook_point: String,
    pub(super) layer: Option<i32>,
    pub(super) corpus: String,
    /// Hook point that the latents read, whose coordinates their decoders write.
    pub(super) base: String,
    /// Positions that the dump says were looked at.
    pub(super) n_tokens: Option<i64>,
}

impl Shared {
    /// A unit without anything.
    pub(super) fn unit(&self, index: Index) -> UnitData {
        UnitData {
            unit: UnitKey {
                model: self.model.clone(),
                hook_point: self.hook_point.clone(),
                layer: self.layer,
                neuron: index.0,
                corpus: self.corpus.clone(),
            },
            statistics: None,
            records: Vec::new(),
            explanations: Vec::new(),
            token_means: Vec::new(),
            token_effects: Vec::new(),
            links: Vec::new(),
        }
    }
}

/// Positions that were looked at, where the source tells both numbers.
pub(super) fn n_tokens(source: &SourceRow) -> Option<i64> {
    source.num_prompts?.checked_mul(source.num_tokens_in_prompt?).filter(|n| *n > 0)
}

/// Statistics, token effects and links of a feature, and what of it is not kept.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn feature(row: FeatureRow, shared: &Shared) -> Result<(UnitData, Vec<&'static str>), String> {
    let index = row.index.ok_or("expected a field 'index', got none")?;
    let mut unit = shared.unit(index);
    let not_kept = not_kept(&row);
    let n_tokens = row
        .n_prompts_total
        .zip(row.n_tokens_in_prompt)
        .and_then(|(prompts, tokens)| prompts.checked_mul(tokens))
        .or(shared.n_tokens);
    let density = match row.frac_nonzero {
        Some(share) if !(0.0..=1.0).contains(&share) => {
            return Err(format!("expected frac_nonzero from 0 to 1, got {share}"));
        }
        share => share,
    };
    unit.statistics = Some(match row.neuronlake {
        Some(extra) => extra.into_statistics(),
        None => Statistics { n_tokens, max: row.max.map(|max| max as f32), density, ..Statistics::default() },
    });
    for (positive, tokens, values, name) in
        [(true, row.pos_str, row.pos_values, "pos"), (false, row.neg_str, row.neg_values, "neg")]
    {
        unit.token_effects.extend(effects(&tokens, &values, positive, name)?);
    }
    if row.neuron_alignment_values.len() != row.neuron_alignment_indices.len() {
        let (indices, values) = (row.neuron_alignment_indices.len(), row.neuron_alignment_values.len());
        return Err(format!("expected {indices} neuron_alignment_values, got {values}"));
    }
    let mut ranks = [0, 0];
    for (other, weight) in row.neuron_alignment_indices.into_iter().zip(row.neuron_alignment_values) {
        let positive = weight.is_none_or(|weight| weight >= 0.0);
        let rank = &mut ranks[usize::from(positive)];
        unit.links.push(Link {
            side: LinkSide::Downstream,
            rank: *rank,
            other_hook_point: shared.base.clone(),
            other_neuron: other.0,
            weight: weight.filter(|weight| weight.is_finite()),
            positive,
        });
        *rank += 1;
    }
    Ok((unit, not_kept))
}

fn not_kept(row: &FeatureRow) -> Vec<&'static str> {
    let lists: [(&Present, &str); 7] = [
        (&row.freq_hist_data_bar_heights, "histogram of activations"),
        (&row.logits_hist_data_bar_heights, "histogram of logits"),
        (&row.correlated_neurons_indices, "neurons correlated on text"),
        (&row.correlated_features_indices, "features correlated on text"),
        (&row.cosines, "features with similar decoders"),
        (&row.decoder_weights_dist, "decoder weights by head"),
        (&row.vector, "vector"),
    ];
    lists.into_iter().filter_map(|(list, name)| list.0.then_some(name)).collect()
}

fn effects(tokens: &Tokens, values: &[Option<f32>], positive: bool, name: &str) -> Result<Vec<TokenEffect>, String> {
    if !values.is_empty() && values.len() != tokens.0.len() {
        return Err(format!("expected {} {name}_values, got {}", tokens.0.len(), values.len()));
    }
    let effect = |(rank, token): (usize, &str)| TokenEffect {
        side: EffectSide::Output,
        rank: i32::try_from(rank).unwrap_or(i32::MAX),
        token: token.to_owned(),
        strength: values.get(rank).copied().flatten().filter(|value| value.is_finite()),
        positive,
    };
    Ok(tokens.0.tokens().enumerate().map(effect).collect())
}

/// Numbers the explanations that one explainer wrote of one unit, in the order of the files.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<u64, i32>);

impl Numbers {
    fn next(&mut self, index: Index, explainer: &str, model: Option<&str>) -> i32 {
        let key = format!("{}\u{1f}{explainer}\u{1f}{}", index.0, model.unwrap_or_default());
        let next = self.0.entry(crate::hash::key(&key)).or_default();
        *next += 1;
        *next - 1
    }
}

/// An explanation with the scores that stand beside it.
///
/// # Errors
/// What was expected and what was found.
pub(super) fn explanation(
    row: ExplanationRow,
    others: Vec<ScoreRow>,
    numbers: &mut Numbers,
) -> Result<(Index, ExchangedExplanation, Vec<&'static str>), String> {
    let index = row.index.ok_or("expected a field 'index', got none")?;
    let text = row.description.ok_or("expected a field 'description' with a text, got none")?;
    let mut not_kept = Vec::new();
    if row.embedding.0 {
        not_kept.push("vector of an explanation");
    }
    let (explainer, explainer_model, sample_no) = match row.neuronlake {
        Some(ExplanationExtra { explainer, explainer_model, sample_no }) => (explainer, explainer_model, sample_no),
        None => {
            let explainer = names::explainer(row.type_name.as_deref());
            let model = row.model.filter(|model| !model.is_empty()).map(|model| names::model(&model));
            let sample_no = numbers.next(index, &explainer, model.as_deref());
            (explainer, model, sample_no)
        }
    };
    let mut scores: Vec<ExchangedScore> = Vec::new();
    for row in row.scores.unwrap_or(others) {
        let score = score(row)?;
        // The site keeps every try at a score; ours are one for each scorer and model.
        let key = |score: &ExchangedScore| {
            let ExchangedScore { scorer, scorer_model, calibration, metric, sample_set, split, .. } = score.clone();
            (scorer, scorer_model, calibration, metric, sample_set, split)
        };
        if scores.iter().any(|other| key(other) == key(&score)) {
            not_kept.push("second score of the same scorer");
        } else {
            scores.push(score);
        }
    }
    let mut explanation = ExchangedExplanation::new(explainer, explainer_model, sample_no, text);
    explanation.scores = scores;
    Ok((index, explanation, not_kept))
}

/// A score; those of the site are about the windows that its explainers see, so their split is `train`.
fn score(row: ScoreRow) -> Result<ExchangedScore, String> {
    if let Some(extra) = row.neuronlake {
        return Ok(extra.into_score());
    }
    let (scorer, metric) = names::score(&row.type_name);
    let value = row.value.filter(|value| value.is_finite());
    // Details of the site's own scorers are a text that is JSON again: one entry for each window.
    let judged: Vec<Judged> =
        row.details.as_deref().and_then(|details| serde_json::from_str(details).ok()).unwrap_or_default();
    let n_failed = judged.iter().filter(|judged| judged.prediction.is_none()).count();
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let model = row.model.filter(|model| !model.is_empty()).map(|model| names::model(&model));
    Ok(ExchangedScore {
        split: Split::Train,
        value,
        reason: value.is_none().then(|| "undefined_at_source".to_owned()),
        n_windows: number(judged.len() - n_failed),
        n_failed: number(n_failed),
        ..ExchangedScore::empty(&scorer, model.as_deref(), &metric)
    })
}
