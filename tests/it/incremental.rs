//! What is made anew when prompts, judgements, simulations or the texts under a revision are others. A language model by rule answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::fake_model::answer;
use crate::fault_server::FaultServer;
use crate::readers::python;
use crate::support::{clean, finish, little_corpus, program, rows_of};

const TABLES: [&str; 9] = [
    "documents",
    "token_sequences",
    "neurons",
    "activation_records",
    "token_activations",
    "explanations",
    "simulations",
    "judgements",
    "scores",
];

const NOTHING: &str = "nothing changed: every row was there already, and made of what is there now\n";

type Rows = BTreeMap<&'static str, Vec<String>>;

/// A pipeline that asks the server: two neurons, explained, simulated and judged.
fn file(folder: &Path, server: &FaultServer, explanations: &str, scores: &str) {
    little_corpus(folder);
    let text = format!(
        "lake = \"lake\"\n[[sources]]\ncorpus = \"little.jsonl\"\n[[models]]\nlayers = \"0\"\nneurons = \"0-1\"\n\
         [explanations]\nexplainer = \"token_activation@openai:fake\"\n{explanations}\n\
         [scores]\nsimulator = \"log_probability_free@openai:fake\"\nscorer = \"detection@openai:fake\"\nwindows = 2\nforce = true\n{scores}\n\
         [language_models]\nbase_url = \"{}\"\n",
        server.url()
    );
    std::fs::write(folder.join("asking.toml"), text).unwrap();
}

fn pipeline(folder: &Path, more: &[&str]) -> String {
    let mut command = program(folder);
    command.args(["pipeline", "run", "asking.toml"]).args(more).env("NEURONLAKE_API_KEY", "sk-x");
    let ran = finish(&mut command);
    assert_eq!(ran.code, Some(0), "{more:?}: {}", ran.err);
    ran.text().to_owned()
}

fn with_runs(folder: &Path) -> Rows {
    rows_of(folder, "lake", &TABLES, "*")
}

/// Rows without the run that wrote them.
fn values(folder: &Path) -> Rows {
    rows_of(folder, "lake", &TABLES, "* EXCEPT (run)")
}

/// The tables whose rows are others.
fn changed(before: &Rows, after: &Rows) -> Vec<&'static str> {
    TABLES.into_iter().filter(|table| before[table] != after[table]).collect()
}

/// Of the rows of scores, those whose metric is, or is not, one of simulations, and those of ablation.
fn scores_of(rows: &Rows, kind: &str) -> Vec<String> {
    let of = |row: &&String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let metric = row["metric"].as_str().unwrap().to_owned();
        let of_simulations = ["ev_correlation", "explained_variance", "rsquared_uncentred", "absolute_dev_explained"]
            .contains(&metric.as_str());
        match kind {
            "simulations" => of_simulations,
            "ablation" => metric == "ablation",
            _ => !of_simulations && metric != "ablation",
        }
    };
    rows["scores"].iter().filter(of).cloned().collect()
}

#[test]
fn another_prompt_of_the_explainer_is_followed_to_the_scores_and_paid_for_once() {
    let (server, folder) = (FaultServer::start(answer), tempfile::tempdir().unwrap());
    let path = folder.path();
    file(path, &server, "", "");
    pipeline(path, &[]);
    assert!(pipeline(path, &[]).contains(NOTHING));
    let (before, n_asked) = (with_runs(path), server.asked().len());
    assert!(n_asked > 0 && !before["judgements"].is_empty());
    // What a version of the program with another prompt would have recorded.
    let script = "import sys, deltalake\n\
                  found = deltalake.DeltaTable('lake/runs').update(\n\
                      updates={'prompt_hash': \"'another'\"}, predicate=\"stage = '42_record_explanations'\")\n\
                  sys.exit(found['num_updated_rows'] != 1)\n";
    let mut command = Command::new(python());
    clean(&mut command, path);
    let ran = finish(command.args(["-c", script]));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let summary = pipeline(path, &[]);
    let after = with_runs(path);
    assert_eq!(changed(&before, &after), ["explanations", "simulations", "judgements", "scores"], "{summary}");
    // The prompts are those of this program, so every reply was there.
    assert_eq!(server.asked().len(), n_asked, "replies were paid for again");
    assert!(pipeline(path, &[]).contains(NOTHING));
}

#[test]
fn new_judgements_make_their_scores_anew_and_no_others() {
    let (server, folder) = (FaultServer::start(answer), tempfile::tempdir().unwrap());
    let path = folder.path();
    file(path, &server, "", "");
    pipeline(path, &[]);
    let (before, without_runs) = (with_runs(path), values(path));
    pipeline(path, &["--only", "judgements", "--full"]);
    assert_eq!(changed(&before, &with_runs(path)), ["judgements"]);
    pipeline(path, &[]);
    let after = with_runs(path);
    assert_eq!(changed(&before, &after), ["judgements", "scores"]);
    assert_eq!(scores_of(&before, "simulations"), scores_of(&after, "simulations"));
    let judged = [&before, &after].map(|rows| scores_of(rows, "judgements"));
    assert!(!judged[0].is_empty() && judged[0].iter().all(|row| !judged[1].contains(row)), "rows of older judgements");
    // The same replies, and so the same numbers.
    assert_eq!(values(path), without_runs);
    assert!(pipeline(path, &[]).contains(NOTHING));
}

#[test]
fn revisions_and_ablation_follow_what_they_are_made_of() {
    let (server, folder) = (FaultServer::start(answer), tempfile::tempdir().unwrap());
    let path = folder.path();
    file(path, &server, "revise = 1", "ablation = true");
    pipeline(path, &[]);
    assert!(pipeline(path, &[]).contains(NOTHING));
    let (before, without_runs) = (with_runs(path), values(path));
    let revised = |rows: &Rows| rows["explanations"].iter().filter(|row| row.contains("\"round\":1")).count();
    assert!(revised(&before) > 0 && !scores_of(&before, "ablation").is_empty());

    // Simulations made anew: their scores and the ablation follow, judgements and their scores stay.
    pipeline(path, &["--only", "simulations", "--full"]);
    pipeline(path, &[]);
    let after = with_runs(path);
    for kind in ["simulations", "ablation"] {
        let [old, new] = [&before, &after].map(|rows| scores_of(rows, kind));
        assert_eq!(old.len(), new.len());
        assert!(old.iter().all(|row| !new.contains(row)), "scores of older {kind}");
    }
    assert_eq!(scores_of(&before, "judgements"), scores_of(&after, "judgements"));
    assert_eq!(before["judgements"], after["judgements"]);
    assert_eq!(values(path), without_runs);
    assert!(pipeline(path, &[]).contains(NOTHING));

    // Texts made anew: the revisions of them follow, and everything after both.
    pipeline(path, &["--only", "explanations", "--full"]);
    pipeline(path, &[]);
    let last = with_runs(path);
    assert_eq!(changed(&after, &last), ["explanations", "simulations", "judgements", "scores"]);
    assert!(last["explanations"].iter().all(|row| !after["explanations"].contains(row)), "a text stayed");
    assert_eq!(values(path), without_runs);
    assert!(pipeline(path, &[]).contains(NOTHING));
}
