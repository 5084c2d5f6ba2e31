//! What a step wrote that no longer follows from what it was made of, so that it is made anew.
//!
//! Rows name the run that wrote them. A row is out of date when that run had another recipe (settings, prompt, query, weights,
//! documents), or when a row it was made of was written by a later run. Runs are put in the order in which the log of `runs` has
//! them, and not by their clocks: a clock that jumps makes nothing newer or older.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::catalog::MemorySchemaProvider;

use super::queries::{self, Parameter, Query};
use super::runs::{Run, StoredRun};
use super::settings::{Plan, Regenerate};
use super::steps::Step;
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;
use crate::session::Session;
use crate::tables::codec::SentRows;
use crate::tables::definition::TableDefinition;

/// Where the relations of this module stand beside the lake's tables.
const SCHEMA: &str = "incremental";

/// Of a row `t`: whether it has no result because of the endpoint, so that the same question may have an answer another time. The
/// texts of such faults begin with the model's name; a reply that was read and made no sense has another reason, and stays.
pub(super) const AT_ENDPOINT: &str = "COALESCE(starts_with(t.reason, 'model ''openai:'), false)";

/// Judgements under the names that simulations have for the same.
const JUDGEMENTS_AS_SIMULATIONS: &str =
    "(SELECT t.*, t.scorer AS simulator, t.scorer_model AS simulator_model FROM judgements t)";

/// Metrics that sum up simulations; those of judgements are the others.
const OF_SIMULATIONS: &str = "'ev_correlation', 'explained_variance', 'rsquared_uncentred', 'absolute_dev_explained'";

/// Rows of a step's table that are to be made anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Outdated {
    /// The column of the keys: `explanation`, `neuron` or `document`.
    pub(super) column: &'static str,
    /// Conditions that the step's own rows meet, whatever their key.
    pub(super) conditions: Vec<String>,
    /// Keys that have rows out of date.
    pub(super) keys: BTreeSet<String>,
}

impl Outdated {
    /// What the step's own rows meet, whatever their key.
    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }
}

/// Finds out what is out of date, for one step.
pub(super) struct Finder<'a> {
    session: &'a Session,
    step: &'a Step,
    plan: &'a Plan,
    definition: &'static TableDefinition,
}

impl<'a> Finder<'a> {
    /// Puts all runs in order and compares those of this step's stage with `run`, the one that begins.
    ///
    /// # Errors
    /// When `runs` cannot be read.
    pub(super) async fn new(
        session: &'a Session,
        step: &'a Step,
        plan: &'a Plan,
        definition: &'static TableDefinition,
        run: &Run,
    ) -> Result<Self> {
        let finder = Self { session, step, plan, definition };
        let compares = match plan.settings.regenerate {
            Regenerate::Changed => true,
            Regenerate::Missing => finder.sums_up_endpoints(),
            Regenerate::All => false,
        };
        if compares {
            finder.put_in_order(run).await?;
        }
        Ok(finder)
    }

    /// Rows out of date of one hook point, or of the whole corpus for a stage that knows none.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub(super) async fn find(&self, hook: Option<&HookPoint>) -> Result<Outdated> {
        let column = match self.definition.schema.field_with_name("explanation") {
            Ok(_) => "explanation",
            Err(_) if hook.is_some() => "neuron",
            Err(_) => "document",
        };
        let conditions = self.conditions(hook);
        let mut reasons: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        match self.plan.settings.regenerate {
            Regenerate::Missing if self.asks_endpoint() => {
                self.add(&mut reasons, &self.failed_at_endpoint(column, &conditions)).await?;
            }
            Regenerate::Missing if self.sums_up_endpoints() => {
                for query in self.upstream() {
                    let sql = self.bind(query, hook)?;
                    self.add(&mut reasons, &sql).await?;
                }
                // Whatever else changed is no concern of a run for what is missing.
                reasons.retain(|_, why| why.iter().any(|why| why.ends_with(" were made anew")));
            }
            Regenerate::Missing => return Ok(Outdated::default()),
            Regenerate::All => self.add(&mut reasons, &self.everything(column, &conditions)).await?,
            Regenerate::Changed => {
                self.add(&mut reasons, &self.of_other_recipes(column, &conditions)).await?;
                if self.asks_endpoint() {
                    self.add(&mut reasons, &self.failed_at_endpoint(column, &conditions)).await?;
                }
                for query in self.upstream() {
                    let sql = self.bind(query, hook)?;
                    self.add(&mut reasons, &sql).await?;
                }
            }
        }
        if column == "neuron" {
            self.keep_selected(&mut reasons, hook)?;
        }
        if !reasons.is_empty() {
            let why: BTreeSet<&String> = reasons.values().flatten().collect();
            let hook = hook.map_or("", HookPoint::name);
            let stage = self.step.query.name.as_str();
            tracing::info!(stage, hook_point = hook, n_keys = reasons.len(), ?why, "rows out of date are made anew");
        }
        Ok(Outdated { column, conditions, keys: reasons.into_keys().collect() })
    }

    /// Makes the relation of a part's outdated keys, which [`Finder::without`] reads; parts are under way at the same time.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub(super) fn put_outdated(&self, part: &str, outdated: &Outdated) -> Result<()> {
        let keys: StringArray = outdated.keys.iter().map(Some).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, false)]));
        self.put(&outdated_keys(part), RecordBatch::try_new(schema, vec![Arc::new(keys)])?)
    }

    /// The query of a stage with its own table read as if the outdated rows were not there: they are then missing, and made anew.
    ///
    /// # Errors
    /// When the query cannot be read.
    pub(super) fn without(&self, part: &str, sql: &str, outdated: &Outdated) -> Result<String> {
        let rest = format!(
            "(SELECT t.* FROM {table} t LEFT ANTI JOIN {SCHEMA}.\"{keys}\" o ON o.key = CAST(t.{column} AS VARCHAR))",
            table = self.definition.name,
            keys = outdated_keys(part),
            column = outdated.column
        );
        queries::with_relation(sql, &self.definition.name, &rest)
    }

    /// The step's own rows: what they must never be confused with are rows of other methods, splits and corpora.
    fn conditions(&self, hook: Option<&HookPoint>) -> Vec<String> {
        let text = |value: &str| Parameter::Text(value.to_owned()).to_sql();
        let has = |column: &str| self.definition.schema.field_with_name(column).is_ok();
        let mut conditions = vec![format!("corpus = {}", text(&self.plan.settings.corpus_id()))];
        if has("model") {
            conditions.push(format!("model = {}", text(self.plan.model.id())));
        }
        if let Some(hook) = hook {
            let (first, last) = self.plan.settings.neurons.bounds();
            conditions.push(format!("hook_point = {}", text(hook.name())));
            conditions.push(format!("neuron BETWEEN {first} AND {last}"));
        }
        let value = |name: &str| self.step.value(name).map(Parameter::to_sql);
        let mut method = |column: &str, role: &str| {
            if let Some(method) = value(role) {
                conditions.push(format!("{column} = {method}"));
                match self.step.value(&format!("{role}_model")) {
                    Some(Parameter::Text(model)) if !model.is_empty() => {
                        conditions.push(format!("{column}_model = {}", text(model)));
                    }
                    _ => conditions.push(format!("{column}_model IS NULL")),
                }
            }
        };
        match self.definition.name.as_str() {
            "explanations" => {
                method("explainer", "explainer");
                conditions.push(format!("round = {}", value("round").unwrap_or_else(|| "0".to_owned())));
            }
            "simulations" => method("simulator", "simulator"),
            "judgements" => method("scorer", "scorer"),
            "scores" => {
                method("scorer", "simulator");
                if value("simulator").is_none() {
                    method("scorer", "scorer");
                }
                conditions.push(match self.step.query.name.as_str() {
                    "64_ablation_scores" => "metric = 'ablation'".to_owned(),
                    "62_judgement_scores" => format!("metric NOT IN ({OF_SIMULATIONS}, 'ablation')"),
                    _ => format!("metric IN ({OF_SIMULATIONS})"),
                });
                if let Some(calibration) = value("calibration") {
                    conditions.push(format!("calibration = {calibration}"));
                }
            }
            _ => {}
        }
        if let (Some(split), true) = (value("split"), has("split")) {
            conditions.push(format!("split = {split}"));
        }
        conditions
    }

    fn everything(&self, column: &str, conditions: &[String]) -> String {
        format!(
            "SELECT DISTINCT CAST(t.{column} AS VARCHAR) AS key, 'everything was asked for' AS reason FROM {} t {}WHERE {}",
            self.definition.name,
            self.of_explainer(),
            qualified(conditions)
        )
    }

    fn of_other_recipes(&self, column: &str, conditions: &[String]) -> String {
        format!(
            "SELECT DISTINCT CAST(t.{column} AS VARCHAR) AS key, o.outdated AS reason FROM {} t \
             JOIN {SCHEMA}.run_order o ON o.run = t.run {}WHERE o.outdated IS NOT NULL AND {}",
            self.definition.name,
            self.of_explainer(),
            qualified(conditions)
        )
    }

    /// Whether the step asks an endpoint.
    fn asks_endpoint(&self) -> bool {
        let role = match self.definition.name.as_str() {
            "explanations" => "explainer_model",
            "simulations" => "simulator_model",
            "judgements" => "scorer_model",
            _ => return false,
        };
        self.is_of_endpoint(role)
    }

    /// Whether the step makes scores of what an endpoint said: they follow when what failed was asked again.
    fn sums_up_endpoints(&self) -> bool {
        let roles = ["simulator_model", "scorer_model"];
        self.definition.name == "scores" && roles.into_iter().any(|role| self.is_of_endpoint(role))
    }

    fn is_of_endpoint(&self, role: &str) -> bool {
        matches!(self.step.value(role), Some(Parameter::Text(model)) if model.starts_with("openai:"))
    }

    fn failed_at_endpoint(&self, column: &str, conditions: &[String]) -> String {
        format!(
            "SELECT DISTINCT CAST(t.{column} AS VARCHAR) AS key, 'the endpoint failed' AS reason FROM {} t {}WHERE {AT_ENDPOINT} AND {}",
            self.definition.name,
            self.of_explainer(),
            qualified(conditions)
        )
    }

    /// Simulations and judgements do not say whose text they are about, and another explainer's are made by another step.
    fn of_explainer(&self) -> String {
        if !matches!(self.definition.name.as_str(), "simulations" | "judgements") {
            return String::new();
        }
        let value = |name: &str| self.step.value(name).map_or_else(|| "''".to_owned(), Parameter::to_sql);
        format!(
            "JOIN explanations e ON e.explanation = t.explanation AND e.model = t.model AND e.hook_point = t.hook_point \
             AND e.explainer = {} AND COALESCE(e.explainer_model, '') = {} ",
            value("explainer"),
            value("explainer_model")
        )
    }

    /// The queries that compare this step's rows with those they were made of.
    fn upstream(&self) -> &'static [&'static str] {
        match self.step.query.name.as_str() {
            "00_documents" => &["changed_documents"],
            "10_token_sequences" => &["token_sequences_behind"],
            "40_explanations" | "42_record_explanations" | "46_revisions" => &["explanations_behind"],
            "50_simulations" | "52_text_simulations" | "54_judgements" => &["simulations_behind"],
            "60_scores" | "64_ablation_scores" => &["scores_behind_simulations"],
            "62_judgement_scores" => &["scores_behind_judgements"],
            // What a pass of the model collects follows from its recipe alone.
            _ => &[],
        }
    }

    fn bind(&self, name: &str, hook: Option<&HookPoint>) -> Result<String> {
        let query: &Query = queries::find(name)?;
        let known = |wanted: &str| -> Option<Parameter> {
            let text = |value: &str| Some(Parameter::Text(value.to_owned()));
            let own = self.step.value(wanted).cloned();
            let of_plan = || self.plan.parameters().iter().find(|(name, _)| name == wanted).map(|(_, v)| v.clone());
            match (wanted, own) {
                ("hook_point", _) => text(hook.map_or("", HookPoint::name)),
                ("ablation", _) => text(if self.step.query.name == "64_ablation_scores" { "yes" } else { "no" }),
                (_, Some(own)) => Some(own),
                ("simulator", None) => self.step.value("scorer").cloned(),
                ("simulator_model", None) => self.step.value("scorer_model").cloned().or_else(|| text("")),
                ("round", None) => Some(Parameter::Integer(0)),
                (name, None) if name.ends_with("_model") => text(""),
                _ => of_plan(),
            }
        };
        let values: Vec<(String, Parameter)> =
            query.params.iter().filter_map(|(name, _)| Some((name.clone(), known(name)?))).collect();
        let sql = query.bind(&values)?;
        match self.definition.name.as_str() {
            // They are made of the same things as simulations, and follow them in the same cases.
            "judgements" => queries::with_relation(&sql, "simulations", JUDGEMENTS_AS_SIMULATIONS),
            _ => Ok(sql),
        }
    }

    async fn add(&self, reasons: &mut BTreeMap<String, BTreeSet<String>>, sql: &str) -> Result<()> {
        for batch in self.session.sql(sql).await?.collect().await? {
            let (keys, why) = (cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Utf8)?);
            for (key, why) in keys.as_string::<i32>().iter().zip(why.as_string::<i32>()) {
                if let (Some(key), Some(why)) = (key, why) {
                    reasons.entry(key.to_owned()).or_default().insert(why.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Units that this run did not select stay as they are.
    fn keep_selected(&self, reasons: &mut BTreeMap<String, BTreeSet<String>>, hook: Option<&HookPoint>) -> Result<()> {
        let Some(hook) = hook else { return Ok(()) };
        let units = self.plan.settings.neurons.units(hook)?;
        let selected: BTreeSet<String> = units.units().iter().map(ToString::to_string).collect();
        reasons.retain(|key, _| selected.contains(key));
        Ok(())
    }

    /// Makes the relation `run_order`: every run's place, whether it is of this step's stage, and why it is out of date if it is.
    async fn put_in_order(&self, now: &Run) -> Result<()> {
        let stored = StoredRun::all(self.session).await?;
        let places = self.recorded_at().await?;
        // Before the stage of the documents is over there is no hash of them, and only stages of units are compared by it.
        // A run for what is missing asks for the order only.
        let compares = self.plan.settings.regenerate == Regenerate::Changed;
        let corpus_hash = match self.step.query.per.as_ref().filter(|_| compares) {
            Some(_) => self.plan.corpus_hash(self.session).await?,
            None => None,
        };
        let (mut run, mut place, mut own, mut outdated) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let n_stored = stored.len() as i64;
        for (index, stored) in stored.iter().enumerate() {
            let is_own = stored.stage == self.step.query.name;
            // Runs whose commits are no longer in the log come before all others, in the order of their clocks.
            place.push(places.get(&stored.run).copied().unwrap_or(index as i64 - n_stored));
            outdated.push(is_own.then(|| now.differs_from(stored, self.plan, corpus_hash.as_deref())).flatten());
            own.push(is_own);
            run.push(stored.run.as_str());
        }
        let schema = Arc::new(Schema::new(vec![
            Field::new("run", DataType::Utf8, false),
            Field::new("place", DataType::Int64, false),
            Field::new("own", DataType::Boolean, false),
            Field::new("outdated", DataType::Utf8, true),
        ]));
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(StringArray::from(run)),
            Arc::new(Int64Array::from(place)),
            Arc::new(BooleanArray::from(own)),
            Arc::new(StringArray::from(outdated)),
        ];
        self.put("run_order", RecordBatch::try_new(schema, columns)?)
    }

    /// The version of `runs` in which each run was recorded.
    async fn recorded_at(&self) -> Result<HashMap<String, i64>> {
        let sql = "SELECT run, min(version) FROM table_versions('runs') WHERE run IS NOT NULL GROUP BY run";
        let mut places = HashMap::new();
        for batch in self.session.sql(sql).await?.collect().await? {
            let runs = cast(batch.column(0), &DataType::Utf8)?;
            let versions = batch.column(1).as_primitive::<Int64Type>();
            for (run, version) in runs.as_string::<i32>().iter().zip(versions.values()) {
                places.extend(run.map(|run| (run.to_owned(), *version)));
            }
        }
        Ok(places)
    }

    fn put(&self, name: &str, batch: RecordBatch) -> Result<()> {
        let context = self.session.context();
        let catalog = context.catalog("lake").ok_or_else(|| Error::internal("the session has a catalog 'lake'"))?;
        let schema = match catalog.schema(SCHEMA) {
            Some(schema) => schema,
            None => {
                catalog.register_schema(SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
                catalog.schema(SCHEMA).ok_or_else(|| Error::internal("a schema was registered and is gone"))?
            }
        };
        schema.deregister_table(name)?;
        schema.register_table(name.to_owned(), Arc::new(SentRows::new(batch)?))?;
        Ok(())
    }
}

/// Name of the relation of a part's keys.
fn outdated_keys(part: &str) -> String {
    format!("outdated {}", part.replace('"', ""))
}

/// The conditions on the columns of `t`.
fn qualified(conditions: &[String]) -> String {
    conditions.iter().map(|condition| format!("t.{condition}")).collect::<Vec<_>>().join(" AND ")
}
