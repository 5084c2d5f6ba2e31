//! Rows as a program wants them: JSON or Arrow IPC, both as the engine makes them.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::server::gate::Answer;
use crate::server::problem::Problem;
use crate::server::rows::array;

/// The media type of a stream of Arrow IPC.
pub(super) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// In what form an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Arrow,
}

impl Form {
    /// The form that a request accepts; JSON when it does not say.
    pub(super) fn accepted(headers: &HeaderMap) -> std::result::Result<Self, Problem> {
        let Some(accept) = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()) else { return Ok(Self::Json) };
        let kinds = || accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        if kinds().any(|kind| kind == ARROW) {
            return Ok(Self::Arrow);
        }
        if kinds().any(|kind| matches!(kind, "application/json" | "application/*" | "*/*" | "")) {
            return Ok(Self::Json);
        }
        let status = axum::http::StatusCode::NOT_ACCEPTABLE;
        Err(Problem::new(
            "not-acceptable",
            status,
            format!("expected to be asked for application/json or {ARROW}, got '{accept}'"),
        ))
    }
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Column {
    /// Its name.
    name: String,
    /// Its Arrow type, as Arrow's Rust library writes it.
    #[serde(rename = "type")]
    data_type: String,
    /// Whether it may hold NULL.
    nullable: bool,
}

fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        data_type: field.data_type().to_string(),
        nullable: field.is_nullable(),
    };
    schema.fields().iter().map(column).collect()
}

/// A list of rows, as JSON; for the document, as Arrow writes the rows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the text that is put together from Arrow's")]
pub(super) struct Rows {
    /// The columns, in order.
    columns: Vec<Column>,
    /// A JSON object a row. What is NULL or no number is null; 64-bit integers are written in full.
    #[schema(value_type = Vec<Object>)]
    rows: Vec<()>,
    /// Where the rows after these are; null when there are none, absent where rows are not paged.
    next: Option<String>,
}

/// Rows that are all there, with the address of those after them.
pub(super) fn page(
    form: Form,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    next: Option<String>,
) -> std::result::Result<Response, Problem> {
    match form {
        Form::Json => {
            distinct(schema)?;
            let body = format!(
                "{{\"columns\":{},\"rows\":{},\"next\":{}}}",
                json!(columns(schema)),
                array(batches)?,
                json!(next)
            );
            Ok(([(CONTENT_TYPE, "application/json"), (VARY, "accept")], body).into_response())
        }
        Form::Arrow => {
            let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(Error::from)?;
            for batch in batches {
                writer.write(batch).map_err(Error::from)?;
            }
            let body = writer.into_inner().map_err(Error::from)?;
            let link = next.map(|next| format!("<{next}>; rel=\"next\""));
            let mut response = ([(CONTENT_TYPE, ARROW), (VARY, "accept")], body).into_response();
            if let Some(link) = link.and_then(|link| link.parse().ok()) {
                response.headers_mut().insert("link", link);
            }
            Ok(response)
        }
    }
}

/// Rows as they come. What goes wrong before the first of them is a problem; what goes wrong later cuts the answer short, so that
/// no reader takes it for whole.
pub(super) async fn streamed(form: Form, mut answer: Answer) -> std::result::Result<Response, Problem> {
    let first = answer.try_next().await?;
    // The types that the rows have: a union's own, before its parts were made to agree, may be others.
    let schema = first.as_ref().map_or_else(|| answer.schema(), RecordBatch::schema);
    let batches = stream::iter(first.map(Ok)).chain(answer);
    let kind = match form {
        Form::Json => {
            distinct(&schema)?;
            "application/json"
        }
        Form::Arrow => ARROW,
    };
    let body = match form {
        Form::Json => Body::from_stream(json_text(&schema, batches)?),
        Form::Arrow => Body::from_stream(ipc(schema, batches)?),
    };
    Ok(([(CONTENT_TYPE, kind), (VARY, "accept")], body).into_response())
}

fn json_text<S: Stream<Item = Result<RecordBatch>>>(
    schema: &Schema,
    batches: S,
) -> Result<impl Stream<Item = Result<Bytes>> + use<S>> {
    let head = format!("{{\"columns\":{},\"rows\":[", json!(columns(schema)));
    let mut any = false;
    let rows = batches.map(move |batch| {
        let rows = array(&[batch?])?;
        let inner = rows[1..rows.len() - 1].to_owned();
        let comma = if inner.is_empty() || !std::mem::replace(&mut any, true) { "" } else { "," };
        Ok(Bytes::from(format!("{comma}{inner}")))
    });
    Ok(stream::once(async { Ok(Bytes::from(head)) })
        .chain(rows)
        .chain(stream::once(async { Ok(Bytes::from_static(b"]}")) })))
}

fn ipc(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<impl Stream<Item = Result<Bytes>>> {
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    let head = std::mem::take(writer.get_mut());
    // The end stands behind the last batch, and only the writer knows how it is written.
    let steps = batches.map(Some).chain(stream::once(async { None }));
    let body = steps.map(move |step| {
        match step {
            Some(batch) => writer.write(&batch?)?,
            None => writer.finish()?,
        }
        Ok(Bytes::from(std::mem::take(writer.get_mut())))
    });
    Ok(stream::once(async { Ok(Bytes::from(head)) }).chain(body))
}

/// A JSON object holds a name once.
fn distinct(schema: &Schema) -> std::result::Result<(), Problem> {
    let mut seen = std::collections::HashSet::new();
    match schema.fields().iter().find(|field| !seen.insert(field.name())) {
        Some(twice) => {
            Err(Problem::argument(format!("two columns are called '{}': name them apart with AS", twice.name())))
        }
        None => Ok(()),
    }
}
