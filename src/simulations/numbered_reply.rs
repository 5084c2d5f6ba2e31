//! Numbers that a model wrote behind the tokens of a window.

use serde_json::Value;

use super::prompt::escape;

/// Share of a window's tokens that a reply may leave out or misspell; they are unread then.
const MAX_MISSING: f64 = 0.1;

/// A token as the reply spells it, and its number where there is one.
type Entry = (String, Option<f64>);

/// The numbers of a reply, 0..10, one a token; `None` for a token left out or with anything but a number of 0..10.
///
/// The reply may be lines of token, tab and number, or JSON: a list, or an object with a list in it, of `[token, number]` or of
/// objects with a token and a number. Fences, a model's thoughts before its answer, other lines, quotes and changed whitespace do
/// not matter. Entries are matched with the window by text and order.
///
/// # Errors
/// A reason, when more than a tenth of the tokens is missing or no number was read.
pub(super) fn read(reply: &str, tokens: &[String]) -> Result<Vec<Option<f32>>, String> {
    let answer = reply.rsplit_once("</think>").map_or(reply, |(_, answer)| answer);
    let entries = match json(answer) {
        Some(Json::Numbers(numbers)) => return by_count(&numbers, tokens.len()),
        Some(Json::Entries(entries)) => entries,
        None => answer.lines().filter_map(line).collect(),
    };
    let matched = matches(&entries, tokens);
    let n_missing = matched.iter().filter(|entry| entry.is_none()).count();
    if n_missing as f64 > (MAX_MISSING * tokens.len() as f64).max(f64::from(u8::from(tokens.len() > 2))) {
        let n_matched = tokens.len() - n_missing;
        return Err(format!(
            "expected numbers for {} tokens, got {} of which {n_matched} stand at tokens of the window",
            tokens.len(),
            entries.len()
        ));
    }
    let value = |entry: Option<usize>| in_range(entries[entry?].1);
    some_value(matched.into_iter().map(value).collect())
}

fn in_range(value: Option<f64>) -> Option<f32> {
    value.filter(|value| (0.0..=10.0).contains(value)).map(|value| value as f32)
}

fn some_value(values: Vec<Option<f32>>) -> Result<Vec<Option<f32>>, String> {
    if values.iter().any(Option::is_some) || values.is_empty() {
        Ok(values)
    } else {
        Err("expected numbers from 0 to 10, got none".to_owned())
    }
}

/// Numbers without tokens are only trusted when there is one a token.
fn by_count(numbers: &[Option<f64>], n_tokens: usize) -> Result<Vec<Option<f32>>, String> {
    if numbers.len() != n_tokens {
        return Err(format!("expected {n_tokens} numbers, got {}", numbers.len()));
    }
    some_value(numbers.iter().copied().map(in_range).collect())
}

enum Json {
    Numbers(Vec<Option<f64>>),
    Entries(Vec<Entry>),
}

/// The list that an answer holds as JSON, if it is that.
fn json(answer: &str) -> Option<Json> {
    let start = answer.find(['[', '{'])?;
    // Before the list there may be words or a fence, but no line of token and number.
    if answer[..start].lines().filter_map(line).any(|(_, value)| value.is_some()) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(&answer[start..]).into_iter::<Value>();
    let list = match values.next()?.ok()? {
        Value::Array(list) => list,
        Value::Object(object) => object.into_iter().find_map(|(_, value)| match value {
            Value::Array(list) => Some(list),
            _ => None,
        })?,
        _ => return None,
    };
    if list.iter().all(|element| element.is_number() || element.is_null()) {
        return Some(Json::Numbers(list.iter().map(Value::as_f64).collect()));
    }
    let entry = |element: &Value| -> Option<Entry> {
        let parts: Vec<&Value> = match element {
            Value::Array(parts) => parts.iter().collect(),
            Value::Object(object) => object.values().collect(),
            _ => return None,
        };
        let token = match element.get("token") {
            Some(token) => token.as_str()?,
            None => parts.iter().find_map(|part| part.as_str())?,
        };
        let written = parts.iter().rev().find_map(|part| part.as_f64());
        // Some models quote their numbers.
        let quoted = || parts.iter().filter_map(|part| part.as_str()).rfind(|part| *part != token)?.parse().ok();
        // Tokens were asked for as escapes, which JSON has undone.
        Some((escape(token), written.or_else(quoted)))
    };
    Some(Json::Entries(list.iter().filter_map(entry).collect()))
}

/// Token and number of a line; no entry for a line that has no tab and does not end in a number.
fn line(line: &str) -> Option<Entry> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    if let Some((token, value)) = line.rsplit_once('\t') {
        return Some((token.to_owned(), number(value)));
    }
    let (token, value) = line.trim_end().rsplit_once([' ', ':', '|', ','])?;
    number(value).map(|value| (token.trim_end_matches([' ', ':', '|', ',']).to_owned(), Some(value)))
}

/// For each token the entry that stands for it: the longest common subsequence by text, earliest entries first.
fn matches(entries: &[Entry], tokens: &[String]) -> Vec<Option<usize>> {
    let spelled: Vec<String> = entries.iter().map(|(token, _)| plain(token)).collect();
    let wanted: Vec<String> = tokens.iter().map(|token| plain(&escape(token))).collect();
    let width = spelled.len() + 1;
    // longest[t * width + e]: matches among tokens from t on and entries from e on.
    let mut longest = vec![0_u32; (wanted.len() + 1) * width];
    for t in (0..wanted.len()).rev() {
        for e in (0..spelled.len()).rev() {
            longest[t * width + e] = if wanted[t] == spelled[e] {
                longest[(t + 1) * width + e + 1] + 1
            } else {
                longest[(t + 1) * width + e].max(longest[t * width + e + 1])
            };
        }
    }
    let mut matched = vec![None; wanted.len()];
    let (mut t, mut e) = (0, 0);
    while t < wanted.len() && e < spelled.len() {
        if wanted[t] == spelled[e] {
            matched[t] = Some(e);
            (t, e) = (t + 1, e + 1);
        } else if longest[(t + 1) * width + e] > longest[t * width + e + 1] {
            t += 1;
        } else {
            e += 1;
        }
    }
    matched
}

/// A token without whitespace and quotes about it. One that is nothing but those stays as it is.
fn plain(token: &str) -> String {
    let trimmed = token.trim();
    let unquoted = trimmed.trim_matches(['"', '`', '\'']).trim();
    if unquoted.is_empty() { trimmed } else { unquoted }.to_owned()
}
