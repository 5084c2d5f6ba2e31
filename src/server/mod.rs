//! `neuronlake serve`: the viewer, the HTTP interface and Flight SQL over one lake, in one process.
//!
//! Whatever is asked goes through the gate (`gate`): read only unless the server was started otherwise, within limits.

mod ahead;
mod api;
pub mod auth;
mod body;
mod deadline;
mod flight;
mod gate;
mod http;
mod kept_pages;
mod kept_rows;
mod lake_state;
pub mod limits;
pub mod metrics;
mod problem;
mod rows;
mod viewer;
mod visitors;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::session::{Access, Session};
use auth::Token;
use gate::Gate;
use kept_pages::KeptPages;
use kept_rows::KeptRows;
use lake_state::LakeState;
use limits::QueryLimits;
use visitors::Visitors;

/// How long open requests may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address of the viewer and of the HTTP interface; port 0 takes a free one.
    pub http: SocketAddr,
    /// Address of Flight SQL; `None` serves none.
    pub flight: Option<SocketAddr>,
    /// What callers must know; needed wherever others than this machine can ask.
    pub token: Option<Token>,
    /// What the session was opened with.
    pub access: Access,
    /// Whether queries may ask language models that cost money.
    pub spends: bool,
    /// What one query may take.
    pub limits: QueryLimits,
    /// Subject models that pages may run.
    pub models: Vec<String>,
    /// The simulator that scores explanations typed into the viewer; `None` where none can be had.
    pub simulator: Option<String>,
    /// Units whose pages are made while nobody asks for anything; with 0 no page is made before somebody asks for it.
    pub pages_ahead: usize,
}

/// What requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) gate: Gate,
    pub(crate) state: Arc<LakeState>,
    pub(crate) visitors: Visitors,
    pub(crate) kept: KeptPages,
    pub(crate) rows: KeptRows,
    pub(crate) models: Vec<String>,
    pub(crate) simulator: Option<String>,
    pub(crate) spends: bool,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    token: Option<Token>,
    http: TcpListener,
    flight: Option<TcpListener>,
    pages_ahead: usize,
}

impl Server {
    /// Binds its addresses; nothing is answered before [`Server::run`]. Queries compute on the runtime `engine`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an address that others can reach and no token, [`Error::Listen`] for one that is taken.
    pub async fn bind(session: Session, options: ServerOptions, engine: tokio::runtime::Handle) -> Result<Self> {
        let http = listen("--listen", options.http, options.token.as_ref()).await?;
        let flight = match options.flight {
            Some(address) => Some(listen("--flight", address, options.token.as_ref()).await?),
            None => None,
        };
        // One look at the lake serves both.
        let state = Arc::new(LakeState::of(session.lake()));
        let kept = KeptPages::of(&state);
        let rows = KeptRows::of(&state);
        let gate = Gate::new(session, options.access, options.limits, engine);
        let app = Arc::new(App {
            gate,
            state,
            visitors: Visitors::none(),
            kept,
            rows,
            models: options.models,
            simulator: options.simulator,
            spends: options.spends,
        });
        Ok(Self { app, token: options.token, http, flight, pages_ahead: options.pages_ahead })
    }

    /// Where the viewer is.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn http_address(&self) -> Result<SocketAddr> {
        self.http.local_addr().map_err(|source| Error::Output { source })
    }

    /// Where Flight SQL is.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn flight_address(&self) -> Result<Option<SocketAddr>> {
        self.flight.as_ref().map(TcpListener::local_addr).transpose().map_err(|source| Error::Output { source })
    }

    /// Answers until `stop` ends; then takes no more requests and gives those under way ten seconds.
    ///
    /// # Errors
    /// When a socket fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let (stopping, stopped) = watch::channel(false);
        tokio::spawn(async move {
            stop.await;
            // Nobody listens when both servers have failed.
            let _ = stopping.send(true);
        });
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            // An error is a sender that is gone, which only stops the server too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let router = http::router(Arc::clone(&self.app), self.token.clone());
        let http = axum::serve(self.http, router).with_graceful_shutdown(wait(stopped.clone()));
        let (app, n_units) = (Arc::clone(&self.app), self.pages_ahead);
        let ahead = async {
            if n_units > 0 {
                let work = ahead::make(Arc::clone(&app), n_units);
                // It has no end of its own.
                if let Err(error) = app.gate.on_engine(work).await {
                    tracing::error!(%error, "no more pages are made ahead");
                }
            }
            std::future::pending::<()>().await;
        };
        let flight = async {
            match self.flight {
                Some(listener) => flight::serve(self.app, self.token, listener, wait(stopped.clone())).await,
                None => Ok(()),
            }
        };
        let both = async {
            tokio::try_join!(async { http.await.map_err(|source| Error::Output { source }) }, flight).map(|_| ())
        };
        let patience = async {
            wait(stopped.clone()).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = both => result,
            () = patience => Ok(()),
            () = ahead => Ok(()),
        }
    }
}

async fn listen(argument: &str, address: SocketAddr, token: Option<&Token>) -> Result<TcpListener> {
    if token.is_none() && !address.ip().is_loopback() {
        return Err(Error::Argument {
            argument: argument.to_owned(),
            expected: format!("a loopback address such as 127.0.0.1, or a token in {}", auth::TOKEN_VARIABLE),
            got: address.to_string(),
        });
    }
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}
