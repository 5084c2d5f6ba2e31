//! What a worker hands to clients and to other workers: the rows its tasks wrote to its disk.
//!
//! Ballista's own service compresses every buffer of every batch that a client fetches, as LZ4, whatever it was told; for rows of some
//! twenty columns that takes longer than most stages compute. This one sends what is on disk.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use ballista_core::client::BlockDataStream;
use ballista_core::error::BallistaError;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_executor::ArrowFlightServerProvider;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::shutdown::Shutdown;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

/// The action by which Ballista's service sends a file as it is.
const AS_IT_IS: &str = "IO_BLOCK_TRANSPORT";
/// Bytes of rows that are sent in one message, which leaves room for a row that is larger.
const PIECE_BYTES: usize = 2 << 20;
/// Bytes of a message, as Ballista's clients take them.
const MESSAGE_BYTES: usize = 16 << 20;

/// The service at which a worker's results are fetched, in the place of Ballista's.
pub(super) fn provider() -> Arc<ArrowFlightServerProvider> {
    Arc::new(|folder: String, address: SocketAddr, mut shutdown: Shutdown, config: GrpcServerConfig| {
        tokio::spawn(async move {
            let service = FlightServiceServer::new(Results { files: BallistaFlightService::new(folder) })
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES);
            let server = create_grpc_server(&config).add_service(service);
            server.serve_with_shutdown(address, shutdown.recv()).await.map_err(BallistaError::TonicError)
        })
    })
}

/// Ballista's service, but for how rows are encoded.
struct Results {
    files: BallistaFlightService,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The rows of a batch in pieces of some bytes each; a row is never cut.
fn pieces(batch: RecordBatch, bytes: usize) -> impl Iterator<Item = RecordBatch> {
    let n_rows = batch.num_rows();
    let of_column = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(bytes);
    let all: usize = batch.columns().iter().map(of_column).sum();
    let at_once = n_rows.div_ceil(all.div_ceil(bytes).max(1)).max(1);
    (0..n_rows).step_by(at_once).map(move |start| batch.slice(start, at_once.min(n_rows - start)))
}

fn fault(error: &DataFusionError) -> Status {
    Status::internal(format!("rows of a task cannot be read: {}", error.strip_backtrace()))
}

#[tonic::async_trait]
impl FlightService for Results {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        // A ticket says in the same words as an action which rows are asked for.
        let action = Action { r#type: AS_IT_IS.to_owned(), body: request.into_inner().ticket };
        let blocks = self.files.do_action(Request::new(action)).await?.into_inner();
        let blocks = blocks.map(|block| match block {
            Ok(block) => Ok(block.body),
            Err(status) => Err(DataFusionError::External(Box::new(status))),
        });
        let batches = BlockDataStream::try_new(blocks).await.map_err(|error| fault(&error))?;
        let schema = Arc::clone(&batches.schema);
        let pieces = batches
            .map_ok(|batch| stream::iter(pieces(batch, PIECE_BYTES).map(Ok)))
            .try_flatten()
            .map_err(|error: DataFusionError| FlightError::ExternalError(Box::new(error)));
        // Arrow's encoder would take the block that a column lies in for the column, and send rows one by one.
        let rows = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_max_flight_data_size(usize::MAX)
            .build(pieces)
            .map_err(Status::from);
        Ok(Response::new(Box::pin(rows)))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.files.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.files.list_actions(request).await
    }

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.files.handshake(request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.files.list_flights(request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.files.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        self.files.poll_flight_info(request).await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.files.get_schema(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.files.do_put(request).await
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.files.do_exchange(request).await
    }
}

#[cfg(test)]
mod tests;
