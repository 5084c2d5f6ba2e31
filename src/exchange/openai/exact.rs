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
        let document = String::from_utf8_lossy(document);
        // A member's name ends before a colon. A colon inside of a text may look like one; the number behind it then stands here
        // for nothing, and does no harm: what a number is parsed to does not hang on where it stands.
        for (place, _) in document.match_indices(':') {
            if !document[..place].trim_ascii_end().ends_with('"') {
                continue;
            }
            let value = document[place + 1..].trim_ascii_start();
            let length =
                value.bytes().take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
            let text = &value[..length.count()];
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
