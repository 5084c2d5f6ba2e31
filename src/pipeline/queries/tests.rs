//! The query files as the program reads them, and as the engine plans them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{ObjectNamePart, Query as SqlQuery, Visit, Visitor};

use super::*;
use crate::models::cache::Models;
use crate::session::{Session, SessionOptions};
use crate::tables::check::check_batch;
use crate::tables::definition::{table, tables};
use crate::tables::lake::Lake;

/// What a name that stands where a table does reads: a table function reads tables of the lake by itself.
fn reads_of(name: &str) -> Vec<String> {
    let reads: &[&str] = match name {
        // Relations that an incremental run puts beside the tables.
        "run_order" | "read_corpus" | "generate_series" | "range" | "activations_on" | "table_versions" => &[],
        "weight_links" | "weight_tokens" | "similar_latents" => &[],
        "collect_activations" => &["token_sequences"],
        "firings" => &["token_sequences", "neurons"],
        "encode" => &["token_sequences"],
        "keyword_matches" => &["searchable_explanations"],
        "semantic_matches" => &["searchable_explanations", "explanation_vectors"],
        // "scores@$before" is a version of scores.
        table => &[table.split('@').next().unwrap_or(table)],
    };
    reads.iter().map(|&name| name.to_owned()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn session(folder: &Path) -> Session {
    let lake = Lake::at(folder.to_str().unwrap()).unwrap();
    Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap()
}

fn text(value: &str) -> Parameter {
    Parameter::Text(value.to_owned())
}

/// A value for every parameter of a stage.
fn values(query: &Query) -> Vec<(String, Parameter)> {
    let value = |name: &str| match name {
        "model" | "model_source" | "corpus" | "corpus_url" => text("default"),
        "hook_point" => text("blocks.0.mlp.hook_post"),
        "neurons" => text("all"),
        "collection" | "corpus_options" => text("{}"),
        "split_strategy" => text("document"),
        "explainer" | "simulator" => text("token_lookup"),
        "scorer" => text("detection"),
        "calibration" => text("none"),
        name if name.ends_with("_model") || name.ends_with("_source") => text("openai:gpt-4o"),
        "split" => text("valid"),
        "run" => text("run"),
        "firings_above" => Parameter::Number("0.99".to_owned()),
        _ => Parameter::Integer(16),
    };
    query.params.iter().map(|(name, _)| (name.clone(), value(name))).collect()
}

/// The tables and views a statement names where a table may stand, CTEs left out.
fn tables_named(sql: &str) -> BTreeSet<String> {
    #[derive(Default)]
    struct Names {
        found: BTreeSet<String>,
        local: BTreeSet<String>,
    }
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_query(&mut self, query: &SqlQuery) -> ControlFlow<()> {
            let with = query.with.iter().flat_map(|with| &with.cte_tables);
            self.local.extend(with.map(|cte| cte.alias.name.value.clone()));
            ControlFlow::Continue(())
        }

        fn pre_visit_relation(&mut self, name: &datafusion::sql::sqlparser::ast::ObjectName) -> ControlFlow<()> {
            if let Some(ObjectNamePart::Identifier(name)) = name.0.last() {
                self.found.insert(name.value.clone());
            }
            ControlFlow::Continue(())
        }
    }
    // EXPLAIN is a reserved word; the session quotes it the same way.
    let sql = sql.replace(" explain(", " \"explain\"(");
    let statements = DFParserBuilder::new(sql.as_str()).build().unwrap().parse_statements().unwrap();
    let mut names = Names::default();
    for statement in &statements {
        let Statement::Statement(statement) = statement else { panic!("expected a query, got: {sql}") };
        assert!(statement.visit(&mut names).is_continue());
    }
    names.found.retain(|name| !names.local.contains(name));
    names.found
}

#[test]
fn every_query_file_is_embedded_and_parses() {
    for kind in [
        Kind::Pipeline,
        Kind::View,
        Kind::Search,
        Kind::Incremental,
        Kind::History,
        Kind::Api,
        Kind::Viewer,
        Kind::Example,
    ] {
        let files: BTreeSet<String> = std::fs::read_dir(root().join("queries").join(kind.folder()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded: BTreeSet<String> = of_kind(kind).map(|query| format!("{}.sql", query.name)).collect();
        assert_eq!(files, embedded, "folder queries/{}/ and the list in src/pipeline/queries.rs", kind.folder());
    }
    for query in all() {
        assert!(query.summary.ends_with(['.', '?']), "{}: the summary is a sentence", query.name);
        assert_eq!(query.writes.is_some(), query.kind == Kind::Pipeline, "{}: writes", query.name);
        if query.kind == Kind::View {
            assert!(query.params.is_empty(), "{}: a view takes no parameters", query.name);
        }
        if query.kind == Kind::Example {
            let stray = query.params.iter().find(|(_, default)| default.is_none());
            assert_eq!(stray, None, "{}: an example runs as it is", query.name);
        }
    }
    assert!(of_kind(Kind::Example).count() >= 10);
}

#[test]
fn headers_name_the_tables_that_the_statement_names() {
    for query in all() {
        let named = tables_named(Query::select(&query.sql));
        let known: BTreeSet<String> =
            tables().iter().map(|t| t.name.clone()).chain(of_kind(Kind::View).map(|v| v.name.clone())).collect();
        let read: BTreeSet<String> = named.iter().flat_map(|name| reads_of(name)).collect();
        assert!(read.is_subset(&known), "{}: {read:?} are tables of schemas/ or views", query.name);
        assert_eq!(
            read,
            query.reads.iter().cloned().collect(),
            "queries/{}/{}.sql: reads",
            query.kind.folder(),
            query.name
        );
        if let Some(writes) = &query.writes {
            let first = query.sql.lines().next();
            assert_eq!(first, Some(format!("INSERT INTO {writes}").as_str()), "{}: writes", query.name);
        }
    }
}

#[test]
fn stages_form_a_chain() {
    let stages: Vec<&Query> = of_kind(Kind::Pipeline).collect();
    let mut written: BTreeSet<&str> = BTreeSet::new();
    for stage in &stages {
        let own = stage.writes.as_deref().unwrap();
        assert!(table(own).is_some(), "{}: no table '{own}'", stage.name);
        let views: BTreeSet<&str> = of_kind(Kind::View).map(|view| view.name.as_str()).collect();
        for read in stage.reads.iter().filter(|read| !views.contains(read.as_str())) {
            // Its own output tells a stage what is there already.
            assert!(read == own || written.contains(read.as_str()), "{}: '{read}' is written later", stage.name);
        }
        written.insert(own);
    }
    let without: Vec<&str> = tables().iter().map(|t| t.name.as_str()).filter(|name| !written.contains(name)).collect();
    assert_eq!(
        without,
        [
            "token_effects",
            "neuron_links",
            "completions",
            "explanation_vectors",
            "sparse_autoencoders",
            "training_steps",
            "autoencoder_metrics",
            "crosscoder_latents",
            "runs"
        ],
        "only importers, the store of replies, the search index, autoencoders and the pipeline write tables without a stage"
    );
    assert!(stages.is_sorted_by_key(|stage| stage.name.as_str()), "stages run in the order of their names");
}

#[tokio::test]
async fn every_stage_writes_the_columns_of_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    for query in of_kind(Kind::Pipeline) {
        let sql = query.bind(&values(query)).unwrap();
        let definition = table(query.writes.as_deref().unwrap()).unwrap();
        let plan = session.sql(Query::select(&sql)).await.unwrap_or_else(|error| panic!("{}: {error}", query.name));
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let got: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        let wanted: Vec<&String> = definition.schema.fields().iter().map(|field| field.name()).collect();
        assert_eq!(got, wanted, "{}", query.name);
        // The check that guards a write says whether the types fit.
        let empty = arrow::array::RecordBatch::new_empty(schema);
        check_batch(definition, &empty).unwrap_or_else(|error| panic!("{}: {error}", query.name));
        for column in [&query.unit, &query.resume].into_iter().flatten() {
            assert!(wanted.contains(&column), "{}: no column '{column}'", query.name);
        }
        if let Some(per) = &query.per {
            assert!(query.params.iter().any(|(name, _)| name == per), "{}: '${per}' is not used", query.name);
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "planning writes nothing");
}

#[tokio::test]
async fn every_view_and_example_runs_on_a_lake_without_units() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    // An example compares it with itself.
    crate::autoencoders::example::publish_example(&session).await.unwrap();
    for query in of_kind(Kind::View).chain(of_kind(Kind::Example)) {
        let sql = query.bind(&[]).unwrap();
        let rows = session.read_only_sql(&sql).await.unwrap_or_else(|error| panic!("{}: {error}", query.name));
        rows.collect().await.unwrap_or_else(|error| panic!("{}: {error}", query.name));
        let ordered = query.kind == Kind::View || sql.contains("\nORDER BY ");
        assert!(ordered, "{}: an example says in which order its rows come", query.name);
    }
}

#[test]
fn a_query_file_that_breaks_the_rules_is_refused() {
    let cases = [
        ("SELECT 1\n", "expected a '-- summary:' line"),
        ("-- summary: Counts.\n-- rates: scores\nSELECT 1\n", "unknown header field 'rates'"),
        ("-- summary: Counts.\n-- a remark\nSELECT 1\n", "expected a header '-- field: value', got '-- a remark'"),
        ("-- summary: Counts.\n-- params: layer\nSELECT $layer\n", "expected params such as"),
        ("-- summary: Counts.\nSELECT $layer\n", "'$layer' is not among its params"),
        ("-- summary: Counts.\n-- params: $layer\nSELECT 1\n", "param '$layer' is not used"),
        ("-- summary: Counts.\n-- params: $layer\nSELECT '$layer'\n", "param '$layer' is not used"),
        ("-- summary: Counts.\nSELECT 'open\n", "Unterminated string literal"),
    ];
    for (text, reason) in cases {
        let message = Query::parse(Kind::Example, "count", text).expect_err(text).to_string();
        assert!(message.starts_with("query file 'queries/examples/count.sql': "), "{message}");
        assert!(message.contains(reason), "expected '{reason}' in: {message}");
    }
}

fn query(params: &str, sql: &str) -> Query {
    let text = format!("-- summary: Tests.\n-- params: {params}\n{sql}\n");
    Query::parse(Kind::Example, "test", &text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn defaults_are_read_by_how_they_are_written() {
    let query = query("$a = 3, $b = 0.5, $c = 'it', $d = word, $e, $f = '3'", "SELECT $a, $b, $c, $d, $e, $f");
    let expected = [
        ("a", Some(Parameter::Integer(3))),
        ("b", Some(Parameter::Number("0.5".to_owned()))),
        ("c", Some(text("it"))),
        ("d", Some(text("word"))),
        ("e", None),
        ("f", Some(text("3"))),
    ];
    assert_eq!(query.params, expected.map(|(name, value)| (name.to_owned(), value)));
    for (given, expected) in [
        ("3", Parameter::Integer(3)),
        ("-3", Parameter::Integer(-3)),
        ("1e3", Parameter::Number("1e3".to_owned())),
        ("nan", text("nan")),
        ("inf", text("inf")),
        ("3 OR true", text("3 OR true")),
        ("", text("")),
    ] {
        assert_eq!(Parameter::parse(given), expected, "{given}");
    }
}

#[test]
fn only_placeholders_are_replaced() {
    let query = query("$x", "SELECT $x, '$x', \"$x\" -- $x\nFROM t /* $x */ WHERE a = $x");
    let bound = query.bind(&[("x".to_owned(), Parameter::Integer(7))]).unwrap();
    assert_eq!(bound, "SELECT 7, '$x', \"$x\" -- $x\nFROM t /* $x */ WHERE a = 7\n");
}

#[test]
fn a_version_in_a_table_name_takes_a_whole_number() {
    let query = query("$before", "SELECT a FROM \"scores@$before\" WHERE b = $before");
    let bound = query.bind(&[("before".to_owned(), Parameter::Integer(7))]).unwrap();
    assert_eq!(bound, "SELECT a FROM \"scores@7\" WHERE b = 7\n");
    let hostile = [("before".to_owned(), text("7\" JOIN runs ON \"x"))];
    let message = query.bind(&hostile).unwrap_err().to_string();
    assert!(message.contains("expected a whole number: the version of a table"), "{message}");
}

#[tokio::test]
async fn no_text_gets_out_of_its_quotes() {
    let folder = tempfile::tempdir().unwrap();
    let session = session(folder.path());
    let query = query("$x, $y = 'it''s'", "SELECT $x AS x, $y AS y, 'it''s' AS z");
    let hostile = [
        "'; DROP TABLE scores; --",
        "''",
        "'",
        "\\'; SELECT 1; --",
        "\\",
        "$x",
        "$y",
        "/*",
        "a\nb\0c",
        "${x} \"quoted\" `ticked`",
        "\u{2019} ä 漢",
        "",
    ];
    for value in hostile {
        let sql = query.bind(&[("x".to_owned(), text(value))]).unwrap();
        let batches = session.read_only_sql(&sql).await.unwrap().collect().await.unwrap();
        let cell = |column: usize| {
            let column = arrow::compute::cast(batches[0].column(column), &arrow::datatypes::DataType::Utf8).unwrap();
            arrow::array::AsArray::as_string::<i32>(&column).value(0).to_owned()
        };
        assert_eq!(cell(0), value, "{sql}");
        assert_eq!(cell(2), "it's", "{sql}");
    }
    for number in [Parameter::parse("-3"), Parameter::parse("-0.5"), Parameter::parse("1e3")] {
        let sql = query.bind(&[("x".to_owned(), number.clone())]).unwrap();
        session.read_only_sql(&sql).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}

#[test]
fn a_value_too_many_or_too_few_is_named() {
    let query = query("$layer, $limit = 3", "SELECT $layer, $limit");
    let one = |name: &str| [(name.to_owned(), Parameter::Integer(1))];
    assert_eq!(query.bind(&[]).unwrap_err().to_string(), "query 'test': expected layer=…, got 'nothing'");
    assert_eq!(
        query.bind(&one("depth")).unwrap_err().to_string(),
        "query 'test': expected parameters layer, limit, got 'depth=1'"
    );
    assert_eq!(query.bind(&one("layer")).unwrap(), "SELECT 1, 3\n");
    let none = Query::parse(Kind::Example, "none", "-- summary: Nothing.\nSELECT 1\n").unwrap();
    assert_eq!(none.bind(&one("x")).unwrap_err().to_string(), "query 'none': expected no parameters, got 'x=1'");
    assert_eq!(
        find("score_by_layr").unwrap_err().to_string(),
        "no query 'score_by_layr'; the nearest is 'score_by_layer'"
    );
}

#[test]
fn a_folder_replaces_the_stages_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let own = "-- summary: Mine.\n-- writes: scores\nINSERT INTO scores\nSELECT 1\n";
    std::fs::write(folder.path().join("60_scores.sql"), own).unwrap();
    let stages = pipeline(Some(folder.path())).unwrap();
    assert_eq!(stages.len(), of_kind(Kind::Pipeline).count());
    assert_eq!(stages.iter().find(|stage| stage.name == "60_scores").unwrap().summary, "Mine.");
    assert_eq!(stages[0].sql, find("00_documents").unwrap().sql);
    std::fs::write(folder.path().join("60_scores.sql"), "SELECT 1").unwrap();
    let message = pipeline(Some(folder.path())).unwrap_err().to_string();
    assert_eq!(message, "query file 'queries/pipeline/60_scores.sql': expected a '-- summary:' line");
}

#[test]
fn a_condition_is_written_out_as_it_was_read() {
    let cases = [
        ("layer >= 8 AND score > 0.5", "layer >= 8 AND score > 0.5"),
        ("mentions(text, 'king''s')", "mentions(text, 'king''s')"),
        ("text ~* 'a--b' -- a comment", "text ~* 'a--b'"),
        ("layer IN (1, 2) OR NOT (neuron = 3)", "layer IN (1, 2) OR NOT (neuron = 3)"),
    ];
    for (text, expected) in cases {
        assert_eq!(Parameter::condition("--where", text).unwrap(), Parameter::Expression(expected.to_owned()));
    }
}

#[test]
fn what_is_no_condition_is_refused() {
    let deep = "(".repeat(50_000);
    let long = "a".repeat(LONGEST_CONDITION + 1);
    let cases = [
        "",
        ";",
        "TRUE; DROP TABLE scores",
        "layer = 1) OR (TRUE",
        "DELETE FROM scores",
        "layer >",
        "'open",
        "1 LIMIT 5",
        &deep,
        &long,
    ];
    for text in cases {
        let error = Parameter::condition("--where", text).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(message.starts_with("--where: expected one SQL condition"), "{message}");
        assert!(message.len() < 1_000, "{}", message.len());
    }
}
