//! Units as rows: the one place that decides what the tables hold of what an importer read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::DataType;

use super::columns::{Effects, Explanations, Links, Neurons, Records, Scores, Simulations, TokenMeans, element};
use super::judged_columns::{FiringColumns, Judgements};
use super::known::{Kept, Known};
use super::truths::keep_truths;
use super::unit::{ExchangedExplanation, Firings, UnitData, UnitKey, Window};
use crate::error::{Error, Result};
use crate::hash;
use crate::tables::definition::{TableDefinition, table};

/// Tables in the order in which a chunk is committed: first what others refer to, last what says that a file is done.
pub(crate) const TABLES: [&str; 10] = [
    "activations",
    "activation_records",
    "simulations",
    "judgements",
    "scores",
    "neuron_links",
    "token_effects",
    "token_activations",
    "neurons",
    "explanations",
];

/// Rows of some units.
#[derive(Debug)]
pub(crate) struct Block {
    /// Units that rows are here of.
    pub(crate) n_units: u64,
    /// Units without a row that was not known.
    pub(crate) n_known: u64,
    /// A batch for each of [`TABLES`] without its column `run`; `None` where there are no rows.
    pub(crate) batches: Vec<Option<RecordBatch>>,
    /// The windows that these rows refer to, each once.
    pub(crate) windows: Vec<(i64, Window)>,
}

impl Block {
    /// Rows of these units, without those that are known.
    ///
    /// # Errors
    /// When Arrow refuses, which would be our bug.
    pub(crate) fn of(units: Vec<UnitData>, known: &Known) -> Result<Self> {
        let mut block = BlockBuilder::new(known);
        units.into_iter().for_each(|unit| block.push(unit));
        block.finish()
    }

    /// Firings of these units, each with all of its own, without the units whose firings are known.
    ///
    /// # Errors
    /// When Arrow refuses, which would be our bug.
    pub(crate) fn of_firings(units: Vec<Firings>, known: &Known) -> Result<Self> {
        let mut rows = Rows::default();
        for firings in units {
            if known.claim(Kept::Firings, &firings.unit.hook_point, firings.unit.neuron) {
                rows.firings.push(firings);
            }
        }
        // The units are counted where their statistics come.
        rows.into_block(0, 0)
    }

    /// Windows that firings refer to, by their keys.
    pub(crate) fn of_windows(windows: Vec<(i64, Window)>) -> Self {
        Self { n_units: 0, n_known: 0, batches: vec![None; TABLES.len()], windows }
    }
}

/// A block that is filled unit by unit, so that a unit's own lists are let go of before the next is read.
pub(crate) struct BlockBuilder<'a> {
    known: &'a Known,
    rows: Rows,
    n_units: u64,
    n_known: u64,
}

impl<'a> BlockBuilder<'a> {
    /// A block without rows.
    pub(crate) fn new(known: &'a Known) -> Self {
        Self { known, rows: Rows::default(), n_units: 0, n_known: 0 }
    }

    /// Adds the rows of a unit, without those that are known.
    pub(crate) fn push(&mut self, mut unit: UnitData) {
        keep_truths(&mut unit);
        match self.rows.unit(unit, self.known) {
            true => self.n_units += 1,
            false => self.n_known += 1,
        }
    }

    /// The block.
    ///
    /// # Errors
    /// When Arrow refuses, which would be our bug.
    pub(crate) fn finish(self) -> Result<Block> {
        self.rows.into_block(self.n_units, self.n_known)
    }
}

#[derive(Default)]
struct Rows {
    neurons: Neurons,
    records: Records,
    token_means: TokenMeans,
    effects: Effects,
    links: Links,
    explanations: Explanations,
    simulations: Simulations,
    judgements: Judgements,
    scores: Scores,
    firings: FiringColumns,
    windows: HashMap<i64, Window>,
}

impl Rows {
    /// Adds what is not known of a unit; whether that was anything.
    fn unit(&mut self, data: UnitData, known: &Known) -> bool {
        let key = &data.unit;
        let claim = |kept| known.claim(kept, &key.hook_point, key.neuron);
        let mut any = false;
        if let Some(statistics) = data.statistics.filter(|_| claim(Kept::Statistics)) {
            self.neurons.push(key, &statistics);
            any = true;
        }
        let (scored, records): (Vec<_>, Vec<_>) =
            data.records.into_iter().partition(|record| record.sample.starts_with("scored"));
        for (kept, records) in [(Kept::Records, records), (Kept::ScoredRecords, scored)] {
            if !records.is_empty() && claim(kept) {
                any = true;
                for mut record in records {
                    let sequence = self.window(std::mem::take(&mut record.window), known);
                    self.records.push(key, sequence, &record);
                }
            }
        }
        if !data.token_means.is_empty() && claim(Kept::TokenMeans) {
            data.token_means.iter().for_each(|mean| self.token_means.push(key, mean));
            any = true;
        }
        if !data.token_effects.is_empty() && claim(Kept::TokenEffects) {
            data.token_effects.iter().for_each(|effect| self.effects.push(key, effect));
            any = true;
        }
        if !data.links.is_empty() && claim(Kept::Links) {
            data.links.iter().for_each(|link| self.links.push(key, link));
            any = true;
        }
        for explanation in data.explanations {
            any |= self.explanation(key, explanation, known);
        }
        any
    }

    fn explanation(&mut self, unit: &UnitKey, mut explanation: ExchangedExplanation, known: &Known) -> bool {
        let id = explanation_id(unit, &explanation);
        let windows = explanation.simulations.iter_mut().map(|simulation| std::mem::take(&mut simulation.window));
        let windows: Vec<Window> = windows.collect();
        let mut any = false;
        // Rows of one method and scale come together, as those of a unit do.
        let mut claimed: Vec<(&str, &str, &str, bool)> = Vec::new();
        for (simulation, window) in explanation.simulations.iter().zip(windows) {
            let method = (
                simulation.simulator.as_str(),
                simulation.simulator_model.as_deref().unwrap_or_default(),
                simulation.scale.as_str(),
            );
            let found = claimed.iter().find(|(a, b, c, _)| (*a, *b, *c) == method).map(|(.., ours)| *ours);
            let ours = found.unwrap_or_else(|| {
                let ours = known.claim_row("simulations", [id.as_str(), method.0, method.1, method.2]);
                claimed.push((method.0, method.1, method.2, ours));
                ours
            });
            if ours {
                let sequence = self.window(window, known);
                self.simulations.push(unit, &id, sequence, simulation);
                any = true;
            }
        }
        let mut claimed: Vec<([&str; 3], bool)> = Vec::new();
        for judgement in &explanation.judgements {
            let model = judgement.scorer_model.as_deref().unwrap_or_default();
            let method = [judgement.scorer.as_str(), model, judgement.split.as_str()];
            let found = claimed.iter().find(|(other, _)| *other == method).map(|(_, ours)| *ours);
            let ours = found.unwrap_or_else(|| {
                let ours = known.claim_row("judgements", [id.as_str()].into_iter().chain(method));
                claimed.push((method, ours));
                ours
            });
            if ours {
                let sequence = self.window(judgement.window.clone(), known);
                self.judgements.push(unit, &id, sequence, judgement);
                any = true;
            }
        }
        for score in &explanation.scores {
            let model = score.scorer_model.as_deref().unwrap_or_default();
            let cells: [&str; 7] =
                [&id, &score.scorer, model, &score.calibration, &score.metric, &score.sample_set, score.split.as_str()];
            if known.claim_row("scores", cells) {
                self.scores.push(unit, &id, score);
                any = true;
            }
        }
        if known.claim_row("explanations", [id.as_str()]) {
            // Asked of whole units, where an importer wants to know what it need not read.
            known.claim(Kept::Explanations, &unit.hook_point, unit.neuron);
            self.explanations.push(unit, &id, &explanation);
            any = true;
        }
        any
    }

    /// The key of a window, which is kept unless the lake has it, or another block on its way there.
    fn window(&mut self, window: Window, known: &Known) -> i64 {
        let sequence = window.sequence();
        if let Entry::Vacant(new) = self.windows.entry(sequence)
            && !known.has_sequence(sequence)
        {
            new.insert(window);
        }
        sequence
    }

    fn into_block(self, n_units: u64, n_known: u64) -> Result<Block> {
        let columns = [
            self.firings.columns(),
            self.records.columns(),
            self.simulations.columns(),
            self.judgements.columns(),
            self.scores.columns(),
            self.links.columns(),
            self.effects.columns(),
            self.token_means.columns(),
            self.neurons.columns(),
            self.explanations.columns(),
        ];
        let batches = TABLES
            .iter()
            .zip(columns)
            .map(|(name, columns)| match columns.first().is_none_or(|column| column.is_empty()) {
                true => Ok(None),
                false => batch(name, columns).map(Some),
            })
            .collect::<Result<_>>()?;
        let mut windows: Vec<(i64, Window)> = self.windows.into_iter().collect();
        windows.sort_unstable_by_key(|(sequence, _)| *sequence);
        Ok(Block { n_units, n_known, batches, windows })
    }
}

/// The id of an explanation, as the pipeline's queries make it.
pub(crate) fn explanation_id(unit: &UnitKey, explanation: &ExchangedExplanation) -> String {
    let UnitKey { model, hook_point, neuron, corpus, .. } = unit;
    let ExchangedExplanation { explainer, explainer_model, sample_no, .. } = explanation;
    let explainer_model = explainer_model.as_deref().unwrap_or_default();
    hash::text(&format!("{model}|{hook_point}|{neuron}|{corpus}|{explainer}|{explainer_model}|{sample_no}|0"))
}

/// Rows of `token_sequences` for these windows, without the column `run`.
///
/// # Errors
/// When Arrow refuses, which would be our bug.
pub(crate) fn window_rows(model: &str, corpus: &str, windows: &[(i64, Window)]) -> Result<RecordBatch> {
    let (mut models, mut corpora) = (StringBuilder::new(), StringBuilder::new());
    let (mut sequences, mut documents, mut offsets) = (Int64Builder::new(), Int64Builder::new(), Int32Builder::new());
    let mut splits = StringBuilder::new();
    let mut token_ids = ListBuilder::new(Int32Builder::new()).with_field(element(DataType::Int32));
    let mut tokens = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
    for (sequence, window) in windows {
        models.append_value(model);
        corpora.append_value(corpus);
        sequences.append_value(*sequence);
        documents.append_value(sequence >> 20);
        offsets.append_value(0);
        splits.append_value("pool");
        match &window.token_ids {
            Some(ids) => {
                token_ids.values().append_slice(ids);
                token_ids.append(true);
            }
            None => token_ids.append(false),
        }
        window.tokens().for_each(|token| tokens.values().append_value(token));
        tokens.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(models.finish()),
        Arc::new(corpora.finish()),
        Arc::new(sequences.finish()),
        Arc::new(documents.finish()),
        Arc::new(offsets.finish()),
        Arc::new(splits.finish()),
        Arc::new(token_ids.finish()),
        Arc::new(tokens.finish()),
    ];
    batch("token_sequences", columns)
}

pub(crate) fn definition(name: &str) -> Result<&'static TableDefinition> {
    table(name).ok_or_else(|| Error::internal(format!("no table {name}")))
}

/// A batch of all columns of a table but `run`, its last one.
fn batch(name: &str, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields = &definition(name)?.schema.fields;
    let fields: Vec<_> = fields.iter().filter(|field| field.name() != "run").cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)?)
}
