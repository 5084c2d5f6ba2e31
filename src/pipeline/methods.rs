//! The explainers, simulators and scorers of a run.

use super::settings::Settings;
use crate::completions::model_name::{Engine, ModelName};
use crate::error::{Error, Result};
use crate::explanations::token_lookup::TOKEN_LOOKUP;
use crate::functions::{Method, MethodRegistry};

/// The explainer and simulator by token patterns.
const N2G: &str = "n2g";

/// A method as steps and tables name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its own name, e.g. `summary`.
    pub method: String,
    /// The model behind it as tables name it; empty without one.
    pub model: String,
    /// What the user wrote and functions take, e.g. `summary@openai:gpt-4o`.
    pub source: String,
    /// What people are shown: the method with its model, without paths.
    pub label: String,
    /// Whether it asks a language model.
    pub asks: bool,
    /// Whether it asks an endpoint for vectors, which cost something too.
    pub embeds: bool,
    /// Whether what it asks is an endpoint, whose calls are counted, limited and paid.
    pub pays: bool,
    /// SHA-256 of its prompt template, hex; `None` without a language model.
    pub prompt_hash: Option<String>,
}

impl Named {
    fn of<M: std::fmt::Display + Copy>(
        source: &str,
        found: &Method<M>,
        prompt_hash: impl Fn(M) -> Option<String>,
    ) -> Self {
        let asks = found.model.is_some();
        let at_endpoint = |name: &str| name.parse().is_ok_and(|name: ModelName| name.engine == Engine::OpenAi);
        let embeds = found.encoder.as_ref().is_some_and(|encoder| at_endpoint(encoder.name()));
        let method = found.method.to_string();
        let model = found.model_name().unwrap_or_default();
        // The weights' hash is for tables.
        let shown = model.split('#').next().unwrap_or_default();
        Self {
            pays: embeds || (asks && at_endpoint(&model)),
            label: if asks || embeds { format!("{method}@{shown}") } else { method.clone() },
            method,
            model,
            source: source.to_owned(),
            asks,
            embeds,
            prompt_hash: prompt_hash(found.method).filter(|_| asks),
        }
    }
}

/// Everything that explains, simulates or judges in one run.
#[derive(Debug, Clone, Default)]
pub struct Methods {
    /// What writes explanations.
    pub explainers: Vec<Named>,
    /// What simulates them.
    pub simulators: Vec<Named>,
    /// What judges them.
    pub scorers: Vec<Named>,
}

impl Methods {
    /// Finds every method that the settings name; models are loaded.
    ///
    /// # Errors
    /// As [`MethodRegistry::explainer`], and [`Error::MethodModel`] for methods that do not go together.
    pub fn find(settings: &Settings, registry: &MethodRegistry) -> Result<Self> {
        let explainer = |name: &String| -> Result<Named> {
            Ok(Named::of(name, &registry.explainer(name)?, |explainer| explainer.prompt_hash()))
        };
        let explainers = settings.explainers.iter().map(explainer).collect::<Result<Vec<_>>>()?;
        let mut names = settings.simulators.clone();
        if names.is_empty() {
            // What a user who names only an explainer would expect: its own table or pattern, or the same model.
            for explainer in &explainers {
                let name = match explainer.source.split_once('@') {
                    _ if !explainer.asks => explainer.method.clone(),
                    Some((method, model)) if !method.contains(':') => model.to_owned(),
                    _ => explainer.source.clone(),
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let simulator = |name: &String| -> Result<Named> {
            Ok(Named::of(name, &registry.simulator(name)?, |simulator| Some(simulator.prompt_hash())))
        };
        let scorer = |name: &String| -> Result<Named> {
            Ok(Named::of(name, &registry.judge(name)?, |judge| Some(judge.prompt_hash())))
        };
        let methods = Self {
            explainers,
            simulators: names.iter().map(simulator).collect::<Result<_>>()?,
            scorers: settings.scorers.iter().map(scorer).collect::<Result<_>>()?,
        };
        for explainer in &methods.explainers {
            methods.simulators_of(explainer)?;
        }
        Ok(methods)
    }

    /// The simulators that can read what an explainer writes: the token lookup reads its own table only, patterns only patterns.
    ///
    /// # Errors
    /// [`Error::MethodModel`] when there is none.
    pub fn simulators_of(&self, explainer: &Named) -> Result<Vec<&Named>> {
        let reads = |simulator: &&Named| match simulator.method.as_str() {
            TOKEN_LOOKUP => explainer.method == TOKEN_LOOKUP,
            N2G => explainer.method == N2G,
            _ => true,
        };
        let found: Vec<&Named> = self.simulators.iter().filter(reads).collect();
        if found.is_empty() {
            return Err(Error::MethodModel {
                kind: "simulator",
                method: self
                    .simulators
                    .iter()
                    .map(|simulator| simulator.method.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                reason: format!(
                    "expected one that reads the texts of explainer '{}', such as embedding or openai:gpt-4o",
                    explainer.method
                ),
            });
        }
        Ok(found)
    }
}
