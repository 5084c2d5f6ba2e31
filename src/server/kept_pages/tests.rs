//! Encodings of kept pages.

use super::*;

#[test]
fn gzip_is_sent_to_those_who_take_it() {
    let cases = [
        ("gzip", true),
        ("gzip, deflate, br, zstd", true),
        ("br;q=1.0, GZIP;q=0.8", true),
        ("gzip;q=0", false),
        ("br", false),
        ("", false),
        ("gzip;q=much", false),
    ];
    for (encodings, expected) in cases {
        assert_eq!(takes_gzip(encodings), expected, "{encodings}");
    }
}

#[tokio::test]
async fn a_kept_page_is_the_page_in_both_encodings() {
    let text = "<p>tokens</p>".repeat(1_000);
    let made = ([(CONTENT_TYPE, "text/html")], text.clone()).into_response();
    let page = whole(made).await.unwrap();
    assert!(page.packed.len() * 10 < text.len());
    for packed in [true, false] {
        let asked = Asked { address: String::new(), form: String::new(), known: String::new(), packed };
        let response = page.answer(&asked);
        assert_eq!(response.headers().contains_key(CONTENT_ENCODING), packed);
        assert_eq!(response.headers()[VARY], "accept-encoding");
        let body = to_bytes(response.into_body(), LARGEST as usize).await.unwrap();
        let body = if packed { unpacked(&body).unwrap() } else { body.to_vec() };
        assert_eq!(body, text.as_bytes());
    }
    let known = page.tag.to_str().unwrap().to_owned();
    let again = Asked { address: String::new(), form: String::new(), known, packed: true };
    assert_eq!(page.answer(&again).status(), StatusCode::NOT_MODIFIED);
}
