//! What stands beside the editor of the SQL page: tables, views and functions with what they say of themselves, queries to start from.

use std::sync::LazyLock;

use serde::Serialize;
use tokio::sync::OnceCell;

use crate::functions::{FunctionDoc, documentation};
use crate::pipeline::queries::{Kind, Query, of_kind};
use crate::server::gate::Gate;
use crate::tables::definition::tables;

/// What the page lists.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Help {
    tables: &'static [TableHelp],
    views: Vec<TableHelp>,
    functions: &'static [FunctionHelp],
    examples: &'static [SavedQuery],
}

/// A table or view.
#[derive(Debug, Clone, Serialize)]
struct TableHelp {
    name: String,
    summary: String,
    columns: Vec<ColumnHelp>,
    /// A first look at it.
    look: String,
}

#[derive(Debug, Clone, Serialize)]
struct ColumnHelp {
    name: String,
    data_type: String,
    comment: String,
}

#[derive(Debug, Clone, Serialize)]
struct FunctionHelp {
    name: String,
    kind: &'static str,
    syntax: String,
    description: String,
    example: String,
}

/// A query of `queries/examples`, with its defaults filled in.
#[derive(Debug, Clone, Serialize)]
struct SavedQuery {
    name: String,
    summary: String,
    sql: String,
}

/// What the page lists. Columns of views come from planning them, once.
pub(crate) async fn help(gate: &Gate) -> Help {
    static TABLES: LazyLock<Vec<TableHelp>> = LazyLock::new(stored);
    static FUNCTIONS: LazyLock<Vec<FunctionHelp>> =
        LazyLock::new(|| documentation().into_iter().map(FunctionHelp::from).collect());
    static EXAMPLES: LazyLock<Vec<SavedQuery>> = LazyLock::new(|| of_kind(Kind::Example).filter_map(saved).collect());
    static VIEWS: OnceCell<Vec<TableHelp>> = OnceCell::const_new();
    let views = VIEWS.get_or_try_init(|| views(gate)).await.cloned();
    // A lake whose tables cannot be read still has names to offer.
    let views = views.unwrap_or_else(|_| of_kind(Kind::View).map(|view| described(view, Vec::new())).collect());
    Help { tables: &TABLES, views, functions: &FUNCTIONS, examples: &EXAMPLES }
}

fn stored() -> Vec<TableHelp> {
    let columns = |table: &crate::tables::definition::TableDefinition| {
        let fields = table.schema.fields().iter();
        fields
            .map(|field| ColumnHelp {
                name: field.name().clone(),
                data_type: crate::docs::sql_type(field.data_type()),
                comment: table.comment(field.name()).to_owned(),
            })
            .collect()
    };
    let look = |name: &str| format!("SELECT * FROM {name} LIMIT 100");
    tables()
        .iter()
        .map(|table| TableHelp {
            name: table.name.clone(),
            summary: table.summary.clone(),
            columns: columns(table),
            look: look(&table.name),
        })
        .collect()
}

async fn views(gate: &Gate) -> crate::error::Result<Vec<TableHelp>> {
    let mut views = Vec::new();
    for view in of_kind(Kind::View) {
        let planned = gate.plan(&format!("SELECT * FROM {}", view.name)).await?;
        let schema = planned.schema();
        let columns = schema.fields().iter().map(|field| ColumnHelp {
            name: field.name().clone(),
            data_type: crate::docs::sql_type(field.data_type()),
            comment: String::new(),
        });
        views.push(described(view, columns.collect()));
    }
    Ok(views)
}

fn described(view: &Query, columns: Vec<ColumnHelp>) -> TableHelp {
    let look = format!("SELECT * FROM {} LIMIT 100", view.name);
    TableHelp { name: view.name.clone(), summary: view.summary.clone(), columns, look }
}

fn saved(query: &'static Query) -> Option<SavedQuery> {
    // Every example runs without values: a test of the queries holds them to it.
    let sql = query.bind(&[]).ok()?;
    Some(SavedQuery { name: query.name.clone(), summary: query.summary.clone(), sql: sql.trim().to_owned() })
}

impl From<FunctionDoc> for FunctionHelp {
    fn from(doc: FunctionDoc) -> Self {
        let FunctionDoc { name, kind, description, syntax, example } = doc;
        Self { name, kind, syntax, description, example }
    }
}
