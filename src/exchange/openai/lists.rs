//! Lists of tokens and numbers, read into the form in which they are kept, without a value in between for each element.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::exchange::unit::Window;

/// A list of texts as one window.
#[derive(Debug, Default)]
pub(crate) struct Tokens(pub(crate) Window);

/// A list of finite numbers.
#[derive(Debug, Default)]
pub(crate) struct Floats(pub(crate) Vec<f32>);

/// A list of finite numbers, some of which are missing.
#[derive(Debug, Default)]
pub(crate) struct OptionalFloats(pub(crate) Vec<Option<f32>>);

/// A list of lists of finite numbers, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Ragged {
    /// The numbers of all lists.
    pub(crate) values: Vec<f32>,
    /// Where each list ends in `values`.
    pub(crate) ends: Vec<u32>,
}

impl Ragged {
    /// The lists in order.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &[f32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.values[start as usize..end as usize])
    }
}

/// A number of 64 bits in 32; what does not fit is no activation.
fn narrowed<E: de::Error>(value: f64) -> Result<f32, E> {
    let narrow = value as f32;
    match narrow.is_finite() {
        true => Ok(narrow),
        false => Err(E::custom(format!("expected a number that 32 bits hold, got {value:e}"))),
    }
}

/// Adds one element.
struct Push<'a, T>(&'a mut T);

impl<'de> DeserializeSeed<'de> for Push<'_, Window> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Push<'_, Window> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token's text")
    }

    fn visit_str<E: Error>(self, token: &str) -> Result<(), E> {
        self.0.push(token);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Push<'_, Vec<f32>> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_f64(self)
    }
}

impl Visitor<'_> for Push<'_, Vec<f32>> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(narrowed(value)?);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }
}

impl<'de> DeserializeSeed<'de> for Push<'_, Vec<Option<f32>>> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = Option::<f64>::deserialize(deserializer)?;
        self.0.push(value.map(narrowed).transpose()?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Push<'_, Ragged> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(Elements(&mut self.0.values))?;
        self.0.ends.push(self.0.values.len() as u32);
        Ok(())
    }
}

/// Adds every element of a list.
struct Elements<'a, T>(&'a mut T);

impl<'de, T> Visitor<'de> for Elements<'_, T>
where
    for<'b> Push<'b, T>: DeserializeSeed<'de, Value = ()>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Push(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Enough for the windows of the public dataset, so that a window is two allocations.
        let mut window = Window { text: String::with_capacity(384), ends: Vec::with_capacity(64), token_ids: None };
        deserializer.deserialize_seq(Elements(&mut window))?;
        Ok(Self(window))
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::with_capacity(64);
        deserializer.deserialize_seq(Elements(&mut values))?;
        Ok(Self(values))
    }
}

impl<'de> Deserialize<'de> for OptionalFloats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::with_capacity(64);
        deserializer.deserialize_seq(Elements(&mut values))?;
        Ok(Self(values))
    }
}

impl<'de> Deserialize<'de> for Ragged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut lists = Self { values: Vec::with_capacity(704), ends: Vec::with_capacity(64) };
        deserializer.deserialize_seq(Elements(&mut lists))?;
        Ok(lists)
    }
}

/// A 0-based index, written as a number or as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Index(pub(crate) i32);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an index from 0, as a number or as text")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Index, E> {
                i32::try_from(value).map(Index).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Index, E> {
                let value = text.trim().parse::<u32>().ok().and_then(|value| i32::try_from(value).ok());
                value.map(Index).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
