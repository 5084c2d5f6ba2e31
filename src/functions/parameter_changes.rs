//! `parameter_changes(before, after)`: in what two runs were told to do different things.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use serde_json::Value;

use super::arguments::{document, signature, strings};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ParameterChanges {
    signature: Signature,
    documentation: Documentation,
}

impl Default for ParameterChanges {
    fn default() -> Self {
        Self {
            signature: signature(2),
            documentation: document(
                "The members in which two JSON objects differ, as 'name: before -> after', in alphabetical order and parted by '; '; \
                 a member that is missing is shown as 'none'. Objects inside, also as texts, are compared member by member. Made for \
                 runs.parameters. NULL when nothing differs, when an argument is NULL, or when one is no JSON object.",
                "parameter_changes(before, after)",
                "SELECT parameter_changes('{\"windows\": 5, \"seed\": 0}', '{\"windows\": 10, \"seed\": 0}') AS changes",
            ),
        }
    }
}

impl ScalarUDFImpl for ParameterChanges {
    fn name(&self) -> &str {
        "parameter_changes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let before = strings("parameter_changes", &args.args[0], args.number_rows)?;
        let after = strings("parameter_changes", &args.args[1], args.number_rows)?;
        let changes: StringArray = (0..args.number_rows)
            .map(|row| {
                let both = before.is_valid(row) && after.is_valid(row);
                both.then(|| changes(before.value(row), after.value(row))).flatten()
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(changes)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn changes(before: &str, after: &str) -> Option<String> {
    if before == after {
        return None;
    }
    let (before, after) = (serde_json::from_str(before).ok()?, serde_json::from_str(after).ok()?);
    let (Value::Object(_), Value::Object(_)) = (&before, &after) else { return None };
    let mut found = Vec::new();
    compare("", &before, &after, &mut found);
    (!found.is_empty()).then(|| found.join("; "))
}

fn compare(name: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    // Some parameters are objects written as texts.
    let inner = |value: &Value| match value {
        Value::Object(members) => Some(members.clone()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(members)) => Some(members),
            _ => None,
        },
        _ => None,
    };
    if let (Some(before), Some(after)) = (inner(before), inner(after)) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for member in names {
            let full = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
            let value = |members: &serde_json::Map<String, Value>| members.get(member).cloned().unwrap_or(Value::Null);
            compare(&full, &value(&before), &value(&after), found);
        }
        return;
    }
    let shown = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    found.push(format!("{name}: {} -> {}", shown(before), shown(after)));
}
