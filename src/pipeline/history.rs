//! What two versions of a table differ in: rows added, removed and changed, by the columns that name a row.

use super::queries::Parameter;
use crate::error::{Error, Result};
use crate::tables::definition::{TableDefinition, table, tables};

/// `scores@12`: a version of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableAt {
    /// The table.
    pub definition: &'static TableDefinition,
    /// Delta's number.
    pub version: i64,
}

impl TableAt {
    /// Reads `table@version`.
    ///
    /// # Errors
    /// [`Error::Argument`] for another form or a table that does not exist.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('@');
        let found = parts.and_then(|(name, version)| Some((named(name).ok()?, version.parse::<u32>().ok()?)));
        match found {
            Some((definition, version)) => Ok(Self { definition, version: i64::from(version) }),
            None => Err(Error::Argument {
                argument: "version of a table".to_owned(),
                expected: "a table and the number of its version, such as scores@12".to_owned(),
                got: text.to_owned(),
            }),
        }
    }
}

/// The table of this name.
///
/// # Errors
/// [`Error::Argument`] naming all tables.
pub fn named(name: &str) -> Result<&'static TableDefinition> {
    table(name).ok_or_else(|| Error::Argument {
        argument: "table".to_owned(),
        expected: tables().iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", "),
        got: name.to_owned(),
    })
}

/// The columns that name a row of a table: no two rows of a whole table have the same values in all of them.
pub fn key_columns(definition: &TableDefinition) -> Vec<&'static str> {
    const UNIT: [&str; 4] = ["model", "hook_point", "neuron", "corpus"];
    let with = |more: &[&'static str]| UNIT.iter().chain(more).copied().collect();
    match definition.name.as_str() {
        "documents" => vec!["corpus", "document"],
        "token_sequences" => vec!["model", "corpus", "sequence"],
        "neurons" => with(&[]),
        "activation_records" => with(&["sample", "split", "rank"]),
        "token_activations" => with(&["token_id"]),
        "activations" => with(&["sequence", "position"]),
        "explanations" => vec!["model", "hook_point", "neuron", "explanation"],
        "simulations" => with(&["explanation", "control", "simulator", "simulator_model", "sample", "split", "rank"]),
        "judgements" => with(&["explanation", "control", "scorer", "scorer_model", "sample", "split", "rank"]),
        "scores" => with(&["explanation", "scorer", "scorer_model", "calibration", "metric", "sample_set", "split"]),
        "completions" => vec!["completion"],
        "explanation_vectors" => vec!["encoder", "explanation", "text_hash"],
        "runs" => vec!["run"],
        // Rows of weights have no name: every column but the run is one.
        _ => Vec::new(),
    }
}

/// SQL for the rows that two versions of a table differ in: `change` (added, removed, changed), the columns that name the row, and
/// for a changed row the columns that differ. Rows that were written anew with the same values are the same.
///
/// # Errors
/// [`Error::Argument`] for versions of different tables.
pub fn row_changes(before: &TableAt, after: &TableAt, condition: &Parameter, top: usize) -> Result<String> {
    let definition = before.definition;
    if definition.name != after.definition.name {
        return Err(Error::Argument {
            argument: "diff".to_owned(),
            expected: format!("two versions of one table, such as {}@{}", definition.name, after.version),
            got: format!("{}@{}", after.definition.name, after.version),
        });
    }
    let columns: Vec<&str> = definition.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut keys: Vec<&str> = key_columns(definition);
    if keys.is_empty() {
        keys = columns.iter().copied().filter(|column| *column != "run").collect();
    }
    let values: Vec<&str> = columns.iter().copied().filter(|c| *c != "run" && !keys.contains(c)).collect();
    let field = |column: &str| definition.schema.field_with_name(column);
    // Lists are compared as they are written: the engine has no order on them.
    let text = |side: char, column: &str| match field(column).is_ok_and(|field| field.data_type().is_nested()) {
        true => format!("CAST({side}.{column} AS VARCHAR)"),
        false => format!("{side}.{column}"),
    };
    // Equal and not merely not distinct: only of equalities does the engine make a hash join.
    let key = |side: char, column: &str| match field(column).is_ok_and(|field| field.is_nullable()) {
        true => format!("COALESCE(CAST({side}.{column} AS VARCHAR), '')"),
        false => text(side, column),
    };
    let on: Vec<String> = keys.iter().map(|name| format!("{} = {}", key('b', name), key('a', name))).collect();
    let differ: Vec<String> = values
        .iter()
        .map(|column| {
            format!("CASE WHEN {} IS DISTINCT FROM {} THEN '{column}' END", text('b', column), text('a', column))
        })
        .collect();
    let differ = if differ.is_empty() { "NULL".to_owned() } else { differ.join(", ") };
    let shown: Vec<String> = keys.iter().map(|key| format!("COALESCE(b.{key}, a.{key}) AS {key}")).collect();
    let side = |at: &TableAt| {
        format!("(SELECT true AS present, {} FROM \"{}@{}\")", columns.join(", "), at.definition.name, at.version)
    };
    Ok(format!(
        "SELECT change, {keys}, columns, before_run, after_run FROM (\
         SELECT CASE WHEN b.present IS NULL THEN 'added' WHEN a.present IS NULL THEN 'removed' ELSE 'changed' END AS change, \
         {shown}, CASE WHEN b.present AND a.present THEN concat_ws(', ', {differ}) END AS columns, \
         b.run AS before_run, a.run AS after_run \
         FROM {before} b FULL JOIN {after} a ON {on}) \
         WHERE (change <> 'changed' OR columns <> '') AND {condition} ORDER BY change, {keys} LIMIT {top}",
        keys = keys.join(", "),
        shown = shown.join(", "),
        before = side(before),
        after = side(after),
        on = on.join(" AND "),
        condition = condition.to_sql(),
    ))
}

#[cfg(test)]
mod tests;
