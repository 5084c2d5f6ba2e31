//! Units whose explanations mean nearly the same.

use serde_json::json;

use super::unit::Unit;
use super::{Rows, integer, text};
use crate::error::Result;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::gate::Asked;
use crate::server::viewer::links;
use crate::server::viewer::search::{NoVectors, no_vectors};

/// What was found, or why nothing was looked for.
#[derive(Debug, Default)]
pub(super) struct Alike {
    pub(super) asked: Vec<Asked>,
    pub(super) rows: Rows,
    pub(super) note: Option<String>,
}

/// The units nearest in meaning to a unit's best explanation.
///
/// A page does not compute the vectors of a whole lake: where they are missing it says how to get them.
pub(super) async fn alike(app: &App, unit: &Unit, best: Option<&str>) -> Result<Alike> {
    let note = |note: &str, asked| Alike { note: Some(note.to_owned()), asked, rows: Rows::new() };
    let Some(best) = best else {
        return Ok(note("Without an explanation there is no meaning to compare.", Vec::new()));
    };
    let mut all = Vec::new();
    match no_vectors(app, &mut all).await? {
        None => {}
        Some(NoVectors::Encoder) => {
            return Ok(note("The server has no sentence encoder: 'neuronlake pull minilm' fetches one.", Vec::new()));
        }
        Some(NoVectors::Vectors) => {
            return Ok(note("Explanations have no vectors yet: 'neuronlake index' computes them.", all));
        }
    }
    let mut values = vec![("text", Parameter::Text(best.to_owned()))];
    values.extend_from_slice(&unit.values()[..3]);
    let asked = app.gate.ask("neuron_alike", &values).await?;
    let mut rows = asked.objects()?;
    all.push(asked);
    for row in &mut rows {
        let address =
            links::neuron(&text(row, "model"), &text(row, "hook_point"), integer(row, "neuron"), &text(row, "corpus"));
        row.insert("address".to_owned(), json!(address));
    }
    Ok(Alike { asked: all, rows, note: None })
}
