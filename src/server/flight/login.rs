//! Who may call: whoever shows the token, as a bearer or, for clients that know only names and passwords, as the password.

use arrow_flight::HandshakeResponse;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};

use crate::server::auth::Token;

/// The header of both.
const AUTHORIZATION: &str = "authorization";

/// Lets a call through, or not.
///
/// # Errors
/// UNAUTHENTICATED.
pub(super) fn admit(token: Option<&Token>, headers: &MetadataMap) -> Result<(), Status> {
    match token {
        Some(token) if !header(headers).is_some_and(|value| token.in_header(value)) => {
            Err(Status::unauthenticated("expected the server's token in a header 'authorization: Bearer …'"))
        }
        _ => Ok(()),
    }
}

/// Answers a handshake: a bearer header for a password that is the token; where no token is asked for, for any.
///
/// # Errors
/// UNAUTHENTICATED.
pub(super) fn handshake(
    token: Option<&Token>,
    headers: &MetadataMap,
) -> Result<Response<Vec<Result<HandshakeResponse, Status>>>, Status> {
    let bearer = match (token, header(headers)) {
        (None, _) => "Bearer none".to_owned(),
        (Some(token), Some(value)) if token.in_header(value) => value.to_owned(),
        (Some(token), value) => {
            let password = value.and_then(password).filter(|password| token.is(password));
            let password = password.ok_or_else(|| {
                Status::unauthenticated("expected the server's token as the password of basic authentication")
            })?;
            format!("Bearer {password}")
        }
    };
    let mut response = Response::new(vec![Ok(HandshakeResponse::default())]);
    let bearer =
        AsciiMetadataValue::try_from(bearer).map_err(|_| Status::unauthenticated("expected a printable token"))?;
    response.metadata_mut().insert(AUTHORIZATION, bearer);
    Ok(response)
}

fn header(headers: &MetadataMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()
}

/// The password of `Basic base64(name:password)`.
fn password(value: &str) -> Option<String> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(from_base64(encoded.trim())?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Bytes of a text in base64, with or without its padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xFF) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
