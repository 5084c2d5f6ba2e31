//! The last digit of numbers that are kept in 64 bits.
//!
//! The JSON parser rounds a number of 17 digits to a neighbour of the nearest 64-bit value now and then (its exact mode would be paid for
//! by every crate of this program, for every number). Activations are kept in 32 bits, where that does not show. Scores and
//! moments are kept whole, and must come back the same from a file that we wrote: they are the only numbers that stand alone as a
//! member of an object, so that they are few, and are read a second time here.

use std::collections::HashMap;

/// The nearest 64-bit value of each number that is a member of an object, by what the parser makes of it.
#[derive(Debug, Default)]
pub(crate) struct Exact(HashMap<u64, f64>);

impl Exact {
    /// Looks through a document that the parser has accepted.
    pub(crate) fn of(document: &[u8]) -> Self {
        let mut exact = HashMap::new();
        let mut rest = document;
        while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
            rest = after_string(&rest[start + 1..]);
            let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else { continue };
            let value = value.trim_ascii_start();
            let length = value.iter().take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
            let Ok(text) = std::str::from_utf8(&value[..length.count()]) else { continue };
            if let (Ok(parsed), Ok(nearest)) = (serde_json::from_str::<f64>(text), text.parse::<f64>()) {
                exact.insert(parsed.to_bits(), nearest);
            }
        }
        Self(exact)
    }

    /// The number itself, of what the parser made of it.
    pub(crate) fn number(&self, parsed: f64) -> f64 {
        self.0.get(&parsed.to_bits()).copied().unwrap_or(parsed)
    }
}

/// What follows the string that begins here, its opening quote taken off.
fn after_string(bytes: &[u8]) -> &[u8] {
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        match byte {
            b'"' => return &bytes[index + 1..],
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
    &[]
}
