//! Tokenizers: offsets, surface text and the formats they come in.

use std::path::{Path, PathBuf};

use super::Tokenizer;

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path)
}

/// GPT-2's own encoder, under the names transformers gives its files.
fn gpt2() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shared("gpt2-bpe/encoder.json"), folder.path().join("vocab.json")).unwrap();
    std::fs::copy(shared("gpt2-bpe/vocab.bpe"), folder.path().join("merges.txt")).unwrap();
    Tokenizer::from_folder(folder.path(), Some(50256)).unwrap()
}

/// Token ids as tiktoken's and transformers' GPT-2 give them.
#[test]
fn gpt2_tokens_are_the_published_ones() {
    let tokenizer = gpt2();
    let check = |text: &str, expected: &[u32]| {
        let encoding = tokenizer.encode(text).unwrap();
        assert_eq!(encoding.token_ids, expected, "{text:?}");
        assert_eq!(tokenizer.decode(&encoding.token_ids), text);
    };
    check("Hello world", &[15496, 995]);
    check(" Hello  world", &[18435, 220, 995]);
    check("", &[]);
    check("<|endoftext|>", &[50256]);
    assert_eq!((tokenizer.n_tokens(), tokenizer.bos_token_id()), (50257, Some(50256)));
}

#[test]
fn offsets_cover_the_text_in_bytes() {
    let tokenizer = gpt2();
    let text = "Zoë's naïve 東京 🦀 café\n";
    let encoding = tokenizer.encode(text).unwrap();
    let mut end = 0;
    for (token_id, range) in encoding.token_ids.iter().zip(&encoding.offsets) {
        assert!(range.start <= end && range.end >= end, "{range:?} after {end}");
        end = range.end;
        let bytes = tokenizer.token_bytes(*token_id);
        // A token that is whole characters is exactly the text it covers.
        if let Ok(token) = std::str::from_utf8(bytes) {
            assert_eq!(token, &text[range.clone()]);
        }
    }
    assert_eq!(end, text.len());
    assert_eq!(tokenizer.decode(&encoding.token_ids), text);
}

#[test]
fn a_token_that_is_part_of_a_character_shows_as_a_replacement_character() {
    let tokenizer = gpt2();
    let crab = tokenizer.encode("🦀").unwrap();
    assert!(crab.token_ids.len() > 1);
    assert!(crab.token_ids.iter().all(|id| tokenizer.token_text(*id).contains('\u{fffd}')));
    assert_eq!(tokenizer.token_text(995), " world");
    assert_eq!(tokenizer.token_text(198), "\n");
    assert_eq!(tokenizer.token_text(1_000_000), "");
}

#[test]
fn llama2c_pieces_join_best_score_first_and_fall_back_to_bytes() {
    let tokenizer = Tokenizer::from_llama2c(&shared("stories260k/tok512.bin"), 512).unwrap();
    let check = |text: &str, expected: &[&str]| {
        let encoding = tokenizer.encode(text).unwrap();
        let tokens: Vec<String> = encoding.token_ids.iter().map(|id| tokenizer.token_text(*id)).collect();
        assert_eq!(tokens, expected, "{text:?}");
        assert_eq!(
            tokenizer.decode(&encoding.token_ids),
            if text.is_empty() { String::new() } else { format!(" {text}") }
        );
        let covered: String = encoding.offsets.iter().map(|range| &text[range.clone()]).collect();
        assert!(covered == text || !text.is_ascii(), "{covered:?}");
    };
    check("", &[]);
    check("Once upon a time", &[" Once", " upon", " a", " time"]);
    check("é🦀", &[" ", "é", "\u{fffd}", "\u{fffd}", "\u{fffd}", "\u{fffd}"]);
    assert_eq!(tokenizer.token_text(13), "\n");
    assert_eq!(tokenizer.bos_token_id(), Some(1));
}
