//! `judge(text, windows, scorer, seed)`: whether a judge can tell, by an explanation, on which windows a unit is active.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder, Float64Builder, ListArray, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use async_trait::async_trait;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{asked, document, literal_integer, literal_string, strings};
use super::methods::{Method, MethodRegistry};
use super::records::{Window, WindowLists};
use crate::judgements::judge::{Example, Judgement, Task, judge_all};

#[derive(Debug)]
pub(crate) struct JudgeFunction {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
}

super::same_by_name!(JudgeFunction);

impl JudgeFunction {
    pub(crate) fn new(methods: &Arc<MethodRegistry>) -> Self {
        Self {
            signature: asked(&[3, 4]),
            documentation: document(
                "Has windows judged by an explanation: a list of struct(predicted, value, reason, completion), one a window in their order. \
                 windows is a list of struct(tokens, activations, activating); the scorer is detection, fuzzing, intruder, embedding or surprisal, \
                 with its model as method@engine:model (docs/scorers.md). predicted says whether the window is held to be activating, value is \
                 larger for what is rather activating; both are NULL, with a reason, where the judge failed. The seed (0 when left out) \
                 decides the order in which windows are shown. NULL when the text or the windows are NULL.",
                "judge(text, windows, scorer[, seed])",
                "SELECT array_length(judge('words about royalty', [named_struct('tokens', ['The', ' king', ' spoke'], 'activations', \
                 [0.0, 4.0, 0.0], 'activating', true), named_struct('tokens', ['It', ' rained'], 'activations', [0.0, 0.0], \
                 'activating', false)], 'embedding')) AS n",
            ),
            methods: Arc::clone(methods),
        }
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("predicted", DataType::Boolean, true),
        Field::new("value", DataType::Float64, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("completion", DataType::Utf8, true),
    ])
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(fields()), true))
}

impl ScalarUDFImpl for JudgeFunction {
    fn name(&self) -> &str {
        "judge"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(element()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("judge"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for JudgeFunction {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let found = self.methods.judge(&literal_string("judge", "scorer", &args.args[2])?)?;
        let seed = match args.args.get(3) {
            Some(argument) => literal_integer("judge", "seed", argument)?.cast_unsigned(),
            None => 0,
        };
        let texts = strings("judge", &args.args[0], n_rows)?;
        let windows = WindowLists::read("judge", &args.args[1].to_array(n_rows)?)?;
        let mut places = Vec::new();
        let mut tasks = Vec::new();
        for row in 0..n_rows {
            if let (true, Some(windows)) = (texts.is_valid(row), windows.get("judge", row)?) {
                let examples = windows.into_iter().map(example).collect::<Result<_>>()?;
                places.push(row);
                tasks.push(Task { explanation: texts.value(row).to_owned(), examples, seed });
            }
        }
        let Method { method, model, encoder } = found;
        let judged = judge_all(method, model.as_deref(), encoder.as_deref(), &tasks).await?;
        let mut rows: Vec<Option<Vec<Judgement>>> = vec![None; n_rows];
        for (place, judgements) in places.into_iter().zip(judged) {
            rows[place] = Some(judgements);
        }
        Ok(ColumnarValue::Array(Arc::new(lists(&rows)?)))
    }
}

fn example(window: Window) -> Result<Example> {
    let activating = window
        .activating
        .ok_or_else(|| exec_datafusion_err!("'judge': expected every window to say whether it is activating"))?;
    Ok(Example { tokens: window.tokens, activations: window.activations, activating })
}

fn lists(rows: &[Option<Vec<Judgement>>]) -> Result<ListArray> {
    let (mut predicted, mut value) = (BooleanBuilder::new(), Float64Builder::new());
    let (mut reason, mut completion) = (StringBuilder::new(), StringBuilder::new());
    for judgement in rows.iter().flatten().flatten() {
        predicted.append_option(judgement.predicted);
        value.append_option(judgement.value);
        reason.append_option(judgement.reason.as_deref());
        completion.append_option(judgement.completion.as_deref());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(predicted.finish()),
        Arc::new(value.finish()),
        Arc::new(reason.finish()),
        Arc::new(completion.finish()),
    ];
    let structs = StructArray::try_new(fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.as_ref().map_or(0, Vec::len)));
    let nulls: NullBuffer = rows.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    Ok(ListArray::try_new(element(), offsets, Arc::new(structs), Some(nulls))?)
}
