//! The files of one unit as its rows.

use std::borrow::Cow;

use serde::Deserialize;

use super::dataset::Distributions;
use super::exact::Number;
use super::files::{
    ActivationRecord, NeuronId, NeuronRecord, NeuronSimulationResults, NeuronsAndWeights, RelatedNeurons,
    ScoredExplanation, ScoredSequenceSimulation, SequenceSimulation, TokenLookupTableSummaryOfNeuron, TokensAndWeights,
    WeightBasedSummaryOfNeuron,
};
use super::interleave::{of_random, of_top};
use super::lists::{OptionalFloats, Ragged};
use crate::exchange::unit::{
    EffectSide, ExchangedExplanation, ExchangedRecord, ExchangedScore, ExchangedSimulation, Link, LinkSide, Statistics,
    TokenEffect, TokenMean, UnitData,
};
use crate::token_sequences::split::Split;

/// Numbers that a simulator may answer: 0 to 10.
const N_VALUES: usize = 11;
/// A calibration is linear when no value is further from the line than this share of the largest.
const LINE_TOLERANCE: f64 = 1e-4;
/// Why a score is NULL whose source has `null`.
const UNDEFINED: &str = "undefined_at_source";
/// Scale of values between 0 and 10.
const NORMALIZED: &str = "simulated_normalized_activations";

/// Probabilities of a distribution are kept as multiples of one part in so many, unless all digits are asked for.
const PROBABILITY_PARTS: f32 = 4_096.0;

/// Who wrote and who simulated the explanations, which the files do not say, and what is kept of a simulator's distributions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authors {
    pub(crate) explainer: String,
    pub(crate) explainer_model: Option<String>,
    pub(crate) simulator: String,
    pub(crate) simulator_model: Option<String>,
    pub(crate) distributions: Distributions,
}

impl Distributions {
    fn kept(self, probability: f32) -> f32 {
        match self {
            // The product is exact and so is the quotient: both are powers of two away.
            Self::Rounded => (probability * PROBABILITY_PARTS).round() / PROBABILITY_PARTS,
            Self::Exact => probability,
        }
    }
}

/// What is wrong with a file: the 1-based line, where the parser knows one, and what.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) line: Option<usize>,
    pub(crate) reason: String,
}

impl Flaw {
    fn of(reason: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into() }
    }
}

/// What was left out of a file, by what it is.
pub(crate) type NotKept = Vec<&'static str>;

/// Reads `collated-activations` into the unit.
pub(crate) fn records(bytes: &[u8], unit: &mut UnitData) -> Result<(), Flaw> {
    let file: NeuronRecord = parse(bytes, 1)?;
    check_id(&file.neuron_id, unit)?;
    let moment = |moment: Option<Number>| moment.map(|Number(moment)| moment);
    let (levels, quantiles) = boundaries(file.quantile_boundaries.unwrap_or_default())?;
    let top = file.most_positive_activation_records.unwrap_or_default();
    for (index, record) in top.into_iter().enumerate() {
        let (split, rank) = of_top(index);
        unit.records.push(exchanged(record, "top", split, rank)?);
    }
    let max = unit.records.iter().flat_map(|record| &record.activations).copied().reduce(f32::max);
    let random = file.random_sample.unwrap_or_default();
    let n_random = random.len();
    for (index, record) in random.into_iter().enumerate() {
        let (split, rank) = of_random(index, n_random);
        unit.records.push(exchanged(record, "random", split, rank)?);
    }
    for (quantile, sample) in file.random_sample_by_quantile.unwrap_or_default().into_iter().enumerate() {
        let name = format!("quantile_{quantile}");
        for (rank, record) in sample.into_iter().enumerate() {
            // No method reads them; `test` is what none may.
            unit.records.push(exchanged(record, &name, Split::Test, rank as i32)?);
        }
    }
    unit.statistics = Some(Statistics {
        mean: moment(file.mean),
        variance: moment(file.variance),
        skewness: moment(file.skewness),
        kurtosis: moment(file.kurtosis),
        max,
        quantile_levels: levels,
        quantiles,
        ..Statistics::default()
    });
    Ok(())
}

/// Levels and activations of quantiles: of a list of boundaries the one or the other, because it does not say which it has.
///
/// Published files have activations between the infinite ends of the first and of the last quantile, which JSON knows as `null`.
/// Otherwise numbers in 0..=1 are shares of windows.
fn boundaries(list: Vec<Option<Number>>) -> Result<(Vec<f64>, Vec<f64>), Flaw> {
    let (list, open) = match list.as_slice() {
        [None, inner @ .., None] => (inner, true),
        all => (all, false),
    };
    let numbers = list.iter().map(|number| number.map(|Number(number)| number)).collect::<Option<Vec<f64>>>();
    let numbers = numbers.ok_or_else(|| {
        Flaw::of("quantile_boundaries: expected null at both ends or nowhere, got null in another place".to_owned())
    })?;
    match !open && numbers.iter().all(|boundary| (0.0..=1.0).contains(boundary)) {
        true => Ok((numbers, Vec::new())),
        false => Ok((Vec::new(), numbers)),
    }
}

/// Reads `explanations` into the unit.
pub(crate) fn explanations(bytes: &[u8], authors: &Authors, unit: &mut UnitData) -> Result<NotKept, Flaw> {
    let (line, number) = only_line(bytes)?;
    let file: NeuronSimulationResults<'_> = parse(line, number)?;
    let in_line = |flaw: Flaw| Flaw { line: flaw.line.or(Some(number)), ..flaw };
    check_id(&file.neuron_id, unit).map_err(in_line)?;
    let mut not_kept = NotKept::new();
    for (sample_no, scored) in file.scored_explanations.into_iter().enumerate() {
        let explanation = explanation(scored, sample_no as i32, authors, &unit.records, &mut not_kept);
        unit.explanations.push(explanation.map_err(in_line)?);
    }
    Ok(not_kept)
}

/// Reads `related-tokens/activation-based` into the unit.
pub(crate) fn token_means(bytes: &[u8], unit: &mut UnitData) -> Result<(), Flaw> {
    let file: TokenLookupTableSummaryOfNeuron<'_> = parse(bytes, 1)?;
    let OptionalFloats(means) = file.average_activations;
    same_length("tokens", file.tokens.len(), "average_activations", means.len())?;
    unit.token_means = file
        .tokens
        .into_iter()
        .zip(means)
        .map(|(token, mean)| TokenMean { token: token.into_owned(), mean_activation: mean, n_occurrences: None })
        .collect();
    Ok(())
}

/// Reads `related-tokens/weight-based` into the unit.
pub(crate) fn token_effects(bytes: &[u8], unit: &mut UnitData) -> Result<(), Flaw> {
    let file: WeightBasedSummaryOfNeuron<'_> = parse(bytes, 1)?;
    let lists = [
        (file.input_positive, EffectSide::Input, true),
        (file.input_negative, EffectSide::Input, false),
        (file.output_positive, EffectSide::Output, true),
        (file.output_negative, EffectSide::Output, false),
    ];
    for (list, side, positive) in lists {
        let Some(TokensAndWeights { tokens, strengths: OptionalFloats(strengths) }) = list else { continue };
        same_length("tokens", tokens.len(), "strengths", strengths.len())?;
        let effects = tokens.into_iter().zip(strengths).enumerate().map(|(rank, (token, strength))| TokenEffect {
            side,
            rank: rank as i32,
            token: token.into_owned(),
            strength,
            positive,
        });
        unit.token_effects.extend(effects);
    }
    Ok(())
}

/// Reads `related-neurons/weight-based` into the unit.
pub(crate) fn links(bytes: &[u8], unit: &mut UnitData) -> Result<(), Flaw> {
    let file: RelatedNeurons<'_> = parse(bytes, 1)?;
    for (list, side) in [(file.c_fc, LinkSide::Upstream), (file.c_proj, LinkSide::Downstream)] {
        let Some(list) = list else { continue };
        let NeuronsAndWeights {
            top_positive_neurons,
            top_positive_weights,
            top_negative_neurons,
            top_negative_weights,
        } = list;
        let halves =
            [(top_positive_neurons, top_positive_weights, true), (top_negative_neurons, top_negative_weights, false)];
        for (neurons, OptionalFloats(weights), positive) in halves {
            same_length("neurons", neurons.len(), "weights", weights.len())?;
            for (rank, (name, weight)) in neurons.iter().zip(weights).enumerate() {
                let (other_hook_point, other_neuron) = linked(name)?;
                unit.links.push(Link { side, rank: rank as i32, other_hook_point, other_neuron, weight, positive });
            }
        }
    }
    Ok(())
}

/// The hook point that the dataset's activations are of.
pub(crate) fn hook_point(layer: i32) -> String {
    format!("blocks.{layer}.mlp.hook_post")
}

/// A unit's name in a list of links: `{layer}_{neuron}`.
fn linked(name: &str) -> Result<(String, i32), Flaw> {
    let numbers = name.split_once('_').and_then(|(layer, neuron)| Some((number(layer)?, number(neuron)?)));
    let (layer, neuron) = numbers.ok_or_else(|| Flaw::of(format!("expected a neuron as layer_index, got '{name}'")))?;
    Ok((hook_point(layer), neuron))
}

fn number(text: &str) -> Option<i32> {
    text.parse::<u32>().ok().and_then(|number| i32::try_from(number).ok())
}

/// Parses a value that begins in this line of its file.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], first_line: usize) -> Result<T, Flaw> {
    // Texts are checked once, all together, and not token by token; what is no text is told with its place by the other way.
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|error| {
        // The parser's own words, without its place: the line is told beside the file's name.
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        let line = error.line().max(1) + first_line - 1;
        Flaw { line: Some(line), reason: format!("{reason} (column {})", error.column()) }
    })
}

/// The one line of a file that is not empty, and its number.
fn only_line(bytes: &[u8]) -> Result<(&[u8], usize), Flaw> {
    let mut lines =
        bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
    let (index, line) = lines.next().ok_or_else(|| Flaw::of("expected one line that is not empty, got none"))?;
    match lines.next() {
        None => Ok((line, index + 1)),
        Some((second, _)) => {
            Err(Flaw { line: Some(second + 1), reason: "expected one line that is not empty, got a second".to_owned() })
        }
    }
}

fn check_id(id: &NeuronId, unit: &UnitData) -> Result<(), Flaw> {
    let expected = (unit.unit.layer.unwrap_or_default(), unit.unit.neuron);
    let got = (id.layer_index.0, id.neuron_index.0);
    match expected == got {
        true => Ok(()),
        false => Err(Flaw::of(format!(
            "expected neuron {} of layer {}, as the path says, got neuron {} of layer {}",
            expected.1, expected.0, got.1, got.0
        ))),
    }
}

fn same_length(first: &str, n_first: usize, second: &str, n_second: usize) -> Result<(), Flaw> {
    match n_first == n_second {
        true => Ok(()),
        false => Err(Flaw::of(format!("expected {n_first} {second}, one for each of {first}, got {n_second}"))),
    }
}

fn exchanged(record: ActivationRecord, sample: &str, split: Split, rank: i32) -> Result<ExchangedRecord, Flaw> {
    let (window, activations) = (record.tokens.0, record.activations.0);
    let named = |flaw: Flaw| Flaw::of(format!("record {rank} of sample {sample}, split {split}: {}", flaw.reason));
    if window.is_empty() {
        return Err(named(Flaw::of("expected tokens, got none")));
    }
    same_length("tokens", window.len(), "activations", activations.len()).map_err(named)?;
    Ok(ExchangedRecord { sample: sample.to_owned(), rank, split, window, activations })
}

fn explanation(
    scored: ScoredExplanation<'_>,
    sample_no: i32,
    authors: &Authors,
    records: &[ExchangedRecord],
    not_kept: &mut NotKept,
) -> Result<ExchangedExplanation, Flaw> {
    let mut exchanged = ExchangedExplanation::new(
        authors.explainer.clone(),
        authors.explainer_model.clone(),
        sample_no,
        scored.explanation.into_owned(),
    );
    let simulation = scored.scored_simulation;
    let overall = [simulation.ev_correlation_score, simulation.rsquared_score, simulation.absolute_dev_explained_score];
    let sequences = simulation.scored_sequence_simulations;
    let n_windows = sequences.len();
    let mut of_windows = Vec::with_capacity(n_windows);
    let mut calibration = "none";
    for (index, sequence) in sequences.into_iter().enumerate() {
        let (sample, rank) = place(&sequence, index, n_windows, records);
        let scores = [sequence.ev_correlation_score, sequence.rsquared_score, sequence.absolute_dev_explained_score];
        let n_tokens = sequence.true_activations.0.len();
        of_windows.push((format!("{sample}_{rank}"), n_tokens, scores));
        let kind = window(sequence, sample, rank, authors, &mut exchanged.simulations, not_kept)
            .map_err(|flaw| Flaw::of(format!("scored sequence {index}: {}", flaw.reason)))?;
        calibration = kind.unwrap_or(calibration);
    }
    let n_tokens = of_windows.iter().map(|(_, n_tokens, _)| n_tokens).sum();
    // Without windows and numbers nothing was scored.
    if n_windows > 0 || overall.iter().any(Option::is_some) {
        let all = std::iter::once(("top_and_random".to_owned(), n_windows, n_tokens, overall));
        let each = of_windows.into_iter().map(|(set, n_tokens, scores)| (set, 1, n_tokens, scores));
        for (sample_set, n_windows, n_tokens, values) in all.chain(each) {
            for (metric, value) in METRICS.into_iter().zip(values) {
                exchanged.scores.push(ExchangedScore {
                    calibration: calibration.to_owned(),
                    sample_set: sample_set.clone(),
                    value: value.map(|Number(value)| value),
                    reason: value.is_none().then(|| UNDEFINED.to_owned()),
                    n_windows: n_windows as i32,
                    n_tokens: n_tokens as i64,
                    ..ExchangedScore::empty(&authors.simulator, authors.simulator_model.as_deref(), metric)
                });
            }
        }
    }
    Ok(exchanged)
}

/// Sample and rank, in split valid, of the record that a scored sequence is about.
///
/// The first half is of top windows, the second of random ones, each in their order. Where the record there is another one, it is
/// looked for among the rest; where there is none, the first rule holds.
fn place(
    scored: &ScoredSequenceSimulation<'_>,
    index: usize,
    n_windows: usize,
    records: &[ExchangedRecord],
) -> (&'static str, i32) {
    let n_top = n_windows.div_ceil(2);
    let (sample, rank) = if index < n_top { ("top", index) } else { ("random", index - n_top) };
    let (sample, rank) = (sample, rank as i32);
    let is_it = |record: &&ExchangedRecord| {
        record.split == Split::Valid
            && record.window == scored.simulation.tokens.0
            && record.activations == scored.true_activations.0
    };
    let here = |record: &&ExchangedRecord| record.sample == sample && record.rank == rank;
    let mut known = records.iter().filter(is_it).peekable();
    if known.peek().is_none() || records.iter().filter(here).any(|record| is_it(&record)) {
        return (sample, rank);
    }
    let other = known.find_map(|record| {
        let sample = ["top", "random"].into_iter().find(|sample| record.sample == *sample)?;
        Some((sample, record.rank))
    });
    other.unwrap_or((sample, rank))
}

/// Our names of `ev_correlation_score`, `rsquared_score` and `absolute_dev_explained_score`, by their formulas (§5.1).
pub(crate) const METRICS: [&str; 3] = ["ev_correlation", "rsquared_uncentred", "absolute_dev_explained"];

/// Adds the simulations of one window, the calibrated one first; how it was calibrated, where that shows.
fn window(
    scored: ScoredSequenceSimulation<'_>,
    sample: &str,
    rank: i32,
    authors: &Authors,
    simulations: &mut Vec<ExchangedSimulation>,
    not_kept: &mut NotKept,
) -> Result<Option<&'static str>, Flaw> {
    let actual = scored.true_activations.0;
    let mut outer = scored.simulation;
    let inner = outer.uncalibrated_simulation.take();
    let n_tokens = outer.tokens.0.len();
    same_length("tokens", n_tokens, "true_activations", actual.len())?;
    let mut add = |mut simulation: SequenceSimulation<'_>, scale: Cow<'_, str>| {
        let OptionalFloats(expected) = std::mem::take(&mut simulation.expected_activations);
        same_length("tokens", n_tokens, "expected_activations", expected.len())?;
        let distribution = distribution(&simulation, n_tokens, authors.distributions, not_kept)?;
        simulations.push(ExchangedSimulation {
            simulator: authors.simulator.clone(),
            simulator_model: authors.simulator_model.clone(),
            scale: scale.into_owned(),
            sample: sample.to_owned(),
            rank,
            split: Split::Valid,
            window: simulation.tokens.0,
            actual: actual.clone(),
            expected,
            distribution,
        });
        Ok(())
    };
    let Some(inner) = inner else {
        let scale = outer.activation_scale.clone();
        add(outer, scale)?;
        return Ok(None);
    };
    if inner.tokens.0 != outer.tokens.0 {
        return Err(Flaw::of("expected the tokens of the simulation in its uncalibrated_simulation, got others"));
    }
    let OptionalFloats(values) = &outer.expected_activations;
    let OptionalFloats(uncalibrated) = &inner.expected_activations;
    if values == uncalibrated {
        // Calibrated by nothing: upstream calls the values the neuron's own, which they are not.
        add(*inner, Cow::Borrowed(NORMALIZED))?;
        return Ok(Some("none"));
    }
    same_length("tokens", n_tokens, "expected_activations", uncalibrated.len())?;
    let kind = if is_line(uncalibrated, values) { "linear" } else { "percentile" };
    // The calibrated distribution is the other one with its values mapped, as the expected activations are.
    outer.distribution_values = None;
    outer.distribution_probabilities = None;
    let scales = (outer.activation_scale.clone(), inner.activation_scale.clone());
    add(outer, scales.0)?;
    add(*inner, scales.1)?;
    Ok(Some(kind))
}

/// Probabilities of 0 to 10 at each token; empty where there are none, or none of these numbers.
fn distribution(
    simulation: &SequenceSimulation<'_>,
    n_tokens: usize,
    digits: Distributions,
    not_kept: &mut NotKept,
) -> Result<Vec<f32>, Flaw> {
    let (Some(values), Some(probabilities)) = (&simulation.distribution_values, &simulation.distribution_probabilities)
    else {
        return Ok(Vec::new());
    };
    // A simulator that reads no probabilities leaves no lists, or empty ones.
    if values.values.is_empty() && probabilities.values.is_empty() {
        return Ok(Vec::new());
    }
    same_length("tokens", n_tokens, "distribution_values", values.ends.len())?;
    same_length("tokens", n_tokens, "distribution_probabilities", probabilities.ends.len())?;
    let Some(distribution) = spread(values, probabilities, digits)? else {
        not_kept.push("distributions over other numbers than 0 to 10");
        return Ok(Vec::new());
    };
    Ok(distribution)
}

fn spread(values: &Ragged, probabilities: &Ragged, digits: Distributions) -> Result<Option<Vec<f32>>, Flaw> {
    let mut spread = vec![0.0; values.ends.len() * N_VALUES];
    for (token, (values, probabilities)) in values.lists().zip(probabilities.lists()).enumerate() {
        same_length("distribution_values", values.len(), "distribution_probabilities", probabilities.len())?;
        for (value, probability) in values.iter().zip(probabilities) {
            let place = *value as usize;
            if place >= N_VALUES || place as f32 != *value {
                return Ok(None);
            }
            spread[token * N_VALUES + place] = digits.kept(*probability);
        }
    }
    Ok(Some(spread))
}

/// Whether the second series is a line over the first.
fn is_line(from: &[Option<f32>], to: &[Option<f32>]) -> bool {
    let pairs: Vec<(f64, f64)> =
        from.iter().zip(to).filter_map(|(from, to)| Some((f64::from((*from)?), f64::from((*to)?)))).collect();
    let Some(low) = pairs.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)) else { return true };
    let Some(high) = pairs.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)) else { return true };
    let slope = if high.0 > low.0 { (high.1 - low.1) / (high.0 - low.0) } else { 0.0 };
    let largest = pairs.iter().map(|(_, to)| to.abs()).fold(0.0, f64::max);
    pairs.iter().all(|(from, to)| (low.1 + slope * (from - low.0) - to).abs() <= LINE_TOLERANCE * largest)
}
