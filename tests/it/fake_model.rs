//! A language model by rule, behind the chat interface: it explains a neuron by its strongest token, and simulates and judges by
//! looking for that token.

use serde_json::{Value, json};

use crate::fault_server::{Asked, Served, chat_reply, question};

/// Tokens that every reply says it took.
pub(crate) const TOKENS: (i64, i64) = (10, 2);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Explanation,
    /// The number at one token.
    Number,
    /// The numbers of a window.
    Numbers,
    Judgement,
    Intruder,
    Sentences,
    Revision,
    /// A prompt read back: `/completions`.
    Echo,
}

pub(crate) fn asks(asked: &Asked) -> Asks {
    let question = question(asked);
    if !asked.path.ends_with("/chat/completions") {
        Asks::Echo
    } else if question.starts_with("The neuron responds to: ") {
        if question.contains("\nTokens:\n") { Asks::Numbers } else { Asks::Number }
    } else if question.starts_with("The detector reacts to: ") {
        Asks::Judgement
    } else if question.starts_with("Texts:\n1. ") && !question.contains("This neuron responds to") {
        Asks::Intruder
    } else if question.ends_with(" sentences.") {
        Asks::Sentences
    } else if question.starts_with("First texts:\n") {
        Asks::Revision
    } else {
        Asks::Explanation
    }
}

/// The explanation in a question of a simulator or judge.
pub(crate) fn explanation(question: &str) -> &str {
    let line = question.lines().next().unwrap_or_default();
    line.split_once(": ").map_or("", |(_, text)| text)
}

/// The window in a question of the simulator that asks for all numbers at once, one token a line.
pub(crate) fn window(question: &str) -> &str {
    question.split_once("\nTokens:\n").map_or("", |(_, window)| window)
}

/// The tokens of an explainer's question with their values, strongest first, the same token once.
fn strongest(question: &str) -> Vec<String> {
    let mut pairs: Vec<(String, u32)> = Vec::new();
    for line in question.lines() {
        let Some((token, value)) = line.split_once('\t') else { continue };
        let (token, value) = (key(token), value.parse().unwrap_or(0));
        match pairs.iter_mut().find(|(known, _)| *known == token) {
            Some((_, known)) => *known = (*known).max(value),
            None => pairs.push((token, value)),
        }
    }
    pairs.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pairs.into_iter().map(|(token, _)| token).filter(|token| !token.is_empty()).collect()
}

fn key(token: &str) -> String {
    token.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The word that an explanation ends with.
fn word(explanation: &str) -> String {
    key(explanation.rsplit(' ').next().unwrap_or_default())
}

fn fits(token: &str, explanation: &str) -> bool {
    let word = word(explanation);
    !word.is_empty() && key(token) == word
}

/// An explanation by the token of this place among the strongest.
pub(crate) fn explain(asked: &Asked, place: usize) -> String {
    let tokens = strongest(question(asked));
    format!("words such as {}", tokens.get(place).or(tokens.last()).map_or("nothing", String::as_str))
}

/// The text of a reply.
pub(crate) fn text(asked: &Asked) -> String {
    let question = question(asked);
    match asks(asked) {
        Asks::Explanation => explain(asked, 0),
        Asks::Number => {
            let last = question.lines().find_map(|line| line.strip_prefix("Last token: ")).unwrap_or_default();
            if fits(last, explanation(question)) { "9" } else { "0" }.to_owned()
        }
        Asks::Numbers => {
            let number = |token: &str| if fits(token, explanation(question)) { 9 } else { 0 };
            let lines = window(question).split('\n').map(|token| format!("{token}\t{}", number(token)));
            lines.collect::<Vec<_>>().join("\n")
        }
        Asks::Judgement => {
            let texts = question.lines().skip(3);
            let answer = |text: &str| if text.split(' ').any(|w| fits(w, explanation(question))) { "1" } else { "0" };
            format!("[{}]", texts.map(answer).collect::<Vec<_>>().join(", "))
        }
        Asks::Intruder => "1".to_owned(),
        Asks::Sentences => {
            let word = word(question.lines().next().unwrap_or_default());
            let sentence = |i: usize| format!("{i}. On day {i} they spoke of {word} again.");
            (1..=10).map(sentence).collect::<Vec<_>>().join("\n")
        }
        Asks::Revision => "words such as the".to_owned(),
        Asks::Echo => "x".to_owned(),
    }
}

/// The log-probabilities of a reply: each one, zero or nine stands four to one against its opposite.
fn log_probabilities(text: &str) -> Value {
    let token = |c: char| {
        let other = match c {
            '0' if text.len() == 1 => "9",
            '0' => "1",
            '1' | '9' => "0",
            _ => "x",
        };
        let (own, others) = (0.8_f64.ln(), 0.2_f64.ln());
        json!({
            "token": c, "logprob": own,
            "top_logprobs": [{"token": c, "logprob": own}, {"token": other, "logprob": others}],
        })
    };
    json!({ "content": text.chars().map(token).collect::<Vec<_>>() })
}

/// The answer of this text; the interface without chat gives no log-probabilities.
pub(crate) fn served(asked: &Asked, text: &str) -> Served {
    if asks(asked) == Asks::Echo {
        let usage = json!({ "prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1 });
        return Served::json(
            &json!({ "choices": [{"index": 0, "text": text, "finish_reason": "length"}], "usage": usage }),
        );
    }
    let mut reply = chat_reply(text);
    if asked.body["logprobs"] == json!(true) {
        reply["choices"][0]["logprobs"] = log_probabilities(text);
    }
    Served::json(&reply)
}

/// The answer by rule.
pub(crate) fn answer(asked: &Asked) -> Served {
    served(asked, &text(asked))
}
