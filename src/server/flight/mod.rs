//! Flight SQL: Arrow straight into notebooks.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::App;
use super::auth::Token;
use crate::error::Result;

/// Answers Flight SQL until `stop` ends.
///
/// # Errors
/// When the socket fails.
pub(crate) async fn serve(_: Arc<App>, _: Option<Token>, _: TcpListener, stop: impl Future<Output = ()>) -> Result<()> {
    stop.await;
    Ok(())
}
