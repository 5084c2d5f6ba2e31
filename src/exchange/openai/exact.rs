//! Numbers that are kept in 64 bits, to the last digit.
//!
//! The JSON parser rounds a number of 17 digits to a neighbour of the nearest 64-bit value now and then (its exact mode would be paid for
//! by every crate of this program, for every number). Activations are kept in 32 bits, where that does not show. Scores, moments and
//! boundaries are kept whole, and must come back the same from a file that we wrote: they are few, and are read from their text.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::value::RawValue;

/// The 64-bit value nearest to a finite number in a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        // What begins like a number is one: the parser has been over it. Words that Rust takes for numbers begin otherwise.
        let number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match text.parse::<f64>() {
            Ok(value) if number && value.is_finite() => Ok(Self(value)),
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(D::Error::custom(format!("expected a number that 64 bits hold, got {shown}")))
            }
        }
    }
}
