//! Pages of hostile texts.

use super::*;

#[test]
fn what_is_hostile_is_shown_and_not_run() {
    let detail = "<script>alert('x')</script> \0\u{1b}[31m \u{202E}txt \u{85} \"quoted\" & more";
    let Html(page) =
        render("problem.html", json!({ "title": "Bad Request", "status": 400, "detail": detail })).unwrap();
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{page}");
    for character in ['\0', '\u{1b}', '\u{202E}', '\u{85}'] {
        assert!(!page.contains(character), "{character:?}");
    }
    assert!(page.contains('␀') && page.contains("␛[31m"), "{page}");
}

#[test]
fn a_fault_is_a_page_with_its_status() {
    let response = Fault::not_found("there is no neuron 7").into_response();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[test]
fn queries_stand_below_a_page_with_a_link_to_each() {
    let queries = [ShownQuery { name: "facts".to_owned(), sql: "SELECT 1 + 1 AS a".to_owned() }];
    let context = json!({ "title": "t", "status": 400, "detail": "d", "queries": queries });
    let Html(page) = render("problem.html", context).unwrap();
    assert!(page.contains("href=\"/sql?q=SELECT%201%20%2B%201%20AS%20a\""), "{page}");
}

#[test]
fn a_context_that_does_not_fit_is_a_bug_of_ours() {
    let fault = render("home.html", json!({})).unwrap_err();
    assert_eq!(fault.0.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
