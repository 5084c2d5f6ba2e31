//! GPT-2's printable stand-ins for bytes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The byte each stand-in character means.
///
/// Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, are U+0100 and up (Radford et al.
/// 2019, `bytes_to_unicode` in the published encoder).
static BYTE_OF: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255).filter(|byte| !printable(*byte)).zip('\u{100}'..);
    let own = (0..=255).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte));
    others.map(|(byte, character)| (character, byte)).chain(own).collect()
});

/// The bytes that a byte-level token stands for; a character that is no stand-in keeps its UTF-8 bytes.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match BYTE_OF.get(&character) {
            Some(byte) => bytes.push(*byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
