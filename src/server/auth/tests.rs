use super::*;

#[test]
fn only_the_token_is_the_token() {
    let token = Token::new("0123456789abcdef").unwrap();
    assert!(token.in_header("Bearer 0123456789abcdef"));
    assert!(token.in_header("bearer 0123456789abcdef"));
    assert!(!token.in_header("Bearer 0123456789abcdeg"));
    assert!(!token.in_header("Bearer "));
    assert!(!token.in_header("0123456789abcdef"));
    assert_eq!(format!("{token:?}"), "Token(…)");
}

#[test]
fn a_token_is_long_and_fits_a_header() {
    for text in ["", "short", "0123456789abcde f", "0123456789abcde;", "0123456789abcdeé"] {
        let error = Token::new(text).unwrap_err().to_string();
        assert!(error.contains("NEURONLAKE_TOKEN"), "{text}: {error}");
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
}

#[test]
fn names_that_are_this_machine() {
    let asks = |host: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        local_host(&headers)
    };
    for host in ["localhost", "localhost:80", "127.0.0.1:8080", "[::1]:8080", "127.9.9.9"] {
        assert!(asks(host), "{host}");
    }
    for host in ["example.org", "localhost.example.org:80", "10.0.0.1:80", "[::2]:80"] {
        assert!(!asks(host), "{host}");
    }
}

#[test]
fn other_sites_may_not_post() {
    let from = |pairs: &[(&'static str, &'static str)]| {
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value))).collect();
        same_site(&Method::POST, &headers).is_ok()
    };
    assert!(from(&[("host", "localhost:1")]));
    assert!(from(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
    assert!(!from(&[("host", "localhost:1"), ("origin", "http://localhost:2")]));
    assert!(!from(&[("host", "localhost:1"), ("origin", "null")]));
    assert!(!from(&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")]));
    assert!(from(&[("host", "localhost:1"), ("sec-fetch-site", "same-origin")]));
}
