//! Addresses of names that hold anything.

use super::*;

#[test]
fn names_of_any_characters_become_one_part_of_an_address() {
    let cases = [
        ("gpt2", "gpt2"),
        ("blocks.3.mlp.hook_post", "blocks.3.mlp.hook_post"),
        ("a/b", "a%2Fb"),
        ("50% of?#&=+ ;", "50%25%20of%3F%23%26%3D%2B%20%3B"),
        ("<script>\"'", "%3Cscript%3E%22%27"),
        ("é\u{202E}\0\n", "%C3%A9%E2%80%AE%00%0A"),
    ];
    for (text, expected) in cases {
        assert_eq!(percent(text), expected);
    }
}

#[test]
fn pairs_without_a_value_are_left_out() {
    assert_eq!(neuron("m/1", "blocks.0.mlp.hook_post", 7, ""), "/neuron/m%2F1/blocks.0.mlp.hook_post/7");
    assert_eq!(neuron("m", "h", 0, "a&b"), "/neuron/m/h/0?corpus=a%26b");
    assert_eq!(
        with_query("/browse", &[("q", ""), ("sort", "score"), ("where", "a = 'b'")]),
        "/browse?sort=score&where=a%20%3D%20%27b%27"
    );
}
