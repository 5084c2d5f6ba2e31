//! `neuronlake maintain`: few sorted files, and only as many old ones as versions are kept.

use std::time::Duration;

use clap::Args;

use super::arguments::ExistingLake;
use super::{open, print};
use crate::error::{Error, Result};
use crate::session::SessionOptions;
use crate::tables::maintenance::{self, Maintenance, TableReport};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake maintain --lake ./lake
  neuronlake maintain scores simulations --keep-days 30 --dry-run")]
pub(crate) struct Maintain {
    /// Only these tables [default: all].
    tables: Vec<String>,
    /// Days that files of old versions are kept, and with them the versions.
    #[arg(long, default_value_t = 7.0, value_name = "DAYS")]
    keep_days: f64,
    /// Keep files of old versions for less than a day: queries under way may fail.
    #[arg(long)]
    force: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lake: ExistingLake,
}

pub(crate) async fn maintain(command: &Maintain) -> Result<()> {
    let keep = Duration::try_from_secs_f64(command.keep_days * 86_400.0).map_err(|_| Error::Argument {
        argument: "--keep-days".to_owned(),
        expected: "a number of days".to_owned(),
        got: command.keep_days.to_string(),
    })?;
    let session = open(command.lake.open().await?, SessionOptions::default())?;
    let what = Maintenance { tables: command.tables.clone(), keep, forced: command.force, dry_run: command.dry_run };
    let reports = maintenance::maintain(session.context(), session.lake(), &what).await?;
    let mut text = String::new();
    for report in reports.iter().filter(|report| report.changed() || report.left_to_writers) {
        text.push_str(&line(report));
    }
    if text.is_empty() {
        text.push_str("nothing to do: files are few and sorted, and no old ones are due to be removed\n");
    } else if command.dry_run {
        text.push_str("nothing was done\n");
    }
    print(&text)
}

/// What was done at one table.
pub(super) fn line(report: &TableReport) -> String {
    let mut text = format!(
        "{:<20} {:>6} files to {:<6} {:>10} to {:<10}",
        report.table,
        report.files_before,
        report.files_after,
        bytes(report.bytes_before),
        bytes(report.bytes_after)
    );
    text.push_str(&format!(" {} old removed", report.files_removed));
    if report.checkpoint {
        text.push_str(", checkpoint");
    }
    if report.left_to_writers {
        text.push_str(", files left to busy writers");
    }
    text.push_str(&format!(", {:.1} s\n", report.took.as_secs_f64()));
    text
}

fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}
