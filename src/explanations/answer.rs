//! The explanation inside a model's reply.

use std::sync::LazyLock;

use regex::Regex;

use crate::completions::reply::Finish;

#[cfg(test)]
mod tests;

/// A pattern of ours; one that does not compile matches nothing, which a test would show.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// Whole blocks of reasoning.
static REASONING: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?is)<(think|thinking|reasoning)>.*?</(think|thinking|reasoning)>"));

/// The end of reasoning whose start stands in the prompt.
static REASONING_END: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"(?is)^.*</(think|thinking|reasoning)>"));

/// Reasoning that was cut off.
static REASONING_START: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"(?is)<(think|thinking|reasoning)>.*$"));

/// Bold print. Stars and underscores without partners are part of what is said: a neuron may respond to `__init__`.
static BOLD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\*\*([^*]+)\*\*"));

/// What stands before the phrase: list marks, labels, and sentences about the neuron itself.
static PREAMBLES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"^(?:[-*•>#]+|\d{1,2}[.)])\s+",
        r"(?i)^(?:the |my |final |short )*(?:explanation|answer|summary|phrase|description|completed sentence)\s*(?:is\s*:?|:)\s*",
        r"(?i)^(?:sure|certainly|of course|okay|ok)[,.!:]\s*",
        r"(?i)^(?:based on [^,]{1,80}, )?(?:it (?:seems|appears|looks like) (?:that )?)?(?:the main thing )?(?:this|the|our) (?:\w+ )?neuron(?: \d+)?(?: (?:appears|seems|tends) to(?: be)?| is| does| mainly| mostly| primarily| strongly| specifically| particularly| likely| probably| usually| most| mainly)* (?:respond(?:s|ing)?|activat(?:es|ed|ing|e)|fir(?:es|ing|e)|look(?:s|ing)?|react(?:s|ing)?|detect(?:s|ing)?|find(?:s)?|focused|sensitive|trigger(?:s|ed)?|recogni[sz](?:es|ing|e)|identif(?:ies|ying|y)|interested|captur(?:es|ing|e))(?: (?:mainly|mostly|primarily|strongly|specifically|particularly|most|best))*(?: (?:to|on|for|by|at|in|when it sees|in response to))?(?:\s*(?::|…|\.\.\.)\s*|\s+|$)",
        r"(?i)^(?:responds to|activates (?:on|for)|fires on|looks for)\s+",
    ]
    .into_iter()
    .filter_map(pattern)
    .collect()
});

/// Quotation marks that belong together.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’'), ('`', '`')];

/// The phrase of a reply, without lead-in, label, quotes, markdown, reasoning or its final full stop, on one line.
///
/// Of several lines the first that says something counts. A reply that ran out of tokens after a whole sentence loses what
/// was begun after it.
///
/// # Errors
/// Why there is none.
pub(super) fn explanation(text: &str, finish: Finish) -> Result<String, String> {
    let spoken = without_reasoning(text);
    let lines: Vec<&str> = spoken.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let answer = lines.iter().map(|line| phrase(line)).find(|phrase| says_something(phrase));
    let Some(mut answer) = answer else {
        return Err(match (text.trim().is_empty(), finish) {
            (_, Finish::Length) => "the reply ran out of tokens before it said anything".to_owned(),
            (true, _) => "the reply is empty".to_owned(),
            _ => format!("the reply holds no explanation: '{}'", start(text.trim())),
        });
    };
    if finish == Finish::Length
        && let Some((whole, _)) = answer.rsplit_once(". ")
    {
        answer = whole.to_owned();
    }
    Ok(answer)
}

/// A reply without what a reasoning model says to itself.
pub(super) fn without_reasoning(text: &str) -> String {
    let mut spoken = text.to_owned();
    for reasoning in [&*REASONING, &*REASONING_END, &*REASONING_START].into_iter().flatten() {
        spoken = reasoning.replace_all(&spoken, "").into_owned();
    }
    spoken
}

/// A line without what stands around the phrase.
fn phrase(line: &str) -> String {
    let plain = BOLD.as_ref().map_or(line.into(), |bold| bold.replace_all(line, "$1"));
    let mut phrase = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if phrase.starts_with("```") {
        return String::new();
    }
    // Each of these may lay bare another: two rounds reach what replies are known to stack.
    for _ in 0..2 {
        phrase = unquoted(&phrase);
        for preamble in PREAMBLES.iter() {
            phrase = preamble.replace(&phrase, "").into_owned();
        }
        phrase = without_ellipsis(&phrase);
    }
    let trimmed = phrase.trim();
    let stopped = unquoted(trimmed.strip_suffix('.').unwrap_or(trimmed));
    // A line that ends in a colon announces the next one.
    if stopped.ends_with(':') { String::new() } else { stopped }
}

/// A completion often repeats the dots that it was asked to fill in.
fn without_ellipsis(text: &str) -> String {
    text.trim().trim_start_matches('…').trim_start_matches("...").trim_start_matches(':').trim().to_owned()
}

/// Text without quotation marks around all of it.
fn unquoted(text: &str) -> String {
    let mut text = text.trim();
    for (open, close) in QUOTES {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix('.').unwrap_or(rest).strip_suffix(close));
        // Quotes inside mean that the first does not belong to the last: "a" and "b".
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            text = inner.trim();
        }
    }
    text.to_owned()
}

/// Whether there is a letter or digit in what would be an explanation, and not only the lead-in again.
fn says_something(phrase: &str) -> bool {
    let lead_in = super::prompt::LEAD_IN.to_lowercase();
    phrase.chars().any(char::is_alphanumeric) && phrase.to_lowercase() != lead_in
}

/// The start of a text, for an error.
fn start(text: &str) -> String {
    let start: String = text.chars().take(60).flat_map(char::escape_default).collect();
    if text.chars().count() > 60 { format!("{start}…") } else { start }
}
