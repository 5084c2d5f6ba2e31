use super::*;

fn refused(status: &str, body: &str) -> String {
    format!(
        "Error performing GET https://a.blob.core.windows.net/c?sv=1&sig=SECRET in 3ms, after 0 retries - Server returned non-2xx status code: {status}: {body}"
    )
}

#[test]
fn no_secret_is_told() {
    let body = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><Token-0>SECRET</Token-0></Error>";
    let error = Error::PermissionDenied { path: "x".into(), source: refused("403 Forbidden", body).into() };
    let error = told(error);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("SECRET"), "{text}");
    assert!(text.contains("ExpiredToken (The provided token has expired.)"), "{text}");
    assert!(text.contains("https://a.blob.core.windows.net/c in 3ms"), "{text}");
    assert_eq!(
        reason(&error),
        "access was refused (ExpiredToken): expected credentials in the environment that may read and write it"
    );
}

#[test]
fn a_wrong_bucket_is_named_as_such() {
    let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
    let error = told(Error::Generic { store: "S3", source: refused("404 Not Found", body).into() });
    assert_eq!(reason(&error), "the bucket does not exist");
    let other = told(Error::Generic { store: "S3", source: "connection refused".into() });
    assert_eq!(reason(&other), "Generic S3 error: connection refused");
}
