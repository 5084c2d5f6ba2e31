//! Addresses of pages.

/// A text as a part of an address: everything but letters, digits and `-_.~` as `%XX`.
pub(crate) fn percent(text: &str) -> String {
    let mut address = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => address.push(char::from(byte)),
            byte => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address
}

/// A path and what follows `?`; a pair without a value is left out.
pub(crate) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{}={}", percent(name), percent(value)))
        .collect();
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}

/// The page of a unit. An empty corpus leaves the choice to the page.
pub(crate) fn neuron(model: &str, hook_point: &str, neuron: i64, corpus: &str) -> String {
    let path = format!("/neuron/{}/{}/{neuron}", percent(model), percent(hook_point));
    with_query(&path, &[("corpus", corpus)])
}

#[cfg(test)]
mod tests;
