//! Judges over windows whose truth is known, with models that answer by a rule and with a real one.

use std::path::{Path, PathBuf};

use super::judge::{Example, Judge, Judgement, Task, judge_all};
use crate::completions::request::Request;
use crate::error::Error;

mod failures;
mod real;
mod rules;

use rules::{Counting, RuleModel, Words};

/// A window in which the words that hold `word` are active: every word is a token with the space before it.
fn window(text: &str, word: &str, activating: bool) -> Example {
    let tokens: Vec<String> =
        format!(" {text}").split_inclusive(' ').skip(1).map(|word| format!(" {}", word.trim())).collect();
    let active = |token: &String| if activating && token.contains(word) { 8.0 } else { 0.5 };
    Example { activations: tokens.iter().map(active).collect(), tokens, activating }
}

/// Six windows with a cat and five without.
fn cats() -> Task {
    let with = [
        "the cat slept on the warm stove",
        "a cat and her kittens crossed the yard",
        "nobody had fed the cat since noon",
        "she drew a cat in the margin",
        "the old cat would not move for the cart",
        "under the cart the cat waited",
    ];
    let without = [
        "the train was late again today",
        "he signed the letter without reading it",
        "rain fell on the empty square",
        "three boxes stood in the hall",
        "they argued about the price of tea",
    ];
    let examples =
        with.map(|text| window(text, "cat", true)).into_iter().chain(without.map(|text| window(text, "cat", false)));
    Task { explanation: "cats".to_owned(), examples: examples.collect(), seed: 7 }
}

/// The texts of a request's last turn, by their numbers.
fn texts(request: &Request) -> Vec<String> {
    let question = &request.messages.last().unwrap().content;
    let (_, texts) = question.split_once("Texts:\n").unwrap();
    texts.lines().map(|line| line.split_once(". ").unwrap().1.to_owned()).collect()
}

fn predictions(judgements: &[Judgement]) -> Vec<Option<bool>> {
    judgements.iter().map(|judgement| judgement.predicted).collect()
}

#[test]
fn names_are_read_and_unknown_ones_told() {
    for judge in Judge::ALL {
        assert_eq!(judge.to_string().parse::<Judge>().unwrap(), judge);
        assert!(judge.needs_model() != judge.needs_encoder());
        assert_eq!(judge.prompt_hash().len(), 16);
        assert!(!judge.metrics().is_empty());
    }
    let hashes: std::collections::BTreeSet<String> = Judge::ALL.map(Judge::prompt_hash).into();
    assert_eq!(hashes.len(), Judge::ALL.len());
    let error = "simulation".parse::<Judge>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "scorer: expected one of detection, fuzzing, intruder, embedding, surprisal, got 'simulation'"
    );
}

#[tokio::test]
async fn detection_shows_five_plain_windows_a_prompt_and_judges_the_last_few_too() {
    let model = RuleModel::answering(|request| rules::list(&texts(request), |text| text.contains("cat")));
    let tasks = [cats(), Task { seed: 8, ..cats() }];
    let judged = judge_all(Judge::Detection, Some(&model), None, &tasks).await.unwrap();
    for (task, judged) in tasks.iter().zip(&judged) {
        let truth: Vec<Option<bool>> = task.examples.iter().map(|example| Some(example.activating)).collect();
        assert_eq!(predictions(judged), truth);
        assert!(judged.iter().all(|judgement| judgement.completion.is_some() && judgement.reason.is_none()));
    }
    let requests = model.requests();
    let sizes: Vec<usize> = requests.iter().map(|request| texts(request).len()).collect();
    assert_eq!(sizes, [5, 5, 1, 5, 5, 1]);
    assert!(requests.iter().all(|request| request.messages.last().unwrap().content.contains("reacts to: cats\n")));
    assert!(requests.iter().flat_map(texts).all(|text| !text.contains('«')));
    // Another seed, another order; the same seed, the same prompts.
    assert_ne!(texts(&requests[0]), texts(&requests[3]));
    let again = RuleModel::answering(|request| rules::list(&texts(request), |text| text.contains("cat")));
    assert_eq!(judge_all(Judge::Detection, Some(&again), None, &tasks).await.unwrap(), judged);
    assert_eq!(again.requests(), requests);
}

#[tokio::test]
async fn log_probabilities_become_values() {
    let model =
        RuleModel::answering(|request| rules::list(&texts(request), |text| text.contains("cat"))).sure(0.8, ["0", "1"]);
    let judged = judge_all(Judge::Detection, Some(&model), None, &[cats()]).await.unwrap().remove(0);
    for (judgement, example) in judged.iter().zip(cats().examples) {
        let expected = if example.activating { 0.8 } else { 0.2 };
        assert!((judgement.value.unwrap() - expected).abs() < 1e-12, "{judgement:?}");
    }
    assert!(model.requests().iter().all(|request| request.top_logprobs == 5));
    let silent = RuleModel::answering(|request| rules::list(&texts(request), |text| text.contains("cat")));
    let judged = judge_all(Judge::Detection, Some(&silent), None, &[cats()]).await.unwrap().remove(0);
    assert!(judged.iter().all(|judgement| judgement.value.is_none() && judgement.predicted.is_some()));
    assert!(silent.requests().iter().all(|request| request.top_logprobs == 0));
}

/// Whether the words between marks are cats and nothing else.
fn marks_cats(text: &str) -> bool {
    let marked: Vec<&str> = text.split('«').skip(1).filter_map(|rest| rest.split('»').next()).collect();
    !marked.is_empty() && marked.iter().all(|marked| marked.trim() == "cat")
}

#[tokio::test]
async fn fuzzing_marks_the_active_tokens_and_elsewhere_as_many_at_random() {
    let model = RuleModel::answering(|request| rules::list(&texts(request), marks_cats));
    let task = cats();
    let judged = judge_all(Judge::Fuzzing, Some(&model), None, std::slice::from_ref(&task)).await.unwrap().remove(0);
    let truth: Vec<Option<bool>> = task.examples.iter().map(|example| Some(example.activating)).collect();
    assert_eq!(predictions(&judged), truth);
    let shown: Vec<String> = model.requests().iter().flat_map(texts).collect();
    assert!(shown.contains(&"the «cat» slept on the warm stove".to_owned()), "{shown:?}");
    // One active token a window, so one random mark in each of the others.
    assert!(shown.iter().all(|text| text.matches('«').count() == 1), "{shown:?}");
}

#[tokio::test]
async fn the_intruder_is_named_without_an_explanation() {
    let odd = |request: &Request| {
        let found = texts(request).iter().position(|text| !marks_cats(text));
        (found.unwrap() + 1).to_string()
    };
    let model = RuleModel::answering(odd).sure(0.9, ["1", "2"]);
    let task = cats();
    let judged = judge_all(Judge::Intruder, Some(&model), None, std::slice::from_ref(&task)).await.unwrap().remove(0);
    for (judgement, example) in judged.iter().zip(&task.examples) {
        if example.activating {
            assert_eq!(judgement, &Judgement::missing("only intruders are judged"));
        } else {
            assert_eq!(judgement.predicted, Some(false));
            assert!((judgement.value.unwrap() - 0.1).abs() < 1e-9, "{judgement:?}");
        }
    }
    let requests = model.requests();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(texts(request).len(), 5);
        assert!(!request.messages.last().unwrap().content.contains("reacts to: cats"));
    }
    // A judge that always says the same is right when the intruder happens to stand there.
    let lazy = RuleModel::answering(|_| "1".to_owned());
    let judged = judge_all(Judge::Intruder, Some(&lazy), None, &[cats()]).await.unwrap().remove(0);
    let misses = judged.iter().filter(|judgement| judgement.predicted == Some(true)).count();
    assert!(misses >= 2, "{judged:?}");
    // Another explanation of the same records is the same question, asked once.
    let both = [cats(), Task { explanation: "dogs".to_owned(), ..cats() }];
    let model = RuleModel::answering(odd);
    let judged = judge_all(Judge::Intruder, Some(&model), None, &both).await.unwrap();
    assert_eq!((judged[0] == judged[1], model.requests().len()), (true, 5));
}

#[tokio::test]
async fn embedding_compares_explanation_and_window() {
    let encoder = Words::new(&["cat", "train", "rain", "tea"]);
    let mut task = cats();
    task.explanation = "the cat".to_owned();
    let judged =
        judge_all(Judge::Embedding, None, Some(&encoder), std::slice::from_ref(&task)).await.unwrap().remove(0);
    for (judgement, example) in judged.iter().zip(&task.examples) {
        assert_eq!(judgement.predicted, None);
        if example.activating {
            assert_eq!(judgement.value, Some(1.0));
        }
    }
    // Windows without any of the words have a vector of zeros, and no cosine.
    assert_eq!(judged[7], Judgement::missing("a text without an embedding"));
    assert_eq!(judged[8].value, Some(0.0));
}

#[tokio::test]
async fn surprisal_is_what_the_explanation_saves() {
    let model = Counting::new();
    let judged = judge_all(Judge::Surprisal, Some(&model), None, &[cats(), cats()]).await.unwrap();
    for (judgement, example) in judged[0].iter().zip(cats().examples) {
        // The model needs 1 nat a word, half a nat for one that the prefix names.
        let words = example.tokens.len() as f64;
        let saved = if example.activating { 0.5 / words } else { 0.0 };
        assert!((judgement.value.unwrap() - saved).abs() < 1e-12, "{judgement:?}");
    }
    assert_eq!(judged[0], judged[1]);
    // Each window once after either prefix, however many tasks show it.
    assert_eq!(model.n_read(), 22);
}

#[tokio::test]
async fn a_judge_without_what_it_needs_says_so() {
    let say = |error: Error| error.to_string();
    let error = judge_all(Judge::Fuzzing, None, None, &[cats()]).await.unwrap_err();
    assert_eq!(say(error), "scorer 'fuzzing': expected a language model: fuzzing@openai:NAME or fuzzing@local:PATH");
    let error = judge_all(Judge::Embedding, None, None, &[cats()]).await.unwrap_err();
    assert_eq!(say(error), "scorer 'embedding': expected a sentence encoder");
    let model = RuleModel::answering(|_| String::new());
    let error = judge_all(Judge::Surprisal, Some(&model), None, &[cats()]).await.unwrap_err();
    assert!(say(error).contains("scorer 'surprisal' needs log-probabilities inside the prompt"));
    let mut task = cats();
    task.examples[0].activations.pop();
    let error = judge_all(Judge::Detection, Some(&model), None, &[task]).await.unwrap_err();
    assert!(say(error).contains("expected equal lengths, got 7 and 6"));
}

/// A file of `scripts/fetch_test_models`.
fn fetched(name: &str) -> PathBuf {
    let folder = std::env::var_os("NEURONLAKE_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/neuronlake-models")
    });
    let path = folder.join(name);
    assert!(path.exists(), "'{}' is missing: run scripts/fetch_test_models", path.display());
    path
}
