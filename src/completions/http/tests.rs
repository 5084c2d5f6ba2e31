//! The pure parts of the engine; what needs an endpoint is in tests/it/completions.rs and tests/it/echo.rs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::*;
use crate::completions::http::retry::retry_after;
use crate::completions::request::Message;

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

/// Against counts of OpenAI's o200k_base, given in the table: never less, and for plain English not much more.
#[test]
fn an_estimate_is_rather_too_high() {
    let cases = [
        ("", 0),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("hello world", 2),
        ("1234567890", 4),
        ("naïve café", 4),
        ("日本語", 2),
        ("\t7\n\t0\n", 6),
    ];
    for (text, tokens) in cases {
        let estimate = estimated_tokens(text);
        assert!((tokens..=2 * tokens + 4).contains(&estimate), "{text:?}: {estimate}, really {tokens}");
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
