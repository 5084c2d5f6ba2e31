//! Units as the dataset's files, in its exact layout and the newer of its two spellings.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Serialize, Serializer};

use super::dataset::path;
use super::interleave::{random_index, top_index};
use super::read_unit::hook_point;
use super::verify::{compute, simulations_of};
use crate::error::{Error, Result};
use crate::exchange::exporter::Exporter;
use crate::exchange::fault::ExchangeError;
use crate::exchange::output::NewFile;
use crate::exchange::report::{Report, count};
use crate::exchange::source::blocking;
use crate::exchange::unit::{
    EffectSide, ExchangedExplanation, ExchangedRecord, ExchangedScore, ExchangedSimulation, Link, LinkSide, Statistics,
    TokenEffect, UnitData, Window,
};
use crate::scores::metric::Metric;
use crate::token_sequences::split::Split;

/// Writes the files below a folder.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    report: Report,
}

impl Writer {
    /// A writer into a folder, which is made with the first file.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), report: Report::default() }
    }
}

#[async_trait]
impl Exporter for Writer {
    async fn unit(&mut self, unit: UnitData) -> Result<()> {
        let folder = self.folder.clone();
        let (written, n_without_place) = blocking(move || write_unit(&folder, &unit)).await?;
        self.report.n_units += 1;
        if n_without_place > 0 {
            *self.report.not_kept.entry("records without a place in the interleaving".to_owned()).or_default() +=
                n_without_place as u64;
        }
        for (kind, bytes) in written {
            self.report.n_files += 1;
            self.report.n_bytes += bytes as u64;
            count(&mut self.report.rows, kind);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<Report> {
        Ok(std::mem::take(&mut self.report))
    }
}

/// Kind and size of each file written, and how many records have no place in the layout.
fn write_unit(folder: &Path, unit: &UnitData) -> Result<(Vec<(&'static str, usize)>, usize)> {
    let key = &unit.unit;
    let layer = key.layer.filter(|layer| hook_point(*layer) == key.hook_point).ok_or_else(|| {
        ExchangeError::NotExpressible {
            unit: format!("{}, {} of {}", key.neuron, key.hook_point, key.model),
            format: "openai",
            reason: "the layout names a layer and means its blocks.<layer>.mlp.hook_post".to_owned(),
        }
    })?;
    let neuron_id = NeuronId { dataclass_name: "NeuronId", layer_index: layer, neuron_index: key.neuron };
    let mut files = Vec::new();
    let mut n_without_place = 0;
    if unit.statistics.is_some() || unit.records.iter().any(|record| !record.sample.starts_with("scored")) {
        let record = neuron_record(&neuron_id, unit);
        n_without_place =
            unit.records.iter().filter(|record| !record.sample.starts_with("scored")).count() - record.len();
        files.push((0, json(&record)?));
    }
    if !unit.explanations.is_empty() {
        let scored_explanations = unit.explanations.iter().flat_map(scored_explanations).collect();
        let results = NeuronSimulationResults {
            dataclass_name: "NeuronSimulationResults",
            neuron_id: &neuron_id,
            scored_explanations,
        };
        let mut line = json(&results)?;
        line.push(b'\n');
        files.push((1, line));
    }
    if !unit.links.is_empty() {
        let of = |side| neurons_and_weights(unit.links.iter().filter(|link| link.side == side).collect());
        let related = RelatedNeurons { c_fc: of(LinkSide::Upstream), c_proj: of(LinkSide::Downstream) };
        files.push((2, json(&related)?));
    }
    if !unit.token_means.is_empty() {
        let summary = TokenLookupTableSummaryOfNeuron {
            dataclass_name: "TokenLookupTableSummaryOfNeuron",
            tokens: unit.token_means.iter().map(|mean| mean.token.as_str()).collect(),
            average_activations: unit.token_means.iter().map(|mean| mean.mean_activation).collect(),
        };
        files.push((3, json(&summary)?));
    }
    if !unit.token_effects.is_empty() {
        let of = |side, positive| {
            let effects = unit.token_effects.iter().filter(|effect| effect.side == side && effect.positive == positive);
            tokens_and_weights(effects.collect())
        };
        let summary = WeightBasedSummaryOfNeuron {
            dataclass_name: "WeightBasedSummaryOfNeuron",
            input_positive: of(EffectSide::Input, true),
            input_negative: of(EffectSide::Input, false),
            output_positive: of(EffectSide::Output, true),
            output_negative: of(EffectSide::Output, false),
        };
        files.push((4, json(&summary)?));
    }
    let mut written = Vec::with_capacity(files.len());
    for (kind, bytes) in files {
        NewFile::write(&folder.join(path(kind, layer, key.neuron)), &bytes)?;
        written.push((super::dataset::KINDS[kind].0, bytes.len()));
    }
    Ok((written, n_without_place))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))
}

fn neuron_record<'a>(neuron_id: &'a NeuronId, unit: &'a UnitData) -> NeuronRecord<'a> {
    let of = |sample: &str| unit.records.iter().filter(move |record| record.sample == sample).collect::<Vec<_>>();
    let top = in_file_order(of("top"), |record| top_index(record.split, record.rank));
    let random = of("random");
    let with_test = random.iter().any(|record| record.split == Split::Test);
    let random = in_file_order(random, |record| random_index(record.split, record.rank, with_test));
    let n_quantiles = (0..).take_while(|quantile| !of(&format!("quantile_{quantile}")).is_empty()).count();
    let quantiles = (0..n_quantiles)
        .map(|quantile| in_file_order(of(&format!("quantile_{quantile}")), |record| usize::try_from(record.rank).ok()))
        .collect::<Vec<_>>();
    let statistics = unit.statistics.as_ref();
    // One of the two, whichever the source told; our own lakes have both, and the levels say what was asked for.
    let boundaries = statistics.and_then(|Statistics { quantile_levels, quantiles, .. }| {
        match (quantile_levels.as_slice(), quantiles.as_slice()) {
            ([], []) => None,
            // Activations stand between the infinite ends, as in published files: else some would be taken for levels.
            ([], inner) => {
                let inner = inner.iter().copied().map(Some);
                Some(std::iter::once(None).chain(inner).chain([None]).collect())
            }
            (levels, _) => Some(levels.iter().copied().map(Some).collect()),
        }
    });
    NeuronRecord {
        dataclass_name: "NeuronRecord",
        neuron_id,
        random_sample: random,
        random_sample_by_quantile: (!quantiles.is_empty()).then_some(quantiles),
        quantile_boundaries: boundaries,
        mean: statistics.and_then(|statistics| statistics.mean),
        variance: statistics.and_then(|statistics| statistics.variance),
        skewness: statistics.and_then(|statistics| statistics.skewness),
        kurtosis: statistics.and_then(|statistics| statistics.kurtosis),
        most_positive_activation_records: top,
    }
}

/// Records as they stood in their file, up to the first gap: behind one, places would stand for other splits, and a reader would score on
/// what an explainer saw.
fn in_file_order(
    mut records: Vec<&ExchangedRecord>,
    index: impl Fn(&ExchangedRecord) -> Option<usize>,
) -> Vec<ActivationRecord<'_>> {
    records.sort_by_key(|record| index(record).unwrap_or(usize::MAX));
    let in_place = records.iter().enumerate().take_while(|(place, record)| index(record) == Some(*place)).count();
    records.truncate(in_place);
    records
        .into_iter()
        .map(|record| ActivationRecord {
            dataclass_name: "ActivationRecord",
            tokens: Tokens(&record.window),
            activations: &record.activations,
        })
        .collect()
}

/// An explanation as often as it was simulated: the layout has room for one simulator.
fn scored_explanations(explanation: &ExchangedExplanation) -> Vec<ScoredExplanation<'_>> {
    let mut methods: Vec<(&str, Option<&str>)> = Vec::new();
    let simulated = explanation.simulations.iter().filter(|simulation| simulation.split == Split::Valid);
    for simulation in simulated {
        let method = (simulation.simulator.as_str(), simulation.simulator_model.as_deref());
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    if methods.is_empty() {
        let scored =
            explanation.scores.iter().map(|score| (score.scorer.as_str(), score.scorer_model.as_deref())).next();
        methods.push(scored.unwrap_or_default());
    }
    methods
        .into_iter()
        .map(|(simulator, model)| ScoredExplanation {
            dataclass_name: "ScoredExplanation",
            explanation: &explanation.text,
            scored_simulation: scored_simulation(explanation, simulator, model),
        })
        .collect()
}

fn scored_simulation<'a>(
    explanation: &'a ExchangedExplanation,
    simulator: &str,
    model: Option<&str>,
) -> ScoredSimulation<'a> {
    let mut simulations: Vec<&ExchangedSimulation> = explanation
        .simulations
        .iter()
        .filter(|simulation| {
            simulation.simulator == simulator
                && simulation.simulator_model.as_deref() == model
                && simulation.split == Split::Valid
                && !simulation.expected.is_empty()
        })
        .collect();
    // Top windows before random ones; of one window the calibrated values first.
    simulations.sort_by_key(|simulation| {
        (plain(&simulation.sample) != "top", simulation.rank, simulation.scale != "neuron_activations")
    });
    let numbers = |set: &str| {
        let of = |metric: Metric| {
            let wanted = |score: &&ExchangedScore| {
                score.scorer == simulator
                    && score.scorer_model.as_deref() == model
                    && score.split == Split::Valid
                    && score.metric == metric.as_str()
                    && score.sample_set == set
            };
            match explanation.scores.iter().find(wanted) {
                Some(score) => score.value,
                // Our own pipeline keeps no scores of single windows.
                None => computed(explanation, metric, simulator, model, set),
            }
        };
        [Metric::EvCorrelation, Metric::RsquaredUncentred, Metric::AbsoluteDevExplained].map(of)
    };
    let mut sequences: Vec<ScoredSequenceSimulation<'a>> = Vec::with_capacity(simulations.len());
    let mut last: Option<&ExchangedSimulation> = None;
    for simulation in simulations {
        let same = |last: &ExchangedSimulation| {
            last.sample == simulation.sample && last.rank == simulation.rank && last.window == simulation.window
        };
        if last.is_some_and(same) {
            if let Some(outer) = sequences.last_mut() {
                outer.sequence_simulation.uncalibrated_simulation = Some(Box::new(sequence_simulation(simulation)));
            }
            continue;
        }
        last = Some(simulation);
        let [ev, rsquared, absolute] = numbers(&format!("{}_{}", plain(&simulation.sample), simulation.rank));
        sequences.push(ScoredSequenceSimulation {
            dataclass_name: "ScoredSequenceSimulation",
            sequence_simulation: sequence_simulation(simulation),
            true_activations: &simulation.actual,
            ev_correlation_score: ev,
            rsquared_score: rsquared,
            absolute_dev_explained_score: absolute,
        });
    }
    let [ev, rsquared, absolute] = numbers("top_and_random");
    ScoredSimulation {
        dataclass_name: "ScoredSimulation",
        scored_sequence_simulations: sequences,
        ev_correlation_score: ev,
        rsquared_score: rsquared,
        absolute_dev_explained_score: absolute,
    }
}

/// A sample's name as its source has it.
fn plain(sample: &str) -> &str {
    sample.strip_prefix("scored_").unwrap_or(sample)
}

fn computed(
    explanation: &ExchangedExplanation,
    metric: Metric,
    simulator: &str,
    model: Option<&str>,
    set: &str,
) -> Option<f64> {
    let asked =
        ExchangedScore { sample_set: set.to_owned(), ..ExchangedScore::empty(simulator, model, metric.as_str()) };
    compute(metric, &simulations_of(explanation, &asked))
}

fn sequence_simulation(simulation: &ExchangedSimulation) -> SequenceSimulation<'_> {
    SequenceSimulation {
        dataclass_name: "SequenceSimulation",
        tokens: Tokens(&simulation.window),
        expected_activations: &simulation.expected,
        activation_scale: &simulation.scale,
        distribution_values: Distribution { probabilities: &simulation.distribution, part: Side::Values },
        distribution_probabilities: Distribution { probabilities: &simulation.distribution, part: Side::Probabilities },
        uncalibrated_simulation: None,
    }
}

fn neurons_and_weights(links: Vec<&Link>) -> Option<NeuronsAndWeights> {
    if links.is_empty() {
        return None;
    }
    let half = |positive: bool| links.iter().filter(move |link| link.positive == positive);
    let names = |positive: bool| half(positive).map(|link| linked(link)).collect();
    let weights = |positive: bool| half(positive).map(|link| link.weight).collect();
    Some(NeuronsAndWeights {
        top_positive_neurons: names(true),
        top_positive_weights: weights(true),
        top_negative_neurons: names(false),
        top_negative_weights: weights(false),
    })
}

fn linked(link: &Link) -> String {
    let layer = link.other_hook_point.split('.').nth(1).unwrap_or_default();
    format!("{layer}_{}", link.other_neuron)
}

fn tokens_and_weights(effects: Vec<&TokenEffect>) -> TokensAndWeights<'_> {
    TokensAndWeights {
        dataclass_name: "TokensAndWeights",
        tokens: effects.iter().map(|effect| effect.token.as_str()).collect(),
        strengths: effects.iter().map(|effect| effect.strength).collect(),
    }
}

#[derive(Serialize)]
struct NeuronId {
    dataclass_name: &'static str,
    layer_index: i32,
    neuron_index: i32,
}

#[derive(Serialize)]
struct NeuronRecord<'a> {
    dataclass_name: &'static str,
    neuron_id: &'a NeuronId,
    random_sample: Vec<ActivationRecord<'a>>,
    random_sample_by_quantile: Option<Vec<Vec<ActivationRecord<'a>>>>,
    quantile_boundaries: Option<Vec<Option<f64>>>,
    mean: Option<f64>,
    variance: Option<f64>,
    skewness: Option<f64>,
    kurtosis: Option<f64>,
    most_positive_activation_records: Vec<ActivationRecord<'a>>,
}

impl NeuronRecord<'_> {
    /// Records of all lists.
    fn len(&self) -> usize {
        let quantiles = self.random_sample_by_quantile.iter().flatten().map(Vec::len).sum::<usize>();
        self.most_positive_activation_records.len() + self.random_sample.len() + quantiles
    }
}

#[derive(Serialize)]
struct ActivationRecord<'a> {
    dataclass_name: &'static str,
    tokens: Tokens<'a>,
    activations: &'a [f32],
}

#[derive(Serialize)]
struct NeuronSimulationResults<'a> {
    dataclass_name: &'static str,
    neuron_id: &'a NeuronId,
    scored_explanations: Vec<ScoredExplanation<'a>>,
}

#[derive(Serialize)]
struct ScoredExplanation<'a> {
    dataclass_name: &'static str,
    explanation: &'a str,
    scored_simulation: ScoredSimulation<'a>,
}

#[derive(Serialize)]
struct ScoredSimulation<'a> {
    dataclass_name: &'static str,
    scored_sequence_simulations: Vec<ScoredSequenceSimulation<'a>>,
    ev_correlation_score: Option<f64>,
    rsquared_score: Option<f64>,
    absolute_dev_explained_score: Option<f64>,
}

#[derive(Serialize)]
struct ScoredSequenceSimulation<'a> {
    dataclass_name: &'static str,
    sequence_simulation: SequenceSimulation<'a>,
    true_activations: &'a [f32],
    ev_correlation_score: Option<f64>,
    rsquared_score: Option<f64>,
    absolute_dev_explained_score: Option<f64>,
}

#[derive(Serialize)]
struct SequenceSimulation<'a> {
    dataclass_name: &'static str,
    tokens: Tokens<'a>,
    expected_activations: &'a [Option<f32>],
    activation_scale: &'a str,
    distribution_values: Distribution<'a>,
    distribution_probabilities: Distribution<'a>,
    uncalibrated_simulation: Option<Box<SequenceSimulation<'a>>>,
}

#[derive(Serialize)]
struct TokenLookupTableSummaryOfNeuron<'a> {
    dataclass_name: &'static str,
    tokens: Vec<&'a str>,
    average_activations: Vec<Option<f32>>,
}

#[derive(Serialize)]
struct WeightBasedSummaryOfNeuron<'a> {
    dataclass_name: &'static str,
    input_positive: TokensAndWeights<'a>,
    input_negative: TokensAndWeights<'a>,
    output_positive: TokensAndWeights<'a>,
    output_negative: TokensAndWeights<'a>,
}

#[derive(Serialize)]
struct TokensAndWeights<'a> {
    dataclass_name: &'static str,
    tokens: Vec<&'a str>,
    strengths: Vec<Option<f32>>,
}

#[derive(Serialize)]
struct RelatedNeurons {
    c_fc: Option<NeuronsAndWeights>,
    c_proj: Option<NeuronsAndWeights>,
}

#[derive(Serialize)]
struct NeuronsAndWeights {
    top_positive_neurons: Vec<String>,
    top_positive_weights: Vec<Option<f32>>,
    top_negative_neurons: Vec<String>,
    top_negative_weights: Vec<Option<f32>>,
}

struct Tokens<'a>(&'a Window);

impl Serialize for Tokens<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.tokens())
    }
}

/// One of the two parallel lists of lists of a distribution, without what has no probability.
struct Distribution<'a> {
    probabilities: &'a [f32],
    part: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Values,
    Probabilities,
}

impl Serialize for Distribution<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = |token: &'_ [f32]| -> Vec<(u8, f32)> {
            (0..).zip(token).filter(|(_, p)| **p > 0.0).map(|(value, p)| (value, *p)).collect()
        };
        let tokens = self.probabilities.chunks(11).map(told);
        match self.part {
            Side::Values => serializer
                .collect_seq(tokens.map(|token| token.into_iter().map(|(value, _)| value).collect::<Vec<_>>())),
            Side::Probabilities => {
                serializer.collect_seq(tokens.map(|token| token.into_iter().map(|(_, p)| p).collect::<Vec<_>>()))
            }
        }
    }
}
