//! Revision with a scripted model and a subject whose neurons follow known rules.

use async_trait::async_trait;

use super::counterexamples::{Measured, chosen};
use super::{Candidate, Draft, Expectation, Found, Sentences, Subject, prompt, revise};
use crate::completions::request::Purpose;
use crate::error::{Error, Result};
use crate::explanations::evidence::EvidenceRecord;
use crate::explanations::tests::scripted::{Scripted, reply, text_of};
use crate::explanations::tests::{evidence, record};

/// A subject with one neuron, which fires on "king" and "queen" and on no other word.
struct Court {
    /// Whether it can tell what a text leads one to expect.
    simulates: bool,
}

const TRUE_WORDS: [&str; 2] = ["king", "queen"];

/// Words that a text makes one expect the neuron to fire on.
fn expected_words(text: &str) -> &'static [&'static str] {
    match text {
        "people" => &["king", "queen", "baker", "sailor"],
        "monarchs" => &TRUE_WORDS,
        "bakers" => &["baker"],
        _ => &[],
    }
}

fn of_words(tokens: &[String], words: &[&str], value: f32) -> Vec<f32> {
    tokens.iter().map(|token| if words.contains(&token.trim()) { value } else { 0.0 }).collect()
}

#[async_trait]
impl Subject for Court {
    async fn measure(&self, sentences: &[Sentences]) -> Result<Vec<Vec<EvidenceRecord>>> {
        let measured = |sentence: &String| {
            let tokens: Vec<String> = sentence.split_inclusive(' ').map(str::to_owned).collect();
            EvidenceRecord { activations: of_words(&tokens, &TRUE_WORDS, 3.0), tokens }
        };
        Ok(sentences.iter().map(|asked| asked.sentences.iter().map(measured).collect()).collect())
    }

    async fn simulate(&self, wanted: &[Expectation]) -> Result<Vec<Found<Vec<f32>>>> {
        let one = |wanted: &Expectation| Found {
            value: self.simulates.then(|| of_words(&wanted.tokens, expected_words(&wanted.text), 10.0)),
            completions: vec!["expected".to_owned()],
        };
        Ok(wanted.iter().map(one).collect())
    }

    /// The share of the expected words that are right; undefined for a text that leads one to expect nothing.
    async fn calibration_scores(&self, candidates: &[Candidate]) -> Result<Vec<Found<f64>>> {
        let score = |candidate: &Candidate| {
            let words = expected_words(&candidate.text);
            let right = words.iter().filter(|word| TRUE_WORDS.contains(word)).count();
            let value = (!words.is_empty()).then(|| right as f64 / words.len() as f64);
            Found { value, completions: vec!["score".to_owned()] }
        };
        Ok(candidates.iter().map(score).collect())
    }
}

const SENTENCES: &str = "1. The baker sold bread to everyone.\n2. The king rode out at dawn.\n3. A sailor wrote to his mother.\n\
                         4. The old queen had a cold.";

fn draft(text: &str) -> Draft {
    Draft { evidence: evidence(&["The| king#3| sat", "A| queen#2.8| rose"], &[]), text: text.to_owned() }
}

/// A model that writes these sentences, and this as the better text.
fn writer(sentences: &'static str, better: &'static str) -> Scripted {
    Scripted::new(move |call| {
        let asks_for_sentences = text_of(&call.request).ends_with("Write 10 sentences.");
        Ok(reply(if asks_for_sentences { sentences } else { better }))
    })
}

#[tokio::test]
async fn a_text_that_is_too_broad_is_narrowed() {
    let model = writer(SENTENCES, "monarchs.");
    let revised = revise(&model, &Court { simulates: true }, &[draft("people")], 1).await.unwrap();
    let revision = revised[0].as_ref().unwrap();
    assert_eq!((revision.round, revision.text.as_str(), revision.accepted), (1, "monarchs", true));
    assert_eq!((revision.score_before, revision.score_after), (Some(0.5), Some(1.0)));
    assert_eq!((revision.n_sentences, revision.n_silent), (4, 2));
    let simulated = ["expected"; 4];
    assert_eq!(revision.completions, [&["key"][..], &simulated, &["key"], &["score", "score"]].concat());

    let calls = model.asked();
    assert!(calls.iter().all(|call| call.purpose == Purpose::Revise && call.sample_no == 1));
    assert_eq!(calls.iter().map(|call| call.request.temperature).collect::<Vec<_>>(), [1.0, 0.0]);
    let messages = &calls[1].request.messages;
    assert_eq!(
        messages[messages.len() - 1].content,
        "First texts:\n1. The [[king 10]] sat\n2. A [[queen 9]] rose\n\nWhat was said: This neuron responds to \
         people\n\nSentences written for it, as measured:\n1. The baker sold bread to everyone.\n2. A sailor wrote to his \
         mother.\n3. The [[king 10]] rode out at dawn.\n4. The old [[queen 10]] had a cold.\n\nThis neuron responds to"
    );
}

#[tokio::test]
async fn a_text_that_scores_no_higher_is_not_taken() {
    for (better, after) in [("bakers", Some(0.0)), ("nothing known", None)] {
        let model = writer(SENTENCES, better);
        let revised = revise(&model, &Court { simulates: false }, &[draft("people")], 2).await.unwrap();
        let revision = revised[0].as_ref().unwrap();
        assert_eq!((revision.round, revision.accepted), (2, false), "{better}");
        assert_eq!((revision.score_before, revision.score_after), (Some(0.5), after), "{better}");
    }
}

#[tokio::test]
async fn each_of_a_batch_has_its_own_fate() {
    let model = Scripted::new(|call| {
        let text = text_of(&call.request);
        Ok(reply(match text.rsplit("This neuron responds to ").next() {
            Some(asked) if asked.starts_with("monarchs") => "1. The king rode out at dawn.",
            Some(asked) if asked.starts_with("bakers") => "No idea.",
            Some(_) if text.ends_with("Write 10 sentences.") => SENTENCES,
            _ => "monarchs",
        }))
    });
    let dead = Draft { evidence: evidence(&["a#-1"], &[]), text: "people".to_owned() };
    let drafts = [draft("monarchs"), draft("people"), draft("bakers"), dead, draft("people")];
    let revised = revise(&model, &Court { simulates: true }, &drafts, 1).await.unwrap();
    let told: Vec<String> = revised
        .into_iter()
        .map(|one| {
            one.map_or_else(
                |failure| format!("{} ({} replies)", failure.reason, failure.completions.len()),
                |one| format!("{} {}", one.text, one.accepted),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "none of 1 sentences written for the text contradicts it (2 replies)",
            "monarchs true",
            "the reply holds no whole sentence (1 replies)",
            "it fires on none of the windows shown (0 replies)",
            "monarchs true",
        ]
    );
}

#[tokio::test]
async fn the_same_text_again_is_no_revision_and_costs_no_score() {
    let revised =
        revise(&writer(SENTENCES, "people"), &Court { simulates: true }, &[draft("people")], 1).await.unwrap();
    assert_eq!(revised[0].as_ref().unwrap_err().reason, "the model kept the text as it was");
    assert!(revise(&Scripted::saying(""), &Court { simulates: true }, &[], 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn rounds_ask_for_other_sentences() {
    let model = writer(SENTENCES, "monarchs");
    for round in [1, 2] {
        revise(&model, &Court { simulates: false }, &[draft("people")], round).await.unwrap();
    }
    let keys: Vec<String> = model.asked().iter().map(|call| call.key(&"replay:script".parse().unwrap())).collect();
    assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 4);
}

#[tokio::test]
async fn a_short_context_loses_the_example_then_windows() {
    let short = async |context_length| {
        let model = writer(SENTENCES, "monarchs").with_context(context_length);
        revise(&model, &Court { simulates: true }, &[draft("people")], 1).await?;
        let request = model.asked().remove(1).request;
        let target = &request.messages[request.messages.len() - 1].content;
        Ok::<_, Error>((request.messages.len(), target.contains("[[queen 9]] rose")))
    };
    assert_eq!(short(100_000).await.unwrap(), (4, true));
    let error = short(100).await.unwrap_err();
    assert!(matches!(error, Error::ContextTooShort { context_length: 100, .. }), "{error:?}");
}

#[test]
fn what_contradicts_most_is_shown_first() {
    let measured =
        |written: &str, expected: Option<&[f32]>| Measured::new(record(written), expected.map(<[f32]>::to_vec), 10.0);
    let fires = measured("a#10|b", None);
    let silent = measured("c|d#1", None);
    let silent_though_expected = measured("e|f", Some(&[10.0, 0.0]));
    let fires_elsewhere = measured("g#10|h", Some(&[0.0, 10.0]));
    let as_expected = measured("i#10|j", Some(&[9.0, 1.0]));
    assert_eq!(
        [&fires, &silent, &silent_though_expected, &fires_elsewhere, &as_expected].map(|measured| measured.silent),
        [false, true, true, false, false]
    );
    let all = [fires, silent, silent_though_expected, fires_elsewhere, as_expected];
    let order: Vec<&str> = chosen(&all).unwrap().iter().map(|shown| shown.record.tokens[0].as_str()).collect();
    assert_eq!(order, ["e", "g", "c", "a", "i"]);
    assert_eq!(chosen(&all[..1]), None);
    // With nothing that agrees, five that contradict are shown.
    let against: Vec<Measured> = (0..9).map(|_| measured("c|d", None)).collect();
    assert_eq!(chosen(&against).unwrap().len(), 5);
}

#[test]
fn sentences_are_read_from_any_list() {
    let read = |text: &str| prompt::parse_sentences(text);
    let two = Ok(vec!["The king rode out.".to_owned(), "A queen was crowned.".to_owned()]);
    assert_eq!(read("1. The king rode out.\n2. A queen was crowned."), two);
    assert_eq!(
        read("Here are the sentences you wanted:\n\n1) \"The king rode out.\"\n2) **A queen was crowned.**"),
        two
    );
    assert_eq!(read("- The king rode out.\n- A queen was crowned.\n- The king rode out."), two);
    assert_eq!(read("<think>some words about kings</think>The king rode out.\nA queen was crowned.\nkings"), two);
    assert_eq!(read("1. 12 kings rode out today."), Ok(vec!["12 kings rode out today.".to_owned()]));
    assert_eq!(read("kings"), Err("the reply holds no whole sentence".to_owned()));
    let many = "The king rode out again and again.\n";
    let many: String = (0..20).map(|i| format!("{i}. {i} {many}")).collect();
    assert_eq!(read(&many).unwrap().len(), 10);
}
