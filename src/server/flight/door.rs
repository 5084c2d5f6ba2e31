//! The protocol's calls: each asks for the token first, then goes to the Flight SQL service.

use std::pin::Pin;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, stream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::login;
use super::service::Service;
use crate::server::App;
use crate::server::auth::Token;

/// The service behind its token.
pub(super) struct Door {
    service: Service,
    app: Arc<App>,
    token: Option<Token>,
}

impl Door {
    pub(super) fn new(service: Service, app: Arc<App>, token: Option<Token>) -> Self {
        Self { service, app, token }
    }

    fn admitted<T>(&self, request: Request<T>) -> Result<Request<T>, Status> {
        login::admit(self.token.as_ref(), request.metadata())?;
        Ok(request)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The library calls a command that it cannot decode its own bug; it is the caller's.
fn callers_fault(status: Status) -> Status {
    match status.code() {
        Code::Internal if status.message().contains("Unable to decode Any value") => {
            Status::invalid_argument("the command or ticket cannot be read")
        }
        _ => status,
    }
}

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let answer = login::handshake(self.token.as_ref(), request.metadata())?;
        Ok(answer.map(|answers| Box::pin(stream::iter(answers)) as Self::HandshakeStream))
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.admitted(request)?;
        Err(Status::unimplemented("there are no flights to list: ask for tables"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let request = self.admitted(request)?;
        let _visit = self.app.visitors.enter();
        self.service.get_flight_info(request).await.map_err(callers_fault)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.admitted(request)?;
        Err(Status::unimplemented("queries are not polled: rows are streamed as they are found"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let request = self.admitted(request)?;
        let _visit = self.app.visitors.enter();
        self.service.do_get(request).await.map_err(callers_fault)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let request = self.admitted(request)?;
        let _visit = self.app.visitors.enter();
        self.service.do_put(request).await.map_err(callers_fault)
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let request = self.admitted(request)?;
        let _visit = self.app.visitors.enter();
        self.service.do_action(request).await.map_err(callers_fault)
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.admitted(request)?;
        let actions = [
            ("CreatePreparedStatement", "prepares a statement"),
            ("ClosePreparedStatement", "forgets a prepared statement"),
        ];
        let actions = actions
            .map(|(name, description)| Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() }));
        Ok(Response::new(Box::pin(stream::iter(actions))))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.admitted(request)?;
        Err(Status::unimplemented("nothing is exchanged"))
    }
}
