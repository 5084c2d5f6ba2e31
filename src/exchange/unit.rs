//! All that a lake holds of one unit: what an importer reads and an exporter writes.

use crate::token_sequences::split::Split;

/// The key of a unit, with the corpus its values were read on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitKey {
    /// Subject model id.
    pub model: String,
    /// TransformerLens name; a latent's is `<base hook>/<sae id>`.
    pub hook_point: String,
    /// 0-based block; `None` outside the blocks.
    pub layer: Option<i32>,
    /// 0-based index along the last dimension of the hook point.
    pub neuron: i32,
    /// Corpus id.
    pub corpus: String,
}

/// The 0-based block of a hook point; `None` outside the blocks.
pub(super) fn layer_of(hook_point: &str) -> Option<i32> {
    hook_point.strip_prefix("blocks.")?.split_once('.')?.0.parse().ok()
}

/// Everything about one unit; a list is empty where its source has nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitData {
    /// Whose rows these are.
    pub unit: UnitKey,
    /// Row of `neurons`.
    pub statistics: Option<Statistics>,
    /// Rows of `activation_records`, with their token sequences.
    pub records: Vec<ExchangedRecord>,
    /// Rows of `explanations`, each with its simulations and scores.
    pub explanations: Vec<ExchangedExplanation>,
    /// Rows of `token_activations`, largest mean first.
    pub token_means: Vec<TokenMean>,
    /// Rows of `token_effects`.
    pub token_effects: Vec<TokenEffect>,
    /// Rows of `neuron_links`.
    pub links: Vec<Link>,
}

/// Statistics of a unit over its corpus, `None` where its source does not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Positions counted.
    pub n_tokens: Option<i64>,
    /// Raw units of the model.
    pub mean: Option<f64>,
    /// Raw units squared.
    pub variance: Option<f64>,
    /// Third standardised moment.
    pub skewness: Option<f64>,
    /// Fourth standardised moment, as the source counts it.
    pub kurtosis: Option<f64>,
    /// Smallest activation.
    pub min: Option<f32>,
    /// Largest activation.
    pub max: Option<f32>,
    /// Share of positions with an activation above 0, 0..=1.
    pub density: Option<f64>,
    /// Levels of `quantiles`, 0..=1.
    pub quantile_levels: Vec<f64>,
    /// Activation at each level; empty where its source has none.
    pub quantiles: Vec<f64>,
}

/// Tokens of one window: one text, cut at byte offsets, so that a window is two allocations and not seventy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// The surface texts one after the other.
    pub text: String,
    /// Where each token ends in `text`, in bytes; shape `[seq_len]`.
    pub ends: Vec<u32>,
    /// Vocabulary indices, shape `[seq_len]`; `None` where the source tells none.
    pub token_ids: Option<Vec<i32>>,
}

impl Window {
    /// A window of these tokens.
    pub fn of<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let mut window = Self::default();
        for token in tokens {
            window.push(token);
        }
        window
    }

    /// Adds a token at the end.
    pub fn push(&mut self, token: &str) {
        self.text.push_str(token);
        self.ends.push(self.text.len() as u32);
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start as usize..end as usize])
    }

    /// The sequence's key: 63 bits of a hash of the tokens, so that equal windows of any number of units and files are stored once.
    ///
    /// It keeps the form `document * 2^20 + window` of `token_sequences`, with a hash for both parts.
    pub fn sequence(&self) -> i64 {
        let mut bytes = Vec::with_capacity(self.text.len() + 4 * self.ends.len());
        bytes.extend_from_slice(self.text.as_bytes());
        for end in &self.ends {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        (crate::hash::number(&bytes) >> 1).cast_signed()
    }
}

/// One activation record with the tokens it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangedRecord {
    /// `top`, `random` or `quantile_0` … `quantile_4`.
    pub sample: String,
    /// 0-based place in its sample and split.
    pub rank: i32,
    /// Split of the record.
    pub split: Split,
    /// Tokens.
    pub window: Window,
    /// Raw units of the model, shape `[seq_len]`.
    pub activations: Vec<f32>,
}

/// One explanation with everything that was measured about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangedExplanation {
    /// Method that wrote it, by our name where it is one of ours, else by its source's.
    pub explainer: String,
    /// Language model behind it as `engine:model`; `None` without one.
    pub explainer_model: Option<String>,
    /// 0-based number among the explanations that one explainer wrote of the unit.
    pub sample_no: i32,
    /// The text, as stored at its source, outer spaces included.
    pub text: String,
    /// Rows of `simulations`, own (never of a control).
    pub simulations: Vec<ExchangedSimulation>,
    /// Rows of `judgements`, own (never of a control).
    pub judgements: Vec<ExchangedJudgement>,
    /// Rows of `scores`.
    pub scores: Vec<ExchangedScore>,
}

impl ExchangedExplanation {
    /// An explanation of which nothing was measured yet.
    pub(crate) fn new(explainer: String, explainer_model: Option<String>, sample_no: i32, text: String) -> Self {
        Self {
            explainer,
            explainer_model,
            sample_no,
            text,
            simulations: Vec::new(),
            judgements: Vec::new(),
            scores: Vec::new(),
        }
    }
}

/// Expected activations of one explanation on one window.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangedSimulation {
    /// Method: `all_at_once`, …
    pub simulator: String,
    /// Model behind it; `None` without one or where the source does not tell.
    pub simulator_model: Option<String>,
    /// `neuron_activations` or `simulated_normalized_activations`.
    pub scale: String,
    /// Sample of the record it is about.
    pub sample: String,
    /// Rank of that record.
    pub rank: i32,
    /// Split of that record, never `train`.
    pub split: Split,
    /// Tokens.
    pub window: Window,
    /// The unit's own values on the window, raw units; shape `[seq_len]`, or empty where the source has none.
    pub actual: Vec<f32>,
    /// Shape `[seq_len]`, in the units of `scale`; `None` where no value could be read.
    pub expected: Vec<Option<f32>>,
    /// Probability of each of 0..=10 at each token, shape `[seq_len, 11]`, 0 where it was not told; empty without distributions.
    pub distribution: Vec<f32>,
}

/// What a judge made of one window, given an explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangedJudgement {
    /// Judge: `detection`, `fuzzing`, …
    pub scorer: String,
    /// Model behind it; `None` without one or where the source does not tell.
    pub scorer_model: Option<String>,
    /// Sample of the record it is about.
    pub sample: String,
    /// Rank of that record.
    pub rank: i32,
    /// Split of that record, never `train`.
    pub split: Split,
    /// Tokens.
    pub window: Window,
    /// Whether the unit fires on the window.
    pub activating: bool,
    /// What the judge said; `None` when it failed.
    pub predicted: Option<bool>,
    /// Probability of its saying so, 0..=1, where it tells.
    pub value: Option<f64>,
}

/// All firings of one unit: rows of `activations`, too many to be held for many units at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Firings {
    /// Whose rows these are.
    pub unit: UnitKey,
    /// Key of the window of each, as [`Window::sequence`] has it; shape `[n]`.
    pub sequences: Vec<i64>,
    /// 0-based token in the window, shape `[n]`.
    pub positions: Vec<i32>,
    /// Raw units of the model, shape `[n]`.
    pub activations: Vec<f32>,
}

/// One number about one explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangedScore {
    /// Simulator or judge behind it.
    pub scorer: String,
    /// Model behind that; `None` without one or where the source does not tell.
    pub scorer_model: Option<String>,
    /// `none`, `linear` or `percentile`.
    pub calibration: String,
    /// `ev_correlation`, `accuracy`, …
    pub metric: String,
    /// `top_and_random`, `random_only` or `top_only`.
    pub sample_set: String,
    /// Split of the windows scored.
    pub split: Split,
    /// At most 1, larger is better; `None` when undefined.
    pub value: Option<f64>,
    /// The same metric for another unit's explanation.
    pub control: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Why `value` is `None`.
    pub reason: Option<String>,
    /// Windows scored.
    pub n_windows: i32,
    /// Tokens scored.
    pub n_tokens: i64,
    /// Windows left out.
    pub n_failed: i32,
}

impl ExchangedScore {
    /// A score without a value, of no windows: uncalibrated, of top and random windows of split `valid`.
    pub(crate) fn empty(scorer: &str, scorer_model: Option<&str>, metric: &str) -> Self {
        Self {
            scorer: scorer.to_owned(),
            scorer_model: scorer_model.map(str::to_owned),
            calibration: "none".to_owned(),
            metric: metric.to_owned(),
            sample_set: "top_and_random".to_owned(),
            split: Split::Valid,
            value: None,
            control: None,
            low: None,
            high: None,
            reason: None,
            n_windows: 0,
            n_tokens: 0,
            n_failed: 0,
        }
    }
}

/// Mean activation of a unit over one token.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenMean {
    /// Surface text.
    pub token: String,
    /// Raw units of the model; `None` where the source has no value.
    pub mean_activation: Option<f32>,
    /// Occurrences; `None` where the source does not tell.
    pub n_occurrences: Option<i64>,
}

/// Which side of the unit a weight-based effect is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectSide {
    /// Of an input token on the unit.
    Input,
    /// Of the unit on an output token.
    Output,
}

/// Direct effect between a unit and a token, by weights alone.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEffect {
    /// Side.
    pub side: EffectSide,
    /// 0-based place among the effects of its side and sign, strongest first.
    pub rank: i32,
    /// Surface text.
    pub token: String,
    /// Signed strength; `None` where the source has no value.
    pub strength: Option<f32>,
    /// Whether it stands among the positive ones (its strength may be missing).
    pub positive: bool,
}

/// Which side of the unit a linked unit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSide {
    /// The other unit writes what this one reads.
    Upstream,
    /// The other unit reads what this one writes.
    Downstream,
}

/// Weight-based connection of a unit to another of the same model.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Side.
    pub side: LinkSide,
    /// 0-based place among the links of its side and sign, strongest first.
    pub rank: i32,
    /// Hook point of the other unit.
    pub other_hook_point: String,
    /// Index of the other unit.
    pub other_neuron: i32,
    /// Signed weight (§1.5 of our specification); `None` where the source has no value.
    pub weight: Option<f32>,
    /// Whether it stands among the positive ones.
    pub positive: bool,
}
