//! SHA-256 in hexadecimal: ids and provenance.

use sha2::{Digest, Sha256};

/// The first 16 hexadecimal digits of a text's SHA-256: an id that a person can still read.
pub(crate) fn text(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))[..16].to_owned()
}

/// All of a digest in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 64 bits of a text's SHA-256, as a key of seeded draws.
pub(crate) fn key(text: &str) -> u64 {
    number(text.as_bytes())
}

/// The first 64 bits of the SHA-256 of some bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest[..8].iter().fold(0, |key, byte| (key << 8) | u64::from(*byte))
}
