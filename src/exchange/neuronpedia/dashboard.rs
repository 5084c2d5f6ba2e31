//! SAEDashboard's `batch-<n>.json`: one object with the features of a block, read one feature at a time.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::records;
use super::rows::{ActivationRow, FeatureRow};
use super::units::{self, Shared};
use crate::error::Result;
use crate::exchange::fault::Fault;
use crate::exchange::lines::Input;
use crate::exchange::loose_json::WithoutNan;
use crate::exchange::pump::Pump;

/// Whose features a batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) model: String,
    /// The source id that Neuronpedia would give it: `<layer>-<set>`, with `__<suffix>` where there is one.
    pub(super) source: String,
}

/// The header of a file, without reading its features; `None` for a file that is no such batch.
///
/// # Errors
/// When the file cannot be opened.
pub(super) fn header(input: &Input) -> Result<Option<Header>> {
    let mut found = None;
    let mut parser = serde_json::Deserializer::from_reader(WithoutNan::new(input.open()?));
    let batch = Batch { found: &mut found, feature: &mut |_: FeatureRow| Err(Stop) };
    // The parser stops at the first feature, so its fault means nothing.
    let _ = batch.deserialize(&mut parser);
    Ok(found)
}

/// Sends every feature of a batch.
///
/// # Errors
/// Those of the pump; what is wrong with the file goes through it.
pub(super) fn read(input: &Input, shared: &Shared, pump: &mut Pump) -> Result<()> {
    let mut found = None;
    let mut sent = Ok(());
    let parsed = {
        let mut feature = |row: FeatureRow| {
            sent = send(row, shared, &input.shown, pump);
            if sent.is_ok() { Ok(()) } else { Err(Stop) }
        };
        let mut parser = serde_json::Deserializer::from_reader(WithoutNan::new(input.open()?));
        let batch = Batch { found: &mut found, feature: &mut feature };
        batch.deserialize(&mut parser).and_then(|()| parser.end())
    };
    sent?;
    match parsed {
        Ok(()) => pump.file(input.size()),
        Err(error) => {
            let line = error.line();
            let reason = error.to_string();
            pump.bad(if line == 0 {
                Fault::of(&input.shown, reason)
            } else {
                Fault::in_line(&input.shown, line, reason)
            })
        }
    }
}

fn send(mut row: FeatureRow, shared: &Shared, shown: &str, pump: &mut Pump) -> Result<()> {
    let index = row.index;
    let feature = || index.map_or("without an index".to_owned(), |index| format!("{}", index.0));
    let activations: Vec<ActivationRow> = std::mem::take(&mut row.activations);
    let (mut unit, not_kept) = match units::feature(row, shared) {
        Ok(unit) => unit,
        Err(reason) => return pump.bad(Fault::of(shown, format!("feature {}: {reason}", feature()))),
    };
    for what in not_kept {
        pump.not_kept(what)?;
    }
    let mut rows = Vec::with_capacity(activations.len());
    for (number, activation) in activations.into_iter().enumerate() {
        if activation.attribution.0 {
            pump.not_kept("direct feature attribution")?;
        }
        match records::read(activation, 0) {
            Ok(row) => rows.push(row),
            Err(reason) => {
                pump.bad(Fault::of(shown, format!("feature {}, activations[{number}]: {reason}", feature())))?;
            }
        }
    }
    let (records, n_twice) = records::records(rows);
    for _ in 0..n_twice {
        pump.not_kept("activation listed twice")?;
    }
    // The file has the strongest activations, so the largest of them is the feature's largest.
    let largest = records.iter().filter(|record| record.sample == "top").flat_map(|record| &record.activations);
    let largest = largest.copied().reduce(f32::max);
    if let Some(statistics) = &mut unit.statistics {
        statistics.max = statistics.max.or(largest);
    }
    unit.records = records;
    pump.unit(unit)
}

/// The reading goes no further; whoever says so has kept the reason.
struct Stop;

type OnFeature<'a> = dyn FnMut(FeatureRow) -> std::result::Result<(), Stop> + 'a;

struct Batch<'a> {
    found: &'a mut Option<Header>,
    feature: &'a mut OnFeature<'a>,
}

impl<'de> DeserializeSeed<'de> for Batch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with model_id, layer, sae_set and features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let (mut model, mut layer, mut set, mut suffix) = (None, None, None, None);
        let mut complete = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model_id" => model = Some(map.next_value::<String>()?),
                "layer" => layer = Some(map.next_value::<u32>()?),
                "sae_set" => set = Some(map.next_value::<String>()?),
                "sae_id_suffix" => suffix = map.next_value::<Option<String>>()?,
                "features" => {
                    let (Some(model), Some(layer), Some(set)) = (&model, layer, &set) else {
                        return Err(A::Error::custom("expected model_id, layer and sae_set before features"));
                    };
                    let suffix = suffix.as_deref().map(|suffix| format!("__{suffix}")).unwrap_or_default();
                    *self.found = Some(Header { model: model.clone(), source: format!("{layer}-{set}{suffix}") });
                    map.next_value_seed(Features(&mut *self.feature))?;
                    complete = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if complete { Ok(()) } else { Err(A::Error::missing_field("features")) }
    }
}

struct Features<'a, 'f>(&'a mut OnFeature<'f>);

impl<'de> DeserializeSeed<'de> for Features<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Features<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of features")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while let Some(row) = list.next_element::<FeatureRow>()? {
            (self.0)(row).map_err(|Stop| A::Error::custom("stopped"))?;
        }
        Ok(())
    }
}
