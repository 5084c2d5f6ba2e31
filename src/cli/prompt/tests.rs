//! The prompt without a terminal: cutting, commands, completion, scripts.

use std::path::PathBuf;

use proptest::prelude::*;

use super::command::Command;
use super::complete::candidates;
use super::statements::Statements;
use super::{Executor, Names, View, history_path, run_script};
use crate::cli::table::{Format, Layout};
use crate::error::{Error, Result};

const VIEW: View = View { format: Format::Table, layout: Layout::Rows };

/// Remembers what it should have run; fails at `fail`.
#[derive(Default)]
struct Recorder {
    ran: Vec<(String, View)>,
}

impl Executor for Recorder {
    async fn execute(&mut self, sql: &str, view: View) -> Result<()> {
        if sql == "fail" {
            return Err(Error::Internal { reason: "as asked".to_owned() });
        }
        self.ran.push((sql.to_owned(), view));
        Ok(())
    }

    async fn names(&mut self) -> Names {
        Names::default()
    }
}

fn run(script: &str) -> (Vec<(String, View)>, Result<()>) {
    let mut recorder = Recorder::default();
    let outcome = futures::executor::block_on(run_script(&mut recorder, VIEW, script.as_bytes()));
    (recorder.ran, outcome)
}

fn cut(text: &str) -> Vec<String> {
    let mut statements = Statements::default();
    let mut complete: Vec<String> = text.lines().flat_map(|line| statements.push_line(line)).collect();
    complete.extend(statements.take_rest());
    complete
}

#[test]
fn statements_end_at_semicolons_outside_quotes_and_comments() {
    let check = |text: &str, expected: &[&str]| assert_eq!(cut(text), expected, "{text:?}");
    check("", &[]);
    check(";;", &[]);
    check("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]);
    check("SELECT\n  1\n;", &["SELECT\n  1"]);
    check("SELECT 'a;b', \"c;d\", `e;f`; x", &["SELECT 'a;b', \"c;d\", `e;f`", "x"]);
    check("SELECT 'it''s;'; x", &["SELECT 'it''s;'", "x"]);
    check("SELECT 'a\n;\nb'; x", &["SELECT 'a\n;\nb'", "x"]);
    check("-- note; more\n;", &[]);
    check("SELECT 1 -- one; 'two\n, 2;", &["SELECT 1 -- one; 'two\n, 2"]);
    check("SELECT /* a; /* b; */ c; */ 1;", &["SELECT /* a; /* b; */ c; */ 1"]);
    check("SELECT $$a;b$$, $x$c;$$;d$x$; y", &["SELECT $$a;b$$, $x$c;$$;d$x$", "y"]);
    check("SELECT $1; SELECT $2", &["SELECT $1", "SELECT $2"]);
    check("SELECT '中;🦀'; x", &["SELECT '中;🦀'", "x"]);
}

#[test]
fn commands_are_parsed_strictly() {
    let check = |line: &str, expected| assert_eq!(Command::parse(line), Ok(expected), "{line}");
    check("\\q", Command::Quit);
    check("\\q;", Command::Quit);
    check("\\d", Command::Tables);
    check("\\d  scores ", Command::Columns("scores".to_owned()));
    check("\\df", Command::Functions);
    check("\\x", Command::Expanded);
    check("\\i my file.sql", Command::Include(PathBuf::from("my file.sql")));
    check("\\format CSV", Command::Format(Format::Csv));
    check("\\?", Command::Help);
    for line in ["\\", "\\quit", "\\i", "\\format", "\\format xml", "\\q now", "\\df x"] {
        let reason = Command::parse(line).expect_err(line);
        assert!(reason.starts_with("expected "), "{reason}");
    }
}

#[test]
fn a_script_runs_until_its_first_error() {
    let (ran, outcome) = run("SELECT 1;\n\\format csv\nSELECT\n2; fail; SELECT 3;");
    let csv = View { format: Format::Csv, ..VIEW };
    assert_eq!(ran, [("SELECT 1".to_owned(), VIEW), ("SELECT\n2".to_owned(), csv)]);
    assert!(matches!(outcome, Err(Error::Internal { .. })));
    let (ran, outcome) = run("\\d\n\\d t\n\\df\nSELECT 'a\n\\q\n';\n\\q\nSELECT 1;");
    let ran: Vec<_> = ran.into_iter().map(|(sql, _)| sql).collect();
    assert_eq!(ran, ["SHOW TABLES", "DESCRIBE t", "SHOW FUNCTIONS", "SELECT 'a\n\\q\n'"]);
    assert!(outcome.is_ok());
    let (_, outcome) = run("\\nonsense");
    assert!(matches!(outcome, Err(Error::PromptCommand { .. })));
}

#[test]
fn files_are_included_and_cycles_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (outer, inner) = (folder.path().join("outer.sql"), folder.path().join("inner.sql"));
    std::fs::write(&outer, format!("\\i {}\nSELECT 2;", inner.display())).expect("a file");
    std::fs::write(&inner, "\\format json\nSELECT 1").expect("a file");
    let (ran, outcome) = run(&format!("\\i {}", outer.display()));
    assert!(outcome.is_ok());
    let json = View { format: Format::Json, ..VIEW };
    assert_eq!(ran, [("SELECT 1".to_owned(), json), ("SELECT 2".to_owned(), json)]);
    std::fs::write(&inner, format!("\\i {}", inner.display())).expect("a file");
    let (_, outcome) = run(&format!("\\i {}", inner.display()));
    assert!(matches!(outcome, Err(Error::PromptCommand { .. })));
    let (_, outcome) = run(&format!("\\i {}/none.sql", folder.path().display()));
    assert!(matches!(outcome, Err(Error::File { .. })));
}

#[test]
fn completion_knows_names_and_where_they_fit() {
    let names = Names {
        tables: vec!["scores".to_owned(), "simulations".to_owned()],
        columns: vec!["simulator".to_owned(), "scale".to_owned()],
        functions: vec!["simulate".to_owned()],
    };
    let check = |line: &str, start: usize, expected: &[&str]| {
        let (at, found) = candidates(line, line.len(), &names);
        assert_eq!((at, found.iter().map(String::as_str).collect::<Vec<_>>()), (start, expected.to_vec()), "{line}");
    };
    check("SELECT sim", 7, &["simulate(", "simulations", "simulator"]);
    check("SELECT SIM", 7, &["simulate(", "simulations", "simulator"]);
    check("SELECT a.sca", 9, &["scale"]);
    check("wher", 0, &["WHERE"]);
    check("中sc", 0, &[]);
    check("SELECT '中',sc", 13, &["scale", "scores"]);
    check("\\", 0, &["\\?", "\\d", "\\df", "\\format", "\\i", "\\q", "\\x"]);
    check("\\d ", 3, &["scores", "simulations"]);
    check("\\d sc", 3, &["scores"]);
    check("\\format j", 8, &["json", "jsonl"]);
    check("SELECT ", 7, &[]);
}

#[test]
fn the_history_has_its_place() {
    let check = |variables: &[(&str, &str)], expected: Option<&str>| {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(history_path(find), expected.map(PathBuf::from), "{variables:?}");
    };
    check(&[("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")], Some("/state/neuronlake/history"));
    check(&[("XDG_STATE_HOME", "relative"), ("HOME", "/home/a")], Some("/home/a/.local/state/neuronlake/history"));
    check(&[("HOME", "/home/a")], Some("/home/a/.local/state/neuronlake/history"));
    check(&[], None);
}

proptest! {
    #[test]
    fn any_input_is_cut_and_completed(text in "[a-z;'\"$/*\\- \n\\\\中]{0,60}", at in 0_usize..80) {
        let statements = cut(&text);
        prop_assert!(statements.iter().all(|statement| !statement.trim().is_empty()));
        let (start, _) = candidates(&text, at, &Names::default());
        prop_assert!(text.is_char_boundary(start));
        let _ = Command::parse(&text);
    }
}
