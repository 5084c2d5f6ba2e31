//! `revision(text, records, windows, …)`: an explanation corrected by what its unit does on sentences written for it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{asked, document, integers, literal_integer, literal_string, strings};
use super::collection_pass::FirstToken;
use super::completion_keys;
use super::methods::{Method, MethodRegistry};
use super::records::{Window, WindowLists};
use crate::completions::reply::Failure;
use crate::error::Error;
use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::revision::{Candidate, Draft, Expectation, Found, Revision, Sentences, Subject, revise};
use crate::models::cache::Models;
use crate::models::forward::Scratch;
use crate::models::hook_points::HookPoint;
use crate::models::subject_model::SubjectModel;
use crate::models::token_batch::TokenBatch;
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;
use crate::simulations::simulate::{self, Task, simulate_all};
use crate::simulations::simulator::Simulator;

#[derive(Debug)]
pub(crate) struct RevisionFunction {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
    models: Arc<Models>,
}

super::same_by_name!(RevisionFunction);

impl RevisionFunction {
    pub(crate) fn new(methods: &Arc<MethodRegistry>, models: &Arc<Models>) -> Self {
        Self {
            signature: asked(&[9]),
            documentation: document(
                "Corrects an explanation: the explainer's language model writes sentences that the text says the unit fires on, the \
                 subject model is run on them, and where it stays silent the text is written anew (Bills et al. 2023). records are the windows \
                 that the explainer saw, windows those of split calibration, on which the simulator scores both texts; round draws other \
                 sentences. A struct(text, accepted, score_before, score_after, n_sentences, n_silent, reason, completions): accepted when \
                 the score rose; reason says why there is no text; completions are the keys of all replies that the round took.",
                "revision(text, records, windows, explainer, simulator, model, hook_point, neuron, round)",
                "SELECT revision(NULL, [named_struct('tokens', ['a'], 'activations', [1.0])], [named_struct('tokens', ['a'], \
                 'activations', [1.0])], 'token_lookup', 'n2g', 'default', 'blocks.0.mlp.hook_post', 0, 1)['reason'] AS reason",
            ),
            methods: Arc::clone(methods),
            models: Arc::clone(models),
        }
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("accepted", DataType::Boolean, true),
        Field::new("score_before", DataType::Float64, true),
        Field::new("score_after", DataType::Float64, true),
        Field::new("n_sentences", DataType::Int32, true),
        Field::new("n_silent", DataType::Int32, true),
        Field::new("reason", DataType::Utf8, true),
        completion_keys::field(),
    ])
}

impl ScalarUDFImpl for RevisionFunction {
    fn name(&self) -> &str {
        "revision"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("revision"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for RevisionFunction {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let text = |name: &str, index: usize| literal_string("revision", name, &args.args[index]);
        let round = u32::try_from(literal_integer("revision", "round", &args.args[8])?).unwrap_or(1);
        let texts = strings("revision", &args.args[0], n_rows)?;
        let records = WindowLists::read("revision", &args.args[1].to_array(n_rows)?)?;
        let windows = WindowLists::read("revision", &args.args[2].to_array(n_rows)?)?;
        let neurons: Int64Array = integers(&args.args[7], n_rows)?;
        let mut places = Vec::new();
        let mut drafts = Vec::new();
        let mut units = Vec::new();
        for row in 0..n_rows {
            let (records, windows) = (records.get("revision", row)?, windows.get("revision", row)?);
            let (true, true, Some(records), Some(windows)) =
                (texts.is_valid(row), neurons.is_valid(row), records, windows)
            else {
                continue;
            };
            let record = |window: Window| EvidenceRecord { tokens: window.tokens, activations: window.activations };
            let evidence = Evidence { records: records.into_iter().map(record).collect(), ..Evidence::default() };
            drafts.push(Draft { evidence, text: texts.value(row).to_owned() });
            units.push(Unit { neuron: neurons.value(row) as usize, windows });
            places.push(row);
        }
        let mut outcomes: Vec<Outcome> = vec![Err("no text or no windows".to_owned().into()); n_rows];
        if !drafts.is_empty() {
            let explainer = self.methods.explainer(&text("explainer", 3)?)?;
            let model = explainer.model.clone().ok_or_else(|| Error::MethodModel {
                kind: "explainer",
                method: explainer.method.to_string(),
                reason: "expected a language model to revise with".to_owned(),
            })?;
            let simulator = self.methods.simulator(&text("simulator", 4)?)?;
            let subject = self.models.get(&text("model", 5)?)?;
            let hook = subject.select_hook_points(&text("hook_point", 6)?)?[0].clone();
            let subject = Measured { subject, hook, units, simulator };
            for (place, outcome) in places.into_iter().zip(revise(model.as_ref(), &subject, &drafts, round).await?) {
                outcomes[place] = outcome;
            }
        }
        Ok(ColumnarValue::Array(Arc::new(structs(&outcomes)?)))
    }
}

type Outcome = std::result::Result<Revision, Failure>;

fn structs(outcomes: &[Outcome]) -> Result<StructArray> {
    let each = || outcomes.iter().map(|outcome| outcome.as_ref().ok());
    let completions = outcomes.iter().map(|outcome| match outcome {
        Ok(revision) => revision.completions.as_slice(),
        Err(failure) => failure.completions.as_slice(),
    });
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(each().map(|revision| revision.map(|r| r.text.clone())).collect::<StringArray>()),
        Arc::new(each().map(|revision| revision.map(|r| r.accepted)).collect::<BooleanArray>()),
        Arc::new(each().map(|revision| revision.and_then(|r| r.score_before)).collect::<Float64Array>()),
        Arc::new(each().map(|revision| revision.and_then(|r| r.score_after)).collect::<Float64Array>()),
        Arc::new(each().map(|revision| revision.map(|r| count(r.n_sentences))).collect::<Int32Array>()),
        Arc::new(each().map(|revision| revision.map(|r| count(r.n_silent))).collect::<Int32Array>()),
        Arc::new(outcomes.iter().map(|o| o.as_ref().err().map(|f| f.reason.clone())).collect::<StringArray>()),
        completion_keys::column(completions),
    ];
    Ok(StructArray::try_new(fields(), columns, None)?)
}

/// A neuron and its windows of split calibration.
struct Unit {
    neuron: usize,
    windows: Vec<Window>,
}

/// The subject model and the simulator, for neurons of one hook point.
struct Measured {
    subject: Arc<SubjectModel>,
    hook: HookPoint,
    units: Vec<Unit>,
    simulator: Method<Simulator>,
}

impl Measured {
    async fn simulations(&self, tasks: &[Task]) -> crate::Result<Vec<Found<Vec<Option<f32>>>>> {
        let Method { method, model, encoder } = &self.simulator;
        let simulations = simulate_all(*method, model.as_deref(), encoder.as_deref(), tasks).await?;
        let found = |outcome: simulate::Outcome| match outcome {
            Ok(simulation) => Found { value: Some(simulation.expected), completions: simulation.completions },
            Err(failure) => Found { value: None, completions: failure.completions },
        };
        Ok(simulations.into_iter().map(found).collect())
    }
}

#[async_trait]
impl Subject for Measured {
    async fn measure(&self, sentences: &[Sentences]) -> crate::Result<Vec<Vec<EvidenceRecord>>> {
        let subject = Arc::clone(&self.subject);
        let hook = self.hook.clone();
        let asked: Vec<(usize, Vec<String>)> =
            sentences.iter().map(|asked| (self.units[asked.draft].neuron, asked.sentences.clone())).collect();
        let measured = tokio::task::spawn_blocking(move || {
            let mut scratch = Scratch::default();
            let mut record = |neuron: usize, sentence: &str| measured(&subject, &hook, neuron, sentence, &mut scratch);
            asked
                .iter()
                .map(|(neuron, sentences)| sentences.iter().map(|sentence| record(*neuron, sentence)).collect())
                .collect()
        });
        measured.await.unwrap_or_else(|error| Err(Error::internal(format!("measuring sentences: {error}"))))
    }

    async fn simulate(&self, wanted: &[Expectation]) -> crate::Result<Vec<Found<Vec<f32>>>> {
        let task = |wanted: &Expectation| Task { explanation: wanted.text.clone(), tokens: wanted.tokens.clone() };
        let simulations = self.simulations(&wanted.iter().map(task).collect::<Vec<_>>()).await?;
        // A simulation with a gap says nothing certain about the rest.
        let whole = |Found { value, completions }: Found<Vec<Option<f32>>>| {
            let value = value.and_then(|values| values.into_iter().collect());
            Found { value, completions }
        };
        Ok(simulations.into_iter().map(whole).collect())
    }

    async fn calibration_scores(&self, candidates: &[Candidate]) -> crate::Result<Vec<Found<f64>>> {
        let mut tasks = Vec::new();
        for candidate in candidates {
            let task = |window: &Window| Task { explanation: candidate.text.clone(), tokens: window.tokens.clone() };
            tasks.extend(self.units[candidate.draft].windows.iter().map(task));
        }
        let mut simulations = self.simulations(&tasks).await?.into_iter();
        let mut scores = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let (mut sums, mut completions) = (Vec::new(), Vec::new());
            for (window, simulation) in self.units[candidate.draft].windows.iter().zip(simulations.by_ref()) {
                completions.extend(simulation.completions);
                let expected = simulation.value.unwrap_or_default();
                let pairs = window.activations.iter().zip(expected).filter_map(|(a, e)| Some((*a, e?)));
                let (actual, expected): (Vec<f32>, Vec<f32>) = pairs.unzip();
                sums.push(WindowSums::of(&actual, &expected)?);
            }
            let value = Metric::EvCorrelation.value(&WindowSums::merged(&sums)).ok();
            scores.push(Found { value, completions });
        }
        Ok(scores)
    }
}

/// A neuron's activations on a sentence, cut to the model's context; the first token as the collection takes it.
fn measured(
    subject: &SubjectModel,
    hook: &HookPoint,
    neuron: usize,
    sentence: &str,
    scratch: &mut Scratch,
) -> crate::Result<EvidenceRecord> {
    let tokenizer = subject.tokenizer()?;
    let mut token_ids = tokenizer.encode(sentence)?.token_ids;
    token_ids.truncate(subject.config().n_context);
    let mut activations = Vec::with_capacity(token_ids.len());
    let mut read =
        |_: usize, values: &[f32]| activations.extend(values.iter().skip(neuron).step_by(hook.width()).copied());
    let offsets = [0, token_ids.len()];
    subject.forward(&TokenBatch::new(&token_ids, &offsets)?, std::slice::from_ref(hook), &mut read, scratch)?;
    if FirstToken::default_of(subject) == FirstToken::Mask
        && let Some(first) = activations.first_mut()
    {
        *first = 0.0;
    }
    let tokens = token_ids.iter().map(|token_id| tokenizer.token_text(*token_id)).collect();
    Ok(EvidenceRecord { tokens, activations })
}
