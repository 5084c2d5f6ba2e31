//! The command line as people and scripts meet it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::support::{clean, copy_folder, finish, neuronlake, ok, program, refused, small_lake};

const ROOT: &str = "/";
const KINGS: &str = "SELECT layer, neuron, text, value FROM best_explanations WHERE mentions(text, 'king') \
                     ORDER BY value DESC LIMIT 10";

fn sql(arguments: &[&str]) -> String {
    ok(Path::new(ROOT), &[&["sql", "--lake", small_lake()], arguments].concat())
}

#[test]
fn every_command_explains_itself() {
    let commands: [&[&str]; 12] = [
        &[],
        &["demo"],
        &["run"],
        &["sql"],
        &["query"],
        &["hooks"],
        &["like"],
        &["fires"],
        &["selftest"],
        &["cost"],
        &["pull"],
        &["completions"],
    ];
    for command in commands {
        let help = ok(Path::new(ROOT), &[command, &["--help"]].concat());
        assert!(help.contains("Usage: neuronlake") && help.contains("Example"), "{help}");
        let short = ok(Path::new(ROOT), &[command, &["-h"]].concat());
        assert!(short.contains("Usage: neuronlake"), "{short}");
    }
    let nothing = neuronlake(Path::new(ROOT), &[]);
    assert_eq!((nothing.code, nothing.text()), (Some(2), ""));
    assert!(nothing.err.contains("Usage: neuronlake"));
    assert_eq!(ok(Path::new(ROOT), &["--version"]), format!("neuronlake {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(Path::new(ROOT), &["completions", shell]);
        for word in ["demo", "run", "sql", "query", "hooks", "like", "fires", "selftest", "cost", "pull", "neurons"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn hook_points_are_listed() {
    let hooks = ok(Path::new(ROOT), &["hooks"]);
    let line = |name: &str| hooks.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("blocks.0.mlp.hook_post ").ends_with(" 480"), "{hooks}");
    for name in ["hook_embed", "blocks.0.hook_resid_pre", "blocks.0.attn.hook_z", "blocks.1.hook_mlp_out"] {
        assert!(!line(name).is_empty(), "{name}");
    }
}

#[test]
fn queries_are_listed_and_shown() {
    insta::assert_snapshot!(ok(Path::new(ROOT), &["query", "list"]), @r"
    examples
      best_explained             The best-explained units: score, its control, and what the explanation says.
      best_layer                 The layer whose units are explained best on average, and its best unit.
      explanations_mentioning    Units whose explanation mentions a word or phrase, best score first.
      firing_together            The latents that fire where one latent fires: share of both among either (jaccard), correlation of firing (phi), pointwise mutual information.
      latent_classes             How many latents of each autoencoder are dead, rare, usual and dense.
      model_differences          How many latents of each crosscoder are of its first model only, of the other only, shared, and in between; how alike the shared ones are.
      most_polysemantic          Units that peak on many different tokens: in top windows and in the weaker ranges of their activation.
      neurons_of_token           Units that respond to one token more than to the rest, by how far its mean lies above their own.
      score_against_density      Do sparse units get better explanations? Mean score by tenth of density, and the correlation of the two.
      score_by_layer             Scores layer by layer: mean, median, control, share above 0.5, and the random-only mean.
      scores_without_value       Why scores are NULL: how many of each reason, by layer.
      shared_top_tokens          Units whose strongest windows all peak on one token: the token detectors.
      simulation_gaps            Windows where an explanation misses most: the largest gap between what the unit does and what it should do.
      split_latents              How the latents of a small autoencoder split in a larger one: the larger one's latents whose decoder rows are most like each.
      top_windows                The strongest windows of one unit, strong tokens marked with their tenths of the maximum.
      unreliable_scores          High scores to distrust: a wide interval, or a control that scores nearly as well.
    search
      keyword                    Explanations that hold any of the words, best BM25 first, among those for which the condition holds.
      semantic                   Explanations nearest in meaning to the words, among those for which the condition holds.
      hybrid                     Both searches in one by reciprocal rank fusion (k = 60) over the first thousand of each, among explanations for which the condition holds.
    views
      best_explanations          The best-scored explanation of every unit (ev_correlation, top and random windows); units without a score are left out.
      chosen_explanations        One explanation of every unit and explainer: the sample or revision that scored best on split calibration, else the first.
      coactivations              Pairs of units of one hook point that fire on the same token, and how often: from table activations, sparse.
      costs                      Calls, tokens and dollars of language models by model, purpose (explain, simulate, judge, revise) and day.
      exchange_units             One row per unit that the lake holds anything of, with statistics, best explanation and its score: what export --where is about.
      explanation_scorers        One row per explanation and scorer: its headline number (correlation of a simulator, balanced accuracy, area under the curve or hit rate of a judge) with control and interval.
      explanation_scores         One row per explanation and simulator: the metrics side by side, with control and interval.
      latent_differences         Every latent of every crosscoder at its first model and at each other one: relative decoder norm, and the class by it: only_model, shared, only_other, between.
      latent_statistics          Every latent of every encoded autoencoder: how often and how strongly it fires, and its class by that: dead, rare, usual, dense.
      neuron_costs               Calls, tokens and dollars of every unit that a reply was bought for; a reply that several units share counts in part for each.
      neuron_summary             One row per unit: statistics, best explanation and its score (NULL when it has none).
      record_tokens              Every activation record with its tokens beside its activations.
      scorer_agreement           How far two scorers agree on the order of an explainer's explanations: Spearman's rank correlation, and on how many.
      scorers_side_by_side       One row per explanation: its headline numbers side by side, the best of each kind of scorer, each with the control of that same row.
      searchable_explanations    One row per explanation that has a text: its unit, explainer and text, its best score (ev_correlation, top and random windows, split valid), and the unit's density and largest activation.
      simulation_failures        How many windows each simulator failed on, and how many tokens of the others it left without a value.
    pipeline
      00_documents               Reads the texts of a corpus.
      10_token_sequences         Cuts every document into windows of tokens and gives each its split.
      20_neurons                 Runs the subject model over the token sequences and keeps the statistics of every unit.
      30_activation_records      Keeps, from the same pass, the windows chosen for every unit: highest, random, and by quantile.
      32_token_activations       Keeps, from the same pass, the mean activation of every unit over the tokens that move it most.
      34_activations             Streams every firing above a quantile of its unit (only with --firings-above); the thresholds are those of neurons.
      36_encoded_activations     Streams every firing of every latent of an autoencoder, sorted by latent (only with --encode).
      40_explanations            Writes an explanation of every unit from its mean activation over tokens of the train split; no language model.
      42_record_explanations     Writes explanations of every unit from its records of the train split, with a language model or by patterns.
      46_revisions               Revises explanations by what their units do on sentences written for them; a round a row, the best stands by its score on calibration.
      50_simulations             Simulates every token lookup, and as a control the lookup of another unit, on windows the explainer never saw.
      52_text_simulations        Simulates explanations from their text alone, and as a control the text of another unit, on held-out windows.
      54_judgements              Has held-out windows judged by explanation, and as a control by the explanation of another unit.
      60_scores                  Compares simulations with the truth: four metrics, three sets of windows, with control and interval.
      62_judgement_scores        Compares judgements with the truth: accuracy, balance, precision, recall, ranking, with control and interval.
      64_ablation_scores         Puts calibrated simulations in place of the real activations and compares what the subject model then predicts.
    ");
    insta::assert_snapshot!(ok(Path::new(ROOT), &["query", "show", "best_explained"]), @r"
    -- The best-explained units: score, its control, and what the explanation says.
    -- param $limit = 10
    SELECT
        layer,
        neuron,
        round(value, 2) AS value,
        round(control, 2) AS control,
        text
    FROM best_explanations
    ORDER BY value DESC, layer, neuron
    LIMIT $limit
    ");
}

/// The examples that `query list` names run on a lake as it is, with their default parameters.
#[test]
fn every_example_and_view_runs() {
    let list = ok(Path::new(ROOT), &["query", "list"]);
    // Searches write their index into the lake.
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(small_lake()), &folder.path().join("lake"));
    let mut heading = "";
    let mut n_queries = 0;
    for line in list.lines().take_while(|line| !line.contains("pipeline")) {
        if !line.starts_with("  ") {
            heading = line;
            continue;
        }
        let name = line.split_whitespace().next().unwrap();
        // A search has no words of its own.
        let words: &[&str] = if heading == "search" { &["words=a word"] } else { &[] };
        if name == "split_latents" {
            // It compares autoencoders, of which this lake has none: it says so.
            let out = neuronlake(folder.path(), &["query", "run", "--lake", "lake", name]);
            assert!(out.err.contains("no sparse autoencoder 'example_sae' in the lake"), "{}", out.err);
            continue;
        }
        ok(folder.path(), &[&["query", "run", "--lake", "lake", name], words].concat());
        n_queries += 1;
    }
    assert!(n_queries >= 17, "{list}");
    let sea = ok(
        Path::new(ROOT),
        &["query", "run", "explanations_mentioning", "words=a", "limit=2", "--format", "jsonl", "--lake", small_lake()],
    );
    assert_eq!(sea.lines().count(), 2, "{sea}");
}

#[test]
fn results_come_in_every_format() {
    let query = "SELECT layer, neuron, n_tokens > 0 AS counted FROM neurons WHERE neuron < 2 ORDER BY layer, neuron";
    insta::assert_snapshot!(sql(&[query]), @r"
     layer | neuron | counted
    -------+--------+---------
         0 |      0 | true
         0 |      1 | true
         1 |      0 | true
         1 |      1 | true
    (4 rows)
    ");
    insta::assert_snapshot!(sql(&["--format", "csv", query]), @r"
    layer,neuron,counted
    0,0,true
    0,1,true
    1,0,true
    1,1,true
    ");
    insta::assert_snapshot!(sql(&["--format", "json", query]), @r#"[{"layer":0,"neuron":0,"counted":true},{"layer":0,"neuron":1,"counted":true},{"layer":1,"neuron":0,"counted":true},{"layer":1,"neuron":1,"counted":true}]"#);
    insta::assert_snapshot!(sql(&["--format", "jsonl", query]), @r#"
    {"layer":0,"neuron":0,"counted":true}
    {"layer":0,"neuron":1,"counted":true}
    {"layer":1,"neuron":0,"counted":true}
    {"layer":1,"neuron":1,"counted":true}
    "#);

    let ran =
        neuronlake(Path::new(ROOT), &["sql", "--lake", small_lake(), "--format", "parquet", "SELECT * FROM neurons"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let reader = SerializedFileReader::new(bytes::Bytes::from(ran.out)).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 32);
    // No rows are a result too.
    assert_eq!(sql(&["--format", "csv", "SELECT layer FROM neurons WHERE false"]), "layer\n");
    assert_eq!(sql(&["--format", "json", "SELECT layer FROM neurons WHERE false"]), "[]\n");
}

#[test]
fn the_query_of_the_readme_works() {
    assert!(sql(&[KINGS]).starts_with(" layer | neuron | text "));
    assert_eq!(sql(&["--format", "csv", KINGS]).lines().next(), Some("layer,neuron,text,value"));
    // The lake may be named in the environment, or be the folder where runs write by default.
    let by_name = finish(program(Path::new(ROOT)).env("NEURONLAKE_LAKE", small_lake()).args(["sql", KINGS]));
    assert_eq!((by_name.code, by_name.text()), (Some(0), sql(&[KINGS]).as_str()));
}

#[test]
fn a_script_comes_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let script = "-- two statements\nSELECT 1 AS one;\nSELECT count(*)\n  AS n FROM neurons;\n";
    std::fs::write(folder.path().join("script.sql"), script).unwrap();
    let expected = "one\n1\nn\n32\n";
    let arguments = ["sql", "--lake", small_lake(), "--format", "csv"];
    assert_eq!(ok(folder.path(), &[&arguments[..], &["--file", "script.sql"]].concat()), expected);
    for more in [&["--file", "-"][..], &[]] {
        let mut child = program(folder.path())
            .args(arguments)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

/// `neuronlake sql … | head -1` is no failure, whatever the format.
#[test]
fn a_join_that_does_not_fit_says_how_to_give_it_more() {
    let join =
        "SELECT count(*) FROM generate_series(1, 300000) a JOIN generate_series(1, 300000) b ON a.value = b.value";
    let arguments = ["sql", "--lake", small_lake(), "--format", "csv", join];
    let error = refused(Path::new(ROOT), &[&arguments[..], &["--memory", "0.001"]].concat(), 1);
    assert!(error.contains("stopped at 1073741 bytes") && error.contains("allow more with --memory"), "{error}");
    assert_eq!(ok(Path::new(ROOT), &arguments).lines().last(), Some("300000"));
}

#[test]
fn a_reader_who_leaves_early_is_no_fault() {
    for format in ["table", "csv", "json", "jsonl", "parquet"] {
        let mut child = program(Path::new(ROOT))
            .args(["sql", "--lake", small_lake(), "--format", format])
            .arg("SELECT r.* FROM activation_records r CROSS JOIN explanations")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 4];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(0), ""),
            "{format}"
        );
    }
}

#[test]
fn progress_goes_to_stderr_and_may_be_silenced() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--limit", "20", "--to", "token_sequences"];
    let ran = neuronlake(folder.path(), &arguments);
    assert_eq!(ran.code, Some(0));
    assert!(ran.text().starts_with("table ") && ran.text().contains("documents"), "{}", ran.text());
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("documents: 20 documents"), "{}", ran.err);
    assert!(!ran.err.contains('\x1b'), "no escapes where there is no terminal");
    let quiet = neuronlake(folder.path(), &[&arguments[..], &["--quiet"]].concat());
    assert_eq!((quiet.code, quiet.text(), quiet.err.as_str()), (Some(0), "", ""));
}

#[test]
fn a_heat_map_in_a_pipe_has_no_escapes() {
    let out = ok(Path::new(ROOT), &["query", "run", "top_windows", "layer=0", "neuron=1", "--lake", small_lake()]);
    assert!(out.contains("heatmap") && !out.contains('\x1b'), "{out}");
}

/// At a terminal of the test's own, made by `script` of util-linux; where there is none, the prompt's unit tests stand alone.
#[test]
fn the_prompt_answers_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = format!("'{}' sql --lake '{}'", env!("CARGO_BIN_EXE_neuronlake"), small_lake());
    let mut script = Command::new("script");
    clean(&mut script, folder.path());
    script.args(["-qec", &prompt, "/dev/null"]).env("XDG_STATE_HOME", folder.path()).env("TERM", "xterm-256color");
    let Ok(mut child) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        return;
    };
    let mut keys = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let (sender, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(n @ 1..) = screen.read(&mut bytes) {
            sender.send(String::from_utf8_lossy(&bytes[..n]).into_owned()).ok();
        }
    });
    let mut seen = String::new();
    // Keys typed before the prompt is there are lost, so each line waits for what the one before it shows.
    let mut wait = |sign: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !seen.rsplit_once(sign).is_some_and(|(_, after)| after.contains("> ")) {
            match shown.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(text) => seen.push_str(&text),
                Err(fault) => panic!("{fault}, expected '{sign}' and a prompt: {seen:?}"),
            }
        }
    };
    wait("[K");
    for (line, sign) in
        [("SELECT count(*) + 5 AS answer FROM neurons;", "37"), ("SELECT nothing;", "No field named nothing")]
    {
        write!(keys, "{line}\r").unwrap();
        keys.flush().unwrap();
        wait(sign);
    }
    write!(keys, "\\q\r").unwrap();
    keys.flush().unwrap();
    assert!(child.wait().unwrap().success());
    let history = std::fs::read_to_string(folder.path().join("neuronlake/history")).unwrap();
    assert!(history.contains("AS answer FROM neurons;") && history.contains("SELECT nothing;"), "{history}");
}
