//! `simulate(text, tokens, simulator, evidence)`: the activations that an explanation leads one to expect.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float32Builder, ListBuilder, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{document, float_list, literal_string, signature, string_lists};
use super::explain::{Evidence, Lookups};
use crate::explanations::token_lookup::TOKEN_LOOKUP;
use crate::simulations::token_lookup;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Simulate {
    signature: Signature,
    documentation: Documentation,
}

impl Default for Simulate {
    fn default() -> Self {
        Self {
            signature: signature(4),
            documentation: document(
                "Expected activations, shape [seq_len], of an explanation on tokens. Simulator 'token_lookup' reads them off \
                 the evidence of explain (struct(deviation, tokens)) in the unit's own units and does not look at the text; it is \
                 the paper's token lookup table baseline. NULL when the evidence or the tokens are NULL.",
                "simulate(text, tokens, simulator, evidence)",
                "SELECT simulate('kings', ['the', ' king'], 'token_lookup', named_struct('deviation', 1.0, 'tokens', \
                 [named_struct('token_id', 7, 'token', ' king', 'mean_activation', 4.0, 'n_occurrences', 9), \
                 named_struct('token_id', NULL, 'token', NULL, 'mean_activation', 0.5, 'n_occurrences', 900)])) AS expected",
            ),
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

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check_simulator("simulate", &args.args[2])?;
        let tokens = string_lists("simulate", &args.args[1], args.number_rows)?;
        let texts = tokens.values().as_string::<i32>();
        let evidence = Lookups::read("simulate", &args.args[3], args.number_rows)?;
        let mut expected =
            ListBuilder::new(Float32Builder::new()).with_field(Field::new("element", DataType::Float32, true));
        for row in 0..args.number_rows {
            let evidence = evidence.get(row).filter(|_| tokens.is_valid(row));
            if let Some(Evidence { lookup, texts: known, .. }) = &evidence {
                // Tokens are matched by their text; one that is not known gets an id that no entry has.
                let ids: HashMap<&str, u32> = known.iter().map(|(id, text)| (*text, *id)).collect();
                let range = tokens.value_offsets()[row] as usize..tokens.value_offsets()[row + 1] as usize;
                let window: Vec<u32> = range.map(|i| ids.get(texts.value(i)).copied().unwrap_or(u32::MAX)).collect();
                expected.values().append_slice(&token_lookup::simulate(lookup, &window));
            }
            expected.append(evidence.is_some());
        }
        Ok(ColumnarValue::Array(Arc::new(expected.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
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
        check_simulator("simulation_scale", &args.args[0])?;
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(vec!["neuron_activations"; args.number_rows]))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn check_simulator(function: &str, argument: &ColumnarValue) -> Result<()> {
    let simulator = literal_string(function, "simulator", argument)?;
    if simulator == TOKEN_LOOKUP {
        return Ok(());
    }
    exec_err!("'{function}': simulator: expected '{TOKEN_LOOKUP}', got '{simulator}'")
}
