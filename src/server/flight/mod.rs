//! Flight SQL: Arrow straight into notebooks.
//!
//! [`door`] asks for the token, [`service`] answers the commands of the protocol, and every statement goes through the server's gate.

mod catalog;
mod door;
mod fault;
mod login;
mod parameters;
mod prepared;
mod server_facts;
mod service;
mod statement;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::server::{Server, TcpIncoming};
use tower_http::catch_panic::CatchPanicLayer;

use super::App;
use super::auth::Token;
use crate::error::{Error, Result};
use door::Door;
use service::Service;

/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Calls of one connection at the same time.
const CALLS_PER_CONNECTION: u32 = 128;

/// Bytes of a call's headers.
const LONGEST_HEADERS: u32 = 64 << 10;

/// Answers Flight SQL until `stop` ends.
///
/// # Errors
/// When the socket fails.
pub(crate) async fn serve(
    app: Arc<App>,
    token: Option<Token>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let door = Door::new(Service::new(Arc::clone(&app))?, Arc::clone(&app), token);
    let bug = |_: Box<dyn std::any::Any + Send>| {
        Status::internal("a bug of ours: the log has it").into_http::<tonic::body::Body>()
    };
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .http2_max_header_list_size(LONGEST_HEADERS)
        .layer(CatchPanicLayer::custom(bug))
        .add_service(FlightServiceServer::new(door))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await
        .map_err(|error| Error::Output { source: std::io::Error::other(error) })
}

#[cfg(test)]
mod tests;
