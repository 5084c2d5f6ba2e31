//! The pages of `docs/` that the program writes itself: tables, functions and queries, from their definitions.
//!
//! A test compares each page with its file, so a page never lags behind what it describes.

use std::fmt::Write;

use arrow::datatypes::DataType;

use crate::functions::documentation;
use crate::pipeline::queries::{Kind, Query, of_kind};
use crate::tables::definition::{TableDefinition, tables};

/// `docs/tables.md`: every table with its columns, in the order in which data flows.
pub fn tables_page() -> String {
    let mut page = String::from(
        "# Tables\n\n\
         Written from `schemas/*.sql` by `src/docs.rs`: edit those files, not this one. Each table is a Delta table in the\n\
         folder of its name below the lake; `neuronlake sql \"DESCRIBE scores\"` shows the same columns.\n\
         A quoted name with a number, `\"scores@3\"`, is that version of a table; `table_versions('scores')` lists them.\n",
    );
    for table in tables() {
        add_table(&mut page, table);
    }
    page
}

fn add_table(page: &mut String, table: &TableDefinition) {
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut layout = Vec::new();
    if !table.partition_columns.is_empty() {
        layout.push(format!("Partitioned by {}", quoted(&table.partition_columns)));
    }
    if !table.order_columns.is_empty() {
        layout.push(format!("sorted by {}", quoted(&table.order_columns)));
    }
    add(page, format_args!("\n## {}\n\n{}\n\n", table.name, table.summary));
    let layout = layout.join("; ");
    let mut letters = layout.chars();
    if let Some(first) = letters.next() {
        add(page, format_args!("{}{}.\n\n", first.to_uppercase(), letters.as_str()));
    }
    add(page, format_args!("| column | type | NULL | meaning |\n|---|---|---|---|\n"));
    for field in table.schema.fields() {
        let null = if field.is_nullable() { "yes" } else { "no" };
        let comment = table.comment(field.name()).replace('|', "\\|");
        add(page, format_args!("| `{}` | {} | {null} | {comment} |\n", field.name(), sql_type(field.data_type())));
    }
}

/// The type as a schema file writes it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 => "VARCHAR".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::List(element) => format!("{}[]", sql_type(element.data_type())),
        other => other.to_string(),
    }
}

/// `docs/functions.md`: every function of ours with an example that runs, in alphabetical order.
pub fn functions_page() -> String {
    let mut page = String::from(
        "# Functions\n\n\
         Written from the functions' own documentation by `src/docs.rs`: edit `src/functions/`, not this file. Each example\n\
         runs as it is, and stands with its result in `tests/slt/functions/`. Everything else that `SHOW FUNCTIONS` lists is\n\
         [DataFusion's](https://datafusion.apache.org/user-guide/sql/index.html).\n",
    );
    for function in documentation() {
        add(
            &mut page,
            format_args!(
                "\n## {}\n\n`{}` · {} function\n\n{}\n\n```sql\n{}\n```\n",
                function.name, function.syntax, function.kind, function.description, function.example
            ),
        );
    }
    page
}

/// `docs/queries.md`: every file of `queries/`, from its header.
pub fn queries_page() -> String {
    let mut page = String::from(
        "# Queries\n\n\
         Written from the headers of `queries/**/*.sql` by `src/docs.rs`: edit those files, not this one.\n\
         `neuronlake query show NAME` prints a query, `neuronlake query run NAME key=value` runs an example or a view.\n",
    );
    let kinds = [
        (
            Kind::Pipeline,
            "Pipeline",
            "The stages that `neuronlake run` executes, in this order; each writes one table.",
        ),
        (Kind::View, "Views", "Present by name in every session."),
        (
            Kind::Search,
            "Search",
            "What `neuronlake search` runs; each takes any condition on the columns of `searchable_explanations`.",
        ),
        (
            Kind::Incremental,
            "Incremental runs",
            "What `neuronlake pipeline run` asks to find rows that are older than what they were made of; `incremental.run_order` has \
             the runs in the order in which they were recorded.",
        ),
        (Kind::History, "History", "What `neuronlake history` and `neuronlake diff` show."),
        (Kind::Api, "HTTP interface", "What programs get below `/api/v1`."),
        (Kind::Viewer, "Viewer", "What the pages of `neuronlake serve` show."),
        (Kind::Example, "Examples", "Analyses to run as they are or to start from."),
    ];
    for (kind, title, about) in kinds {
        add(&mut page, format_args!("\n## {title}\n\n{about}\n"));
        for query in of_kind(kind) {
            add_query(&mut page, query);
        }
    }
    page
}

fn add_query(page: &mut String, query: &Query) {
    let folder = query.kind.folder();
    add(page, format_args!("\n### {0}\n\n{1} [SQL](../queries/{folder}/{0}.sql)\n\n", query.name, query.summary));
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if !query.reads.is_empty() {
        add(page, format_args!("- reads {}\n", quoted(&query.reads)));
    }
    if let Some(writes) = &query.writes {
        add(page, format_args!("- writes `{writes}`\n"));
    }
    if let Some(per) = &query.per {
        add(page, format_args!("- runs once for each `{per}`\n"));
    }
    if let Some(unit) = &query.unit {
        add(page, format_args!("- commits whole units: the rows of one `{unit}` together\n"));
    }
    if !query.params.is_empty() {
        let params: Vec<String> = query
            .params
            .iter()
            .map(|(name, default)| match default {
                Some(default) => format!("`{name} = {default}`"),
                None => format!("`{name}`"),
            })
            .collect();
        add(page, format_args!("- parameters {}\n", params.join(", ")));
    }
}

fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests;
