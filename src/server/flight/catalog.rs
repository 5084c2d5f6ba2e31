//! Catalogs, schemas, tables and columns, as tools ask for them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_flight::sql::metadata::GetTablesBuilder;
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables};
use datafusion::catalog::SchemaProvider;
use datafusion::datasource::TableType;
use tonic::Status;

use super::{fault, wire};
use crate::pipeline::queries::{Kind, of_kind};
use crate::session::{Access, Session};
use crate::tables::definition::{COMMENT, table};

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

/// The names of the catalogs.
pub(super) fn catalogs(session: &Session, query: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for catalog in session.context().catalog_names() {
        rows.append(catalog);
    }
    rows.build().map_err(|error| fault::unreadable("request for catalogs", error))
}

/// The names of the schemas.
pub(super) fn schemas(session: &Session, query: CommandGetDbSchemas) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    for (catalog, schema, _) in all_schemas(session) {
        rows.append(catalog, schema);
    }
    rows.build().map_err(|error| fault::unreadable("request for schemas", error))
}

/// What kinds of tables there are.
pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, Status> {
    let mut rows = query.into_builder();
    rows.append(TABLE);
    rows.append(VIEW);
    rows.build().map_err(|error| fault::unreadable("request for table types", error))
}

/// Tables and views; with their columns where that is asked for, which plans the views.
pub(super) async fn tables(session: &Session, access: Access, query: CommandGetTables) -> Result<RecordBatch, Status> {
    let unreadable = |error| fault::unreadable("request for tables", error);
    let include_schema = query.include_schema;
    let mut names = CommandGetTables { include_schema: false, ..query }.into_builder();
    let mut providers = HashMap::new();
    for (catalog, schema, provider) in all_schemas(session) {
        for name in provider.table_names() {
            let of = kind(provider.as_ref(), &name).await;
            names.append(&catalog, &schema, &name, of, &Schema::empty()).map_err(unreadable)?;
        }
        providers.insert((catalog, schema), provider);
    }
    let names = names.build().map_err(unreadable)?;
    if !include_schema {
        return Ok(names);
    }
    let mut rows = GetTablesBuilder::new(None::<String>, None::<String>, None::<String>, Vec::<String>::new(), true);
    let columns = names.columns();
    for row in 0..names.num_rows() {
        let cell = |column: usize| columns[column].as_string::<i32>().value(row);
        let (catalog, schema, name) = (cell(0), cell(1), cell(2));
        let provider = providers.get(&(catalog.to_owned(), schema.to_owned()));
        let columns = match provider {
            Some(provider) => described(provider.as_ref(), [catalog, schema, name], access).await,
            None => Schema::empty(),
        };
        rows.append(catalog, schema, name, cell(3), &columns).map_err(unreadable)?;
    }
    rows.build().map_err(unreadable)
}

fn all_schemas(session: &Session) -> Vec<(String, String, Arc<dyn SchemaProvider>)> {
    let context = session.context();
    let catalogs = context.catalog_names().into_iter().filter_map(|name| Some((context.catalog(&name)?, name)));
    let schemas = catalogs.flat_map(|(catalog, name)| {
        let of = |schema: String| Some((name.clone(), schema.clone(), catalog.schema(&schema)?));
        catalog.schema_names().into_iter().filter_map(of).collect::<Vec<_>>()
    });
    schemas.collect()
}

/// Whether it is a table or a view, without opening those of the lake.
async fn kind(schema: &dyn SchemaProvider, name: &str) -> &'static str {
    if table(name).is_some() {
        return TABLE;
    }
    if of_kind(Kind::View).any(|view| view.name == name) {
        return VIEW;
    }
    match schema.table_type(name).await {
        Ok(Some(TableType::View)) => VIEW,
        _ => TABLE,
    }
}

/// The columns of a table with what tools show of them; none for a view that cannot be planned.
async fn described(provider: &dyn SchemaProvider, names: [&str; 3], access: Access) -> Schema {
    let [_, _, name] = names;
    let (schema, summary) = match table(name) {
        Some(definition) => (Arc::clone(&definition.schema), Some(definition.summary.as_str())),
        None => {
            let found = provider.table(name).await.unwrap_or_else(|error| {
                tracing::warn!(name, %error, "a view cannot be described");
                None
            });
            let summary = of_kind(Kind::View).find(|view| view.name == name).map(|view| view.summary.as_str());
            (found.map_or_else(|| Arc::new(Schema::empty()), |found| found.schema()), summary)
        }
    };
    let sent = wire::sent_schema(&schema);
    let fields = sent.fields().iter().map(|field| column(field, names, access)).collect::<Vec<_>>();
    let metadata = summary.map(|summary| (COMMENT.to_owned(), summary.to_owned()));
    Schema::new_with_metadata(fields, metadata.into_iter().collect())
}

/// A column with the protocol's metadata.
fn column(field: &FieldRef, [catalog, schema, table]: [&str; 3], access: Access) -> Field {
    let read_only = if access == Access::Reading { "1" } else { "0" };
    let facts = [
        ("CATALOG_NAME", catalog),
        ("SCHEMA_NAME", schema),
        ("TABLE_NAME", table),
        ("TYPE_NAME", &sql_type(field.data_type())),
        ("IS_READ_ONLY", read_only),
        ("IS_SEARCHABLE", "1"),
        ("REMARKS", field.metadata().get(COMMENT).map_or("", String::as_str)),
    ];
    let comment = field.metadata().get(COMMENT).map(|comment| (COMMENT.to_owned(), comment.clone()));
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let facts = facts.map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned()));
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
        .with_metadata(facts.chain(comment).collect())
}

/// The type's name in SQL.
fn sql_type(of: &DataType) -> String {
    match of {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 => "VARCHAR".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::List(item) => format!("{}[]", sql_type(item.data_type())),
        other => other.to_string(),
    }
}

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields = fields.iter().map(|(name, of, nullable)| Field::new(*name, of.clone(), *nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of the answer about primary keys; Delta tables have none.
pub(super) fn primary_keys() -> SchemaRef {
    schema(&[
        ("catalog_name", DataType::Utf8, true),
        ("db_schema_name", DataType::Utf8, true),
        ("table_name", DataType::Utf8, false),
        ("column_name", DataType::Utf8, false),
        ("key_name", DataType::Utf8, true),
        ("key_sequence", DataType::Int32, false),
    ])
}

/// The columns of the answers about foreign keys; Delta tables have none.
pub(super) fn foreign_keys() -> SchemaRef {
    schema(&[
        ("pk_catalog_name", DataType::Utf8, true),
        ("pk_db_schema_name", DataType::Utf8, true),
        ("pk_table_name", DataType::Utf8, false),
        ("pk_column_name", DataType::Utf8, false),
        ("fk_catalog_name", DataType::Utf8, true),
        ("fk_db_schema_name", DataType::Utf8, true),
        ("fk_table_name", DataType::Utf8, false),
        ("fk_column_name", DataType::Utf8, false),
        ("key_sequence", DataType::Int32, false),
        ("fk_key_name", DataType::Utf8, true),
        ("pk_key_name", DataType::Utf8, true),
        ("update_rule", DataType::UInt8, false),
        ("delete_rule", DataType::UInt8, false),
    ])
}
