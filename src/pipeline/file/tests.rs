//! Pipeline files: what they mean, and everything that is wrong with one.

use std::path::Path;

use super::*;
use crate::pipeline::settings::Regenerate;

fn read(text: &str) -> ReadFile {
    ReadFile::parse(Path::new("nightly.toml"), text)
}

/// Every fault of a text, as a check tells them without a look at what is named.
fn faults(text: &str) -> Vec<String> {
    match check::check_values(&read(text)) {
        Ok(()) => Vec::new(),
        Err(Error::PipelineFile(faults)) => faults.faults.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_empty_file_is_the_run_without_options() {
    let parts = read("").file.parts(Regenerate::Missing, None).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(format!("{:?}", parts[0].settings), format!("{:?}", Settings::default()));
    assert_eq!(read("").name(), "nightly");
}

#[test]
fn every_model_meets_every_corpus() {
    let text = r#"
        name = "both"
        budget = "5usd"
        [[sources]]
        corpus = "a.txt"
        [[sources]]
        corpus = "b.jsonl"
        field = "body"
        [[models]]
        model = "./gpt2"
        hook = ["blocks.*.mlp.hook_post", "blocks.*.hook_resid_post"]
        layers = "0,3-5"
        neurons = "0-9"
        [[models]]
        model = "default"
        [collection]
        window = 32
        [scores]
        scorer = "embedding"
    "#;
    let read = read(text);
    assert_eq!(faults(text), Vec::<String>::new());
    let parts = read.file.parts(Regenerate::Changed, Some("scores")).unwrap();
    let named: Vec<(&str, &str)> =
        parts.iter().map(|part| (part.settings.model.as_str(), part.settings.corpus.as_str())).collect();
    assert_eq!(named, [("./gpt2", "a.txt"), ("./gpt2", "b.jsonl"), ("default", "a.txt"), ("default", "b.jsonl")]);
    let first = &parts[0].settings;
    assert_eq!((first.layers.as_slice(), first.hooks.len(), first.window_length), ([0, 3, 4, 5].as_slice(), 2, 32));
    assert_eq!((first.from.as_deref(), first.to.as_deref()), (Some("scores"), Some("scores")));
    assert_eq!(first.scorers, ["embedding"]);
    assert_eq!(parts[1].settings.field.as_deref(), Some("body"));
}

#[test]
fn queries_are_computed_where_the_file_says() {
    let engine = |text: &str| read(text).file.engine.to_string();
    assert_eq!(engine(""), "local");
    let text = "engine = \"ballista://workers:50050\"";
    assert_eq!((engine(text), faults(text)), ("ballista://workers:50050".to_owned(), vec![]));
    let told = faults("lake = \"./lake\"\nengine = \"spark://x\"");
    assert_eq!(
        told,
        [
            "line 2: engine: expected 'local' or the scheduler's address, as in 'ballista://127.0.0.1:50050', got 'spark://x'"
        ]
    );
}

#[test]
fn all_faults_are_told_at_once_each_with_its_line_and_field() {
    let text = r#"lake = "./lake"
budget = "5eur"
colour = "red"

[[sources]]
corpus = "a.txt"
limit = "ten"

[[models]]
layers = "3-1"
neurons = "none"
hok = "blocks.0.mlp.hook_post"

[collection]
window = 0
split = "halves"

[explanations]
samples = -1

[schedule]
cron = "61 * * * *"
time_zone = "Europe/Berln"

[retention]
days = "a week"
"#;
    let found = faults(text);
    let begins = [
        "line 2: budget: expected dollars or tokens",
        "line 3: colour: unknown field `colour`",
        "line 7: sources[0].limit: invalid type: string \"ten\"",
        "line 10: models[0].layers: expected a list such as 0,3 or 0-5",
        "line 11: models[0].neurons: ",
        "line 12: models[0].hok: unknown field `hok`",
        "line 15: collection.window: expected a whole number above 0, got '0'",
        "line 16: collection.split: expected 'document' or 'paper', got 'halves'",
        "line 19: explanations.samples: invalid value: integer `-1`",
        "line 22: schedule.cron: expected a cron expression such as '0 3 * * *'",
        "line 23: schedule.time_zone: expected a time zone by its IANA name (the nearest is 'Europe/Berlin')",
        "line 26: retention.days: invalid type: string \"a week\"",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (found, begin) in found.iter().zip(begins) {
        assert!(found.starts_with(begin), "expected '{begin}', got '{found}'");
    }
}

#[test]
fn text_that_is_no_toml_is_told_with_its_line() {
    let found = faults("lake = \"./lake\"\nname = \n[scores\n");
    assert!(found.iter().any(|fault| fault.starts_with("line 2: expected TOML: ")), "{found:#?}");
}

#[test]
fn a_schedule_needs_its_times() {
    let found = faults("[schedule]\ntime_zone = \"UTC\"\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("missing field `cron`"), "{found:#?}");
    assert_eq!(faults("[schedule]\ncron = \"0 3 * * *\"\n"), Vec::<String>::new());
}

#[test]
fn names_that_cannot_be_part_of_a_path_are_refused() {
    for name in ["a/b", "", "../x", "a b"] {
        assert!(!faults(&format!("name = \"{name}\"\n")).is_empty(), "{name}");
    }
}

/// The keys of a section, from serde's own words about one that is unknown.
fn keys(section: &str) -> Vec<String> {
    let text = if section.is_empty() { "zzz = 1".to_owned() } else { format!("{section}\nzzz = 1") };
    let error = toml::from_str::<PipelineFile>(&text).unwrap_err().message().to_owned();
    let (_, expected) = error.split_once("expected ").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_tells_of_every_key_and_of_no_other() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipeline.md")).unwrap();
    let sections = [
        "",
        "[[sources]]",
        "[[models]]",
        "[collection]",
        "[explanations]",
        "[scores]",
        "[language_models]",
        "[schedule]",
        "[retention]",
    ];
    for section in sections {
        let heading = if section.is_empty() { "## The file itself".to_owned() } else { format!("## `{section}`") };
        let (_, rest) = page.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no heading '{heading}'"));
        let part = rest.split("\n## ").next().unwrap();
        let told: Vec<String> =
            part.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
        let named = |key: &&String| !sections.iter().any(|section| section.trim_matches(['[', ']']) == key.as_str());
        let known: Vec<String> = keys(section).iter().filter(named).cloned().collect();
        assert_eq!(told, known, "docs/pipeline.md, {heading}");
    }
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(faults(example), Vec::<String>::new(), "the example of docs/pipeline.md");
}
