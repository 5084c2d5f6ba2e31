//! `neuronlake selftest`: which methods can be believed.

use super::arguments::Selftest;
use super::print;
use super::run::pipeline_session;
use crate::error::Result;
use crate::pipeline::methods::Methods;
use crate::pipeline::planted_lake;
use crate::pipeline::selftest::{self, Written};
use crate::pipeline::settings::Settings;
use crate::planted::trials::Preset;
use crate::tables::lake::Lake;

/// The simulator tried when none is named: it needs no language model.
const DEFAULT_SIMULATOR: &str = "embedding";

pub(crate) async fn selftest(command: &Selftest) -> Result<()> {
    let session = pipeline_session(Lake::reach(&command.lake).await?, command.language.options()?)?;
    planted_lake::write(&session, command.seed).await?;
    let mut simulators = command.simulators.clone();
    if simulators.is_empty() && command.scorers.is_empty() {
        simulators.push(DEFAULT_SIMULATOR.to_owned());
    }
    let settings = Settings {
        explainers: command.explainers.clone(),
        simulators,
        scorers: command.scorers.clone(),
        ..Settings::default()
    };
    let methods = Methods::find(&settings, session.methods())?;
    let preset = if command.small { Preset::SMALL } else { Preset::FULL };
    let findings = selftest::run(&methods, session.methods(), &preset, command.seed).await?;
    session.methods().models().fold().await?;
    print(&findings.report.to_string())?;
    if !findings.written.is_empty() {
        print(&table(&findings.written))?;
    }
    Ok(())
}

/// What explainers wrote, beside the truth and both their scores.
fn table(written: &[Written]) -> String {
    let score = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
    let mut text = format!("\n{:<18} {:>5} {:>6}  {:<44} explanation\n", "unit", "score", "truth", "true explanation");
    for row in written {
        let own = match &row.text {
            Ok(own) => own.clone(),
            Err(reason) => format!("({reason})"),
        };
        text.push_str(&format!(
            "{:<18} {:>5} {:>6}  {:<44} {own}\n",
            row.unit,
            score(row.score),
            score(row.score_of_truth),
            row.truth,
        ));
    }
    let of = |score: fn(&Written) -> Option<f64>| {
        let scores: Vec<f64> = written.iter().filter_map(score).collect();
        if scores.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.2}", scores.iter().sum::<f64>() / scores.len() as f64)
        }
    };
    text.push_str(&format!("{:<18} {:>5} {:>6}\n", "mean", of(|row| row.score), of(|row| row.score_of_truth)));
    text
}
