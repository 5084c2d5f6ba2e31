//! Explanations that are a list of tokens with their strengths, as the token lookup writes them.

/// A token and its strength.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) token: String,
    /// 0..10.
    pub(super) weight: f32,
}

/// The tokens of a text such as `tokens " king" (10.0), " kings" (8.1); elsewhere about 0.1`; `None` for any other text.
pub(super) fn listed(explanation: &str) -> Option<Vec<Listed>> {
    let mut rest = explanation.trim().strip_prefix("tokens ")?;
    let mut tokens = Vec::new();
    loop {
        let (token, after) = quoted(rest)?;
        let (weight, after) = after.trim_start().strip_prefix('(')?.split_once(')')?;
        let weight: f32 = weight.trim().parse().ok().filter(|weight| (0.0..=10.0).contains(weight))?;
        tokens.push(Listed { token, weight });
        match after.strip_prefix(", ") {
            Some(next) => rest = next,
            None => return Some(tokens),
        }
    }
}

/// A string in Rust's quotes at the head of a text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[i + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                '0' => value.push('\0'),
                'u' => {
                    let digits: String = chars.by_ref().skip(1).map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    value.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}
