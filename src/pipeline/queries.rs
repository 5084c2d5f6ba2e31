//! `queries/**/*.sql` as values: headers that the program reads, SQL that the engine runs.

use std::path::Path;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// Bytes of a condition at most: the parser goes as deep as its brackets.
const LONGEST_CONDITION: usize = 100_000;

macro_rules! queries {
    ($folder:literal, $kind:ident: $($name:literal),* $(,)?) => {
        &[$((Kind::$kind, $name, include_str!(concat!("../../queries/", $folder, "/", $name, ".sql")))),*]
    };
}

/// Every file of `queries/`, each folder in the order in which its files stand.
static FILES: &[&[(Kind, &str, &str)]] = &[
    queries!(
        "pipeline", Pipeline:
        "00_documents",
        "10_token_sequences",
        "20_neurons",
        "30_activation_records",
        "32_token_activations",
        "34_activations",
        "36_encoded_activations",
        "40_explanations",
        "42_record_explanations",
        "46_revisions",
        "50_simulations",
        "52_text_simulations",
        "54_judgements",
        "60_scores",
        "62_judgement_scores",
        "64_ablation_scores",
    ),
    queries!(
        "views", View:
        "best_explanations",
        "chosen_explanations",
        "coactivations",
        "costs",
        "exchange_units",
        "explanation_scorers",
        "explanation_scores",
        "latent_differences",
        "latent_statistics",
        "neuron_costs",
        "neuron_summary",
        "record_tokens",
        "scorer_agreement",
        "scorers_side_by_side",
        "searchable_explanations",
        "simulation_failures",
    ),
    queries!(
        "api", Api:
        "listed_activations",
        "listed_explanations",
        "listed_models",
        "listed_records",
        "listed_scores",
        "listed_statistics",
        "listed_units",
    ),
    queries!(
        "viewer", Viewer:
        "best_units",
        "browse_count",
        "browse_hook_points",
        "browse_units",
        "compare_explanations",
        "compare_scores",
        "compare_unit_windows",
        "compare_units",
        "compare_version_changes",
        "compare_version_counts",
        "compare_versions",
        "compare_windows",
        "lake_costs",
        "lake_counts",
        "lake_hook_points",
        "lucky_unit",
        "neuron_alike",
        "neuron_connections",
        "neuron_corpora",
        "neuron_effects",
        "neuron_explanations",
        "neuron_judges",
        "neuron_neighbours",
        "neuron_own_score",
        "neuron_promoted",
        "neuron_records",
        "neuron_scores",
        "neuron_simulations",
        "neuron_simulators",
        "neuron_statistics",
        "neuron_tokens",
        "newest_runs",
        "score_histogram",
        "score_overview",
        "text_layers",
        "text_tokens",
        "text_unit",
        "text_units",
        "text_units_at",
        "vector_counts",
        "worst_units",
    ),
    queries!("search", Search: "keyword", "semantic", "hybrid"),
    queries!(
        "incremental", Incremental:
        "changed_documents",
        "explanations_behind",
        "scores_behind_judgements",
        "scores_behind_simulations",
        "simulations_behind",
        "token_sequences_behind",
    ),
    queries!(
        "history", History:
        "score_changes",
        "score_change_counts",
        "versions",
    ),
    queries!(
        "examples", Example:
        "best_explained",
        "best_layer",
        "explanations_mentioning",
        "firing_together",
        "latent_classes",
        "model_differences",
        "most_polysemantic",
        "neurons_of_token",
        "score_against_density",
        "score_by_layer",
        "scores_without_value",
        "shared_top_tokens",
        "simulation_gaps",
        "split_latents",
        "top_windows",
        "unreliable_scores",
    ),
];

/// Which folder a query file stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `queries/pipeline`: a stage, writes one table.
    Pipeline,
    /// `queries/views`: present by name in every session.
    View,
    /// `queries/search`: what `neuronlake search` runs.
    Search,
    /// `queries/incremental`: which rows of a stage are older than what they were made of.
    Incremental,
    /// `queries/history`: what `neuronlake history` and `neuronlake diff` show.
    History,
    /// `queries/api`: what a program gets below `/api/v1`.
    Api,
    /// `queries/viewer`: what a page of the viewer shows.
    Viewer,
    /// `queries/examples`: an analysis for people.
    Example,
}

impl Kind {
    /// The folder below `queries/`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::View => "views",
            Self::Search => "search",
            Self::Incremental => "incremental",
            Self::History => "history",
            Self::Api => "api",
            Self::Viewer => "viewer",
            Self::Example => "examples",
        }
    }
}

/// A value that can stand for a `$name` in a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number, as written.
    Number(String),
    /// An SQL expression, parsed and written out again: it goes in as it is, in brackets.
    Expression(String),
}

impl Parameter {
    /// A command-line value: a number when it reads as one, else text.
    pub fn parse(text: &str) -> Self {
        match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(integer), _) => Self::Integer(integer),
            (_, Ok(number)) if number.is_finite() => Self::Number(text.to_owned()),
            _ => Self::Text(text.to_owned()),
        }
    }

    /// The condition that every row meets.
    pub fn everything() -> Self {
        Self::Expression("TRUE".to_owned())
    }

    /// The one expression that a person's text is, written out anew: nothing but an expression can come of it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a text that is no expression, more than one, or longer than 100,000 bytes.
    pub fn condition(argument: &str, text: &str) -> Result<Self> {
        let fault = |reason: String| Error::Argument {
            argument: argument.to_owned(),
            expected: "one SQL condition, such as layer >= 8 AND score > 0.5".to_owned(),
            got: reason,
        };
        if text.len() > LONGEST_CONDITION {
            return Err(fault(format!("it has {} bytes, at most {LONGEST_CONDITION} are taken", text.len())));
        }
        let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
        let mut parser = parser.map_err(|e| fault(e.to_string()))?;
        let expression = parser.parse_expr().map_err(|e| fault(e.to_string()))?;
        match parser.next_token().token {
            Token::EOF => Ok(Self::Expression(expression.to_string())),
            more => Err(fault(format!("'{more}' follows the condition"))),
        }
    }

    /// The value as an SQL literal.
    pub fn to_sql(&self) -> String {
        match self {
            Self::Text(text) => Token::SingleQuotedString(text.replace('\'', "''")).to_string(),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => number.clone(),
            Self::Expression(expression) => format!("({expression})"),
        }
    }
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Expression(expression) => write!(f, "{expression}"),
        }
    }
}

/// One file of `queries/`.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its folder.
    pub kind: Kind,
    /// File name without `.sql`.
    pub name: String,
    /// What it answers or does, one sentence.
    pub summary: String,
    /// Tables and views it reads.
    pub reads: Vec<String>,
    /// The table it writes; `None` but for pipeline queries.
    pub writes: Option<String>,
    /// The column whose values the stage is run for one by one, as `$<column>`; `None` for a stage run once.
    pub per: Option<String>,
    /// The column whose rows are committed together; the query's rows come sorted by it.
    pub unit: Option<String>,
    /// The column whose largest stored value is bound to `$after`.
    pub resume: Option<String>,
    /// Names after `$`, with their default where the header gives one.
    pub params: Vec<(String, Option<Parameter>)>,
    /// The statement.
    pub sql: String,
}

impl Query {
    /// Parses a query file: `-- field: value` lines, then one statement.
    ///
    /// # Errors
    /// [`Error::QueryFile`] for an unknown field, a missing summary, or parameters that differ from those used.
    pub fn parse(kind: Kind, name: &str, text: &str) -> Result<Self> {
        let file = format!("queries/{}/{name}.sql", kind.folder());
        let fault = |reason: String| Error::QueryFile { file: file.clone(), reason };
        let mut query = Self {
            kind,
            name: name.to_owned(),
            summary: String::new(),
            reads: Vec::new(),
            writes: None,
            per: None,
            unit: None,
            resume: None,
            params: Vec::new(),
            sql: String::new(),
        };
        let mut lines = text.lines();
        for line in lines.by_ref() {
            let Some(header) = line.strip_prefix("-- ") else {
                query.sql = format!("{line}\n");
                break;
            };
            let (field, value) = header
                .split_once(':')
                .ok_or_else(|| fault(format!("expected a header '-- field: value', got '{line}'")))?;
            let value = value.trim();
            let one = || (!value.is_empty()).then(|| value.to_owned());
            match field {
                "summary" => value.clone_into(&mut query.summary),
                "reads" => query.reads = list(value).map(str::to_owned).collect(),
                "writes" => query.writes = one(),
                "per" => query.per = one(),
                "unit" => query.unit = one(),
                "resume" => query.resume = one(),
                "params" => {
                    query.params = list(value).map(parameter).collect::<Option<_>>().ok_or_else(|| {
                        fault(format!("expected params such as '$layer = 3, $word = 'plural'', got '{value}'"))
                    })?
                }
                other => return Err(fault(format!("unknown header field '{other}'"))),
            }
        }
        query.sql.extend(lines.map(|line| format!("{line}\n")));
        if query.summary.is_empty() {
            return Err(fault("expected a '-- summary:' line".to_owned()));
        }
        let used = placeholders(&query.sql).map_err(&fault)?;
        if let Some(stray) = used.iter().find(|name| !query.params.iter().any(|(param, _)| param == *name)) {
            return Err(fault(format!("'${stray}' is not among its params")));
        }
        if let Some((unused, _)) = query.params.iter().find(|(param, _)| !used.contains(param)) {
            return Err(fault(format!("param '${unused}' is not used")));
        }
        Ok(query)
    }

    /// The statement with every `$name` replaced by a literal; defaults fill what `values` leaves out.
    ///
    /// Table functions take literals only, so parameters are bound in the text, token by token, and not by the planner.
    ///
    /// # Errors
    /// [`Error::Argument`] for a value that no parameter takes, or a parameter left without one.
    pub fn bind(&self, values: &[(String, Parameter)]) -> Result<String> {
        if let Some((stray, value)) = values.iter().find(|(name, _)| !self.params.iter().any(|(p, _)| p == name)) {
            let known = self.params.iter().map(|(p, _)| p.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::Argument {
                argument: format!("query '{}'", self.name),
                expected: if known.is_empty() { "no parameters".to_owned() } else { format!("parameters {known}") },
                got: format!("{stray}={value}"),
            });
        }
        let tokens = tokens(&self.sql).map_err(Error::internal)?;
        let mut sql = String::with_capacity(self.sql.len());
        for token in tokens {
            let Some(name) = placeholder(&token) else {
                sql.push_str(&written(&token));
                continue;
            };
            let given = values.iter().find(|(n, _)| n == name).map(|(_, value)| value);
            let default = || self.params.iter().find(|(n, _)| n == name).and_then(|(_, default)| default.as_ref());
            let value = given.or_else(default).ok_or_else(|| Error::Argument {
                argument: format!("query '{}'", self.name),
                expected: format!("{name}=…"),
                got: "nothing".to_owned(),
            })?;
            match (&token, value) {
                (Token::Placeholder(_), value) => sql.push_str(&value.to_sql()),
                (token, Parameter::Integer(version)) => {
                    sql.push_str(&token.to_string().replace(&format!("${name}"), &version.to_string()));
                }
                (_, other) => {
                    return Err(Error::Argument {
                        argument: format!("query '{}', {name}", self.name),
                        expected: "a whole number: the version of a table".to_owned(),
                        got: other.to_string(),
                    });
                }
            }
        }
        Ok(sql)
    }

    /// The SELECT of a stage, without its `INSERT INTO table`.
    pub fn select(sql: &str) -> &str {
        match sql.split_once('\n') {
            Some((first, rest)) if first.starts_with("INSERT INTO ") => rest,
            _ => sql,
        }
    }
}

/// Every query file, parsed.
pub fn all() -> &'static [Query] {
    static QUERIES: LazyLock<Vec<Query>> = LazyLock::new(|| {
        FILES
            .iter()
            .flat_map(|folder| folder.iter())
            .map(|(kind, name, text)| {
                Query::parse(*kind, name, text).expect("the embedded query files parse: a test parses each")
            })
            .collect()
    });
    &QUERIES
}

/// The queries of one folder.
pub fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Query> {
    all().iter().filter(move |query| query.kind == kind)
}

/// A query by its file name.
///
/// # Errors
/// [`Error::QueryUnknown`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Query> {
    all().iter().find(|query| query.name == name).ok_or_else(|| {
        let nearest = all()
            .iter()
            .map(|query| (strsim::jaro_winkler(&query.name, name), &query.name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name.clone());
        Error::QueryUnknown { name: name.to_owned(), nearest }
    })
}

/// The pipeline queries, from `directory` where it holds a file of the same name, for experiments.
///
/// # Errors
/// When a file cannot be read or parsed.
pub fn pipeline(directory: Option<&Path>) -> Result<Vec<Query>> {
    of_kind(Kind::Pipeline)
        .map(|query| match directory.map(|dir| dir.join(format!("{}.sql", query.name))) {
            Some(path) if path.exists() => {
                let text = std::fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
                Query::parse(Kind::Pipeline, &query.name, &text)
            }
            _ => Ok(query.clone()),
        })
        .collect()
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn parameter(text: &str) -> Option<(String, Option<Parameter>)> {
    let (name, default) = match text.split_once('=') {
        None => (text, None),
        Some((name, default)) => {
            let default = default.trim();
            let unquoted = default.strip_prefix('\'').and_then(|d| d.strip_suffix('\''));
            let written = || match default {
                "TRUE" => Parameter::Expression(default.to_owned()),
                other => Parameter::parse(other),
            };
            (name.trim(), Some(unquoted.map_or_else(written, |d| Parameter::Text(d.to_owned()))))
        }
    };
    Some((name.strip_prefix('$')?.to_owned(), default))
}

/// The statement with another relation wherever a table is read by its own name.
pub(crate) fn with_relation(sql: &str, table: &str, relation: &str) -> Result<String> {
    let mut text = String::with_capacity(sql.len() + relation.len());
    let mut reads = false;
    for token in tokens(sql).map_err(Error::internal)? {
        match &token {
            Token::Whitespace(_) => {}
            Token::Word(word) if reads && word.quote_style.is_none() && word.value == table => {
                text.push_str(relation);
                reads = false;
                continue;
            }
            Token::Word(word) => {
                reads = ["FROM", "JOIN"].iter().any(|keyword| word.value.eq_ignore_ascii_case(keyword));
            }
            _ => reads = false,
        }
        text.push_str(&written(&token));
    }
    Ok(text)
}

/// A token as it may be written; the tokenizer has undone the escapes of `E'…'`, its display does not put them back.
pub(crate) fn written(token: &Token) -> String {
    match token {
        Token::EscapedStringLiteral(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        other => other.to_string(),
    }
}

fn tokens(sql: &str) -> std::result::Result<Vec<Token>, String> {
    Tokenizer::new(&GenericDialect {}, sql).with_unescape(false).tokenize().map_err(|e| e.to_string())
}

/// The parameter that a token stands for: `$name`, or the version in a quoted table name, `"scores@$name"`.
fn placeholder(token: &Token) -> Option<&str> {
    match token {
        Token::Placeholder(name) => Some(name.trim_start_matches('$')),
        Token::Word(word) if word.quote_style == Some('"') => word.value.split_once("@$").map(|(_, name)| name),
        _ => None,
    }
}

fn placeholders(sql: &str) -> std::result::Result<Vec<String>, String> {
    let mut names = Vec::new();
    for token in tokens(sql)? {
        if let Some(name) = placeholder(&token).filter(|name| !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
