//! Patterns as text, and back.

use std::fmt;

use super::{Pattern, Rule, Slot};

/// What every pattern's text begins with.
const START: &str = "pattern: ";

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::OneOf(tokens) => {
                for (i, token) in tokens.iter().enumerate() {
                    // The debug form of a string quotes it and escapes what cannot be seen.
                    write!(f, "{}{token:?}", if i == 0 { "" } else { "|" })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in &self.context {
            write!(f, "{slot} ")?;
        }
        write!(f, "{}{} ({:.1})", if self.context.is_empty() { "" } else { "-> " }, self.last, self.value)
    }
}

impl fmt::Display for Pattern {
    /// Values are given to a tenth.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(START)?;
        for rule in &self.rules {
            write!(f, "{rule}; ")?;
        }
        write!(f, "elsewhere {:.1}", self.elsewhere)
    }
}

/// A text being read from its front.
pub(super) struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(whole: &'a str) -> Self {
        Self { whole, rest: whole.trim() }
    }

    pub(super) fn pattern(&mut self) -> Result<Pattern, String> {
        self.expect(START)?;
        let mut pattern = Pattern::default();
        while !self.take("elsewhere ") {
            pattern.rules.push(self.rule()?);
            self.expect("; ")?;
        }
        pattern.elsewhere = self.number()?;
        if self.rest.is_empty() { Ok(pattern) } else { Err(self.fault("the end")) }
    }

    fn rule(&mut self) -> Result<Rule, String> {
        let mut slots = vec![self.slot()?];
        while !self.take(" (") {
            self.expect(" ")?;
            if self.take("-> ") {
                let last = self.slot()?;
                self.expect(" (")?;
                return self.ended(slots, last);
            }
            slots.push(self.slot()?);
        }
        match (slots.pop(), slots.is_empty()) {
            (Some(last), true) => self.ended(slots, last),
            _ => Err(self.fault("'->' before the last token")),
        }
    }

    fn ended(&mut self, context: Vec<Slot>, last: Slot) -> Result<Rule, String> {
        let value = self.number()?;
        self.expect(")")?;
        Ok(Rule { context, last, value })
    }

    fn slot(&mut self) -> Result<Slot, String> {
        if self.take("*") {
            return Ok(Slot::Any);
        }
        let mut tokens = vec![self.string()?];
        while self.take("|") {
            tokens.push(self.string()?);
        }
        Ok(Slot::OneOf(tokens))
    }

    /// A string in the debug form of Rust.
    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            let c = self.char()?;
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                _ => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        Ok(match self.char()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '0' => '\0',
            c @ ('\\' | '"' | '\'') => c,
            'u' => {
                self.expect("{")?;
                let (digits, rest) = self.rest.split_once('}').ok_or_else(|| self.fault("'}'"))?;
                let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| self.fault("a character's number"))?;
                self.rest = rest;
                c
            }
            _ => return Err(self.fault("an escaped character")),
        })
    }

    /// A value on the scale.
    fn number(&mut self) -> Result<f32, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let value: Option<f32> = self.rest[..end].parse().ok();
        let value =
            value.filter(|value| (0.0..=10.0).contains(value)).ok_or_else(|| self.fault("a number of 0 to 10"))?;
        self.rest = &self.rest[end..];
        Ok(value)
    }

    fn char(&mut self) -> Result<char, String> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or_else(|| self.fault("more text"))?;
        self.rest = chars.as_str();
        Ok(c)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(self.fault(&format!("'{wanted}'"))) }
    }

    fn fault(&self, expected: &str) -> String {
        let got: String = self.rest.chars().take(20).collect();
        let at = self.whole.trim().len() - self.rest.len();
        format!("pattern: expected {expected} at byte {at}, got '{got}'")
    }
}
