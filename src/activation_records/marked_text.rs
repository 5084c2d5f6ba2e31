//! A window as one line of plain text with its strong tokens marked.

/// Share of the window's largest activation from which a token is marked.
const MARK_FROM: f32 = 0.3;

/// Joins the tokens, marking each that reaches three tenths of the largest activation with its tenths: `the «king 9» sat`.
/// Line breaks and control characters are escaped, so the result is always one harmless line.
pub(crate) fn marked_text(tokens: &[&str], activations: &[f32]) -> String {
    let max = activations.iter().copied().fold(0.0_f32, f32::max);
    let mut text = String::new();
    for (token, &activation) in tokens.iter().zip(activations) {
        let shown: String = token.chars().flat_map(visible).collect();
        if max > 0.0 && activation >= MARK_FROM * max {
            let word = shown.trim_start_matches(' ');
            text.push_str(&shown[..shown.len() - word.len()]);
            // Rounding keeps the largest at 10 and what is just past the mark at 3.
            text.push_str(&format!("«{word} {}»", (10.0 * activation / max).round()));
        } else {
            text.push_str(&shown);
        }
    }
    text
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}
