//! Numbers read from what a model wrote.

use crate::simulations::numbered_reply::read;

fn tokens(tokens: &[&str]) -> Vec<String> {
    tokens.iter().map(|token| (*token).to_owned()).collect()
}

#[test]
fn replies_in_many_forms_are_read() {
    let abc = tokens(&["a", " b", "c"]);
    let check =
        |reply: &str, expected: [Option<f32>; 3]| assert_eq!(read(reply, &abc), Ok(expected.to_vec()), "{reply}");
    let numbers = [Some(4.0), Some(10.0), Some(7.0)];
    check("a\t4\n b\t10\nc\t7", numbers);
    check("a\t4\n b\t10\nc\t7\n\n", numbers);
    check("a 4\nb 10\nc 7", numbers);
    check("`a`: 4\n\"b\": 10\n'c' | 7", numbers);
    check("Here are the responses:\n```text\na\t4\nb\t10\nc\t7\n```\nMost tokens are cats.", numbers);
    check("<think>a\t0\nb\t0\nc\t0</think>\na\t4\nb\t10\nc\t7", numbers);
    check(
        r#"{"activations": [{"token": "a", "activation": 4}, {"token": " b", "activation": 10}, {"token": "c", "activation": 7}]}"#,
        numbers,
    );
    check("```json\n[[\"a\", 4], [\"b\", 10], [\"c\", 7.0]]\n```", numbers);
    check(r#"[{"token": "a", "value": "4"}, {"token": "b", "value": "10"}, {"token": "c", "value": "7"}]"#, numbers);
    check("The list: [4, 10, 7]", numbers);
    check("[4, null, 7]", [Some(4.0), None, Some(7.0)]);
    // Fractions are numbers; what is outside 0..10 or no number is unread.
    check("a\t4.25\nb\t11\nc\t-1", [Some(4.25), None, None]);
    check("a\t4\nb\tunknown\nc\tNaN", [Some(4.0), None, None]);
    // One token in three may be misspelt or left out.
    check("x\t4\nb\t10\nc\t7", [None, Some(10.0), Some(7.0)]);
    check("a\t4\nc\t7", [Some(4.0), None, Some(7.0)]);
    check("a\t4\nb\t10\nb\t3\nc\t7", numbers);
}

#[test]
fn replies_that_do_not_fit_fail_with_a_reason() {
    let abc = tokens(&["a", " b", "c"]);
    let check = |reply: &str, expected: &str| assert_eq!(read(reply, &abc), Err(expected.to_owned()), "{reply}");
    check("", "expected numbers for 3 tokens, got 0 of which 0 stand at tokens of the window");
    check("Sorry, I cannot.", "expected numbers for 3 tokens, got 0 of which 0 stand at tokens of the window");
    check("a\t4", "expected numbers for 3 tokens, got 1 of which 1 stand at tokens of the window");
    check("x\t4\ny\t10\nz\t7", "expected numbers for 3 tokens, got 3 of which 0 stand at tokens of the window");
    check("[4, 10]", "expected 3 numbers, got 2");
    check("[4, 10, 7, 8]", "expected 3 numbers, got 4");
    check("a\t11\nb\t-3\nc\tx", "expected numbers from 0 to 10, got none");
    assert_eq!(read("", &[]), Ok(vec![]));
}

#[test]
fn repeated_and_invisible_tokens_keep_their_places() {
    let window = tokens(&[" the", " cat", " the", "\n", "\n", "\t", " ", "[", "\"", " the"]);
    let reply = " the\t1\n cat\t2\n the\t3\n\\n\t4\n\\n\t5\n\\t\t6\n \t7\n[\t8\n\"\t9\n the\t10";
    let values: Vec<Option<f32>> = (1..=10).map(|value| Some(value as f32)).collect();
    assert_eq!(read(reply, &window), Ok(values.clone()));
    // A repeated token that was skipped: the rest stays in place.
    let short = reply.replacen(" the\t3\n", "", 1);
    let mut skipped = values;
    skipped[2] = None;
    assert_eq!(read(&short, &window), Ok(skipped));
}
