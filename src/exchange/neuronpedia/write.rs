//! The export: a dump as the site publishes it, with the scores that its own dumps leave out.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{hook, names, records};
use crate::error::{Error, Result};
use crate::exchange::exporter::Exporter;
use crate::exchange::extra::{ActivationExtra, ExplanationExtra, FeatureExtra, Name, ScoreExtra, SourceExtra};
use crate::exchange::fault::ExchangeError;
use crate::exchange::output::NewFile;
use crate::exchange::report::{Report, count};
use crate::exchange::unit::{
    EffectSide, ExchangedExplanation, ExchangedRecord, LinkSide, Statistics, TokenEffect, UnitData, UnitKey,
};
use crate::hash;

/// Features to a file, as in the site's own dumps.
const BATCH: usize = 1024;
/// The site's packing.
const LEVEL: u32 = 5;
/// Who a self-hosted site says made what was imported: its own user, whom the public dumps name too.
const CREATOR: &str = "clkht01d40000jv08hvalcvly";

/// An export as a Neuronpedia dump below a folder, in `v1/<model>/<source>/`.
#[derive(Debug)]
pub struct Neuronpedia {
    root: PathBuf,
    source: Option<SourceFiles>,
    finished: BTreeSet<(String, String)>,
    config: Config,
    report: Report,
}

/// Names that the site keeps tables of.
#[derive(Debug, Default)]
struct Config {
    explainers: BTreeSet<String>,
    explainer_models: BTreeSet<String>,
    score_types: BTreeSet<String>,
    score_models: BTreeSet<String>,
}

#[derive(Debug)]
struct SourceFiles {
    model: String,
    hook_point: String,
    corpus: String,
    id: String,
    folder: PathBuf,
    in_batch: usize,
    batch: usize,
    open: [Option<GzEncoder<NewFile>>; 4],
}

/// Folders of a source, in the order of [`SourceFiles::open`].
const KINDS: [&str; 4] = ["features", "activations", "explanations", "scores"];

impl Neuronpedia {
    /// An export below this folder.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            source: None,
            finished: BTreeSet::new(),
            config: Config::default(),
            report: Report::default(),
        }
    }

    fn write(&mut self, unit: UnitData) -> Result<()> {
        self.begin(&unit.unit)?;
        let UnitData { unit: key, statistics, records, explanations, token_means, token_effects, links } = unit;
        let Some(source) = &mut self.source else { return Err(Error::internal("no source has begun")) };
        let (base, _) = hook::parts(&source.hook_point);
        for (kind, n) in [
            ("token_activations", token_means.len()),
            (
                "token effects on the unit",
                token_effects.iter().filter(|effect| effect.side == EffectSide::Input).count(),
            ),
            ("judgements", explanations.iter().map(|explanation| explanation.judgements.len()).sum()),
            ("simulations", explanations.iter().map(|explanation| explanation.simulations.len()).sum()),
        ] {
            (0..n).for_each(|_| count(&mut self.report.not_kept, kind));
        }
        let aligned = |link: &&crate::exchange::unit::Link| {
            link.side == LinkSide::Downstream && link.other_hook_point == base && source.hook_point != base
        };
        let mut neighbours: Vec<_> = links.iter().filter(aligned).collect();
        neighbours.sort_by_key(|link| (!link.positive, link.rank));
        (neighbours.len()..links.len())
            .for_each(|_| count(&mut self.report.not_kept, "neuron_links to other hook points"));
        let statistics = statistics.unwrap_or_default();
        let (indices, weights): (Vec<_>, Vec<_>) =
            neighbours.iter().map(|link| (link.other_neuron, link.weight)).unzip();
        let (pos_str, pos_values) = effects(&token_effects, true);
        let (neg_str, neg_values) = effects(&token_effects, false);
        let (_, set) = hook::layer_and_set(&source.id).unwrap_or((0, &source.id));
        let feature = json!({
            "modelId": key.model, "layer": source.id, "index": key.neuron.to_string(),
            "maxActApprox": statistics.max, "creatorId": CREATOR,
            // A column that cannot be NULL there; what we know stands under our own key.
            "frac_nonzero": statistics.density.unwrap_or(0.0),
            "freq_hist_data_bar_heights": [], "freq_hist_data_bar_values": [],
            "logits_hist_data_bar_heights": [], "logits_hist_data_bar_values": [],
            "neuron_alignment_indices": indices, "neuron_alignment_l1": [], "neuron_alignment_values": weights,
            "correlated_neurons_indices": [], "correlated_neurons_l1": [], "correlated_neurons_pearson": [],
            "decoder_weights_dist": [],
            "neg_str": neg_str, "neg_values": neg_values, "pos_str": pos_str, "pos_values": pos_values,
            "sourceSetName": set, "topkCosSimIndices": [], "topkCosSimValues": [],
            "vector": [], "vectorLabel": null, "hookName": base, "vectorDefaultSteerStrength": 10.0, "hasVector": false,
            "neuronlake": FeatureExtra::of(&statistics),
        });
        source.line(0, &feature)?;
        count(&mut self.report.rows, "features");
        for record in &records {
            let row = activation(&key, &source.id, record, &statistics);
            source.line(1, &row)?;
            count(&mut self.report.rows, "activations");
        }
        for explanation in &explanations {
            let (row, scores) = explanation_rows(&key, &source.id, explanation, &mut self.config);
            source.line(2, &row)?;
            count(&mut self.report.rows, "explanations");
            // The column of the value cannot be NULL there: what is undefined stands with its explanation only.
            for score in scores.iter().filter(|score| !score["value"].is_null()) {
                source.line(3, score)?;
                count(&mut self.report.rows, "scores");
            }
        }
        self.report.n_units += 1;
        source.in_batch += 1;
        if source.in_batch == BATCH {
            source.end_batch(&mut self.report)?;
        }
        Ok(())
    }

    /// Opens the unit's source unless it is open.
    fn begin(&mut self, key: &UnitKey) -> Result<()> {
        if let Some(source) = &self.source {
            let same = source.model == key.model && source.hook_point == key.hook_point;
            if same && source.corpus == key.corpus {
                return Ok(());
            }
            if same {
                return Err(not_expressible(key, &format!("it has rows of corpus '{}' too", source.corpus)));
            }
        }
        self.end_source()?;
        let id = hook::source_id(&key.hook_point);
        if !self.finished.insert((key.model.clone(), id.clone())) {
            return Err(not_expressible(key, &format!("another hook point or corpus is its source '{id}' already")));
        }
        let folder = self.root.join("v1").join(key.model.replace('/', "--")).join(&id);
        self.source = Some(SourceFiles {
            model: key.model.clone(),
            hook_point: key.hook_point.clone(),
            corpus: key.corpus.clone(),
            folder,
            in_batch: 0,
            batch: 0,
            open: [None, None, None, None],
            id,
        });
        Ok(())
    }

    fn end_source(&mut self) -> Result<()> {
        let Some(mut source) = self.source.take() else { return Ok(()) };
        source.end_batch(&mut self.report)?;
        source.metadata(&mut self.report)
    }

    fn write_config(&mut self) -> Result<()> {
        let named =
            |name: &String| json!({"name": name, "displayName": name, "description": "", "creatorName": "neuronlake"});
        let owned = |name: &String| {
            let mut row = named(name);
            row["creatorId"] = CREATOR.into();
            row
        };
        let Config { explainers, explainer_models, score_types, score_models } = &self.config;
        let files: [(&str, Vec<Value>); 4] = [
            ("explanation_type", explainers.iter().map(owned).collect()),
            ("explanation_model_type", explainer_models.iter().map(named).collect()),
            ("explanation_score_type", score_types.iter().map(owned).collect()),
            ("explanation_score_model", score_models.iter().map(named).collect()),
        ];
        for (name, rows) in files {
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            NewFile::write(&self.root.join("v1").join("config").join(format!("{name}.jsonl")), text.as_bytes())?;
            self.report.n_files += 1;
            self.report.n_bytes += text.len() as u64;
        }
        Ok(())
    }
}

#[async_trait]
impl Exporter for Neuronpedia {
    async fn unit(&mut self, unit: UnitData) -> Result<()> {
        self.write(unit)
    }

    async fn finish(&mut self) -> Result<Report> {
        self.end_source()?;
        self.write_config()?;
        Ok(std::mem::take(&mut self.report))
    }
}

impl SourceFiles {
    /// Writes a line of the batch that is open.
    fn line(&mut self, kind: usize, row: &Value) -> Result<()> {
        let path = self.folder.join(KINDS[kind]).join(format!("batch-{}.jsonl.gz", self.batch));
        let encoder = match &mut self.open[kind] {
            Some(encoder) => encoder,
            closed => closed.insert(GzEncoder::new(NewFile::create(&path)?, Compression::new(LEVEL))),
        };
        let fault = |source: std::io::Error| Error::File { path: path.clone(), source };
        serde_json::to_writer(&mut *encoder, row).map_err(|error| fault(error.into()))?;
        encoder.write_all(b"\n").map_err(fault)
    }

    fn end_batch(&mut self, report: &mut Report) -> Result<()> {
        for (kind, open) in self.open.iter_mut().enumerate() {
            let Some(encoder) = open.take() else { continue };
            let path = self.folder.join(KINDS[kind]).join(format!("batch-{}.jsonl.gz", self.batch));
            let fault = |source| Error::File { path: path.clone(), source };
            encoder.finish().map_err(fault)?.finish()?;
            report.n_files += 1;
            report.n_bytes += std::fs::metadata(&path).map_err(fault)?.len();
        }
        self.batch += 1;
        self.in_batch = 0;
        Ok(())
    }

    /// The four files about the source itself, with what their tables must have.
    fn metadata(&self, report: &mut Report) -> Result<()> {
        let Self { model, hook_point, corpus, id, .. } = self;
        let (layer, set) = hook::layer_and_set(id).unwrap_or((0, id));
        let (base, _) = hook::parts(hook_point);
        let release = format!("neuronlake-{set}");
        let rows = [
            (
                "model",
                json!({
                    "id": model, "displayNameShort": model, "displayName": model, "creatorId": CREATOR,
                    "visibility": "PUBLIC", "layers": layer + 1, "neuronsPerLayer": 0, "owner": "neuronlake",
                }),
            ),
            (
                "source",
                json!({
                    "id": id, "modelId": model, "setName": set, "creatorId": CREATOR, "visibility": "PUBLIC",
                    "hasDashboards": true, "dataset": corpus,
                    "saelensConfig": {
                        "hook_name": base,
                        "neuronlake": SourceExtra { hook_point: hook_point.clone() },
                    },
                }),
            ),
            (
                "sourceset",
                json!({
                    "modelId": model, "name": set, "description": hook_point, "creatorName": "neuronlake",
                    "creatorId": CREATOR, "urls": [], "visibility": "PUBLIC", "releaseName": release,
                }),
            ),
            (
                "release",
                json!({
                    "name": release, "description": hook_point, "creatorName": "neuronlake", "creatorId": CREATOR,
                    "urls": [], "visibility": "PUBLIC",
                }),
            ),
        ];
        for (name, row) in rows {
            let line = format!("{row}\n");
            NewFile::write(&self.folder.join(format!("{name}.jsonl")), line.as_bytes())?;
            report.n_files += 1;
            report.n_bytes += line.len() as u64;
        }
        Ok(())
    }
}

fn not_expressible(key: &UnitKey, reason: &str) -> Error {
    let unit = format!("{} {} {}", key.model, key.hook_point, key.neuron);
    ExchangeError::NotExpressible { unit, format: "neuronpedia", reason: reason.to_owned() }.into()
}

/// Tokens and strengths of one list, strongest first.
fn effects(all: &[TokenEffect], positive: bool) -> (Vec<&str>, Vec<Option<f32>>) {
    let of_list = |effect: &&TokenEffect| effect.side == EffectSide::Output && effect.positive == positive;
    let mut list: Vec<&TokenEffect> = all.iter().filter(of_list).collect();
    list.sort_by_key(|effect| effect.rank);
    list.into_iter().map(|effect| (effect.token.as_str(), effect.strength)).unzip()
}

fn activation(key: &UnitKey, source: &str, record: &ExchangedRecord, statistics: &Statistics) -> Value {
    let values = &record.activations;
    let (mut at, mut max, mut min) = (0, f32::NEG_INFINITY, f32::INFINITY);
    for (position, value) in values.iter().enumerate() {
        if *value > max {
            (at, max) = (position, *value);
        }
        min = min.min(*value);
    }
    let largest = statistics.max.unwrap_or(max).max(max);
    let smallest = statistics.min.unwrap_or(min).min(min);
    let (bin_min, bin_max) = records::bin(&record.sample, f64::from(smallest), f64::from(largest));
    let place = format!("{}|{}|{}", record.split, record.sample, record.rank);
    json!({
        "id": id(key, source, &format!("activation|{place}")),
        "modelId": key.model, "layer": source, "index": key.neuron.to_string(), "creatorId": CREATOR,
        "dataSource": key.corpus, "tokens": record.window.tokens().collect::<Vec<_>>(),
        "maxValue": max, "minValue": min, "values": values, "maxValueTokenIndex": at,
        "dfaValues": [], "dfaMaxValue": null, "dfaTargetIndex": null,
        // −1 marks the strongest; of other bins we do not know the share.
        "binContains": (record.sample == "top").then_some(-1.0), "binMin": bin_min, "binMax": bin_max,
        "neuronlake": ActivationExtra {
            sample: record.sample.clone(),
            rank: record.rank,
            split: Name(record.split),
            token_ids: record.window.token_ids.clone(),
        },
    })
}

fn explanation_rows(
    key: &UnitKey,
    source: &str,
    explanation: &ExchangedExplanation,
    config: &mut Config,
) -> (Value, Vec<Value>) {
    let ExchangedExplanation { explainer, explainer_model, sample_no, text, scores, .. } = explanation;
    let of = format!("explanation|{explainer}|{}|{sample_no}", explainer_model.as_deref().unwrap_or_default());
    let explanation_id = id(key, source, &of);
    let type_name = names::type_name(explainer);
    let model_name = explainer_model.as_deref().map(names::model_name);
    config.explainers.extend(type_name.map(str::to_owned));
    config.explainer_models.extend(model_name.map(str::to_owned));
    let score_rows: Vec<Value> = scores
        .iter()
        .map(|score| {
            let extra = ScoreExtra::of(score);
            let type_name = names::score_type(&score.scorer, &score.metric);
            // The table there wants a model for every score.
            let model = score.scorer_model.as_deref().map_or("none", names::model_name);
            config.score_types.insert(type_name.clone());
            config.score_models.insert(model.to_owned());
            let place = format!("{of}|{}", serde_json::to_string(&extra).unwrap_or_default());
            // The site reads the details of its own types as a list of windows.
            let details = if type_name.starts_with("eleuther_") { "[]" } else { "" };
            json!({
                "id": id(key, source, &place), "initiatedByUserId": CREATOR, "value": score.value,
                "explanationId": explanation_id, "explanationScoreTypeName": type_name,
                "explanationScoreModelName": model, "jsonDetails": details, "neuronlake": extra,
            })
        })
        .collect();
    let row = json!({
        "id": explanation_id, "modelId": key.model, "layer": source, "index": key.neuron.to_string(), "authorId": CREATOR,
        "description": text, "embedding": null, "typeName": type_name, "explanationModelName": model_name,
        "umap_x": 0.0, "umap_y": 0.0, "umap_cluster": 0, "umap_log_feature_sparsity": 0.0,
        "scores": score_rows,
        "neuronlake": ExplanationExtra {
            explainer: explainer.clone(),
            explainer_model: explainer_model.clone(),
            sample_no: *sample_no,
        },
    });
    (row, score_rows)
}

/// A key that is the same in every export of the same row.
fn id(key: &UnitKey, source: &str, row: &str) -> String {
    let UnitKey { model, neuron, corpus, .. } = key;
    format!("nl{}", hash::text(&format!("{model}|{source}|{neuron}|{corpus}|{row}")))
}
