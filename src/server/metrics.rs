//! `/metrics`: what this process counted, for Prometheus.

use std::net::SocketAddr;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::{Router, middleware, routing};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::auth::{self, Token};
use crate::error::{Error, Result};
use crate::metrics;

/// The route itself: it never keeps its answer.
pub(super) fn router() -> Router {
    Router::new().route("/metrics", routing::get(shown))
}

async fn shown() -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")], metrics::metrics().text())
}

/// Metrics alone, for a process that serves nothing else.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    token: Option<Token>,
}

impl MetricsServer {
    /// Binds an address.
    ///
    /// # Errors
    /// As [`super::Server::bind`].
    pub async fn bind(address: SocketAddr, token: Option<Token>) -> Result<Self> {
        Ok(Self { listener: super::listen("--metrics", address, token.as_ref()).await?, token })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|source| Error::Output { source })
    }

    /// Answers until `stopped` says so.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let router = router().layer(middleware::from_fn_with_state(self.token, auth::admit));
        let stop = async move {
            // A sender that is gone stops it too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        // A socket that fails ends the metrics and nothing else.
        if let Err(error) = axum::serve(self.listener, router).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    }
}
