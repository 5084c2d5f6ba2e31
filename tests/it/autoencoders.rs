//! Sparse autoencoders from a model's activations to explained latents, as a user walks it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{copy_folder, neuronlake, number, ok, program, refused};

const HOOK: &str = "blocks.2.hook_resid_post";
/// Nothing that a test waits for takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// A few hundred steps of a small one.
const TRAIN: [&str; 16] = [
    "--latents",
    "128",
    "--k",
    "8",
    "--batch",
    "256",
    "--epochs",
    "8",
    "--learning-rate",
    "0.002",
    "--dead-after",
    "5000",
    "--measure-every",
    "20",
    "--architecture",
    "topk",
];

fn store(folder: &Path, lake: &str, more: &[&str]) -> String {
    let arguments = ["activations", "store", "--hook", HOOK, "--limit", "30", "--lake", lake];
    ok(folder, &[&arguments, more].concat())
}

fn train(folder: &Path, lake: &str, more: &[&str]) -> String {
    // A list of sizes takes the place of the one.
    let usual = if more.contains(&"--latents") { &TRAIN[2..] } else { &TRAIN[..] };
    ok(folder, &[&["sae", "train", "--lake", lake][..], usual, more].concat())
}

/// A lake with a shuffled store and a trained autoencoder 'tiny', made once and only read.
fn trained_lake() -> &'static str {
    static LAKE: OnceLock<String> = OnceLock::new();
    LAKE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trained-lake");
        std::fs::remove_dir_all(&folder).ok();
        let lake = folder.to_str().unwrap().to_owned();
        store(Path::new("/"), &lake, &[]);
        ok(Path::new("/"), &["activations", "shuffle", "--lake", &lake]);
        train(Path::new("/"), &lake, &["--id", "tiny"]);
        lake
    })
}

/// Files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn cells(lake: &str, sql: &str) -> Vec<Vec<String>> {
    let out = ok(Path::new("/"), &["sql", "--lake", lake, "--format", "csv", sql]);
    out.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn float(lake: &str, sql: &str) -> f64 {
    cells(lake, sql)[0][0].parse().unwrap()
}

/// Starts a command and kills it with SIGKILL as soon as `sign` is true. Whether it was killed.
fn kill_when(folder: &Path, arguments: &[&str], sign: impl Fn() -> bool) -> bool {
    let mut command = program(folder);
    let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a command that nobody killed: {status}");
            return false;
        }
        if sign() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        assert!(start.elapsed() < DEADLINE, "the sign never appeared");
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn a_store_that_was_killed_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    // Files of one mebibyte: several of them.
    let small = ["--part", "1"];
    let text = store(folder.path(), "whole", &small);
    assert!(text.contains("rows of 120 values"), "{text}");
    ok(folder.path(), &["activations", "shuffle", "--lake", "whole"]);
    let rows = format!("_activation_rows/{HOOK}/rows");
    let n_files = files(&folder.path().join("whole").join(&rows)).len();
    assert!(n_files > 1, "{n_files} files");

    let first = folder.path().join("killed").join(&rows).join("00000000.parquet");
    let arguments = ["activations", "store", "--hook", HOOK, "--limit", "30", "--lake", "killed", "--part", "1"];
    assert!(kill_when(folder.path(), &arguments, || first.exists()), "killed in time");
    let listed = ok(folder.path(), &["activations", "list", "--lake", "killed"]);
    assert!(listed.contains("cut short"), "{listed}");
    let error = refused(folder.path(), &["activations", "shuffle", "--lake", "killed"], 1);
    assert!(error.contains("run 'activations store' again"), "{error}");
    let kept = std::fs::metadata(&first).unwrap().modified().unwrap();
    store(folder.path(), "killed", &small);
    assert_eq!(std::fs::metadata(&first).unwrap().modified().unwrap(), kept, "what was whole is not written again");
    ok(folder.path(), &["activations", "shuffle", "--lake", "killed"]);
    let shuffled = |lake: &str| files(&folder.path().join(lake).join(format!("_activation_rows/{HOOK}/shuffled-0")));
    assert!(shuffled("killed") == shuffled("whole"), "the same rows in the same order");

    let again = store(folder.path(), "killed", &small);
    assert!(again.contains(" 0 written now"), "{again}");
    let error = refused(
        folder.path(),
        &["activations", "store", "--hook", HOOK, "--limit", "30", "--lake", "killed", "--values", "bf16"],
        2,
    );
    assert!(error.contains("made with values F32, got Bf16"), "{error}");
}

#[test]
fn several_are_trained_from_one_reading_as_each_alone() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(trained_lake()), &folder.path().join("lake"));
    let text = train(folder.path(), "lake", &["--latents", "64,128", "--seed", "0,1"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    let weights =
        |id: &str| files(&folder.path().join("lake/_sparse_autoencoders").join(id))["sae.safetensors"].clone();
    let id = |n: usize, seed: u64| format!("topk-{HOOK}-n{n}-k8-s{seed}");
    assert!(weights(&id(128, 0)) == weights("tiny"), "beside others, the same bits as alone");
    assert!(weights(&id(128, 1)) != weights("tiny"), "another seed is another autoencoder");
    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    assert_eq!(number(lake, "SELECT count(*) FROM sparse_autoencoders"), 5);
    let again = train(folder.path(), "lake", &["--latents", "64,128", "--seed", "0,1"]);
    assert!(again.lines().all(|line| line.ends_with("is in the lake already")), "{again}");
    // Latents of two sizes and two seeds, compared by their decoder rows.
    let (a, b) = (id(128, 0), id(64, 1));
    let sql = format!("SELECT count(*), min(similarity), max(similarity) FROM similar_latents('{a}', '{b}')");
    let found = cells(lake, &sql);
    assert_eq!(found[0][0], "128");
    let (low, high): (f64, f64) = (found[0][1].parse().unwrap(), found[0][2].parse().unwrap());
    assert!(-1.0 <= low && low < high && high <= 1.0, "{found:?}");
    let same = format!(
        "SELECT count(*) FROM similar_latents('{a}', 'tiny') WHERE other_neuron = neuron AND similarity > 0.999"
    );
    assert_eq!(number(lake, &same), 128, "equal weights: each is most like itself");
}

#[test]
fn a_training_that_was_killed_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(Path::new(trained_lake()), &folder.path().join("lake"));
    let mut arguments = vec!["--threads", "1", "sae", "train", "--lake", "lake"];
    arguments.extend(TRAIN);
    let once = [&arguments[..], &["--id", "once"]].concat();
    ok(folder.path(), &once);
    let killed = [&arguments[..], &["--id", "killed", "--checkpoint-every", "0"]].concat();
    let checkpoint = || {
        let Ok(runs) = std::fs::read_dir(folder.path().join("lake/_training")) else { return false };
        let steps = runs.flatten().flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten());
        steps.into_iter().any(|step| step.file_name().to_str().is_some_and(|name| name > "step-000000000030"))
    };
    assert!(kill_when(folder.path(), &killed, checkpoint), "killed in time");
    let lake = folder.path().join("lake");
    let lake_text = lake.to_str().unwrap();
    let written = number(lake_text, "SELECT count(*) FROM training_steps WHERE autoencoder = 'killed'");
    assert_eq!(number(lake_text, "SELECT count(*) FROM sparse_autoencoders WHERE autoencoder = 'killed'"), 0);
    ok(folder.path(), &killed);
    let weights = |id: &str| files(&lake.join("_sparse_autoencoders").join(id))["sae.safetensors"].clone();
    assert!(weights("killed") == weights("once"), "not the same bits");
    let device = "SELECT count(*) FROM sparse_autoencoders WHERE parameters LIKE '%\"device\":\"cpu\"%'";
    assert!(number(lake_text, device) >= 2, "what computed is kept");
    // Each measured step stands in the table once, and says the same.
    let steps = |id: &str| {
        cells(
            lake_text,
            &format!(
                "SELECT step, nmse, l0, dead_share, loss FROM training_steps WHERE autoencoder = '{id}' ORDER BY step"
            ),
        )
    };
    assert_eq!(steps("killed"), steps("once"));
    assert!((steps("killed").len() as i64) > written, "the kill came before the end");
    assert!(!lake.join("_training").read_dir().unwrap().any(|_| true), "nothing is left of the training");
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let no = |arguments: &[&str], code| refused(folder.path(), arguments, code);
    let error = no(&["sae", "train", "--latents", "64", "--lake", "none", "--device", "cuda:1"], 2);
    assert!(error.contains("'cuda:1': this program was built without CUDA"), "{error}");

    let empty = ["activations", "store", "--hook", HOOK, "--limit", "5", "--lake", "lake", "--splits", "test"];
    let error = no(&empty, 1);
    assert!(error.contains("expected at least one row of corpus 'default', splits test, got none"), "{error}");
    assert_eq!(ok(folder.path(), &["activations", "list", "--lake", "lake"]).lines().count(), 1, "no store is left");

    store(folder.path(), "lake", &[]);
    let train = |more: &[&str]| no(&[&["sae", "train", "--lake", "lake", "--latents", "64"][..], more].concat(), 2);
    let error = train(&["--batch", "10000000"]);
    assert!(error.contains("--batch: expected at most ") && error.contains("those of the store"), "{error}");
    let error = train(&["--k", "65"]);
    assert!(error.contains("'k': expected 1 to 64 (n_latents), got 65"), "{error}");
    assert!(!folder.path().join(format!("lake/_activation_rows/{HOOK}/shuffled-0")).exists(), "shuffled for nothing");
    let error = no(&["sae", "encode", "nope", "--lake", "lake"], 2);
    assert!(error.contains("no sparse autoencoder 'nope' in the lake"), "{error}");
}

#[test]
fn latents_are_explained_scored_and_queried_like_neurons() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    copy_folder(Path::new(trained_lake()), &lake);
    let lake = lake.to_str().unwrap();
    let hook = format!("{HOOK}/tiny");
    let run = ["run", "--lake", lake, "--hook", &hook, "--limit", "30", "--encode"];
    let summary = ok(folder.path(), &run);
    assert!(summary.contains("scores"), "{summary}");
    for table in ["neurons", "explanations"] {
        let n = number(lake, &format!("SELECT count(DISTINCT neuron) FROM {table} WHERE hook_point = '{hook}'"));
        assert_eq!(n, 128, "{table}");
    }
    // The best of them are well explained by tokens, or training has found nothing.
    let best = format!("SELECT max(value) FROM explanation_scores WHERE hook_point = '{hook}' AND value IS NOT NULL");
    assert!(float(lake, &best) > 0.3);

    // What the collection counted in dense passes is what the sparse encoder writes.
    let differ = format!(
        "SELECT count(*) FROM latent_statistics s JOIN neurons n ON n.hook_point = s.hook_point AND n.neuron = s.neuron \
         WHERE s.autoencoder = 'tiny' AND (abs(s.density - n.density) > 1e-12 \
         OR (s.n_firings > 0 AND s.max_activation <> n.max) OR n.hook_point <> '{hook}')"
    );
    assert_eq!(number(lake, &differ), 0);
    assert_eq!(number(lake, "SELECT count(*) FROM latent_statistics WHERE autoencoder = 'tiny'"), 128);
    let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM activations GROUP BY sequence, position)";
    assert!((1..=8).contains(&number(lake, most)), "at most k fire on a token");
    // One latent alone, and all of them on a text, give the same values.
    let text = "The king rode to the castle.";
    let on_text = format!(
        "SELECT count(*), count(DISTINCT position) FROM activations_on('default', '{text}', '{hook}') WHERE activation > 0"
    );
    let found = cells(lake, &on_text);
    let (n_firings, n_positions): (i64, i64) = (found[0][0].parse().unwrap(), found[0][1].parse().unwrap());
    assert!(n_firings >= n_positions && n_firings <= 8 * n_positions && n_positions > 0, "{found:?}");
    // The logit lens of the table function and of the scalar one agree.
    let lens = format!(
        "SELECT array_agg(token ORDER BY rank) = promoted_tokens('default', '{hook}', 3) \
         FROM logit_lens('default', 'tiny', '3') WHERE sign = 'positive'"
    );
    assert_eq!(cells(lake, &lens)[0][0], "true");
    let like = format!(
        "SELECT count(*) FROM neurons_like('default', '{hook}', 3, 'output') WHERE neuron = 3 AND similarity > 0.999999"
    );
    assert_eq!(number(lake, &like), 1);

    let again = ok(folder.path(), &run);
    assert!(again.contains("nothing was missing"), "{again}");
    let more = ok(folder.path(), &["sae", "encode", "tiny", "--limit", "30", "--lake", lake]);
    assert!(more.starts_with("0 firings"), "{more}");
    let error = refused(folder.path(), &["run", "--lake", lake, "--hook", "blocks.*/tinny", "--limit", "30"], 2);
    assert!(error.contains("no sparse autoencoder 'blocks.*/tinny'") && error.contains(&hook), "{error}");
}

#[test]
fn a_collection_in_parts_finds_what_one_finds() {
    let folder = tempfile::tempdir().unwrap();
    for lake in ["one", "parts"] {
        copy_folder(Path::new(trained_lake()), &folder.path().join(lake));
    }
    let hook = format!("{HOOK}/tiny");
    let run = |lake: &str, memory: &str| {
        let arguments = ["run", "--lake", lake, "--hook", &hook, "--limit", "30", "--to", "token_activations"];
        ok(folder.path(), &[&arguments[..], &["--memory", memory]].concat())
    };
    run("one", "4");
    // 128 latents take about 7 MB: two parts of 64.
    run("parts", "0.006");
    let rows = |lake: &str| {
        let lake = folder.path().join(lake);
        let sql = "SELECT neuron, n_tokens, mean, variance, max, density FROM neurons ORDER BY neuron";
        cells(lake.to_str().unwrap(), sql)
    };
    assert_eq!(rows("parts"), rows("one"));
    assert_eq!(rows("one").len(), 128);
}

#[test]
fn what_is_exported_and_imported_again_encodes_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    copy_folder(Path::new(trained_lake()), &lake);
    let lake = lake.to_str().unwrap();
    let written = ok(folder.path(), &["sae", "export", "saelens", "out", "--autoencoder", "tiny", "--lake", lake]);
    assert!(written.starts_with("tiny: written to 'out' as saelens"), "{written}");
    assert!(
        folder.path().join("out/sae_weights.safetensors").is_file() && folder.path().join("out/cfg.json").is_file()
    );
    let error =
        refused(folder.path(), &["sae", "export", "saelens", "out", "--autoencoder", "tiny", "--lake", lake], 2);
    assert!(error.contains("'out' is there already"), "{error}");
    let error =
        refused(folder.path(), &["sae", "export", "saelens", "other", "--autoencoder", "tinny", "--lake", lake], 2);
    assert!(error.contains("no sparse autoencoder 'tinny' in the lake: expected one of tiny"), "{error}");

    let import = ["sae", "import", "out", "--id", "again", "--lake", lake];
    let text = ok(folder.path(), &import);
    assert_eq!(text, format!("again: read as saelens, its latents are units of '{HOOK}/again'\n"));
    let error = refused(folder.path(), &import, 2);
    assert!(error.contains("'again' is in the lake already"), "{error}");
    let error = refused(folder.path(), &["sae", "import", "out", "--id", "x", "--format", "openai", "--lake", lake], 2);
    assert!(error.contains("--format: expected the format of 'out', saelens, got 'openai'"), "{error}");
    let elsewhere = ["sae", "import", "out", "--id", "x", "--hook", "blocks.2.mlp.hook_post", "--lake", lake];
    let error = refused(folder.path(), &elsewhere, 1);
    assert!(error.contains("expected 480 inputs, as 'blocks.2.mlp.hook_post' has values, got 120"), "{error}");
    let error = refused(folder.path(), &["sae", "import", ".", "--id", "x", "--lake", lake], 1);
    assert!(error.contains("expected a folder with"), "{error}");

    let codes = |id: &str| {
        let sql = format!(
            "SELECT neuron, position, activation FROM activations_on('default', 'The king rode to the castle and the sea.', \
             '{HOOK}/{id}') WHERE activation > 0 ORDER BY position, neuron"
        );
        let parsed = cells(lake, &sql).into_iter().map(|row| {
            let key = (row[0].parse::<u32>().unwrap(), row[1].parse::<u32>().unwrap());
            (key, row[2].parse::<f64>().unwrap())
        });
        parsed.collect::<Vec<_>>()
    };
    let (before, after) = (codes("tiny"), codes("again"));
    assert!(!before.is_empty());
    assert_eq!(before.len(), after.len());
    for ((key, value), (key_again, value_again)) in before.iter().zip(&after) {
        assert_eq!(key, key_again);
        assert!((value - value_again).abs() <= 1e-5 * value.abs(), "{key:?}: {value} {value_again}");
    }
}

#[test]
fn an_evaluation_says_what_is_reconstructed_and_what_the_model_loses() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    copy_folder(Path::new(trained_lake()), &lake);
    let lake = lake.to_str().unwrap();
    let evaluate = [
        "sae",
        "evaluate",
        "tiny",
        "--limit",
        "30",
        "--windows",
        "12",
        "--ablations",
        "6",
        "--pattern-latents",
        "8",
        "--lake",
        lake,
    ];
    let text = ok(folder.path(), &evaluate);
    assert!(text.contains("loss_recovered_zero"), "{text}");
    let value = |metric: &str| {
        float(
            lake,
            &format!("SELECT value FROM autoencoder_metrics WHERE metric = '{metric}' AND autoencoder = 'tiny'"),
        )
    };
    assert!((0.0..1.0).contains(&value("fvu")), "{text}");
    assert!((value("explained_variance") - (1.0 - value("fvu"))).abs() < 1e-12);
    assert!(value("l0") > 0.0 && value("l0") <= 8.0);
    // A trained one loses less than nothing at all, and the mean is a better guess than zeros or a worse one, but a guess.
    assert!(value("cross_entropy_spliced") > value("cross_entropy"), "{text}");
    assert!(value("cross_entropy_spliced") < value("cross_entropy_zero"), "{text}");
    assert!(value("cross_entropy_spliced") < value("cross_entropy_mean"), "{text}");
    assert!((0.0..1.0).contains(&value("loss_recovered_zero")), "{text}");
    assert!(value("divergence_spliced") > 0.0 && value("divergence_spliced") < value("divergence_zero"), "{text}");
    assert!((0.0..1.0).contains(&value("ablation_sparsity")), "{text}");
    // Patterns and probes are measured on documents that they were not found on.
    for metric in ["n2g_recall", "n2g_precision"] {
        assert!((0.0..=1.0).contains(&value(metric)), "{text}");
    }
    assert!(value("n2g_recall") > 0.0, "a latent of a tiny model is a pattern of tokens now and then: {text}");
    assert!(value("probe_loss") < value("probe_loss_constant"), "{text}");
    assert!(value("probe_loss_begins_word") < 0.7, "{text}");
    let policy = "SELECT DISTINCT parameters FROM autoencoder_metrics";
    let policy = ok(folder.path(), &["sql", "--lake", lake, "--format", "json", policy]);
    for said in ["n_pattern_latents", "held_out", "from_window", "n_with_recall", "padding_token"] {
        assert!(policy.contains(said), "{policy}");
    }
    let shared = "SELECT count(DISTINCT n_tokens), count(DISTINCT split), min(split), min(first_token), count(norm_limit) = count(*) \
                  FROM autoencoder_metrics";
    assert_eq!(cells(lake, shared), [["1", "1", "valid", "keep", "true"]]);
    assert_eq!(
        number(lake, "SELECT count(*) FROM autoencoder_metrics WHERE (value IS NULL) <> (reason IS NOT NULL)"),
        0
    );
    let nowhere = neuronlake(folder.path(), &["sae", "evaluate", "tiny", "--split", "nowhere", "--lake", lake]);
    assert!(nowhere.code == Some(2) && nowhere.err.contains("expected a split (train, "), "{}", nowhere.err);
}

#[test]
fn a_transcoder_is_trained_from_two_stores_of_the_same_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| ok(folder.path(), &[arguments, &["--lake", "lake"]].concat());
    let (read, written) = ("blocks.2.hook_resid_mid", "blocks.2.hook_mlp_out");
    let both = ["activations", "store", "--hook", read, "--hook", written, "--limit", "30", "--max-norm", "0"];
    run(&both);
    run(&["activations", "store", "--hook", written, "--limit", "30", "--max-norm", "1.2", "--name", "short"]);
    run(&["activations", "store", "--hook", written, "--limit", "30", "--splits", "valid", "--name", "other"]);
    let train = ["sae", "train", "--store", read, "--target-store"];
    let with = |target: &'static str, more: &[&'static str]| {
        [&train[..], &[target], &TRAIN, &["--id", "across", "--lake", "lake"], more].concat()
    };
    let error = refused(folder.path(), &with("short", &[]), 2);
    assert!(
        error.contains("'short' do not make a transcoder: expected rows") && error.contains("--max-norm 0"),
        "{error}"
    );
    let error = refused(folder.path(), &with("other", &[]), 2);
    assert!(error.contains("expected splits train, as in the first, got valid"), "{error}");
    let error = refused(folder.path(), &with("nowhere", &[]), 2);
    assert!(error.contains("no activation store 'nowhere'"), "{error}");
    let error = refused(folder.path(), &with("blocks.2.hook_mlp_out", &["--normalize", "layer_norm"]), 2);
    assert!(error.contains("expected none or scale, in a transcoder"), "{error}");

    let text = ok(folder.path(), &with("blocks.2.hook_mlp_out", &[]));
    assert!(text.starts_with("across: step "), "{text}");
    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    let place = "SELECT input_hook_point, output_hook_point, n_inputs, n_outputs FROM sparse_autoencoders";
    assert_eq!(cells(lake, place), [[read, written, "120", "120"]]);
    let steps = cells(lake, "SELECT nmse FROM training_steps ORDER BY step");
    let nmse = |row: &[String]| row[0].parse::<f64>().unwrap();
    assert!(nmse(steps.last().unwrap()) < 0.9 * nmse(&steps[0]), "it learns what the MLP writes: {steps:?}");

    ok(folder.path(), &["sae", "evaluate", "across", "--limit", "30", "--windows", "8", "--lake", lake]);
    let value = |metric: &str| {
        float(lake, &format!("SELECT value FROM autoencoder_metrics WHERE metric = '{metric}' AND value IS NOT NULL"))
    };
    // Of the targets: NMSE and FVU differ by the rows whose variance they are shares of, and by no more.
    let ratio = value("nmse") / value("fvu");
    assert!(value("fvu") < 1.0 && (0.5..2.0).contains(&ratio), "{} {}", value("nmse"), value("fvu"));
    assert!(value("cross_entropy_spliced") < value("cross_entropy_zero"));
}

#[test]
fn a_crosscoder_tells_which_latents_are_of_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sparse_autoencoders/crosscoder_fixtures");
    let (arrays, layers) = (fixtures.join("arrays/3.pt"), fixtures.join("layers"));
    let (arrays, layers) = (arrays.to_str().unwrap(), layers.to_str().unwrap());
    let import = ["sae", "import-crosscoder", arrays, "--models", "base,chat", "--id", "diff", "--lake", "lake"];
    let text = ok(folder.path(), &import);
    assert_eq!(text, "diff: decoder norms of 24 latents for base and chat written to table crosscoder_latents\n");
    let error = refused(folder.path(), &import, 2);
    assert!(error.contains("'diff' is in the lake already"), "{error}");
    let more = ["sae", "import-crosscoder", layers, "--lake", "lake", "--models"];
    let error = refused(folder.path(), &[&more[..], &["base", "--hook", "blocks.1.hook_resid_pre"]].concat(), 2);
    assert!(error.contains("--models: expected 2 names, one for each site, got 'base'"), "{error}");
    let error = refused(folder.path(), &[&more[..], &["base,chat"]].concat(), 2);
    assert!(error.contains("--hook: expected the hook point that it reads"), "{error}");
    ok(folder.path(), &[&more[..], &["base,chat", "--hook", "blocks.1.hook_resid_pre"]].concat());

    let lake = folder.path().join("lake");
    let lake = lake.to_str().unwrap();
    // As the fixtures were made: 0 to 3 write to the first model, 4 to 6 to the second, 7 to none, 8 to both alike.
    let classes = "SELECT neuron, class, hook_point FROM latent_differences WHERE crosscoder = 'diff' AND neuron < 9 ORDER BY neuron";
    let found: Vec<String> = cells(lake, classes).into_iter().map(|row| row[1].clone()).collect();
    let only = |class: &str, n: usize| vec![class.to_owned(); n];
    assert_eq!(found, [only("only_model", 4), only("only_other", 3), only("", 1), only("shared", 1)].concat());
    let shared = cells(
        lake,
        "SELECT relative_norm, round(cosine, 6), hook_point FROM latent_differences WHERE neuron = 8 AND crosscoder = 'diff'",
    );
    assert_eq!(shared, [["0.5", "1.0", "blocks.14.hook_resid_pre"]]);
    let counted = ok(folder.path(), &["query", "run", "model_differences", "--lake", lake, "--format", "csv"]);
    assert!(counted.contains("\ndiff,base,chat,24,4,") && counted.contains("\nlayers,base,chat,24,4,"), "{counted}");

    // Its latents are no units, and its id is taken.
    let encode = ["sae", "encode", "diff", "--limit", "2", "--lake", lake];
    let error = refused(folder.path(), &encode, 1);
    assert!(error.contains("got a crosscoder, whose latents read several models at once"), "{error}");
    let error = refused(folder.path(), &["sae", "import", arrays, "--id", "other", "--lake", lake], 1);
    assert!(error.contains("'sae import-crosscoder' reads it"), "{error}");
}

#[test]
fn the_stream_that_an_autoencoder_was_trained_on_decides_what_its_rows_lose() {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    copy_folder(Path::new(trained_lake()), &lake);
    let lake = lake.to_str().unwrap();
    ok(folder.path(), &["sae", "export", "saelens", "out", "--autoencoder", "tiny", "--lake", lake]);
    let cfg = folder.path().join("out/cfg.json");
    let text = std::fs::read_to_string(&cfg).unwrap();
    assert!(text.contains("\"center_writing_weights\": false"), "{text}");
    // One that takes the mean away itself needs no more; one that does not is read as the files say.
    let centred = text.replace("\"center_writing_weights\": false", "\"center_writing_weights\": true");
    let import = |id: &str, cfg_text: &str| {
        std::fs::write(&cfg, cfg_text).unwrap();
        ok(folder.path(), &["sae", "import", "out", "--id", id, "--lake", lake]);
    };
    import("normed", &centred);
    import("centred", &centred.replace("\"layer_norm\"", "\"none\""));
    import("raw", &text.replace("\"layer_norm\"", "\"none\""));
    let removed = "SELECT autoencoder FROM sparse_autoencoders WHERE normalization LIKE '%\"row_mean\":\"removed\"%'";
    assert_eq!(cells(lake, removed), [["centred"]]);
    let codes = |id: &str| {
        let text = "The king rode to the castle.";
        let sql = format!(
            "SELECT sum(activation) FROM activations_on('default', '{text}', '{HOOK}/{id}') WHERE activation > 0"
        );
        float(lake, &sql)
    };
    assert!((codes("centred") - codes("raw")).abs() > 1e-3, "the mean of a row of the unprocessed model is not 0");
    ok(folder.path(), &["sae", "export", "saelens", "again", "--autoencoder", "centred", "--lake", lake]);
    let again = std::fs::read_to_string(folder.path().join("again/cfg.json")).unwrap();
    assert!(again.contains("\"center_writing_weights\": true"), "{again}");
    // What no weights of the stream write has no mean to lose.
    let inside = [
        "sae",
        "import",
        "out",
        "--id",
        "x",
        "--hook",
        "blocks.2.mlp.hook_post",
        "--row-mean",
        "removed",
        "--lake",
        lake,
    ];
    let error = refused(folder.path(), &inside, 2);
    assert!(error.contains("--row-mean: expected kept"), "{error}");
}
