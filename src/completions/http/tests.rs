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
fn only_another_interface_is_a_part_of_the_key() {
    let base_url: Url = "http://127.0.0.1:1/v1".parse().unwrap();
    let model = |api: Api| {
        let options = HttpOptions {
            base_url: base_url.clone(),
            api,
            key: None,
            limits: Arc::new(Limits::new(crate::completions::limits::LimitOptions::default())),
            budget: Arc::new(Budget::new(None)),
            prices: Arc::new(Prices::embedded().unwrap()),
            counts_only: true,
        };
        HttpModel::new("openai:m".parse().unwrap(), options).unwrap()
    };
    let call = Call::first(Purpose::Explain, Request::greedy(vec![Message::user("q")], 4));
    let (chat, text) = (model(Api::Chat), model(Api::Text));
    // What was stored before there was a choice is found.
    assert_eq!(chat.key_of(&call), call.key(chat.name()));
    assert_ne!(text.key_of(&call), chat.key_of(&call));
}

#[test]
fn a_context_that_was_told_is_never_taken_for_longer() {
    let base_url: Url = "http://127.0.0.1:1/v1".parse().unwrap();
    let key = ApiKey::choose(&base_url, |_| Some("token".to_owned()));
    let options = HttpOptions {
        base_url,
        api: Api::Chat,
        key,
        limits: Arc::new(Limits::new(crate::completions::limits::LimitOptions::default())),
        budget: Arc::new(Budget::new(None)),
        prices: Arc::new(Prices::embedded().unwrap()),
        counts_only: true,
    };
    let model = HttpModel::new("openai:m".parse().unwrap(), options).unwrap();
    assert_eq!(model.abilities().context_length, None);
    model.learn_context(1_200, 1_000, 800);
    assert_eq!(model.abilities().context_length, Some(800));
    // Thought to be 700 tokens and really 1,000: of 800 real ones are 560 thought ones.
    model.learn_context(700, 1_000, 800);
    assert_eq!(model.abilities().context_length, Some(560));
    model.learn_context(1_200, 1_000, 800);
    assert_eq!(model.abilities().context_length, Some(560));
    // Too short a key to be looked for.
    assert_eq!(model.scrubbed("a token"), "a token");
}

#[test]
fn what_an_endpoint_says_is_cut_to_a_line() {
    assert_eq!(refusal::shortened(" a\n  b\t"), "a b");
    let long = refusal::shortened(&"ä".repeat(1_000));
    assert_eq!(long.chars().count(), 302);
}
