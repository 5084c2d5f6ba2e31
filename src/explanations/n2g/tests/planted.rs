//! Neurons that follow known rules on text of a small grammar, and real ones: patterns against the token lookup table.

use std::collections::HashMap;
use std::path::Path;

use crate::explanations::evidence::{Evidence, EvidenceRecord};
use crate::explanations::n2g::{Pattern, learn, simulate};
use crate::random::mix;
use crate::scores::metric::Metric;
use crate::scores::window_sums::WindowSums;

const PEOPLE: [&str; 12] = [
    " king", " queen", " baker", " sailor", " doctor", " painter", " child", " widow", " farmer", " judge", " poet",
    " nurse",
];
const THINGS: [&str; 24] = [
    " bread", " gold", " water", " silk", " honey", " stone", " glass", " iron", " snow", " music", " wool", " salt",
    " wood", " paper", " wine", " sand", " ash", " light", " copper", " milk", " oil", " grain", " smoke", " clay",
];
const DEEDS: [&str; 12] =
    [" carry", " sell", " break", " hide", " want", " love", " burn", " find", " lose", " paint", " weigh", " steal"];
const MOODS: [&str; 10] =
    [" tired", " happy", " alone", " ready", " late", " rich", " young", " afraid", " proud", " calm"];

/// A window of three sentences.
fn window(seed: u64) -> Vec<String> {
    let mut text: Vec<&str> = Vec::new();
    for sentence in 0..3 {
        let mut drawn = 0;
        let mut draw = |words: &[&'static str]| {
            drawn += 1;
            words[(mix(seed, sentence, drawn) % words.len() as u64) as usize]
        };
        let pattern = draw(&["0", "1", "2", "3", "4", "5", "6", "7"]);
        text.push("The");
        if draw(&["plain", "adorned"]) == "adorned" {
            text.push(draw(&MOODS));
        }
        text.push(draw(&PEOPLE));
        match pattern {
            "0" => text.extend([" had", " a", draw(&[" cup", " box", " bag"]), " of", draw(&THINGS)]),
            "1" => text.extend([draw(&[" did", " would", " may"]), " not", draw(&DEEDS), " the", draw(&THINGS)]),
            "2" => text.extend([" was", " not", draw(&MOODS), " at", " all"]),
            "3" => text.extend([" could", draw(&DEEDS), " all", " the", draw(&THINGS)]),
            "4" => text.extend([" and", " the", draw(&PEOPLE), " were", " not", " all", draw(&MOODS)]),
            "5" => text.extend([" of", draw(&[" Rome", " Paris", " Kent"]), " was", draw(&MOODS)]),
            "6" => text.extend([" did", draw(&DEEDS), draw(&THINGS), " for", " the", draw(&PEOPLE)]),
            _ => text.extend([" must", draw(&DEEDS), draw(&THINGS), " and", " be", draw(&MOODS)]),
        }
        text.push(".");
    }
    text.into_iter().map(str::to_owned).collect()
}

/// A neuron on a window, by its rule: the token, and the one before it.
fn measured(seed: u64, rule: fn(&str, &str) -> f32) -> EvidenceRecord {
    let tokens = window(seed);
    let before = std::iter::once("").chain(tokens.iter().map(String::as_str));
    let noise = |at: u64| (mix(seed, 99, at) % 100) as f32 / 400.0;
    let activations =
        tokens.iter().zip(before).zip(0..).map(|((token, before), at)| rule(before, token) + noise(at)).collect();
    EvidenceRecord { tokens, activations }
}

/// Ten windows in which the neuron fires most and five in which it is silent.
fn shown(mut records: Vec<EvidenceRecord>) -> Evidence {
    records.sort_by(|a, b| b.max().total_cmp(&a.max()));
    let quiet = records.iter().rev().filter(|record| record.max() < 1.0).take(5).cloned().collect();
    records.truncate(10);
    Evidence { records, quiet, promoted: Vec::new() }
}

/// Mean activation of every token, and of all together: the token lookup table, from every window there is.
fn lookup(records: &[EvidenceRecord]) -> impl Fn(&[String]) -> Vec<f32> + use<> {
    let mut means: HashMap<String, (f32, f32)> = HashMap::new();
    let mut all = (0.0, 0.0);
    for (token, activation) in records.iter().flat_map(|record| record.tokens.iter().zip(&record.activations)) {
        for (sum, n) in [means.entry(token.clone()).or_default(), &mut all] {
            *sum += activation;
            *n += 1.0;
        }
    }
    move |tokens| tokens.iter().map(|token| means.get(token).unwrap_or(&all)).map(|(sum, n)| sum / n.max(1.0)).collect()
}

/// Correlation of a simulation with windows; `None` where it is constant.
fn correlation(held_out: &[EvidenceRecord], simulate: impl Fn(&[String]) -> Vec<f32>) -> Option<f64> {
    let sums: Vec<WindowSums> =
        held_out.iter().map(|record| WindowSums::of(&record.activations, &simulate(&record.tokens)).unwrap()).collect();
    Metric::EvCorrelation.value(&WindowSums::merged(&sums)).ok()
}

/// Correlation of a simulation with windows that its maker never saw.
fn score(held_out: &[EvidenceRecord], simulate: impl Fn(&[String]) -> Vec<f32>) -> f64 {
    correlation(held_out, simulate).unwrap()
}

/// Share of the firings that are expected, and share of what is expected that fires.
fn recall_and_precision(held_out: &[EvidenceRecord], simulate: impl Fn(&[String]) -> Vec<f32>) -> (f64, f64) {
    let (mut both, mut fires, mut expected) = (0.0, 0.0, 0.0);
    for record in held_out {
        for (activation, simulated) in record.activations.iter().zip(simulate(&record.tokens)) {
            both += f64::from(u8::from(*activation >= 3.0 && simulated >= 3.0));
            fires += f64::from(u8::from(*activation >= 3.0));
            expected += f64::from(u8::from(simulated >= 3.0));
        }
    }
    (both / fires, both / expected)
}

#[test]
fn context_that_matters_is_found_and_beats_the_token_alone() {
    type Planted = (&'static str, fn(&str, &str) -> f32, f64, f64);
    // Name, rule, least recall, and by how much the pattern must beat the table.
    let planted: [Planted; 4] = [
        ("word after of", |before, _| if before == " of" { 10.0 } else { 0.0 }, 0.95, 0.2),
        ("all after not", |before, token| if (before, token) == (" not", " all") { 8.0 } else { 0.0 }, 0.95, 0.3),
        (
            "verb after not",
            |before, token| if before == " not" && DEEDS.contains(&token) { 9.0 } else { 0.0 },
            0.5,
            0.1,
        ),
        ("people", |_, token| if PEOPLE.contains(&token) { 6.0 } else { 0.0 }, 0.75, -0.2),
    ];
    for (name, rule, least_recall, margin) in planted {
        let train: Vec<EvidenceRecord> = (0..300).map(|seed| measured(seed, rule)).collect();
        let held_out: Vec<EvidenceRecord> = (1000..1300).map(|seed| measured(seed, rule)).collect();
        let table = lookup(&train);
        let pattern = learn(&shown(train)).unwrap();
        let of_pattern = score(&held_out, |tokens| simulate(&pattern, tokens));
        let of_table = score(&held_out, &table);
        let (recall, precision) = recall_and_precision(&held_out, |tokens| simulate(&pattern, tokens));
        println!(
            "{name}: pattern {of_pattern:.3}, table {of_table:.3}, recall {recall:.2}, precision {precision:.2}: {pattern}"
        );
        assert!(of_pattern > of_table + margin, "{name}: {of_pattern} and {of_table}");
        assert!(recall >= least_recall && precision >= 0.95, "{name}: {recall} and {precision}");
    }
}

/// A record of the files, without its first token, which is an attention sink.
fn real(record: &serde_json::Value) -> EvidenceRecord {
    let list = |name: &str| record[name].as_array().unwrap().iter().skip(1);
    EvidenceRecord {
        tokens: list("tokens").map(|token| token.as_str().unwrap().to_owned()).collect(),
        activations: list("activations").map(|value| value.as_f64().unwrap() as f32).collect(),
    }
}

#[test]
fn real_neurons_are_told_from_each_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/neuron-records-smollm2");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut own, mut other, mut of_tables, mut n_patterns) = (0.0, 0.0, 0.0, 0.0);
    let mut before: Option<Pattern> = None;
    for file in &files {
        let neuron: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let top: Vec<EvidenceRecord> =
            neuron["most_positive_activation_records"].as_array().unwrap().iter().map(real).collect();
        let random: Vec<EvidenceRecord> = neuron["random_sample"].as_array().unwrap().iter().map(real).collect();
        // Every other of the strongest windows is shown; the others and random ones are held out.
        let evidence = Evidence {
            records: top.iter().step_by(2).cloned().collect(),
            quiet: random[..5].to_vec(),
            promoted: Vec::new(),
        };
        let held_out: Vec<EvidenceRecord> =
            top.into_iter().skip(1).step_by(2).take(5).chain(random.into_iter().skip(5)).collect();
        let Ok(pattern) = learn(&evidence) else { continue };
        let shown: Vec<EvidenceRecord> = evidence.records.into_iter().chain(evidence.quiet).collect();
        let table = correlation(&held_out, lookup(&shown)).unwrap_or(0.0);
        let value = correlation(&held_out, |tokens| simulate(&pattern, tokens)).unwrap_or(0.0);
        let control = before.replace(pattern.clone());
        let control =
            control.and_then(|pattern| correlation(&held_out, |tokens| simulate(&pattern, tokens))).unwrap_or(0.0);
        println!(
            "{}: {value:.2}, another's {control:.2}, table {table:.2}: {pattern}",
            file.file_stem().unwrap().to_string_lossy()
        );
        (own, other, of_tables, n_patterns) = (own + value, other + control, of_tables + table, n_patterns + 1.0);
    }
    let (own, other, of_tables) = (own / n_patterns, other / n_patterns, of_tables / n_patterns);
    println!(
        "{n_patterns} of {} neurons: mean {own:.3}, another's {other:.3}, table of the same windows {of_tables:.3}",
        files.len()
    );
    assert!(own > other + 0.3, "{own} and {other}");
}
