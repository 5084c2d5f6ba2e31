//! The commands of Flight SQL.
//!
//! A ticket is the command that it answers, statement included: it can do no more than the command can, and nothing is kept between
//! the two calls but prepared statements.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef, UInt64Type};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, Command, CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery,
    CommandStatementUpdate, DoPutPreparedStatementResult, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use datafusion::common::ScalarValue;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};

use super::prepared::{Prepared, PreparedStatements};
use super::statement::{self, Effect};
use super::{catalog, fault, parameters, server_facts, wire};
use crate::error::{Error, Result};
use crate::server::App;
use crate::server::gate::Answer;
use crate::session::Access;

type Rows = Response<BoxStream<'static, Result<FlightData, Status>>>;
type Values = Vec<(String, ScalarValue)>;

/// Flight SQL over one server.
#[derive(Clone)]
pub(super) struct Service {
    app: Arc<App>,
    statements: Arc<PreparedStatements>,
    facts: Arc<SqlInfoData>,
    types: Arc<XdbcTypeInfoData>,
}

impl Service {
    /// The service.
    ///
    /// # Errors
    /// When what it says of itself cannot be written down, which is our bug.
    pub(super) fn new(app: Arc<App>) -> Result<Self> {
        let fault = |error| Error::internal(format!("facts of the server: {error}"));
        Ok(Self {
            facts: Arc::new(server_facts::facts(&app.gate).map_err(fault)?),
            types: Arc::new(server_facts::types().map_err(fault)?),
            statements: Arc::default(),
            app,
        })
    }

    /// What a statement does and returns, without doing it; what acts at once has no columns that are known before.
    async fn understood(&self, sql: &str) -> Result<(Effect, SchemaRef, Vec<String>)> {
        let plan = self.app.gate.understand(sql).await?;
        let effect = statement::effect(&plan)?;
        if effect != Effect::Reads && self.app.gate.access() == Access::Reading {
            return Err(Error::Refused {
                what: "a statement that changes something".to_owned(),
                reason: "this server was started to read only, without --allow-write".to_owned(),
            });
        }
        let parameters = plan.get_parameter_names()?.into_iter().collect();
        Ok((effect, Arc::clone(plan.schema().inner()), parameters))
    }

    /// Runs a statement, once.
    async fn run(&self, sql: &str, values: Option<Values>) -> Result<Answer> {
        let planned = match self.app.gate.plan(sql).await {
            Ok(planned) => planned,
            Err(error) => {
                // Where the reason is that it would change something, that is what to say.
                self.understood(sql).await?;
                return Err(error);
            }
        };
        let planned = match values {
            Some(values) => planned.with_values(values)?,
            None => planned,
        };
        self.app.gate.run(planned).await
    }

    /// Runs a prepared statement for each of its rows of values, one after the other.
    async fn run_prepared(
        &self,
        prepared: Prepared,
    ) -> Result<(SchemaRef, BoxStream<'static, Result<RecordBatch>>), Status> {
        let mut rows = rows_of_values(&prepared)?.into_iter();
        let once = rows.len() == 1;
        let first = self.run(&prepared.sql, rows.next().flatten()).await.map_err(|error| fault::status(&error))?;
        let schema = if once { first.schema() } else { wire::of_any_run(&first.schema()) };
        let service = self.clone();
        let rest = stream::iter(rows).then(move |values| {
            let (service, sql) = (service.clone(), Arc::clone(&prepared.sql));
            async move { service.run(&sql, values).await }
        });
        Ok((schema, first.chain(rest.try_flatten()).boxed()))
    }

    /// Runs a statement for what it changes, and says how many rows that was.
    async fn update(&self, sql: &str, values: Option<Values>) -> Result<i64> {
        let (effect, ..) = self.understood(sql).await?;
        let mut answer = self.run(sql, values).await?;
        let mut count = 0;
        while let Some(batch) = answer.try_next().await? {
            let changed = batch.column_by_name("count").and_then(|column| column.as_primitive_opt::<UInt64Type>());
            count += changed.map_or(0, |column| column.iter().flatten().sum::<u64>());
        }
        // The protocol's word for a number that is not known.
        Ok(if effect == Effect::Changes { i64::try_from(count).unwrap_or(i64::MAX) } else { -1 })
    }

    fn prepared(&self, handle: &[u8]) -> Result<(String, Prepared), Status> {
        let handle = std::str::from_utf8(handle).map_err(|error| fault::unreadable("handle", error))?;
        let found = self.statements.find(handle);
        let found = found.ok_or_else(|| {
            Status::not_found(
                "this statement was closed, or was unused for so long that it was forgotten: prepare it again",
            )
        })?;
        Ok((handle.to_owned(), found))
    }

    /// Where the rows of a command are: here, for the same command.
    fn info(schema: Option<&Schema>, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        let ticket = Ticket { ticket: descriptor.cmd.clone() };
        let info = FlightInfo::new()
            .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
            .with_descriptor(descriptor)
            .with_ordered(true);
        let info = match schema {
            Some(schema) => info.try_with_schema(&wire::sent_schema(schema)).map_err(|error| internal(&error))?,
            None => info,
        };
        Ok(Response::new(info))
    }

    fn rows(batch: RecordBatch) -> Rows {
        let schema = batch.schema();
        Response::new(wire::messages(&schema, stream::iter([Ok(batch)])))
    }
}

/// The rows of values to run a statement with; one row of none where it has no parameters.
fn rows_of_values(prepared: &Prepared) -> Result<Vec<Option<Values>>, Status> {
    match &prepared.values {
        Some(values) => {
            let row = |row| parameters::row(&prepared.parameters, values, row).map(Some);
            (0..values.num_rows()).map(row).collect()
        }
        None if prepared.parameters.is_empty() => Ok(vec![None]),
        None => Err(unbound(prepared.parameters.iter().map(|(name, _)| name))),
    }
}

fn unbound(names: impl Iterator<Item = impl AsRef<str>>) -> Status {
    let mut names: Vec<_> = names.map(|name| format!("${}", name.as_ref().trim_start_matches('$'))).collect();
    names.sort();
    Status::invalid_argument(format!(
        "parameters without values: {}: prepare the statement and bind them",
        names.join(", ")
    ))
}

fn internal(error: &impl std::fmt::Display) -> Status {
    fault::status(&Error::internal(error.to_string()))
}

fn ipc(schema: &Schema) -> Result<IpcMessage, Status> {
    SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|error: arrow::error::ArrowError| internal(&error))
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let understood = async { self.understood(&statement::numbered(&query.query)?).await };
        let (effect, schema, names) = understood.await.map_err(|error| fault::status(&error))?;
        if !names.is_empty() {
            return Err(unbound(names.iter()));
        }
        Self::info((effect != Effect::Acts).then_some(schema.as_ref()), request)
    }

    async fn do_get_fallback(&self, _: Request<Ticket>, message: Any) -> Result<Rows, Status> {
        let Ok(Some(query)) = message.unpack::<CommandStatementQuery>() else {
            return Err(Status::invalid_argument("expected a ticket that this server gave"));
        };
        let run = async { self.run(&statement::numbered(&query.query)?, None).await };
        let answer = run.await.map_err(|error| fault::status(&error))?;
        Ok(Response::new(wire::messages(&answer.schema(), answer)))
    }

    async fn do_get_statement(&self, _: TicketStatementQuery, _: Request<Ticket>) -> Result<Rows, Status> {
        Err(Status::invalid_argument("expected a ticket that this server gave"))
    }

    async fn get_flight_info_fallback(
        &self,
        command: Command,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(Status::invalid_argument(format!("expected a command that returns rows, got '{}'", command.type_url())))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let status = |error: Error| fault::status(&error);
        let sql = statement::numbered(&query.query).map_err(status)?;
        let (effect, schema, _) = self.understood(&sql).await.map_err(status)?;
        let (parameters, dataset_schema) = match effect {
            // The gate would do it now.
            Effect::Acts => (Vec::new(), bytes::Bytes::new()),
            Effect::Changes | Effect::Reads => {
                let planned = self.app.gate.plan(&sql).await.map_err(status)?;
                // JDBC takes what has no columns for an update.
                let rows = (effect == Effect::Reads).then(|| ipc(&wire::sent_schema(&schema))).transpose()?;
                (planned.parameters().map_err(status)?, rows.map_or_else(bytes::Bytes::new, |rows| rows.0))
            }
        };
        let parameter_schema = match parameters.is_empty() {
            true => bytes::Bytes::new(),
            false => ipc(&wire::sent_schema(&parameters::schema(&parameters)))?.0,
        };
        let prepared = Prepared { sql: sql.as_ref().into(), parameters: parameters.into(), values: None };
        let prepared_statement_handle = self.statements.hold(prepared).into();
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle, dataset_schema, parameter_schema })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        if let Ok(handle) = std::str::from_utf8(&query.prepared_statement_handle) {
            self.statements.close(handle);
        }
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let (handle, prepared) = self.prepared(&query.prepared_statement_handle)?;
        let values = parameters::read(request.into_inner(), prepared.parameters.len()).await?;
        self.statements.replace(&handle, Prepared { values, ..prepared });
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(query.prepared_statement_handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (_, prepared) = self.prepared(&query.prepared_statement_handle)?;
        let mut rows = rows_of_values(&prepared)?.into_iter();
        let (once, values) = (rows.len() == 1, rows.next().flatten());
        let schema = async {
            let (effect, schema, _) = self.understood(&prepared.sql).await?;
            Ok(match (effect, values) {
                (Effect::Acts, _) => None,
                // Values decide the types of some columns.
                (_, Some(values)) => {
                    let schema = self.app.gate.plan(&prepared.sql).await?.with_values(values)?.schema();
                    Some(if once { schema } else { wire::of_any_run(&schema) })
                }
                (_, None) => Some(schema),
            })
        };
        let schema = schema.await.map_err(|error: Error| fault::status(&error))?;
        Self::info(schema.as_deref(), request)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        _: Request<Ticket>,
    ) -> Result<Rows, Status> {
        let (_, prepared) = self.prepared(&query.prepared_statement_handle)?;
        let (schema, batches) = self.run_prepared(prepared).await?;
        Ok(Response::new(wire::messages(&schema, batches)))
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let update = async { self.update(&statement::numbered(&command.query)?, None).await };
        update.await.map_err(|error| fault::status(&error))
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (_, prepared) = self.prepared(&command.prepared_statement_handle)?;
        let sent = parameters::read(request.into_inner(), prepared.parameters.len()).await?;
        let prepared = Prepared { values: sent.or(prepared.values), ..prepared };
        let mut total = 0_i64;
        for values in rows_of_values(&prepared)? {
            let count = self.update(&prepared.sql, values).await.map_err(|error| fault::status(&error))?;
            total = if total < 0 || count < 0 { -1 } else { total.saturating_add(count) };
        }
        Ok(total)
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(Status::invalid_argument(error.to_string()))
    }

    async fn do_put_fallback(
        &self,
        _: Request<PeekableFlightDataStream>,
        message: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(Status::invalid_argument(format!("expected an update or values, got '{}'", message.type_url)))
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder().schema()), request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _: Request<Ticket>) -> Result<Rows, Status> {
        catalog::catalogs(self.app.gate.session(), query).map(Self::rows)
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder().schema()), request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _: Request<Ticket>) -> Result<Rows, Status> {
        catalog::schemas(self.app.gate.session(), query).map(Self::rows)
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder().schema()), request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, _: Request<Ticket>) -> Result<Rows, Status> {
        let (session, access) = (self.app.gate.session().clone(), self.app.gate.access());
        let found = self.app.gate.on_engine(async move { catalog::tables(&session, access, query).await });
        found.await.map_err(|error| fault::status(&error))?.map(Self::rows)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder().schema()), request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _: Request<Ticket>) -> Result<Rows, Status> {
        catalog::table_types(query).map(Self::rows)
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder(&self.facts).schema()), request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _: Request<Ticket>) -> Result<Rows, Status> {
        query.into_builder(&self.facts).build().map(Self::rows).map_err(|error| internal(&error))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&query.into_builder(&self.types).schema()), request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Result<Rows, Status> {
        query.into_builder(&self.types).build().map(Self::rows).map_err(|error| internal(&error))
    }

    async fn get_flight_info_primary_keys(
        &self,
        _: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&catalog::primary_keys()), request)
    }

    async fn do_get_primary_keys(&self, _: CommandGetPrimaryKeys, _: Request<Ticket>) -> Result<Rows, Status> {
        Ok(Self::rows(RecordBatch::new_empty(catalog::primary_keys())))
    }

    async fn get_flight_info_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&catalog::foreign_keys()), request)
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Result<Rows, Status> {
        Ok(Self::rows(RecordBatch::new_empty(catalog::foreign_keys())))
    }

    async fn get_flight_info_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&catalog::foreign_keys()), request)
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Result<Rows, Status> {
        Ok(Self::rows(RecordBatch::new_empty(catalog::foreign_keys())))
    }

    async fn get_flight_info_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Self::info(Some(&catalog::foreign_keys()), request)
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Request<Ticket>) -> Result<Rows, Status> {
        Ok(Self::rows(RecordBatch::new_empty(catalog::foreign_keys())))
    }

    /// The facts are made when the service is.
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
