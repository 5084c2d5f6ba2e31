//! JSON as Python writes it: with `NaN` and `Infinity`, which are no JSON.

use std::borrow::Cow;
use std::io::{self, Read};

use serde::de::DeserializeOwned;

/// Reads one value; `NaN`, `Infinity` and `-Infinity` are read as `null`.
///
/// # Errors
/// What the parser expected and found, with its line and column in `json`.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(&without_nan(json))
}

/// The same text with `null` for every number that JSON has no word for.
fn without_nan(json: &[u8]) -> Cow<'_, [u8]> {
    let suspicious = |window: &[u8]| window == b"NaN" || window == b"Inf";
    if !json.windows(3).any(suspicious) {
        return Cow::Borrowed(json);
    }
    let mut replaced = Vec::with_capacity(json.len() + 16);
    let mut words = Words::default();
    json.iter().for_each(|byte| words.take(*byte, &mut replaced));
    words.flush(&mut replaced);
    Cow::Owned(replaced)
}

/// Replaces the words of numbers that are none, wherever they stand outside of a string.
#[derive(Debug, Default)]
struct Words {
    in_string: bool,
    escaped: bool,
    // A word that has begun and may be one of them.
    word: Vec<u8>,
}

impl Words {
    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_string {
            out.push(byte);
            match (self.escaped, byte) {
                (true, _) => self.escaped = false,
                (false, b'\\') => self.escaped = true,
                (false, b'"') => self.in_string = false,
                _ => {}
            }
            return;
        }
        // Longer words are none of these: they go through as they are, and memory stays small.
        if (byte.is_ascii_alphanumeric() || byte == b'-') && self.word.len() < 32 {
            self.word.push(byte);
            return;
        }
        self.flush(out);
        self.in_string = byte == b'"';
        out.push(byte);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        match self.word.as_slice() {
            b"NaN" | b"-NaN" | b"Infinity" | b"-Infinity" => out.extend_from_slice(b"null"),
            word => out.extend_from_slice(word),
        }
        self.word.clear();
    }
}

/// A reader whose bytes are those of another, with `null` for `NaN`, `Infinity` and `-Infinity`.
#[derive(Debug)]
pub(crate) struct WithoutNan<R> {
    inner: R,
    words: Words,
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> WithoutNan<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, words: Words::default(), ready: Vec::new(), at: 0, ended: false }
    }
}

impl<R: Read> Read for WithoutNan<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            self.ready.clear();
            self.at = 0;
            let mut block = [0; 1 << 14];
            let n = self.inner.read(&mut block)?;
            if n == 0 {
                self.ended = true;
                self.words.flush(&mut self.ready);
            }
            block[..n].iter().for_each(|byte| self.words.take(*byte, &mut self.ready));
        }
        let n = out.len().min(self.ready.len() - self.at);
        out[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_outside_of_strings_only() {
        let check = |json: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&without_nan(json.as_bytes())), expected);
            let mut read = String::new();
            let mut one_by_one = WithoutNan::new(json.as_bytes());
            one_by_one.read_to_string(&mut read).expect("text");
            assert_eq!(read, expected);
        };
        check(r#"{"a":[NaN,-Infinity, Infinity],"b":1}"#, r#"{"a":[null,null, null],"b":1}"#);
        check(r#"{"NaN":"say \"NaN\", NaN","x":NaN}"#, r#"{"NaN":"say \"NaN\", NaN","x":null}"#);
        check(r#"{"a":"\\","b":NaN}"#, r#"{"a":"\\","b":null}"#);
        check("NaN", "null");
        check("[1e-5,-2.5E+3,true]", "[1e-5,-2.5E+3,true]");
        check(r#"["Infinity"]"#, r#"["Infinity"]"#);
        // A word of its own that only begins like one is left for the parser to complain about.
        check("[NaNo]", "[NaNo]");
    }

    #[test]
    fn words_at_the_border_of_a_block_are_found() {
        for spaces in (1 << 14) - 6..(1 << 14) + 2 {
            let json = format!("[{}NaN]", " ".repeat(spaces));
            let read: Vec<Option<f64>> =
                serde_json::from_reader(WithoutNan::new(json.as_bytes())).expect("valid after replacement");
            assert_eq!(read, vec![None]);
        }
    }
}
