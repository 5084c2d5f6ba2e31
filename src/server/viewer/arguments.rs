//! What follows `?` in an address, or comes in a form.

use super::render::Fault;

/// Characters of one value at most, but for texts and conditions.
const LONGEST: usize = 4_000;

/// Named values in their order. Nothing that comes in them fails by itself: each page says what it takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// The values of `a=1&b=2`.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        Self(url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The last value of a name, without blanks around it; `None` for an empty one.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().rev().filter(|(given, _)| given == name).map(|(_, value)| value.trim());
        values.next().filter(|value| !value.is_empty())
    }

    /// A text that is not longer than a name may be.
    ///
    /// # Errors
    /// When it is.
    pub(crate) fn name(&self, name: &str) -> Result<Option<&str>, Fault> {
        match self.text(name) {
            Some(text) if text.len() > LONGEST => {
                Err(Fault::argument(format!("{name}: expected at most {LONGEST} bytes, got {}", text.len())))
            }
            text => Ok(text),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is none, or outside of the range.
    pub(crate) fn integer(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, Fault> {
        let Some(text) = self.name(name)? else { return Ok(None) };
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::argument(format!(
                "{name}: expected a whole number from {} to {}, got '{text}'",
                range.start(),
                range.end()
            ))),
        }
    }

    /// A number, as it is written.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, Fault> {
        let Some(text) = self.name(name)? else { return Ok(None) };
        match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Fault::argument(format!("{name}: expected a number, got '{text}'"))),
        }
    }

    /// One of some words; the first where none is given.
    ///
    /// # Errors
    /// For another word.
    pub(crate) fn choice<'a>(&self, name: &str, words: &[&'a str]) -> Result<&'a str, Fault> {
        let first = words.first().copied().unwrap_or_default();
        let Some(text) = self.name(name)? else { return Ok(first) };
        match words.iter().find(|word| **word == text) {
            Some(word) => Ok(word),
            None => Err(Fault::argument(format!("{name}: expected one of {}, got '{text}'", words.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests;
