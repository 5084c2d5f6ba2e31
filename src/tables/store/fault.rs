//! What a store says when it refuses, in words for a person and without what must stay secret.
//!
//! Stores answer with pages of XML that may repeat a session's token, and requests to some clouds carry their signature in the
//! address; neither may reach a log, a table or a terminal.

use object_store::Error;

/// The fault of a store, told without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

/// The same fault, its cause reduced to what may be shown.
pub(crate) fn told(error: Error) -> Error {
    let words = |source: &dyn std::error::Error| -> Box<dyn std::error::Error + Send + Sync> {
        let mut text = source.to_string();
        let mut cause = source.source();
        while let Some(deeper) = cause {
            let more = deeper.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = deeper.source();
        }
        Box::new(Told(without_secrets(&text)))
    };
    match error {
        Error::Generic { store, source } => Error::Generic { store, source: words(&*source) },
        Error::NotFound { path, source } => Error::NotFound { path, source: words(&*source) },
        Error::AlreadyExists { path, source } => Error::AlreadyExists { path, source: words(&*source) },
        Error::Precondition { path, source } => Error::Precondition { path, source: words(&*source) },
        Error::NotModified { path, source } => Error::NotModified { path, source: words(&*source) },
        Error::PermissionDenied { path, source } => Error::PermissionDenied { path, source: words(&*source) },
        Error::Unauthenticated { path, source } => Error::Unauthenticated { path, source: words(&*source) },
        other => other,
    }
}

/// Why a lake cannot be reached, as one sentence that says what to look at.
pub(crate) fn reason(error: &Error) -> String {
    let text = error.to_string();
    let code = between(&text, "answered ", " ").unwrap_or_default();
    let refused = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
        || [" 401 ", " 403 "].iter().any(|status| text.contains(&format!("status code:{status}")));
    match code {
        "NoSuchBucket" | "ContainerNotFound" => "the bucket does not exist".to_owned(),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
            format!("the bucket is in another region: set AWS_REGION ({text})")
        }
        _ if refused => {
            let code = if code.is_empty() { "the request" } else { code };
            format!("access was refused ({code}): expected credentials in the environment that may read and write it")
        }
        _ if text.contains("169.254.169.254") || text.contains("169.254.170.2") => {
            "no credentials: expected them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned()
        }
        _ => text,
    }
}

/// A text with the answers of stores cut down to code and message, and addresses without what follows their `?`.
fn without_secrets(text: &str) -> String {
    let (head, answer) = match text.find("<?xml").or_else(|| text.find("<Error")) {
        Some(start) => text.split_at(start),
        None => (text, ""),
    };
    let mut told = String::with_capacity(head.len());
    for (i, word) in head.split(' ').enumerate() {
        if i > 0 {
            told.push(' ');
        }
        match word.split_once('?') {
            Some((address, _)) if address.contains("://") => told.push_str(address),
            _ => told.push_str(word),
        }
    }
    if let Some(code) = between(answer, "<Code>", "</Code>") {
        let message = between(answer, "<Message>", "</Message>").unwrap_or_default();
        told = format!("{} answered {code} ({message})", told.trim_end().trim_end_matches(':'));
    }
    told
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests;
