//! The export of any format: selected units, one by one.

use futures::StreamExt;

use super::exporter::Exporter;
use super::lake_reader;
use super::report::Report;
use crate::error::Result;
use crate::session::Session;

/// Hands every unit that fits a condition over the view `exchange_units` to the exporter; `watch` is told how many are done of how many.
///
/// # Errors
/// When nothing fits, a table cannot be read, or the exporter refuses.
pub async fn export(
    session: &Session,
    condition: Option<&str>,
    exporter: &mut dyn Exporter,
    watch: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Report> {
    let keys = lake_reader::selected(session, condition).await?;
    let total = keys.len() as u64;
    let units = lake_reader::units(session, keys);
    futures::pin_mut!(units);
    let mut done = 0;
    while let Some(unit) = units.next().await {
        exporter.unit(unit?).await?;
        done += 1;
        watch(done, total);
    }
    exporter.finish().await
}

/// A condition as it stands in a query over the view `exchange_units`.
pub(crate) fn filter(condition: Option<&str>) -> String {
    condition.map(|condition| format!(" WHERE ({condition})")).unwrap_or_default()
}

/// A session with small batches: rows of records and simulations are large.
pub fn session_options() -> crate::session::SessionOptions {
    crate::session::SessionOptions { batch_rows: 1_024, ..Default::default() }
}
