//! What there is to ask for: tables, functions, models.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::rows::{Form, Rows, page};
use crate::functions::documentation;
use crate::pipeline::queries::{Kind, of_kind};
use crate::server::App;
use crate::server::problem::Problem;
use crate::tables::definition;

/// A table or view.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Table {
    name: String,
    /// table or view
    kind: &'static str,
    summary: String,
    columns: Vec<TableColumn>,
}

/// A column of a table.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TableColumn {
    name: String,
    /// Its Arrow type.
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
    /// What it holds; empty in views.
    meaning: String,
}

/// Tables and views with their columns.
#[utoipa::path(get, path = "/api/v1/tables", responses((status = OK, body = Vec<Table>)))]
pub(super) async fn tables(State(app): State<Arc<App>>) -> Result<Json<Vec<Table>>, Problem> {
    let mut all: Vec<Table> = definition::tables()
        .iter()
        .map(|table| Table {
            name: table.name.clone(),
            kind: "table",
            summary: table.summary.clone(),
            columns: columns(&table.schema, |name| table.comment(name).to_owned()),
        })
        .collect();
    for view in of_kind(Kind::View) {
        let schema = app.gate.plan(&format!("SELECT * FROM {}", view.name)).await?.schema();
        let columns = columns(&schema, |_| String::new());
        all.push(Table { name: view.name.clone(), kind: "view", summary: view.summary.clone(), columns });
    }
    Ok(Json(all))
}

fn columns(schema: &arrow::datatypes::Schema, meaning: impl Fn(&str) -> String) -> Vec<TableColumn> {
    let column = |field: &arrow::datatypes::FieldRef| TableColumn {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: field.is_nullable(),
        meaning: meaning(field.name()),
    };
    schema.fields().iter().map(column).collect()
}

/// A function of SQL.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Function {
    name: String,
    /// scalar, aggregate or table
    kind: &'static str,
    syntax: String,
    description: String,
    example: String,
}

/// Functions of neuronlake's own in SQL.
#[utoipa::path(get, path = "/api/v1/functions", responses((status = OK, body = Vec<Function>)))]
pub(super) async fn functions() -> Json<Vec<Function>> {
    let function = |doc: crate::functions::FunctionDoc| Function {
        name: doc.name,
        kind: doc.kind,
        syntax: doc.syntax,
        description: doc.description,
        example: doc.example,
    };
    Json(documentation().into_iter().map(function).collect())
}

/// Subject models.
///
/// Models of the lake with their hook points, corpora and numbers of units, explanations and scores.
#[utoipa::path(
    get,
    path = "/api/v1/models",
    responses((status = OK, body = Rows))
)]
pub(super) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let form = Form::accepted(&headers)?;
    let found = app.gate.ask("listed_models", &[]).await?;
    page(form, &found.schema, &found.batches, None)
}
