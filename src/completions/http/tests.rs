//! The pure parts of the engine; what needs an endpoint is in tests/it/completions.rs and tests/it/echo.rs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::*;
use crate::completions::http::retry::retry_after;
use crate::completions::request::Message;
use crate::models::source::ModelSource;
use crate::models::subject_model::SubjectModel;

#[test]
fn a_wait_is_asked_for_in_seconds_or_until_a_date() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
    let wait = |text: &str, now: SystemTime| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&headers, now).map(|wait| wait.as_secs_f64())
    };
    let cases = [
        ("0", Some(0.0)),
        ("7", Some(7.0)),
        ("0.25", Some(0.25)),
        ("-1", None),
        ("soon", None),
        ("NaN", None),
        // The example of RFC 9110 §5.6.7: 784,111,777 seconds after 1970.
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7.0)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0.0)),
        ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800.0 - 784_111_770.0)),
        ("Wed, 31 Dec 1969 23:59:59 GMT", None),
        ("Sun, 06 Xxx 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49 GMT", None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),
    ];
    for (text, expected) in cases {
        assert_eq!(wait(text, now), expected, "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

/// Against SmolLM2's tokenizer, whose 49,152 tokens are fewer, and so its counts higher, than those of any model behind an endpoint.
#[test]
fn an_estimate_is_rather_too_high() {
    let models = std::env::var_os("NEURONLAKE_MODELS")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/neuronlake-models"));
    let file = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(file.is_file(), "'{}' is missing: run scripts/fetch_test_models", file.display());
    let model = SubjectModel::load(&ModelSource::Path(file)).unwrap();
    let corpus = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/corpus/masc").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let fiction = corpus("fiction.txt");
    let rated: String =
        fiction.split(' ').take(2_000).enumerate().map(|(i, word)| format!("{word}\t{}\n", i % 11)).collect();
    let texts = [
        (corpus("court-transcript.txt"), 1.6),
        (corpus("blog.txt"), 1.6),
        (rated, 1.6),
        (fiction, 1.6),
        ("naïve café, Zürich – «déjà vu»".repeat(9), 2.0),
        ("日本語の文章です。".repeat(9), 2.0),
    ];
    for (text, at_most) in texts {
        let tokens = model.tokenizer().unwrap().encode(&text).unwrap().token_ids.len();
        let ratio = estimated_tokens(&text) as f64 / tokens as f64;
        assert!(
            (1.0..at_most).contains(&ratio),
            "{:?}: {ratio:.2} of {tokens} tokens",
            &text.chars().take(30).collect::<String>()
        );
    }
    let request = Request::greedy(vec![Message::system("Count."), Message::user("one two")], 4);
    assert_eq!(estimated_prompt_tokens(&request), 3 + 2 + 3 * 8);
}

#[test]
fn what_an_endpoint_says_is_cut_to_a_line() {
    assert_eq!(refusal::shortened(" a\n  b\t"), "a b");
    let long = refusal::shortened(&"ä".repeat(1_000));
    assert_eq!(long.chars().count(), 302);
}
