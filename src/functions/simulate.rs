//! `simulate(text, tokens, simulator)` and `simulation(…)`: the activations that an explanation leads one to expect.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float32Builder, ListArray, ListBuilder, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields};
use async_trait::async_trait;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{asked, document, float_list, literal_string, signature, string_lists, strings};
use super::completion_keys;
use super::lookups::{Evidence, Lookups};
use super::methods::{Method, MethodRegistry};
use super::records::strings_of;
use crate::completions::method::MethodName;
use crate::simulations::simulate::{self, Simulation, Task, simulate_all};
use crate::simulations::simulator::Simulator;
use crate::simulations::token_lookup;

/// What a row comes to: nothing where an argument is NULL, else a simulation or why there is none.
type Found = Option<simulate::Outcome>;

#[derive(Debug)]
pub(crate) struct Simulate {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
}

super::same_by_name!(Simulate);

impl Simulate {
    pub(crate) fn new(methods: &Arc<MethodRegistry>) -> Self {
        Self {
            signature: asked(&[3, 4]),
            documentation: document(
                "Expected activations, shape [seq_len], of an explanation on tokens: on a scale of 0 to 10, an element NULL where no value could \
                 be read. Simulators are 'n2g' (a pattern), 'embedding' (a sentence encoder), and, with a language model, \
                 all_at_once, one_at_a_time and log_probability_free, as method@engine:model or engine:model alone (docs/simulators.md). \
                 'token_lookup' reads them off the evidence of explain (struct(deviation, tokens)), its fourth argument, in the unit's own \
                 units, and does not look at the text: the paper's token lookup table baseline. NULL when an argument is NULL or the \
                 simulation failed; simulation() says why.",
                "simulate(text, tokens, simulator[, evidence])",
                "SELECT simulate('kings', ['the', ' king'], 'token_lookup', named_struct('deviation', 1.0, 'tokens', \
                 [named_struct('token_id', 7, 'token', ' king', 'mean_activation', 4.0, 'n_occurrences', 9), \
                 named_struct('token_id', NULL, 'token', NULL, 'mean_activation', 0.5, 'n_occurrences', 900)])) AS expected",
            ),
            methods: Arc::clone(methods),
        }
    }
}

impl ScalarUDFImpl for Simulate {
    fn name(&self) -> &str {
        "simulate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(float_list())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("simulate"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Simulate {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let outcomes = outcomes("simulate", &self.methods, &args).await?;
        let expected = outcomes.iter().map(|outcome| match outcome {
            Some(Ok(simulation)) => Some(&simulation.expected),
            _ => None,
        });
        Ok(ColumnarValue::Array(Arc::new(lists(expected))))
    }
}

#[derive(Debug)]
pub(crate) struct SimulationFunction {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
}

super::same_by_name!(SimulationFunction);

impl SimulationFunction {
    pub(crate) fn new(methods: &Arc<MethodRegistry>) -> Self {
        Self {
            signature: asked(&[3, 4]),
            documentation: document(
                "As simulate(), with all that is known of it: struct(expected, number_mass, reason, completions). number_mass is the mean \
                 probability, 0..1, that a language model gave to numbers where it was asked for one; reason says why expected is NULL; \
                 completions are the keys of the replies in table completions, NULL without any.",
                "simulation(text, tokens, simulator[, evidence])",
                "SELECT simulation('pattern: \" king\" (10); elsewhere 0', ['the', ' king'], 'n2g')['expected'] AS expected",
            ),
            methods: Arc::clone(methods),
        }
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("expected", float_list(), true),
        Field::new("number_mass", DataType::Float32, true),
        Field::new("reason", DataType::Utf8, true),
        completion_keys::field(),
    ])
}

impl ScalarUDFImpl for SimulationFunction {
    fn name(&self) -> &str {
        "simulation"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("simulation"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for SimulationFunction {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let outcomes = outcomes("simulation", &self.methods, &args).await?;
        let simulated = |outcome: &Found| match outcome {
            Some(Ok(simulation)) => Some(simulation.clone()),
            _ => None,
        };
        let simulations: Vec<Option<Simulation>> = outcomes.iter().map(simulated).collect();
        let reasons = outcomes.iter().map(|outcome| match outcome {
            None => Some("no text or no tokens".to_owned()),
            Some(Ok(_)) => None,
            Some(Err(failure)) => Some(failure.reason.clone()),
        });
        let mass = simulations.iter().map(|simulation| simulation.as_ref().and_then(|s| s.number_mass));
        let completions = outcomes.iter().map(|outcome| match outcome {
            None => &[][..],
            Some(Ok(simulation)) => &simulation.completions,
            // A reply that nobody can read is paid for too.
            Some(Err(failure)) => &failure.completions,
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(lists(simulations.iter().map(|simulation| simulation.as_ref().map(|s| &s.expected)))),
            Arc::new(mass.collect::<Float32Array>()),
            Arc::new(reasons.collect::<StringArray>()),
            completion_keys::column(completions),
        ];
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields(), columns, None)?)))
    }
}

fn lists<'a>(values: impl Iterator<Item = Option<&'a Vec<Option<f32>>>>) -> ListArray {
    let mut lists = ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
    for values in values {
        for value in values.into_iter().flatten() {
            lists.values().append_option(*value);
        }
        lists.append(values.is_some());
    }
    lists.finish()
}

async fn outcomes(function: &str, methods: &MethodRegistry, args: &ScalarFunctionArgs) -> Result<Vec<Found>> {
    let found = methods.simulator(&literal_string(function, "simulator", &args.args[2])?)?;
    let tokens = string_lists(function, &args.args[1], args.number_rows)?;
    if found.method == Simulator::TokenLookup {
        return lookups(function, &tokens, args);
    }
    let texts = strings(function, &args.args[0], args.number_rows)?;
    let mut places = Vec::new();
    let mut tasks = Vec::new();
    for row in 0..args.number_rows {
        if texts.is_valid(row) && tokens.is_valid(row) {
            places.push(row);
            tasks.push(Task { explanation: texts.value(row).to_owned(), tokens: strings_of(&tokens, row) });
        }
    }
    let Method { method, model, encoder } = found;
    let simulations = simulate_all(method, model.as_deref(), encoder.as_deref(), &tasks).await?;
    let mut outcomes: Vec<Found> = (0..args.number_rows).map(|_| None).collect();
    for (place, simulation) in places.into_iter().zip(simulations) {
        outcomes[place] = Some(simulation);
    }
    Ok(outcomes)
}

fn lookups(function: &str, tokens: &ListArray, args: &ScalarFunctionArgs) -> Result<Vec<Found>> {
    let Some(evidence) = args.args.get(3) else {
        return exec_err!("'{function}': simulator 'token_lookup': expected evidence as the fourth argument, got none");
    };
    let evidence = Lookups::read(function, evidence, args.number_rows)?;
    let texts = tokens.values().as_string::<i32>();
    let simulate = |row: usize| {
        let Evidence { lookup, texts: known, .. } = evidence.get(row).filter(|_| tokens.is_valid(row))?;
        // Tokens are matched by their text; one that is not known gets an id that no entry has.
        let ids: HashMap<&str, u32> = known.iter().map(|(id, text)| (*text, *id)).collect();
        let range = tokens.value_offsets()[row] as usize..tokens.value_offsets()[row + 1] as usize;
        let window: Vec<u32> = range.map(|i| ids.get(texts.value(i)).copied().unwrap_or(u32::MAX)).collect();
        let expected = token_lookup::simulate(&lookup, &window).into_iter().map(Some).collect();
        Some(Ok(Simulation { expected, number_mass: None, n_unread: 0, completions: Vec::new() }))
    };
    Ok((0..args.number_rows).map(simulate).collect())
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct SimulationScale {
    signature: Signature,
    documentation: Documentation,
}

impl Default for SimulationScale {
    fn default() -> Self {
        Self {
            signature: signature(1),
            documentation: document(
                "The scale of a simulator's values: neuron_activations (the unit's own units) or \
                 simulated_normalized_activations (0..10).",
                "simulation_scale(simulator)",
                "SELECT simulation_scale('token_lookup') AS scale",
            ),
        }
    }
}

impl ScalarUDFImpl for SimulationScale {
    fn name(&self) -> &str {
        "simulation_scale"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = MethodName::parse(&literal_string("simulation_scale", "simulator", &args.args[0])?)?;
        // Every simulator with a model has the same scale, whichever of them a model alone stands for.
        let scale = match name.method {
            Some(method) => method.parse::<Simulator>()?.scale(),
            None => Simulator::AllAtOnce.scale(),
        };
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(vec![scale; args.number_rows]))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
