//! `neuronlake run --dry-run`: what would be asked, and what it may cost.

use super::print;
use crate::error::Result;
use crate::pipeline::estimate::{self, StepEstimate};
use crate::pipeline::settings::Settings;
use crate::session::Session;

pub(crate) async fn estimate(session: &Session, settings: &Settings) -> Result<()> {
    print(&table(&estimate::of_run(&session.here(), settings).await?))
}

fn table(steps: &[StepEstimate]) -> String {
    let width = steps.iter().map(|step| step.method.len()).max().unwrap_or(0).max("method".len());
    let mut text = format!(
        "{:<14} {:<width$} {:>8} {:>10} {:>14} {:>14} {:>10}\n",
        "table", "method", "neurons", "calls", "prompt tokens", "reply tokens", "usd"
    );
    let mut dollars = Some(0.0);
    for step in steps {
        dollars = dollars.zip(step.dollars).map(|(sum, dollars)| sum + dollars);
        text.push_str(&format!(
            "{:<14} {:<width$} {:>8} {:>10} {:>14} {:>14} {:>10}\n",
            step.table,
            step.method,
            step.n_units,
            step.n_calls,
            step.prompt_tokens,
            step.completion_tokens,
            step.dollars.map_or_else(|| "unknown".to_owned(), |dollars| format!("{dollars:.2}")),
        ));
    }
    match dollars {
        _ if steps.is_empty() => text.push_str("no language model would be asked\n"),
        Some(dollars) => text.push_str(&format!("at most {dollars:.2} usd; nothing was asked\n")),
        None => text.push_str("no price is known for some models; nothing was asked\n"),
    }
    text
}
