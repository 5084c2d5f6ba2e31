//! Replies as models give them.

use super::explanation;
use crate::completions::reply::Finish;

#[track_caller]
fn check(reply: &str, expected: &str) {
    assert_eq!(explanation(reply, Finish::Stop).as_deref(), Ok(expected), "{reply:?}");
}

#[test]
fn the_phrase_is_what_is_left() {
    check(" names of musical instruments.", "names of musical instruments");
    check("names of musical instruments. ", "names of musical instruments");
    check("a..", "a.");
    check("This neuron responds to names of rivers.", "names of rivers");
    check("This neuron responds to:\nnames of rivers", "names of rivers");
    check("this neuron responds to... names of rivers", "names of rivers");
    check("The neuron activates on words about money.", "words about money");
    check("The neuron appears to be activated by words about money.", "words about money");
    check("This neuron seems to fire on the word \"of\".", "the word \"of\"");
    check("The neuron is looking for past-tense verbs", "past-tense verbs");
    check("Based on the texts, this neuron primarily detects dates.", "dates");
    check("It seems that the neuron responds most strongly to dates", "dates");
}

#[test]
fn quotes_markdown_and_labels_go() {
    check("\"names of rivers\"", "names of rivers");
    check("“names of rivers.”", "names of rivers");
    check("\"names of rivers\".", "names of rivers");
    check("**names of rivers**", "names of rivers");
    check("- names of rivers", "names of rivers");
    check("1. names of rivers\n2. names of lakes", "names of rivers");
    check("**Explanation:** names of rivers", "names of rivers");
    check("Explanation: This neuron responds to \"names of rivers\".", "names of rivers");
    check("Sure! Here is the sentence:\n\nThis neuron responds to names of rivers.", "names of rivers");
    check("```\nnames of rivers\n```", "names of rivers");
    check("\"of\" and \"from\"", "\"of\" and \"from\"");
    check("names   of\trivers", "names of rivers");
    check("1980s fashion", "1980s fashion");
    check("methods such as __init__ and f(**options)", "methods such as __init__ and f(**options)");
    check("3D printing", "3D printing");
    check("neurons and brains", "neurons and brains");
}

#[test]
fn reasoning_goes() {
    check("<think>\nMaybe rivers? Yes.\n</think>\n\nnames of rivers.", "names of rivers");
    check("Maybe rivers.\n</think>\nnames of rivers", "names of rivers");
    check("<thinking>a</thinking><think>b</think>names of rivers", "names of rivers");
}

#[test]
fn a_reply_without_an_answer_is_a_reason() {
    let check = |reply: &str, finish, expected: &str| {
        assert_eq!(explanation(reply, finish).unwrap_err(), expected, "{reply:?}");
    };
    check("", Finish::Stop, "the reply is empty");
    check(" \n ", Finish::Stop, "the reply is empty");
    check("…", Finish::Stop, "the reply holds no explanation: '\\u{2026}'");
    check("This neuron responds to", Finish::Stop, "the reply holds no explanation: 'This neuron responds to'");
    check("<think>hm, what", Finish::Length, "the reply ran out of tokens before it said anything");
    check("", Finish::Length, "the reply ran out of tokens before it said anything");
}

#[test]
fn a_sentence_that_was_cut_off_goes_if_a_whole_one_is_left() {
    let cut = |reply| explanation(reply, Finish::Length).unwrap();
    assert_eq!(cut("names of rivers. It also seems to"), "names of rivers");
    assert_eq!(cut("names of rivers, lakes and"), "names of rivers, lakes and");
}
