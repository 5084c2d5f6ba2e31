//! The tokenizer file of llama2.c: pieces with scores, joined best score first.

use std::collections::HashMap;
use std::path::Path;

use super::Encoding;
use super::hugging_face::byte_name;
use crate::error::{Error, Result};
use crate::models::hash;

/// The token that starts a sequence.
pub(super) const BOS: u32 = 1;

/// The token id of byte 0; the 256 bytes follow the three special tokens.
const FIRST_BYTE: u32 = 3;

/// Pieces and their scores.
pub(super) struct Llama2c {
    /// Bytes of each piece; a byte token's piece is that byte.
    pieces: Vec<Vec<u8>>,
    scores: Vec<f32>,
    /// Ids of pieces by text as it is in the file.
    id_of: HashMap<Vec<u8>, u32>,
}

impl Llama2c {
    /// Reads a file: the longest piece's length (u32), then for each piece its score (f32), length (u32) and bytes.
    pub(super) fn open(path: &Path, n_tokens: usize) -> Result<(Self, String)> {
        let fault = |reason: String| Error::Tokenizer { path: path.to_path_buf(), reason };
        let bytes = std::fs::read(path)
            .map_err(|e| fault(format!("expected a llama2.c tokenizer file beside the model's .bin file: {e}")))?;
        let mut rest = bytes.get(4..).unwrap_or_default();
        let mut take = |n: usize| rest.split_off(..n);
        let mut tokenizer = Self { pieces: Vec::new(), scores: Vec::new(), id_of: HashMap::new() };
        for i in 0..n_tokens {
            let piece = (|| {
                let score = f32::from_le_bytes(take(4)?.try_into().ok()?);
                let length = u32::from_le_bytes(take(4)?.try_into().ok()?);
                Some((score, take(length as usize)?.to_vec()))
            })();
            let (score, piece) =
                piece.ok_or_else(|| fault(format!("expected {n_tokens} pieces, as the model embeds, got {i}")))?;
            let byte = std::str::from_utf8(&piece).ok().and_then(byte_name);
            tokenizer.id_of.entry(piece.clone()).or_insert(i as u32);
            tokenizer.scores.push(score);
            tokenizer.pieces.push(byte.map_or(piece, |byte| vec![byte]));
        }
        if !rest.is_empty() {
            return Err(fault(format!(
                "expected {n_tokens} pieces, as the model embeds, got more ({} bytes are left)",
                rest.len()
            )));
        }
        Ok((tokenizer, hash::of_bytes(&[&bytes])))
    }

    /// Encodes a text as llama2.c's run.c does, without the starting token: a space before the text, then characters,
    /// or their bytes where no piece is that character, then the neighbouring pair whose union scores best is joined
    /// until none is a piece.
    pub(super) fn encode(&self, text: &str) -> Encoding {
        let mut encoding = Encoding::default();
        let mut push = |token_id, range| {
            encoding.token_ids.push(token_id);
            encoding.offsets.push(range);
        };
        if !text.is_empty()
            && let Some(space) = self.id_of.get(b" ".as_slice())
        {
            push(*space, 0..0);
        }
        for (start, character) in text.char_indices() {
            let range = start..start + character.len_utf8();
            match self.id_of.get(&text.as_bytes()[range.clone()]) {
                Some(token_id) => push(*token_id, range),
                None => text.as_bytes()[range.clone()]
                    .iter()
                    .for_each(|byte| push(u32::from(*byte) + FIRST_BYTE, range.clone())),
            }
        }
        while let Some((at, joined)) = self.best_pair(&encoding.token_ids) {
            encoding.token_ids[at] = joined;
            encoding.token_ids.remove(at + 1);
            encoding.offsets[at].end = encoding.offsets.remove(at + 1).end;
        }
        encoding
    }

    /// The first of the neighbouring pairs whose union is a piece of the best score, and that piece.
    fn best_pair(&self, token_ids: &[u32]) -> Option<(usize, u32)> {
        let mut best: Option<(usize, u32)> = None;
        for (at, pair) in token_ids.windows(2).enumerate() {
            let union = [self.token_bytes(pair[0]), self.token_bytes(pair[1])].concat();
            if let Some(joined) = self.id_of.get(&union)
                && best.is_none_or(|(_, best)| self.scores[*joined as usize] > self.scores[best as usize])
            {
                best = Some((at, *joined));
            }
        }
        best
    }

    pub(super) fn token_bytes(&self, token_id: u32) -> &[u8] {
        self.pieces.get(token_id as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.pieces.len()
    }
}
