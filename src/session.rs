//! The one place that makes a `SessionContext`: the lake's tables and views, our functions, our rules for the optimiser.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use parking_lot::RwLock;

use crate::completions::language_models::{LanguageModelOptions, LanguageModels};
use crate::error::{Error, Result};
use crate::functions::{self, Host, IndexedViews, MethodRegistry, Scratch};
use crate::models::cache::Models;
use crate::models::latents::Autoencoders;
use crate::neurons::pass::PassProgress;
use crate::pipeline::queries::{Kind, of_kind, written};
use crate::scores::leak::LeakRule;
use crate::search::build::SearchIndex;
use crate::tables::catalog::{LakeSchema, View};
use crate::tables::kept_columns::KeptColumns;
use crate::tables::lake::Lake;

mod access;
mod constants;
mod engine;

pub use access::Access;
use constants::ConstantsAfterSort;
pub use engine::Engine;

/// Consumers of memory that an error names.
const TOLD_CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not 0");

/// What a session may use.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Bytes that sorts, joins and aggregates may hold before they spill to disk.
    pub memory_limit: usize,
    /// Of these, bytes for decoded columns of tables that are asked again; 0 keeps none, which is right where one query is asked.
    pub kept_columns: usize,
    /// Rows of a batch. Small where rows hold many windows.
    pub batch_rows: usize,
    /// Where language models are, and what they may cost.
    pub languages: LanguageModelOptions,
    /// What statements may do.
    pub access: Access,
    /// Where queries are computed.
    pub engine: Engine,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            memory_limit: 2 << 30,
            kept_columns: 0,
            batch_rows: 8_192,
            languages: LanguageModelOptions::default(),
            access: Access::Full,
            engine: Engine::Local,
        }
    }
}

impl SessionOptions {
    /// For a session that lives on and is asked about the same tables again: a quarter of its memory is for decoded columns.
    #[must_use]
    pub fn asked_again(self) -> Self {
        Self { kept_columns: self.memory_limit / 4, ..self }
    }
}

/// A way back to the engine for functions that run queries of their own; the engine owns them, hence weak.
#[derive(Clone)]
pub(crate) struct WeakSession(Weak<RwLock<SessionState>>);

impl WeakSession {
    pub(crate) fn of(context: &SessionContext) -> Self {
        Self(context.state_weak_ref())
    }

    /// The engine, as it is now.
    ///
    /// # Errors
    /// When it is being dropped.
    pub(crate) fn context(&self) -> Result<SessionContext> {
        let state = self.0.upgrade().ok_or_else(|| Error::internal("the session is gone"))?;
        let state = state.read().clone();
        Ok(SessionContext::new_with_state(state))
    }
}

/// An engine over one lake.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    engine: Engine,
    lake: Lake,
    models: Arc<Models>,
    methods: Arc<MethodRegistry>,
    progress: Arc<PassProgress>,
    search: Arc<SearchIndex>,
    scratch: Arc<Scratch>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("lake", &self.lake).finish_non_exhaustive()
    }
}

impl Session {
    /// Opens an engine over a lake; no table is read before a query names it.
    ///
    /// # Errors
    /// When the engine refuses its configuration.
    pub fn open(lake: Lake, models: Arc<Models>, options: SessionOptions) -> Result<Self> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_batch_size(options.batch_rows)
            .with_default_catalog_and_schema("lake", "main")
            .with_create_default_catalog_and_schema(false)
            // A score that is undefined must not head a list of the best.
            .set_str("datafusion.sql_parser.default_null_ordering", "nulls_last")
            .set_str("datafusion.execution.time_zone", "UTC")
            // It takes `f(x)['a'], f(x)['b']` apart, also where f asks a language model: f would be called once a field, and below the
            // join that leaves out what is there already.
            .set_bool("datafusion.optimizer.enable_leaf_expression_pushdown", false)
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
            .set_bool("datafusion.execution.parquet.schema_force_view_types", false);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_limit.saturating_sub(options.kept_columns))))
            .build_arc()?;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rule(Arc::new(LeakRule))
            .with_optimizer_rule(Arc::new(ConstantsAfterSort))
            .build();
        let context = SessionContext::new_with_state(options.engine.upgrade(state)?);
        if let Some((root, store)) = lake.object_store() {
            context.register_object_store(root, store);
        }

        let views =
            of_kind(Kind::View).map(|query| View { name: query.name.clone(), sql: query.sql.clone() }).collect();
        let search = Arc::new(SearchIndex::new(&lake));
        let schema = Arc::new(LakeSchema::new(
            lake.clone(),
            views,
            Arc::new(IndexedViews::new(&search)),
            options.engine.folder_columns(),
            (options.kept_columns > 0).then(|| Arc::new(KeptColumns::with_room(options.kept_columns))),
        ));
        schema.attach(&context);
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("main", schema)?;
        context.register_catalog("lake", Arc::new(catalog));
        if let Some(folder) = lake.autoencoders_path() {
            models.attach(Autoencoders::in_folder(folder));
        }
        let progress = Arc::new(PassProgress::default());
        let methods = Arc::new(MethodRegistry::new(LanguageModels::open(LanguageModelOptions {
            lake: Some(lake.clone()),
            ..options.languages
        })?));
        let scratch = Arc::new(Scratch::of(&lake));
        let host = Host {
            session: WeakSession::of(&context),
            lake: lake.clone(),
            models: Arc::clone(&models),
            progress: Arc::clone(&progress),
            methods: Arc::clone(&methods),
            search: Arc::clone(&search),
            scratch: Arc::clone(&scratch),
            engine: options.engine.clone(),
        };
        functions::register(&context, &host);
        options.access.restrict(&context);
        Ok(Self { context, engine: options.engine, lake, models, methods, progress, search, scratch })
    }

    /// Plans a query.
    ///
    /// # Errors
    /// When the text is not SQL, names what is not there, or would score what the explainer saw.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        Ok(self.context.sql(&callable(sql)).await?)
    }

    /// Plans a query that may only read: no DDL, no DML, no settings.
    ///
    /// # Errors
    /// As [`Session::sql`], and [`Error::Refused`] for a statement that would change anything.
    pub async fn read_only_sql(&self, sql: &str) -> Result<DataFrame> {
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let plan = self.understand(sql).await?;
        options.verify_plan(&plan).map_err(|error| Error::Refused {
            what: "a statement that does more than read".to_owned(),
            reason: error.strip_backtrace().trim_start_matches("Error during planning: ").to_owned(),
        })?;
        Ok(self.context.execute_logical_plan(plan).await?)
    }

    /// Plans a statement and does nothing, where [`Session::sql`] does at once what changes no rows.
    ///
    /// # Errors
    /// As [`Session::sql`].
    pub(crate) async fn understand(&self, sql: &str) -> Result<LogicalPlan> {
        Ok(self.context.state().create_logical_plan(&callable(sql)).await?)
    }

    /// The same engine with memory of its own for one query.
    pub(crate) fn with_memory(&self, bytes: usize) -> Self {
        let state = self.context.state();
        let shared = state.runtime_env();
        let pool: Arc<dyn MemoryPool> = Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), TOLD_CONSUMERS));
        let runtime = RuntimeEnv { memory_pool: pool, ..shared.as_ref().clone() };
        let state = SessionStateBuilder::new_from_existing(state).with_runtime_env(Arc::new(runtime)).build();
        Self { context: SessionContext::new_with_state(state), ..self.clone() }
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The subject models, loaded on first use.
    pub fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// Explainers, simulators and judges, with the language models behind them.
    pub fn methods(&self) -> &Arc<MethodRegistry> {
        &self.methods
    }

    /// The search index of the lake.
    pub(crate) fn search(&self) -> &Arc<SearchIndex> {
        &self.search
    }

    /// The folder that collections of activations wait in.
    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// How far the pass under way is.
    pub fn progress(&self) -> &PassProgress {
        &self.progress
    }

    /// The engine underneath, for servers and for docs.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }
}

/// The text with the function name `explain` quoted wherever it is called.
///
/// EXPLAIN is a reserved word, and after a comma the parser takes it for the end of the list; as the first word of a
/// statement it stays what it is. A text that cannot be cut into tokens is left to the parser to complain about.
fn callable(sql: &str) -> Cow<'_, str> {
    if !sql.to_ascii_lowercase().contains("explain") {
        return Cow::Borrowed(sql);
    }
    let Ok(mut tokens) = Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize() else {
        return Cow::Borrowed(sql);
    };
    let mut statement_start = true;
    for index in 0..tokens.len() {
        let called = tokens[index + 1..].iter().find(|token| !matches!(token, Token::Whitespace(_)));
        let called = called == Some(&Token::LParen);
        match &mut tokens[index] {
            Token::Whitespace(_) => continue,
            Token::Word(word) if called && !statement_start && word.value.eq_ignore_ascii_case("explain") => {
                "explain".clone_into(&mut word.value);
                word.quote_style = Some('"');
            }
            _ => {}
        }
        statement_start = tokens[index] == Token::SemiColon;
    }
    Cow::Owned(tokens.iter().map(written).collect())
}

#[cfg(test)]
mod tests;
