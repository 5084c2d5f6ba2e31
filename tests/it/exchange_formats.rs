//! Neuronpedia's, delphi's and the observatory's files through the program: in, out, in again, and equal tables.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{neuronlake, ok, refused, rows_of, small_lake};

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path)
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.extension().is_some_and(|end| end == "gz") {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        std::fs::write(path, encoder.finish().unwrap()).unwrap();
    } else {
        std::fs::write(path, text).unwrap();
    }
}

/// Tables that a format carries whole are equal; the others are named by the caller.
fn same(folder: &Path, lakes: [&str; 2], tables: &[&'static str], columns: &str) {
    let [first, second] = lakes.map(|lake| rows_of(folder, lake, tables, columns));
    for table in tables {
        assert!(!first[table].is_empty(), "no rows of {table}");
        assert_eq!(first[table].len(), second[table].len(), "rows of {table}");
        for (a, b) in first[table].iter().zip(&second[table]) {
            assert_eq!(a, b, "{table}");
        }
    }
}

/// The number in a line of a summary that begins with this word.
fn counted(summary: &str, word: &str) -> u64 {
    let line =
        summary.lines().find(|line| line.trim_start().starts_with(word)).unwrap_or_else(|| panic!("{word}: {summary}"));
    line.split_whitespace().find_map(|cell| cell.parse().ok()).unwrap()
}

/// What a dashboard has, and a dump carries.
const CARRIED: [&str; 5] = ["neurons", "token_sequences", "activation_records", "token_effects", "neuron_links"];

#[test]
fn sae_dashboards_come_in_and_go_out_as_a_neuronpedia_dump() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let source = shared("neuronpedia-gpt2-small");
    let arguments = ["import", "neuronpedia", source.to_str().unwrap(), "--corpus", "owt", "--lake", "one"];
    let summary = ok(folder, &arguments);
    assert_eq!(counted(&summary, "units"), 4);
    assert_eq!(counted(&summary, "token_effects"), 80);
    let again = ok(folder, &arguments);
    assert_eq!((counted(&again, "units"), counted(&again, "skipped")), (0, 4), "{again}");
    let sql = "SELECT hook_point, neuron, density, max FROM neurons ORDER BY neuron LIMIT 1";
    let first = ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]);
    assert!(first.contains("blocks.0.hook_resid_pre/0-res-jb,0,0.0002,2.214"), "{first}");

    ok(folder, &["export", "neuronpedia", "out", "--lake", "one"]);
    let dump = folder.join("out/v1/gpt2-small/0-res-jb");
    for file in ["model.jsonl", "source.jsonl", "sourceset.jsonl", "release.jsonl", "features/batch-0.jsonl.gz"] {
        assert!(dump.join(file).is_file(), "{file}");
    }
    ok(folder, &["import", "neuronpedia", "out", "--lake", "two"]);
    same(folder, ["one", "two"], &CARRIED, "* EXCEPT (run)");
    // Nothing is written over.
    let error = refused(folder, &["export", "neuronpedia", "out", "--lake", "one"], 2);
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn a_lake_of_our_own_goes_out_as_a_neuronpedia_dump_with_its_scores() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let summary = ok(folder, &["export", "neuronpedia", "out", "--lake", small_lake()]);
    assert!(counted(&summary, "scores") > 0, "{summary}");
    // What the format has no place for is told.
    assert!(summary.contains("simulations") && summary.contains("token_activations"), "{summary}");
    ok(folder, &["import", "neuronpedia", "out", "--lake", "two"]);
    let lakes = [small_lake(), "two"];
    let held = "* EXCEPT (run)";
    same(folder, lakes, &["neurons", "scores"], held);
    // Windows of imports have keys of their own, and no document.
    same(folder, lakes, &["activation_records"], "* EXCEPT (run, sequence)");
    same(folder, lakes, &["explanations"], "* EXCEPT (run, completions)");
    let tokens = "SELECT count(DISTINCT t.tokens) AS n FROM token_sequences t JOIN activation_records r ON r.sequence = t.sequence";
    let count = |lake: &str| ok(folder, &["sql", "--lake", lake, "--format", "csv", tokens]);
    assert_eq!(count(lakes[0]), count(lakes[1]));
}

const ROW: &str = r#""modelId":"gpt2-small","layer":"8-res-jb""#;

/// A dump in the site's own layout: text indices, rows of activations in any order, no scores.
pub(crate) fn dump(root: &Path) {
    let at = |path: &str| format!("v1/gpt2-small/8-res-jb/{path}");
    let source = r#"{"id":"8-res-jb","modelId":"gpt2-small","setName":"res-jb","dataset":"openwebtext","num_prompts":10,"num_tokens_in_prompt":128}"#;
    write(root, &at("source.jsonl"), source);
    let features: Vec<String> = [0, 1, 10]
        .iter()
        .map(|i| format!(r#"{{{ROW},"index":"{i}","maxActApprox":4.5,"frac_nonzero":0.01,"pos_str":["a"],"pos_values":[1.5],"neg_str":["b"],"neg_values":[NaN]}}"#))
        .collect();
    write(root, &at("features/batch-0.jsonl.gz"), &features.join("\n"));
    let activation = |index: u32, word: &str, value: f32| {
        format!(
            r#"{{{ROW},"index":"{index}","tokens":["{word}"," end"],"values":[{value},0.0],"binMin":-1,"binMax":4.5,"binContains":-1}}"#
        )
    };
    let activations = [activation(10, "x", 1.0), activation(0, "y", 2.0), activation(10, "z", 4.5)];
    write(root, &at("activations/batch-0.jsonl.gz"), &activations.join("\n"));
    let explanation = |index: u32, text: &str| {
        format!(
            r#"{{"id":"e{index}{text}",{ROW},"index":"{index}","description":"{text}","typeName":"np_max-act-logits","explanationModelName":"gpt-4o-mini","authorId":"x"}}"#
        )
    };
    let explanations = [explanation(0, "first"), explanation(0, "second"), explanation(10, "third")];
    write(root, &at("explanations/batch-0.jsonl.gz"), &explanations.join("\n"));
}

#[test]
fn a_dump_in_the_sites_own_layout_is_imported_and_its_bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    dump(folder);
    let good = ok(folder, &["import", "neuronpedia", "v1", "--lake", "one"]);
    assert_eq!(counted(&good, "explanations"), 3);
    assert_eq!(counted(&good, "activation_records"), 3);
    let sql = "SELECT neuron, explainer, explainer_model, sample_no, text, corpus FROM explanations ORDER BY neuron, sample_no";
    let found = ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]);
    assert!(found.contains("0,logits,openai:gpt-4o-mini,1,second,openwebtext"), "{found}");

    // One line is damaged, and one file breaks off.
    let features = folder.join("v1/gpt2-small/8-res-jb/features");
    write(
        folder,
        "v1/gpt2-small/8-res-jb/features/batch-1.jsonl",
        &format!("{{{ROW},\"index\":\"2\"}}\n{{{ROW},\"index\":3,\n{{{ROW},\"index\":\"4\"}}"),
    );
    let many: String =
        (0..3_000).map(|i| format!("{{{ROW},\"index\":\"{i}\",\"description\":\"text {}\"}}\n", i * 7919)).collect();
    write(folder, "v1/gpt2-small/8-res-jb/explanations/batch-1.jsonl.gz", &many);
    let cut = folder.join("v1/gpt2-small/8-res-jb/explanations/batch-1.jsonl.gz");
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let error = refused(folder, &["import", "neuronpedia", "v1", "--lake", "two"], 1);
    assert!(error.contains("features/batch-1.jsonl', line 2:") && error.contains("--keep-going"), "{error}");
    let ran = ok(folder, &["import", "neuronpedia", "v1", "--lake", "two", "--keep-going"]);
    assert_eq!(counted(&ran, "failed"), 2);
    assert!(ran.contains("explanations/batch-1.jsonl.gz', line ") && ran.contains("expected a whole file"), "{ran}");
    let sql = "SELECT count(*) AS n FROM neurons";
    assert_eq!(ok(folder, &["sql", "--lake", "two", "--format", "csv", sql]), "n\n5\n");
    // Put right, the import adds what is missing and nothing else.
    std::fs::remove_dir_all(&features).unwrap();
    std::fs::write(&cut, &whole).unwrap();
    dump(folder);
    ok(folder, &["import", "neuronpedia", "v1", "--lake", "two"]);
    let sql = "SELECT count(*) AS n, count(DISTINCT explanation) AS ids FROM explanations";
    assert_eq!(ok(folder, &["sql", "--lake", "two", "--format", "csv", sql]), "n,ids\n3003,3003\n");
}

/// Cached latents as delphi saves them: six windows of four tokens of GPT-2, latents 0 to 9 in two files.
fn latents(root: &Path) {
    let tokens: Vec<i64> = (0..24).map(|i| 262 + 37 * i).collect();
    let firings: Vec<([u16; 3], f32)> =
        (0..60_u16).map(|i| ([i % 6, i / 6 % 4, i * 7 % 10], 0.25 + f32::from(i) / 8.0)).collect();
    for (first, last) in [(0, 4), (5, 9)] {
        let of: Vec<_> = firings.iter().filter(|([_, _, latent], _)| (first..=last).contains(latent)).collect();
        let n = of.len();
        let header = serde_json::json!({
            "activations": {"dtype": "F16", "shape": [n], "data_offsets": [0, 2 * n]},
            "locations": {"dtype": "U16", "shape": [n, 3], "data_offsets": [2 * n, 8 * n]},
            "tokens": {"dtype": "I64", "shape": [6, 4], "data_offsets": [8 * n, 8 * n + 192]},
        })
        .to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        of.iter().for_each(|(_, value)| bytes.extend(half::f16::from_f32(*value).to_le_bytes()));
        for ([row, position, latent], _) in &of {
            [*row, *position, latent - first].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        tokens.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
        let path = root.join(format!("latents/layers.3.mlp/{first}_{last}.safetensors"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    write(root, "latents/layers.3.mlp/config.json", r#"{"dataset_repo":"pile","model_name":"gpt2"}"#);
}

fn delphi_run(root: &Path) {
    latents(root);
    let config = r#"{"model":"gpt2","sparse_model":"EleutherAI/sae-gpt2-32x","explainer_model":"llama","explainer_provider":"offline","cache_cfg":{"dataset_repo":"pile"},"sampler_cfg":{"n_quantiles":10},"constructor_cfg":{"non_activating_source":"random"}}"#;
    write(root, "run_config.json", config);
    let judged = |word: &str, activating: bool, prediction: &str, distance: f64| {
        let activation = if activating { 2.5 } else { 0.0 };
        format!(
            r#"{{"str_tokens":["{word}"," x"],"activations":[{activation},0.0],"distance":{distance},"activating":{activating},"prediction":{prediction},"probability":null,"correct":null}}"#
        )
    };
    let simulated = |word: &str, distance: i32, expected: &str, actual: &str| {
        format!(
            r#"{{"distance":{distance},"simulation":{{"tokens":["{word}"," x"],"expected_activations":{expected},"activation_scale":"simulated_normalized_activations","distribution_values":[],"distribution_probabilities":[],"uncalibrated_simulation":null}},"true_activations":{actual},"ev_correlation_score":1.0,"rsquared_score":0,"absolute_dev_explained_score":0}}"#
        )
    };
    for latent in [0, 7] {
        let name = format!("layers.3.mlp_latent{latent}.txt");
        write(root, &format!("explanations/{name}"), &format!("\"what latent {latent} does\""));
        let windows = [
            judged("alpha", true, "true", 0.0),
            judged("beta", true, "false", 9.0),
            judged("gamma", false, "false", -1.0),
            judged("delta", false, "null", -1.0),
        ];
        write(root, &format!("scores/detection/{name}"), &format!("[{}]", windows.join(",")));
        write(root, &format!("scores/fuzz/{name}"), &format!("[{}]", windows[..3].join(",")));
        let all = [simulated("alpha", 0, "[10,0]", "[10,0]"), simulated("gamma", -1, "[0,0]", "[0,0]")].join(",");
        let group = format!(
            r#"[{{"distance":0,"scored_sequence_simulations":[{all}],"ev_correlation_score":1.0,"rsquared_score":0,"absolute_dev_explained_score":0}}]"#
        );
        write(root, &format!("scores/simulation/{name}"), &group);
    }
}

fn gpt2(folder: &Path) {
    let tokenizer = folder.join("tokenizer");
    std::fs::create_dir_all(&tokenizer).unwrap();
    std::fs::copy(shared("gpt2-bpe/encoder.json"), tokenizer.join("vocab.json")).unwrap();
    std::fs::copy(shared("gpt2-bpe/vocab.bpe"), tokenizer.join("merges.txt")).unwrap();
}

#[test]
fn a_delphi_run_comes_in_goes_out_and_comes_in_equal() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    delphi_run(&folder.join("results"));
    gpt2(folder);
    let arguments = ["import", "delphi", "results", "--tokenizer", "tokenizer", "--lake", "one"];
    let summary = ok(folder, &arguments);
    assert_eq!(counted(&summary, "activations"), 60, "{summary}");
    assert_eq!(counted(&summary, "judgements"), 14);
    // Six metrics of each judge and one of the simulation, for two latents.
    assert_eq!(counted(&summary, "scores"), 26);
    assert!(!summary.contains("difference"), "{summary}");
    let again = ok(folder, &arguments);
    assert_eq!(counted(&again, "units"), 0, "{again}");

    // What a metric of the same windows should be, from the judgements themselves.
    let sql = "SELECT s.neuron, s.value, avg(CASE WHEN j.predicted = j.activating THEN 1.0 ELSE 0.0 END) AS own \
               FROM scores s JOIN judgements j ON j.explanation = s.explanation AND j.scorer = s.scorer \
               WHERE s.metric = 'accuracy' AND s.scorer = 'detection' AND j.predicted IS NOT NULL \
               GROUP BY s.neuron, s.value HAVING abs(s.value - own) > 1e-12";
    assert_eq!(ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]).lines().count(), 1);
    let sql = "SELECT t.tokens[position + 1] AS token, a.activation FROM activations a JOIN token_sequences t ON t.sequence = a.sequence \
               WHERE a.neuron = 0 ORDER BY activation LIMIT 1";
    assert!(ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]).contains(" the,0.25"));

    let exported = ok(folder, &["export", "delphi", "out", "--lake", "one"]);
    assert!(!exported.contains("beyond"), "{exported}");
    ok(folder, &["import", "delphi", "out", "--tokenizer", "tokenizer", "--lake", "two"]);
    let lakes = ["one", "two"];
    let tables =
        ["activations", "token_sequences", "neurons", "activation_records", "explanations", "judgements", "scores"];
    same(folder, lakes, &tables, "* EXCEPT (run)");
    // A window that only the simulation had needs raw values, which the first run did not have.
    same(
        folder,
        lakes,
        &["simulations"],
        "neuron, simulator, simulator_model, scale, sample, rank, sequence, split, expected",
    );
}

#[test]
fn damaged_delphi_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let root = folder.join("results");
    delphi_run(&root);
    write(&root, "scores/fuzz/layers.3.mlp_latent7.txt", "[{\"str_tokens\":[");
    write(&root, "explanations/layers.3.mlp_latent0.txt", "not json");
    let arguments = ["import", "delphi", "results", "--no-latents", "--lake", "one"];
    let error = refused(folder, &arguments, 1);
    assert!(error.contains("explanations/layers.3.mlp_latent0.txt"), "{error}");
    let ran = ok(folder, &[&arguments[..], &["--keep-going"]].concat());
    assert_eq!(counted(&ran, "failed"), 2);
    assert!(ran.contains("scores/fuzz/layers.3.mlp_latent7.txt"), "{ran}");
    assert_eq!(counted(&ran, "explanations"), 1);
    let ran = neuronlake(folder, &["import", "delphi", "results", "--lake", "one"]);
    assert!(ran.err.contains("--tokenizer") && ran.err.contains("--no-latents"), "{}", ran.err);
}

#[test]
fn the_observatory_comes_in_with_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let window = r#"{"simulation":{"tokens":["a"," b"],"expected_activations":[0.0,2.0],"activation_scale":"neuron_activations","uncalibrated_simulation":{"tokens":["a"," b"],"expected_activations":[0,10],"activation_scale":"simulated_normalized_activations"}},"true_activations":[0.0,2.0],"ev_correlation_score":1.0}"#;
    let simulations = format!(
        r#"{{"valid":{{"simulation_data":{{"0":{window}}},"ev_correlation_score":1.0,"rsquared_score":1.0,"absolute_dev_explained_score":1.0}}}}"#
    );
    let neuron = |neuron: u32| {
        format!(
            r#"{{"neuron_id":{{"layer_index":5,"neuron_index":{neuron}}},"explanations":{{"positive":[{{"explanation":"up","simulations":{simulations}}}],"negative":[{{"explanation":"down","simulations":{simulations}}}]}}}}"#
        )
    };
    write(folder, "x/explanations/5/3.json", &neuron(3));
    write(folder, "x/explanations/5/4.json", &neuron(4));
    write(folder, "x/explanations/5/6.json", "{");
    write(
        folder,
        "x/explanation_config.json",
        r#"{"explainer_model_name":"gpt-4o","simulator_model_name":"sim","exemplar_config":{"hf_model_id":"llama"}}"#,
    );
    let arguments = ["import", "transluce", "x", "--lake", "one"];
    let error = refused(folder, &arguments, 1);
    assert!(error.contains("explanations/5/6.json', line 1:"), "{error}");
    let summary = ok(folder, &[&arguments[..], &["--keep-going"]].concat());
    assert_eq!(counted(&summary, "failed"), 1);
    let sql = "SELECT neuron, explainer, text, hook_point FROM explanations ORDER BY neuron, explainer";
    let found = ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]);
    assert_eq!(found.lines().count(), 5, "{found}");
    assert!(found.contains("4,observatory_negative,down,blocks.5.mlp.hook_post"), "{found}");
    // The negative end's own values are below 0.
    let sql = "SELECT sample, max_activation, activations[2] AS last FROM activation_records WHERE neuron = 3 ORDER BY sample";
    let found = ok(folder, &["sql", "--lake", "one", "--format", "csv", sql]);
    assert!(found.contains("scored_bottom") && found.contains("-2.0"), "{found}");
}
