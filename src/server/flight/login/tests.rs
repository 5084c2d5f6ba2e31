//! Headers that let a call through, and those that do not.

use super::*;

fn headers(value: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert(AUTHORIZATION, value.parse().unwrap());
    headers
}

#[test]
fn base64_is_read_with_any_padding() {
    for (text, bytes) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zg", b"f"),
        ("Zm8=", b"fo"),
        ("Zm9v", b"foo"),
        ("Zm9vYmFy", b"foobar"),
        ("++//", b"\xfb\xef\xff"),
    ] {
        assert_eq!(from_base64(text).as_deref(), Some(bytes), "{text}");
    }
    assert_eq!(from_base64("Zm9*"), None);
}

#[test]
fn a_handshake_gives_a_bearer_for_the_token_only() {
    let token = Token::new("0123456789abcdef").unwrap();
    // name:0123456789abcdef
    let right = headers("Basic bmFtZTowMTIzNDU2Nzg5YWJjZGVm");
    let answer = handshake(Some(&token), &right).unwrap();
    assert_eq!(answer.metadata().get(AUTHORIZATION).unwrap(), "Bearer 0123456789abcdef");
    assert!(admit(Some(&token), answer.metadata()).is_ok());
    for wrong in ["Basic bmFtZTpwYXNzd29yZA==", "Basic ???", "Basic", "Bearer 0123456789abcdeX", ""] {
        let refused = handshake(Some(&token), &headers(wrong)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{wrong}");
        assert!(admit(Some(&token), &headers(wrong)).is_err(), "{wrong}");
    }
    assert!(admit(Some(&token), &right).is_err(), "a password is for the handshake");
    assert!(admit(Some(&token), &MetadataMap::new()).is_err());
    assert!(admit(None, &MetadataMap::new()).is_ok());
    assert!(handshake(None, &MetadataMap::new()).is_ok());
}
