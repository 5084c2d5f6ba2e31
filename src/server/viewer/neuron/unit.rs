//! Which unit an address means.

use serde_json::{Value, json};

use super::{Rows, UnitPath, integer, text};
use crate::error::Result;
use crate::pipeline::queries::Parameter;
use crate::server::App;
use crate::server::gate::Asked;
use crate::server::viewer::arguments::Arguments;
use crate::server::viewer::links;
use crate::server::viewer::render::Fault;

/// A unit with the corpus that a page is about.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) model: String,
    pub(super) hook_point: String,
    pub(super) neuron: i64,
    pub(super) corpus: String,
    pub(super) layer: Option<i64>,
}

impl Unit {
    /// Values of `$model`, `$hook_point`, `$neuron` and `$corpus`, in this order.
    pub(super) fn values(&self) -> [(&'static str, Parameter); 4] {
        let text = |value: &str| Parameter::Text(value.to_owned());
        [
            ("model", text(&self.model)),
            ("hook_point", text(&self.hook_point)),
            ("neuron", Parameter::Integer(self.neuron)),
            ("corpus", text(&self.corpus)),
        ]
    }

    /// What a query of `queries/viewer` finds of it, by the values of `$model`, `$hook_point` and whatever else it takes.
    pub(super) async fn ask(&self, app: &App, name: &'static str, more: &[(&str, Parameter)]) -> Result<Asked> {
        let [model, hook_point, ..] = self.values();
        let values: Vec<_> = [model, hook_point].into_iter().chain(more.iter().cloned()).collect();
        app.rows.ask(&app.gate, name, &values, self.neuron).await
    }

    /// The value of `$corpus`.
    pub(super) fn corpus(&self) -> [(&'static str, Parameter); 1] {
        let [.., corpus] = self.values();
        [corpus]
    }

    /// Its page.
    pub(super) fn address(&self) -> String {
        links::neuron(&self.model, &self.hook_point, self.neuron, &self.corpus)
    }

    /// What templates show of it.
    pub(super) fn shown(&self) -> Value {
        let path = links::neuron(&self.model, &self.hook_point, self.neuron, "");
        json!({
            "model": self.model,
            "hook_point": self.hook_point,
            "neuron": self.neuron,
            "corpus": self.corpus,
            "layer": self.layer,
            "path": path,
            "address": self.address(),
            "siblings": links::with_query("/browse", &[("model", &self.model), ("hook_point", &self.hook_point)]),
        })
    }

    /// Where two of its explanations are compared, or it with the unit beside it.
    pub(super) fn compare(&self, explanations: &Rows, neighbours: &Rows) -> String {
        let name = |hook_point: &str, neuron: i64| format!("{hook_point}:{neuron}");
        if let [a, b, ..] = explanations.as_slice() {
            let (a, b) = (text(a, "explanation"), text(b, "explanation"));
            let (of, neuron) = (("of", "explanations"), self.neuron.to_string());
            let unit = [("model", self.model.as_str()), ("hook_point", &self.hook_point), ("neuron", &neuron)];
            return links::with_query("/compare", &[of, unit[0], unit[1], unit[2], ("a", &a), ("b", &b)]);
        }
        let a = name(&self.hook_point, self.neuron);
        let beside = ["next", "previous", "elsewhere"]
            .iter()
            .find_map(|place| neighbours.iter().find(|row| text(row, "place") == *place));
        let b = beside.map(|row| name(&text(row, "hook_point"), integer(row, "other_neuron"))).unwrap_or_default();
        links::with_query("/compare", &[("of", "neurons"), ("model", &self.model), ("a", &a), ("b", &b)])
    }

    /// The corpora that it was read on, where there is more than one.
    pub(super) fn corpora(&self, rows: &Rows) -> Vec<Value> {
        if rows.len() < 2 {
            return Vec::new();
        }
        let shown = |corpus: String| {
            let address = links::neuron(&self.model, &self.hook_point, self.neuron, &corpus);
            json!({ "address": address, "here": corpus == self.corpus, "name": corpus })
        };
        rows.iter().map(|row| shown(text(row, "corpus"))).collect()
    }
}

/// The unit of an address, and the query that found its corpora.
///
/// # Errors
/// 400 for an address that can mean no unit, 404 for one that the lake has nothing of.
pub(super) async fn find(
    app: &App,
    path: UnitPath,
    arguments: &Arguments,
) -> std::result::Result<(Unit, Asked), Fault> {
    let path = path.map_err(|rejection| Fault::argument(rejection.body_text()))?;
    let (model, hook_point, number) = path.0;
    let Some(neuron) = number.parse().ok().filter(|neuron| (0..=i64::from(i32::MAX)).contains(neuron)) else {
        return Err(Fault::argument(format!("expected the number of a neuron, from 0 on, got '{number}'")));
    };
    let given = arguments.name("corpus")?;
    let mut unit = Unit { model, hook_point, neuron, corpus: given.unwrap_or_default().to_owned(), layer: None };
    let asked = unit.ask(app, "neuron_corpora", &[]).await?;
    let rows = asked.objects()?;
    let row = match given {
        Some(corpus) => rows.iter().find(|row| text(row, "corpus") == corpus),
        None => rows.first(),
    };
    let Some(row) = row else {
        let known: Vec<String> = rows.iter().map(|row| format!("'{}'", text(row, "corpus"))).collect();
        let name = format!("neuron {neuron} of '{}' in model '{}'", unit.hook_point, unit.model);
        return Err(Fault::not_found(match known.is_empty() {
            true => format!("the lake has nothing of {name}"),
            false => format!("the lake has {name}, but not of corpus '{}': it has {}", unit.corpus, known.join(", ")),
        }));
    };
    unit.corpus = text(row, "corpus");
    unit.layer = row.get("layer").filter(|layer| !layer.is_null()).map(|_| integer(row, "layer"));
    Ok((unit, asked))
}
