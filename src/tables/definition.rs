//! `schemas/*.sql` as values: the only definition of each table.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, ColumnDef, ColumnOption, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};

use crate::error::{Error, Result};

/// Metadata key of a column's comment, the one Delta and Spark use.
pub const COMMENT: &str = "comment";

macro_rules! schemas {
    ($($name:literal),* $(,)?) => {
        /// File name and text of every schema file, in the order in which data flows.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../schemas/", $name, ".sql")))),*];
    };
}
schemas![
    "documents",
    "token_sequences",
    "neurons",
    "activation_records",
    "token_activations",
    "token_effects",
    "neuron_links",
    "activations",
    "completions",
    "explanations",
    "explanation_vectors",
    "simulations",
    "judgements",
    "scores",
    "sparse_autoencoders",
    "training_steps",
    "autoencoder_metrics",
    "crosscoder_latents",
    "runs",
];

/// A table: its columns with comments, how it is partitioned and sorted.
#[derive(Debug, Clone)]
pub struct TableDefinition {
    /// The table's name, a plural noun.
    pub name: String,
    /// First comment line of the file: what a row is, and who writes it.
    pub summary: String,
    /// Columns; every field carries its comment under [`COMMENT`].
    pub schema: SchemaRef,
    /// Columns that choose the folder of a row.
    pub partition_columns: Vec<String>,
    /// Columns by which rows are sorted inside a partition.
    pub order_columns: Vec<String>,
}

impl TableDefinition {
    /// Parses one schema file.
    ///
    /// # Errors
    /// [`Error::QueryFile`] when the file has no leading comment, is not one `CREATE EXTERNAL TABLE`, leaves a
    /// column without a comment, or uses a type that Delta would change.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let file = format!("schemas/{name}.sql");
        let fault = |reason: String| Error::QueryFile { file: file.clone(), reason };
        let summary = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("-- "))
            .ok_or_else(|| fault("expected a first line '-- what a row is'".to_owned()))?;
        let mut statements = DFParserBuilder::new(text)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|e| fault(e.to_string()))?;
        let (Some(Statement::CreateExternalTable(create)), true) = (statements.pop_front(), statements.is_empty())
        else {
            return Err(fault("expected one CREATE EXTERNAL TABLE statement".to_owned()));
        };
        if create.name.to_string() != name || create.locations != [name] {
            return Err(fault(format!("expected table and LOCATION '{name}', got '{}'", create.name)));
        }
        let fields = create.columns.iter().map(|column| field(column).map_err(&fault)).collect::<Result<Vec<_>>>()?;
        let order_columns = create.order_exprs.iter().flatten().map(|sort| sort.expr.to_string()).collect();
        Ok(Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            schema: Arc::new(Schema::new(fields)),
            partition_columns: create.table_partition_cols.clone(),
            order_columns,
        })
    }

    /// The comment of a column, empty for a column that does not exist.
    pub fn comment(&self, column: &str) -> &str {
        self.schema
            .field_with_name(column)
            .ok()
            .and_then(|field| field.metadata().get(COMMENT))
            .map_or("", String::as_str)
    }
}

/// Every table, in the order in which data flows.
pub fn tables() -> &'static [TableDefinition] {
    static TABLES: LazyLock<Vec<TableDefinition>> = LazyLock::new(|| {
        FILES
            .iter()
            .map(|(name, text)| {
                TableDefinition::parse(name, text).expect("the embedded schema files parse: a test parses each")
            })
            .collect()
    });
    &TABLES
}

/// The definition of a table, or `None` for a name that is no table of the lake.
pub fn table(name: &str) -> Option<&'static TableDefinition> {
    tables().iter().find(|table| table.name == name)
}

fn field(column: &ColumnDef) -> std::result::Result<Field, String> {
    let name = column.name.value.clone();
    let mut nullable = true;
    let mut comment = None;
    for option in &column.options {
        match &option.option {
            ColumnOption::NotNull => nullable = false,
            ColumnOption::Comment(text) => comment = Some(text.clone()),
            other => return Err(format!("column '{name}': expected NOT NULL or COMMENT, got {other}")),
        }
    }
    let comment = comment.ok_or_else(|| format!("column '{name}': expected a COMMENT"))?;
    let data_type = arrow_type(&column.data_type)
        .ok_or_else(|| format!("column '{name}': expected a type that Delta keeps, got {}", column.data_type))?;
    Ok(Field::new(name, data_type, nullable).with_metadata(HashMap::from([(COMMENT.to_owned(), comment)])))
}

/// The types that come out of Delta as they went in: no unsigned, fixed-size-list, dictionary or half-float type.
fn arrow_type(sql: &SqlType) -> Option<DataType> {
    Some(match sql {
        SqlType::Int(None) => DataType::Int32,
        SqlType::BigInt(None) => DataType::Int64,
        SqlType::Float(ExactNumberInfo::None) => DataType::Float32,
        SqlType::Double(ExactNumberInfo::None) => DataType::Float64,
        SqlType::Varchar(None) => DataType::Utf8,
        SqlType::Boolean => DataType::Boolean,
        SqlType::Timestamp(None, TimezoneInfo::None) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::Array(ArrayElemTypeDef::SquareBracket(inner, None)) => {
            DataType::List(Arc::new(Field::new("element", arrow_type(inner)?, true)))
        }
        _ => return None,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
