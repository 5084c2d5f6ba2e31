//! Arrays of numbers as one little-endian byte string in checkpoints: `#[serde(with = "raw_bytes")]`.
//!
//! serde has no arrays above 32 elements, and a byte string is written and read in one copy.

use std::marker::PhantomData;

use serde::de::{Error as _, Visitor};
use serde::{Deserializer, Serializer};

/// A number with a fixed little-endian form.
pub(crate) trait Number: Copy {
    /// Bytes of one number.
    const SIZE: usize;
    /// Appends the number.
    fn put(self, bytes: &mut Vec<u8>);
    /// Reads a number from exactly [`Number::SIZE`] bytes.
    fn take(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const SIZE: usize = size_of::<$type>();

            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$type>::from_le_bytes)
            }
        }
    )*};
}
number!(f32, f64, u64);

/// Writes the numbers as one byte string.
pub(crate) fn serialize<N: Number, A: AsRef<[N]>, S: Serializer>(
    numbers: &A,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let numbers = numbers.as_ref();
    let mut bytes = Vec::with_capacity(numbers.len() * N::SIZE);
    for number in numbers {
        number.put(&mut bytes);
    }
    serializer.serialize_bytes(&bytes)
}

/// Reads what [`serialize`] wrote; an array of another length is an error.
pub(crate) fn deserialize<'de, N: Number, A: TryFrom<Vec<N>>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<A, D::Error> {
    let numbers = deserializer.deserialize_bytes(Bytes(PhantomData))?;
    let n_numbers = numbers.len();
    A::try_from(numbers).map_err(|_| D::Error::invalid_length(n_numbers, &"the length of the array"))
}

struct Bytes<N>(PhantomData<N>);

impl<N: Number> Visitor<'_> for Bytes<N> {
    type Value = Vec<N>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a byte string of whole {}-byte numbers", N::SIZE)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes.chunks(N::SIZE).map(N::take).collect::<Option<_>>().ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}
