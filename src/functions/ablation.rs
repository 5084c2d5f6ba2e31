//! `ablation(model, hook_point, neuron, token_ids, simulated, mean)`: what a model's predictions lose by a simulation.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::FirstToken;
use super::arguments::{document, float_lists, integers, list_as, literal_string, signature, strings};
use crate::models::ablation::{Replacement, divergences};
use crate::models::cache::Models;
use crate::models::subject_model::SubjectModel;

#[derive(Debug)]
pub(crate) struct Ablation {
    signature: Signature,
    documentation: Documentation,
    models: Arc<Models>,
}

super::same_by_name!(Ablation);

impl Ablation {
    pub(crate) fn new(models: &Arc<Models>) -> Self {
        Self {
            signature: signature(6),
            documentation: document(
                "Runs the subject model over one window with a neuron replaced, first by its simulated activations and then by its \
                 mean, both in the neuron's own units: struct(simulated, mean), the Jensen-Shannon divergences (nats, 0..ln 2, \
                 averaged over positions) of the next-token distributions from those of the unchanged model. The ablation score \
                 of an explanation is 1 - avg(simulated) / avg(mean) over windows (Bills et al. 2023), NULL where avg(mean) is 0. \
                 The neuron keeps its own value where simulated is NULL and at the first token of a window of a Llama-family \
                 model, which is an attention sink. NULL when an argument is NULL; mean is NULL when the mean is. Rows of one \
                 window share its unchanged pass: keep them together.",
                "ablation(model, hook_point, neuron, token_ids, simulated, mean)",
                "SELECT 0.0 < a['mean'] AND a['mean'] < 0.6932 AS moved FROM (SELECT ablation('default', 'blocks.0.mlp.hook_post', 3, \
                 [10, 20, 30], [0.0, 0.0, 5.0], 1.0) AS a)",
            ),
            models: Arc::clone(models),
        }
    }
}

/// What `ablation` returns.
pub(super) fn divergences_type() -> DataType {
    DataType::Struct(fields())
}

fn fields() -> Fields {
    Fields::from(vec![Field::new("simulated", DataType::Float64, true), Field::new("mean", DataType::Float64, true)])
}

/// The arguments of a row, with no NULL among those that a result needs.
struct Row {
    index: usize,
    simulated: Replacement,
    mean: Option<Replacement>,
}

/// Rows over the same tokens at the same hook point.
type Windows<'a> = HashMap<(&'a str, &'a [i32]), Vec<Row>>;

impl ScalarUDFImpl for Ablation {
    fn name(&self) -> &str {
        "ablation"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(divergences_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n = args.number_rows;
        let model = self.models.get(&literal_string("ablation", "model", &args.args[0])?)?;
        let hook_points = strings("ablation", &args.args[1], n)?;
        let neurons = integers(&args.args[2], n)?;
        let token_ids = int_lists(&args.args[3].to_array(n)?)?;
        let simulated = float_lists("ablation", &args.args[4], n)?;
        let means = cast(&args.args[5].to_array(n)?, &DataType::Float64)?;
        let means = means.as_primitive::<Float64Type>();

        let mut windows = Windows::new();
        for index in 0..n {
            if hook_points.is_null(index)
                || neurons.is_null(index)
                || token_ids.is_null(index)
                || simulated.is_null(index)
            {
                continue;
            }
            let Ok(neuron) = u32::try_from(neurons.value(index)) else {
                return exec_err!("'ablation': neuron: expected 0 or more, got {}", neurons.value(index));
            };
            let (from, to) = (token_ids.value_offsets()[index] as usize, token_ids.value_offsets()[index + 1] as usize);
            if token_ids.value(index).null_count() > 0 {
                return exec_err!("'ablation': token_ids: expected whole numbers, got a NULL among them");
            }
            let tokens = &token_ids.values().as_primitive::<Int32Type>().values()[from..to];
            let values = replaced_values(&model, &simulated, index);
            // Both replacements touch the same tokens, so that what is left alone counts for neither.
            let mean = means.is_valid(index).then(|| means.value(index) as f32);
            let mean =
                mean.map(|mean| Replacement { neuron, values: values.iter().map(|v| v.map(|_| mean)).collect() });
            let row = Row { index, simulated: Replacement { neuron, values }, mean };
            windows.entry((hook_points.value(index), tokens)).or_default().push(row);
        }
        // The order of the map does not show: every window writes its own rows.
        let (mut of_simulated, mut of_mean) = (vec![None; n], vec![None; n]);
        for ((hook_point, tokens), rows) in windows {
            run(&model, hook_point, tokens, &rows, &mut of_simulated, &mut of_mean)?;
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(of_simulated.clone())), Arc::new(Float64Array::from(of_mean))];
        let nulls = of_simulated.iter().map(Option::is_some).collect();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields(), columns, Some(nulls))?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The divergences of all rows of one window, each replacement made once.
fn run(
    model: &SubjectModel,
    hook_point: &str,
    tokens: &[i32],
    rows: &[Row],
    of_simulated: &mut [Option<f64>],
    of_mean: &mut [Option<f64>],
) -> Result<()> {
    let hooks = model.select_hook_points(hook_point)?;
    let [hook] = hooks.as_slice() else {
        return exec_err!("'ablation': hook_point: expected one, '{hook_point}' is {}", hooks.len());
    };
    let mut token_ids = Vec::with_capacity(tokens.len());
    for &token in tokens {
        match u32::try_from(token) {
            Ok(token) => token_ids.push(token),
            Err(_) => return exec_err!("'ablation': token_ids: expected 0 or more, got {token}"),
        }
    }
    // The mean comes again with every explanation of a neuron.
    let mut known: HashMap<(u32, Vec<Option<u32>>), usize> = HashMap::new();
    let mut replacements: Vec<Replacement> = Vec::new();
    let mut place = |replacement: &Replacement| {
        let bits = replacement.values.iter().map(|value| value.map(f32::to_bits)).collect();
        *known.entry((replacement.neuron, bits)).or_insert_with(|| {
            replacements.push(replacement.clone());
            replacements.len() - 1
        })
    };
    let places: Vec<(usize, Option<usize>)> =
        rows.iter().map(|row| (place(&row.simulated), row.mean.as_ref().map(&mut place))).collect();
    let found = divergences(model, hook, &token_ids, &replacements)?;
    for (row, (simulated, mean)) in rows.iter().zip(places) {
        of_simulated[row.index] = Some(found[simulated]);
        of_mean[row.index] = mean.map(|mean| found[mean]);
    }
    Ok(())
}

/// A row's simulated values; none at the attention sink.
fn replaced_values(model: &SubjectModel, simulated: &ListArray, row: usize) -> Vec<Option<f32>> {
    let values = simulated.value(row);
    let mut values: Vec<Option<f32>> = values.as_primitive::<Float32Type>().iter().collect();
    if let (FirstToken::Mask, Some(first)) = (FirstToken::default_of(model), values.first_mut()) {
        *first = None;
    }
    values
}

fn int_lists(array: &ArrayRef) -> Result<ListArray> {
    list_as("ablation", array, &DataType::List(Arc::new(Field::new("element", DataType::Int32, true))))
}
