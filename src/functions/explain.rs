//! `explain(evidence, explainer)` and `explanation(evidence, explainer, sample_no)`: what an explainer writes about a unit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use async_trait::async_trait;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::arguments::{asked, document, list_as, literal_string, string_list};
use super::completion_keys;
use super::lookups::{Evidence as LookupEvidence, Lookups};
use super::methods::{Method, MethodRegistry};
use super::records::{Window, WindowLists, strings_of};
use crate::completions::reply::Failure;
use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::explain::{Task, Written, explain_all};
use crate::explanations::explainer::Explainer;
use crate::explanations::token_lookup;

/// What a row comes to: nothing without evidence, else a text or why there is none.
type Outcome = Option<std::result::Result<Written, Failure>>;

#[derive(Debug)]
pub(crate) struct Explain {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
}

super::same_by_name!(Explain);

impl Explain {
    pub(crate) fn new(methods: &Arc<MethodRegistry>) -> Self {
        Self {
            signature: asked(&[2]),
            documentation: document(
                "Writes an explanation of a unit from its evidence, which depends on the explainer. 'token_lookup': struct(deviation, \
                 tokens), tokens a list of struct(token_id, token, mean_activation, n_occurrences) whose entry without a token stands \
                 for every other token, deviation the unit's standard deviation. All others: a list of struct(tokens, activations), \
                 highest first, or a struct with it as records and, where the explainer wants them, quiet (windows in which the unit is \
                 silent) and promoted (tokens it makes likelier). Explainers with a language model are named method@engine:model, such as \
                 summary@openai:gpt-4o or local:./model.gguf (docs/explainers.md). Many rows are asked for at once. NULL when the evidence \
                 is NULL or no explanation could be read from the reply; explanation() says why.",
                "explain(evidence, explainer)",
                "SELECT explain(named_struct('deviation', 1.0, 'tokens', [named_struct('token_id', 7, 'token', ' king', 'mean_activation', 4.0, \
                 'n_occurrences', 9), named_struct('token_id', NULL, 'token', NULL, 'mean_activation', 0.1, 'n_occurrences', 900)]), \
                 'token_lookup') AS text",
            ),
            methods: Arc::clone(methods),
        }
    }
}

impl ScalarUDFImpl for Explain {
    fn name(&self) -> &str {
        "explain"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("explain"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Explain {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let outcomes = outcomes("explain", &self.methods, &args).await?;
        let texts: StringArray = outcomes
            .into_iter()
            .map(|outcome| outcome.and_then(std::result::Result::ok).map(|written| written.text))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

#[derive(Debug)]
pub(crate) struct Explanation {
    signature: Signature,
    documentation: Documentation,
    methods: Arc<MethodRegistry>,
}

super::same_by_name!(Explanation);

impl Explanation {
    pub(crate) fn new(methods: &Arc<MethodRegistry>) -> Self {
        Self {
            signature: asked(&[2, 3]),
            documentation: document(
                "As explain(), with all that is known of it: struct(text, reason, completions), where reason says why text is NULL and \
                 completions are the keys of the replies in table completions, the last of which holds the text. sample_no (0 when left out) chooses among the explanations that a \
                 language model writes of one unit: 0 is the likeliest, every other number a draw at temperature 1.",
                "explanation(evidence, explainer, sample_no)",
                "SELECT explanation([named_struct('tokens', ['the', ' king'], 'activations', [0.0, 4.0]), \
                 named_struct('tokens', ['a', ' king'], 'activations', [0.0, 3.0])], 'n2g')['text'] AS text",
            ),
            methods: Arc::clone(methods),
        }
    }
}

fn fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Fields::from(vec![text("text"), text("reason"), completion_keys::field()])
}

impl ScalarUDFImpl for Explanation {
    fn name(&self) -> &str {
        "explanation"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(super::arguments::not_async("explanation"))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Explanation {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut texts = Vec::with_capacity(args.number_rows);
        let mut reasons = Vec::with_capacity(args.number_rows);
        let mut completions = Vec::with_capacity(args.number_rows);
        for outcome in outcomes("explanation", &self.methods, &args).await? {
            let (text, reason, keys) = match outcome {
                None => (None, Some("no evidence".to_owned()), Vec::new()),
                Some(Ok(written)) => (Some(written.text), None, written.completions),
                Some(Err(failure)) => (None, Some(failure.reason), failure.completions),
            };
            texts.push(text);
            reasons.push(reason);
            completions.push(keys);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(texts)),
            Arc::new(StringArray::from(reasons)),
            completion_keys::column(completions.iter().map(Vec::as_slice)),
        ];
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields(), columns, None)?)))
    }
}

async fn outcomes(function: &str, methods: &MethodRegistry, args: &ScalarFunctionArgs) -> Result<Vec<Outcome>> {
    let found = methods.explainer(&literal_string(function, "explainer", &args.args[1])?)?;
    if found.method == Explainer::TokenLookup {
        return lookups(function, args);
    }
    let n_rows = args.number_rows;
    let evidence = evidence(function, &args.args[0].to_array(n_rows)?)?;
    let sample_nos = match args.args.get(2) {
        Some(argument) => {
            cast(&argument.to_array(n_rows)?, &DataType::Int64)?.as_primitive::<Int64Type>().values().to_vec()
        }
        None => vec![0; n_rows],
    };
    let mut places = Vec::new();
    let mut tasks = Vec::new();
    for (place, (evidence, sample_no)) in evidence.into_iter().zip(sample_nos).enumerate() {
        if let Some(evidence) = evidence {
            places.push(place);
            tasks.push(Task { evidence, sample_no: u32::try_from(sample_no).unwrap_or(0) });
        }
    }
    let Method { method, model, .. } = found;
    let mut outcomes: Vec<Outcome> = (0..n_rows).map(|_| None).collect();
    for (place, written) in places.into_iter().zip(explain_all(method, model.as_deref(), &tasks).await?) {
        outcomes[place] = Some(written);
    }
    Ok(outcomes)
}

fn lookups(function: &str, args: &ScalarFunctionArgs) -> Result<Vec<Outcome>> {
    let evidence = Lookups::read(function, &args.args[0], args.number_rows)?;
    let explain = |LookupEvidence { lookup, texts, deviation }: LookupEvidence<'_>| {
        let text_of = |id| texts.get(&id).copied().unwrap_or_default().to_owned();
        Ok(Written { text: token_lookup::explain(&lookup, deviation, text_of), completions: Vec::new() })
    };
    Ok((0..args.number_rows).map(|row| evidence.get(row).map(explain)).collect())
}

/// Evidence as a list of windows, or as a struct with one.
fn evidence(function: &str, array: &ArrayRef) -> Result<Vec<Option<Evidence>>> {
    if *array.data_type() == DataType::Null {
        return Ok(vec![None; array.len()]);
    }
    if matches!(array.data_type(), DataType::List(_)) {
        let records = windows(function, Some(array), array.len())?;
        return Ok(records
            .into_iter()
            .map(|records| records.map(|records| Evidence { records, ..Evidence::default() }))
            .collect());
    }
    let DataType::Struct(_) = array.data_type() else {
        return Err(exec_datafusion_err!(
            "'{function}': expected evidence as a list of struct(tokens, activations) or a struct with it as records, got {}",
            array.data_type()
        ));
    };
    let structs = array.as_struct();
    let n_rows = structs.len();
    let records = windows(function, structs.column_by_name("records"), n_rows)?;
    let quiet = windows(function, structs.column_by_name("quiet"), n_rows)?;
    let promoted =
        structs.column_by_name("promoted").map(|column| list_as(function, column, &string_list())).transpose()?;
    Ok(records
        .into_iter()
        .zip(quiet)
        .enumerate()
        .map(|(row, (records, quiet))| {
            let promoted = promoted.as_ref().filter(|lists| lists.is_valid(row)).map(|lists| strings_of(lists, row));
            records.filter(|_| structs.is_valid(row)).map(|records| Evidence {
                records,
                quiet: quiet.unwrap_or_default(),
                promoted: promoted.unwrap_or_default(),
            })
        })
        .collect())
}

fn windows(function: &str, column: Option<&ArrayRef>, n_rows: usize) -> Result<Vec<Option<Vec<EvidenceRecord>>>> {
    let Some(column) = column.filter(|column| *column.data_type() != DataType::Null) else {
        return Ok(vec![None; n_rows]);
    };
    let lists = WindowLists::read(function, column)?;
    let record = |window: Window| EvidenceRecord { tokens: window.tokens, activations: window.activations };
    (0..n_rows)
        .map(|row| Ok(lists.get(function, row)?.map(|windows| windows.into_iter().map(record).collect())))
        .collect()
}
