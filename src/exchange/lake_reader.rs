//! Units of a lake, one by one, with everything the tables hold of each.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type};
use futures::{Stream, StreamExt, stream};

use super::export::filter;
use super::fault::ExchangeError;
use super::unit::{
    EffectSide, ExchangedExplanation, ExchangedJudgement, ExchangedRecord, ExchangedScore, ExchangedSimulation, Link,
    LinkSide, Statistics, TokenEffect, TokenMean, UnitData, UnitKey, Window,
};
use crate::error::Result;
use crate::pipeline::queries::Parameter;
use crate::session::Session;

/// Units whose rows are read together.
const UNITS_AT_ONCE: usize = 256;
/// Neurons between the first and the last of them: a table is read from the one to the other.
const NEURONS_AT_ONCE: i32 = 2_048;

/// The keys of the units that fit a condition over the view `exchange_units`, in order of model, layer, hook point, neuron and corpus.
///
/// # Errors
/// [`ExchangeError::NothingSelected`] when none fits; what the engine says of a condition that is no SQL.
pub async fn selected(session: &Session, condition: Option<&str>) -> Result<Vec<UnitKey>> {
    let filter = filter(condition);
    let sql = format!(
        "SELECT model, hook_point, layer, neuron, corpus FROM exchange_units{filter} \
         ORDER BY model, layer, hook_point, neuron, corpus"
    );
    let mut keys = Vec::new();
    let mut batches = session.read_only_sql(&sql).await?.execute_stream().await?;
    while let Some(batch) = batches.next().await {
        let rows = Rows::of(batch?)?;
        for row in 0..rows.len() {
            keys.push(UnitKey {
                model: rows.text(0, row).to_owned(),
                hook_point: rows.text(1, row).to_owned(),
                layer: rows.int(2, row),
                neuron: rows.int(3, row).unwrap_or_default(),
                corpus: rows.text(4, row).to_owned(),
            });
        }
    }
    match keys.is_empty() {
        true => Err(ExchangeError::NothingSelected { condition: condition.unwrap_or("the lake").to_owned() }.into()),
        false => Ok(keys),
    }
}

/// The units with these keys, in the same order; some hundreds are held at a time.
pub fn units(session: &Session, keys: Vec<UnitKey>) -> impl Stream<Item = Result<UnitData>> + '_ {
    stream::iter(lots(keys)).then(move |lot| read_lot(session, lot)).flat_map(|lot| {
        stream::iter(match lot {
            Ok(units) => units.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    })
}

/// Neighbours of one hook point and corpus.
fn lots(keys: Vec<UnitKey>) -> Vec<Vec<UnitKey>> {
    let mut lots: Vec<Vec<UnitKey>> = Vec::new();
    for key in keys {
        let fits = |lot: &&mut Vec<UnitKey>| {
            let first = &lot[0];
            lot.len() < UNITS_AT_ONCE
                && (&first.model, &first.hook_point, &first.corpus) == (&key.model, &key.hook_point, &key.corpus)
                && key.neuron - first.neuron < NEURONS_AT_ONCE
        };
        match lots.last_mut().filter(fits) {
            Some(lot) => lot.push(key),
            None => lots.push(vec![key]),
        }
    }
    lots
}

/// What the rows of one lot refer to.
struct Lot<'a> {
    session: &'a Session,
    of_model: String,
    of_corpus: String,
    units: BTreeMap<i32, UnitData>,
}

async fn read_lot(session: &Session, keys: Vec<UnitKey>) -> Result<Vec<UnitData>> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(Vec::new()) };
    let of_model = format!(
        "model = {} AND hook_point = {} AND neuron BETWEEN {} AND {}",
        text(&first.model),
        text(&first.hook_point),
        first.neuron,
        last.neuron
    );
    let of_corpus = format!("{of_model} AND corpus = {}", text(&first.corpus));
    let (model, corpus) = (first.model.clone(), first.corpus.clone());
    let units = keys.into_iter().map(|key| (key.neuron, empty(key))).collect();
    let mut lot = Lot { session, of_model, of_corpus, units };
    let windows = lot.windows(&model, &corpus).await?;
    lot.statistics().await?;
    lot.token_means().await?;
    lot.token_effects().await?;
    lot.links().await?;
    let sequences = lot.records(&windows).await?;
    lot.explanations(&windows, &sequences).await?;
    Ok(lot.units.into_values().collect())
}

fn empty(unit: UnitKey) -> UnitData {
    UnitData {
        unit,
        statistics: None,
        records: Vec::new(),
        explanations: Vec::new(),
        token_means: Vec::new(),
        token_effects: Vec::new(),
        links: Vec::new(),
    }
}

/// Where the record of a neuron, sample, split, sequence and rank is among the unit's records. Without a rank it is the first of that
/// sequence: a second explanation's simulation may name a record by its own order.
type Places = HashMap<(i32, String, String, i64, Option<i32>), usize>;

impl Lot<'_> {
    async fn each(&self, sql: &str, mut take: impl FnMut(&Rows) -> Result<()>) -> Result<()> {
        let mut batches = self.session.sql(sql).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            take(&Rows::of(batch?)?)?;
        }
        Ok(())
    }

    async fn windows(&self, model: &str, corpus: &str) -> Result<HashMap<i64, Window>> {
        let sql = format!(
            "SELECT t.sequence, t.tokens, t.token_ids FROM token_sequences t JOIN (\
             SELECT sequence FROM activation_records WHERE {0} UNION SELECT sequence FROM simulations WHERE {0} \
             UNION SELECT sequence FROM judgements WHERE {0}\
             ) s ON s.sequence = t.sequence WHERE t.model = {1} AND t.corpus = {2}",
            self.of_corpus,
            text(model),
            text(corpus)
        );
        let mut windows = HashMap::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let tokens = rows.list(1, row);
                let tokens = tokens.as_string::<i32>();
                let mut window = Window::of((0..tokens.len()).map(|token| tokens.value(token)));
                window.token_ids =
                    rows.is_some(2, row).then(|| rows.list(2, row).as_primitive::<Int32Type>().values().to_vec());
                windows.insert(rows.long(0, row).unwrap_or_default(), window);
            }
            Ok(())
        })
        .await?;
        Ok(windows)
    }

    async fn statistics(&mut self) -> Result<()> {
        let sql = format!(
            "SELECT neuron, n_tokens, mean, variance, skewness, kurtosis, min, max, density, quantile_levels, quantiles \
             FROM neurons WHERE {}",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let statistics = Statistics {
                    n_tokens: rows.long(1, row),
                    mean: rows.double(2, row),
                    variance: rows.double(3, row),
                    skewness: rows.double(4, row),
                    kurtosis: rows.double(5, row),
                    min: rows.float(6, row),
                    max: rows.float(7, row),
                    density: rows.double(8, row),
                    quantile_levels: rows.doubles(9, row),
                    quantiles: rows.doubles(10, row),
                };
                found.push((rows.int(0, row), statistics));
            }
            Ok(())
        })
        .await?;
        for (neuron, statistics) in found {
            self.with(neuron, |unit| unit.statistics = Some(statistics));
        }
        Ok(())
    }

    async fn token_means(&mut self) -> Result<()> {
        let sql = format!(
            "SELECT neuron, token, mean_activation, n_occurrences FROM token_activations WHERE {} AND token IS NOT NULL \
             ORDER BY neuron, mean_activation DESC NULLS LAST, token",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let mean = TokenMean {
                    token: rows.text(1, row).to_owned(),
                    mean_activation: rows.float(2, row),
                    n_occurrences: rows.long(3, row),
                };
                found.push((rows.int(0, row), mean));
            }
            Ok(())
        })
        .await?;
        for (neuron, mean) in found {
            self.with(neuron, |unit| unit.token_means.push(mean));
        }
        Ok(())
    }

    async fn token_effects(&mut self) -> Result<()> {
        let sql = format!(
            "SELECT neuron, direction, sign, rank, token, strength FROM token_effects WHERE {} \
             ORDER BY neuron, direction, sign DESC, rank",
            self.of_model
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let side = if rows.text(1, row) == "input" { EffectSide::Input } else { EffectSide::Output };
                let effect = TokenEffect {
                    side,
                    positive: rows.text(2, row) == "positive",
                    rank: rows.int(3, row).unwrap_or_default(),
                    token: rows.text(4, row).to_owned(),
                    strength: rows.float(5, row),
                };
                found.push((rows.int(0, row), effect));
            }
            Ok(())
        })
        .await?;
        for (neuron, effect) in found {
            self.with(neuron, |unit| unit.token_effects.push(effect));
        }
        Ok(())
    }

    async fn links(&mut self) -> Result<()> {
        let sql = format!(
            "SELECT neuron, direction, sign, rank, other_hook_point, other_neuron, weight FROM neuron_links WHERE {} \
             ORDER BY neuron, direction DESC, sign DESC, rank",
            self.of_model
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let side = if rows.text(1, row) == "upstream" { LinkSide::Upstream } else { LinkSide::Downstream };
                let link = Link {
                    side,
                    positive: rows.text(2, row) == "positive",
                    rank: rows.int(3, row).unwrap_or_default(),
                    other_hook_point: rows.text(4, row).to_owned(),
                    other_neuron: rows.int(5, row).unwrap_or_default(),
                    weight: rows.float(6, row),
                };
                found.push((rows.int(0, row), link));
            }
            Ok(())
        })
        .await?;
        for (neuron, link) in found {
            self.with(neuron, |unit| unit.links.push(link));
        }
        Ok(())
    }

    async fn records(&mut self, windows: &HashMap<i64, Window>) -> Result<Places> {
        let sql = format!(
            "SELECT neuron, sample, rank, sequence, split, activations FROM activation_records WHERE {} \
             ORDER BY neuron, sample, split, rank",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let sequence = rows.long(3, row).unwrap_or_default();
                let record = ExchangedRecord {
                    sample: rows.text(1, row).to_owned(),
                    rank: rows.int(2, row).unwrap_or_default(),
                    split: rows.text(4, row).parse()?,
                    window: windows.get(&sequence).cloned().unwrap_or_default(),
                    activations: rows.floats(5, row).values().to_vec(),
                };
                found.push((rows.int(0, row), sequence, record));
            }
            Ok(())
        })
        .await?;
        let mut places = Places::new();
        for (neuron, sequence, record) in found {
            self.with(neuron, |unit| {
                let (sample, split) = (record.sample.clone(), record.split.to_string());
                let place = unit.records.len();
                let neuron = unit.unit.neuron;
                places.insert((neuron, sample.clone(), split.clone(), sequence, Some(record.rank)), place);
                places.entry((neuron, sample, split, sequence, None)).or_insert(place);
                unit.records.push(record);
            });
        }
        Ok(places)
    }

    async fn explanations(&mut self, windows: &HashMap<i64, Window>, places: &Places) -> Result<()> {
        let sql = format!(
            "SELECT neuron, explanation, explainer, explainer_model, sample_no, text FROM explanations WHERE {} \
             AND text IS NOT NULL ORDER BY neuron, explainer, explainer_model, sample_no, round",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let explanation = ExchangedExplanation::new(
                    rows.text(2, row).to_owned(),
                    rows.optional_text(3, row),
                    rows.int(4, row).unwrap_or_default(),
                    rows.text(5, row).to_owned(),
                );
                found.push((rows.int(0, row), rows.text(1, row).to_owned(), explanation));
            }
            Ok(())
        })
        .await?;
        let mut owners: HashMap<String, (i32, usize)> = HashMap::new();
        for (neuron, id, explanation) in found {
            self.with(neuron, |unit| {
                owners.insert(id, (unit.unit.neuron, unit.explanations.len()));
                unit.explanations.push(explanation);
            });
        }
        self.simulations(&owners, windows, places).await?;
        self.judgements(&owners, windows).await?;
        self.scores(&owners).await
    }

    async fn simulations(
        &mut self,
        owners: &HashMap<String, (i32, usize)>,
        windows: &HashMap<i64, Window>,
        places: &Places,
    ) -> Result<()> {
        let sql = format!(
            "SELECT explanation, simulator, simulator_model, scale, sample, rank, sequence, split, expected, distribution \
             FROM simulations WHERE {} AND NOT control \
             ORDER BY neuron, explanation, simulator, simulator_model, split, scale, sample DESC, rank",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let sequence = rows.long(6, row).unwrap_or_default();
                let simulation = ExchangedSimulation {
                    simulator: rows.text(1, row).to_owned(),
                    simulator_model: rows.optional_text(2, row),
                    scale: rows.text(3, row).to_owned(),
                    sample: rows.text(4, row).to_owned(),
                    rank: rows.int(5, row).unwrap_or_default(),
                    split: rows.text(7, row).parse()?,
                    window: windows.get(&sequence).cloned().unwrap_or_default(),
                    actual: Vec::new(),
                    expected: rows.floats(8, row).iter().collect(),
                    distribution: rows.floats(9, row).values().to_vec(),
                };
                found.push((rows.text(0, row).to_owned(), sequence, simulation));
            }
            Ok(())
        })
        .await?;
        for (id, sequence, mut simulation) in found {
            let Some((neuron, index)) = owners.get(&id) else { continue };
            let Some(unit) = self.units.get_mut(neuron) else { continue };
            let key = |rank| (*neuron, simulation.sample.clone(), simulation.split.to_string(), sequence, rank);
            let place = places.get(&key(Some(simulation.rank))).or_else(|| places.get(&key(None)));
            if let Some(record) = place.and_then(|place| unit.records.get(*place)) {
                simulation.actual.clone_from(&record.activations);
            }
            unit.explanations[*index].simulations.push(simulation);
        }
        Ok(())
    }

    async fn judgements(
        &mut self,
        owners: &HashMap<String, (i32, usize)>,
        windows: &HashMap<i64, Window>,
    ) -> Result<()> {
        let sql = format!(
            "SELECT explanation, scorer, scorer_model, sample, rank, split, sequence, activating, predicted, value \
             FROM judgements WHERE {} AND NOT control \
             ORDER BY neuron, explanation, scorer, scorer_model, split, sample, rank",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let sequence = rows.long(6, row).unwrap_or_default();
                let judgement = ExchangedJudgement {
                    scorer: rows.text(1, row).to_owned(),
                    scorer_model: rows.optional_text(2, row),
                    sample: rows.text(3, row).to_owned(),
                    rank: rows.int(4, row).unwrap_or_default(),
                    split: rows.text(5, row).parse()?,
                    window: windows.get(&sequence).cloned().unwrap_or_default(),
                    activating: rows.flag(7, row).unwrap_or_default(),
                    predicted: rows.flag(8, row),
                    value: rows.double(9, row),
                };
                found.push((rows.text(0, row).to_owned(), judgement));
            }
            Ok(())
        })
        .await?;
        for (id, judgement) in found {
            let Some((neuron, index)) = owners.get(&id) else { continue };
            if let Some(unit) = self.units.get_mut(neuron) {
                unit.explanations[*index].judgements.push(judgement);
            }
        }
        Ok(())
    }

    async fn scores(&mut self, owners: &HashMap<String, (i32, usize)>) -> Result<()> {
        let sql = format!(
            "SELECT explanation, scorer, scorer_model, calibration, metric, sample_set, split, value, control, low, high, \
             reason, n_windows, n_tokens, n_failed FROM scores WHERE {} \
             ORDER BY neuron, explanation, scorer, scorer_model, calibration, split, sample_set, metric",
            self.of_corpus
        );
        let mut found = Vec::new();
        self.each(&sql, |rows| {
            for row in 0..rows.len() {
                let score = ExchangedScore {
                    scorer: rows.text(1, row).to_owned(),
                    scorer_model: rows.optional_text(2, row),
                    calibration: rows.text(3, row).to_owned(),
                    metric: rows.text(4, row).to_owned(),
                    sample_set: rows.text(5, row).to_owned(),
                    split: rows.text(6, row).parse()?,
                    value: rows.double(7, row),
                    control: rows.double(8, row),
                    low: rows.double(9, row),
                    high: rows.double(10, row),
                    reason: rows.optional_text(11, row),
                    n_windows: rows.int(12, row).unwrap_or_default(),
                    n_tokens: rows.long(13, row).unwrap_or_default(),
                    n_failed: rows.int(14, row).unwrap_or_default(),
                };
                found.push((rows.text(0, row).to_owned(), score));
            }
            Ok(())
        })
        .await?;
        for (id, score) in found {
            let Some((neuron, index)) = owners.get(&id) else { continue };
            if let Some(unit) = self.units.get_mut(neuron) {
                unit.explanations[*index].scores.push(score);
            }
        }
        Ok(())
    }

    /// Does something with a unit of the lot; other units between the first and the last are passed over.
    fn with(&mut self, neuron: Option<i32>, change: impl FnOnce(&mut UnitData)) {
        if let Some(unit) = neuron.and_then(|neuron| self.units.get_mut(&neuron)) {
            change(unit);
        }
    }
}

fn text(value: &str) -> String {
    Parameter::Text(value.to_owned()).to_sql()
}

/// A batch with its texts in one encoding.
struct Rows {
    columns: Vec<ArrayRef>,
    len: usize,
}

impl Rows {
    fn of(batch: RecordBatch) -> Result<Self> {
        let columns = batch
            .columns()
            .iter()
            .map(|column| match column.data_type() {
                DataType::Utf8View | DataType::Dictionary(..) | DataType::LargeUtf8 => cast(column, &DataType::Utf8),
                DataType::List(element) if element.data_type().is_string() => {
                    cast(column, &DataType::List(std::sync::Arc::new(Field::new("element", DataType::Utf8, true))))
                }
                _ => Ok(std::sync::Arc::clone(column)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { columns, len: batch.num_rows() })
    }

    fn len(&self) -> usize {
        self.len
    }

    fn is_some(&self, column: usize, row: usize) -> bool {
        self.columns[column].is_valid(row)
    }

    fn text(&self, column: usize, row: usize) -> &str {
        match self.is_some(column, row) {
            true => self.columns[column].as_string::<i32>().value(row),
            false => "",
        }
    }

    fn optional_text(&self, column: usize, row: usize) -> Option<String> {
        self.is_some(column, row).then(|| self.text(column, row).to_owned())
    }

    fn int(&self, column: usize, row: usize) -> Option<i32> {
        self.is_some(column, row).then(|| self.columns[column].as_primitive::<Int32Type>().value(row))
    }

    fn long(&self, column: usize, row: usize) -> Option<i64> {
        self.is_some(column, row).then(|| self.columns[column].as_primitive::<Int64Type>().value(row))
    }

    fn float(&self, column: usize, row: usize) -> Option<f32> {
        self.is_some(column, row).then(|| self.columns[column].as_primitive::<Float32Type>().value(row))
    }

    fn double(&self, column: usize, row: usize) -> Option<f64> {
        self.is_some(column, row).then(|| self.columns[column].as_primitive::<Float64Type>().value(row))
    }

    fn flag(&self, column: usize, row: usize) -> Option<bool> {
        self.is_some(column, row).then(|| self.columns[column].as_boolean().value(row))
    }

    fn list(&self, column: usize, row: usize) -> ArrayRef {
        self.columns[column].as_list::<i32>().value(row)
    }

    /// Empty where the list is NULL.
    fn doubles(&self, column: usize, row: usize) -> Vec<f64> {
        match self.is_some(column, row) {
            true => self.list(column, row).as_primitive::<Float64Type>().values().to_vec(),
            false => Vec::new(),
        }
    }

    /// Empty where the list is NULL.
    fn floats(&self, column: usize, row: usize) -> Float32Array {
        match self.is_some(column, row) {
            true => self.list(column, row).as_primitive::<Float32Type>().clone(),
            false => Float32Array::from(Vec::<f32>::new()),
        }
    }
}
