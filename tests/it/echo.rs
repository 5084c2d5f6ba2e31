//! Values read inside a prompt, from endpoints that echo it rightly, one token late, wrongly or not at all.

use std::sync::Arc;

use neuronlake::Error;
use neuronlake::completions::LanguageModel;
use neuronlake::completions::language_models::{LanguageModelOptions, LanguageModels};
use neuronlake::completions::request::Message;
use neuronlake::completions::slots::{Continuation, Piece, SlotPrompt};
use neuronlake::tables::lake::Lake;
use serde_json::{Map, Value, json};

use crate::completions::quick;
use crate::fault_server::{Asked, FaultServer, Served};

/// A model over words: a word with the sign before it is a token.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last)
                if c.is_alphanumeric() && last.chars().last().is_some_and(|c| c.is_alphanumeric() || c == ' ') =>
            {
                last.push(c)
            }
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// The distribution that a good model has over the token at a place: the right one, and for digits their neighbours.
fn distribution(token: &str) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert(token.to_owned(), json!(-0.5));
    match token.parse::<u8>() {
        Ok(digit) => {
            told.insert((digit + 1).to_string(), json!(-1.5));
            told.insert(digit.saturating_sub(1).to_string(), json!(if digit == 0 { -0.5 } else { -2.5 }));
        }
        Err(_) => drop(told.insert("~".to_owned(), json!(-3.0))),
    }
    told
}

/// An answer of the text interface with the prompt and one more token; `late` tells what belongs to the next token.
fn echo(prompt: &str, mark: Option<&str>, late: usize) -> Value {
    let mut all: Vec<String> = mark.map(str::to_owned).into_iter().chain(tokens(prompt)).collect();
    all.push(" more".to_owned());
    let told = |i: usize| (i > 0).then(|| all.get(i + late)).flatten();
    let top: Vec<Value> =
        (0..all.len()).map(|i| told(i).map_or(Value::Null, |token| Value::Object(distribution(token)))).collect();
    let own: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(i, token)| told(i).map_or(Value::Null, |other| if token == other { json!(-0.5) } else { json!(-9.0) }))
        .collect();
    let mut offsets = Vec::new();
    let mut at = 0;
    for token in &all {
        offsets.push(at);
        at += token.chars().count();
    }
    json!({
        "choices": [{"text": format!("{prompt} more"), "finish_reason": "length", "logprobs":
            {"tokens": all, "token_logprobs": own, "top_logprobs": top, "text_offset": offsets}}],
        "usage": {"prompt_tokens": all.len() - 1, "completion_tokens": 1},
    })
}

fn prompt(asked: &Asked) -> &str {
    asked.body["prompt"].as_str().unwrap()
}

fn open(server: &FaultServer, lake: Option<Lake>) -> Arc<dyn LanguageModel> {
    let base_url = Some(server.url());
    let options = LanguageModelOptions { base_url, limits: quick(), lake, ..LanguageModelOptions::default() };
    LanguageModels::open(options).unwrap().get(&"openai:m".parse().unwrap()).unwrap()
}

fn slots() -> SlotPrompt {
    let text = |text: &str| Piece::Text(text.to_owned());
    let slot = |text: &str| Piece::Slot(text.to_owned());
    SlotPrompt {
        messages: vec![Message::system("Rate the “words”."), Message::user("cats – dogs")],
        answer: vec![text("cats\t"), slot("3"), text("\ndogs\t"), slot("0"), text("\n")],
        candidates: (0..4).map(|digit: u8| digit.to_string()).collect(),
    }
}

#[tokio::test]
async fn slots_and_losses_are_read_where_they_stand() {
    for mark in [None, Some("<s>")] {
        let server = FaultServer::start(move |asked: &Asked| Served::json(&echo(prompt(asked), mark, 0)));
        let model = open(&server, None);
        let readings = model.read_slots_all(&[slots()]).await.remove(0).unwrap();
        let values: Vec<_> = readings.values.into_iter().map(|reading| reading.log_probabilities).collect();
        assert_eq!(values[0], [None, None, Some(-2.5), Some(-0.5)], "{mark:?}");
        assert_eq!(values[1], [Some(-0.5), Some(-1.5), None, None], "{mark:?}");
        let asked = server.asked();
        // One probe, one reading; one token is generated and ignored.
        assert_eq!(asked.len(), 2);
        assert_eq!(prompt(&asked[1]), "Rate the “words”.\n\ncats – dogs\n\ncats\t3\ndogs\t0\n");
        assert_eq!((&asked[1].body["echo"], &asked[1].body["max_tokens"]), (&json!(true), &json!(1)));

        let continuation = |prefix: &str, text: &str| Continuation { prefix: prefix.to_owned(), text: text.to_owned() };
        let texts = [continuation("one two", " three four"), continuation("", "one two"), continuation("one tw", "o")];
        let losses: Vec<_> = model.losses_all(&texts).await.into_iter().map(|losses| losses.unwrap().values).collect();
        // The first token of all follows nothing, unless a mark stands before it.
        let whole = if mark.is_some() { vec![0.5, 0.5] } else { vec![0.5] };
        assert_eq!(losses, [vec![0.5, 0.5], whole, vec![0.5]], "{mark:?}");
        assert_eq!(server.asked().len(), 5);
    }
}

#[tokio::test]
async fn readings_are_paid_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = FaultServer::start(|asked: &Asked| Served::json(&echo(prompt(asked), None, 0)));
    let continuation = Continuation { prefix: "a".to_owned(), text: " b c".to_owned() };
    let mut found = Vec::new();
    for _ in 0..2 {
        let model = open(&server, Some(Lake::at(folder.path().to_str().unwrap()).unwrap()));
        let readings = model.read_slots_all(&[slots(), slots()]).await;
        let losses = model.losses_all(std::slice::from_ref(&continuation)).await;
        found.push(format!("{readings:?} {losses:?}"));
        // Rows name what they were read from: it was bought.
        let keys = [&readings[0].as_ref().unwrap().key, &losses[0].as_ref().unwrap().key];
        assert!(keys[0].is_some() && keys[1].is_some() && keys[0] != keys[1], "{keys:?}");
        assert_eq!(server.asked().len(), 3);
    }
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn shifted_values_are_refused() {
    let server = FaultServer::start(|asked: &Asked| Served::json(&echo(prompt(asked), None, 1)));
    let model = open(&server, None);
    let error = model.read_slots_all(&[slots()]).await.remove(0).unwrap_err();
    assert!(matches!(error, Error::LogProbabilitiesShifted { .. }), "{error}");
    let texts = [Continuation { prefix: "a".to_owned(), text: "b".to_owned() }];
    assert!(matches!(model.losses_all(&texts).await[0], Err(Error::LogProbabilitiesShifted { .. })));
    // What was found out about a model is not found out again.
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn endpoints_without_values_say_what_works() {
    let generated = json!({"text": " more", "logprobs": {"tokens": [" more"], "token_logprobs": [-1.0], "text_offset": [900],
        "top_logprobs": [{" more": -1.0}]}});
    let chat =
        json!({"text": " more", "logprobs": {"content": [{"token": " more", "logprob": -1.0, "top_logprobs": []}]}});
    let bare = json!({"text": " more"});
    let answer = |choice: &Value| Served::json(&json!({"choices": [choice]}));
    let refuse = |status, message: &str| Served::status(status, &json!({"error": {"message": message}}).to_string());
    let cases = [
        answer(&generated),
        answer(&chat),
        answer(&bare),
        refuse(400, "Setting 'echo' and 'logprobs' at the same time is not supported for this model."),
        refuse(404, "This is a chat model and not supported in the v1/completions endpoint."),
        refuse(405, "no"),
    ];
    for served in cases {
        let shown = format!("{served:?}");
        let server = FaultServer::start(move |_: &Asked| served.clone());
        let model = open(&server, None);
        for _ in 0..2 {
            let message = model.read_slots_all(&[slots()]).await.remove(0).unwrap_err().to_string();
            assert_eq!(
                message,
                "model 'openai:m': reading values inside a prompt needs log-probabilities inside the prompt, which this engine does \
                 not give; the simulators one_at_a_time, log_probability_free, embedding and token_lookup work without them",
                "{shown}"
            );
        }
        assert_eq!(server.asked().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn an_endpoint_that_tells_five_alternatives_is_asked_for_five() {
    let server = FaultServer::start(|asked: &Asked| match asked.body["logprobs"].as_u64() {
        Some(5) => Served::json(&echo(prompt(asked), None, 0)),
        _ => Served::status(400, "logprobs must be at most 5"),
    });
    let model = open(&server, None);
    assert!(model.read_slots_all(&[slots(), slots()]).await.iter().all(Result::is_ok));
    assert_eq!(server.asked().len(), 4);
}
