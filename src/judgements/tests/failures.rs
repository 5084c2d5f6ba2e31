//! What a judge makes of replies that cannot be read, of refusals, and of a context that is too short.

use super::super::windows;
use super::*;
use crate::completions::reply::{Finish, Reply};

fn reply(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        finish: Finish::Stop,
        tokens: Vec::new(),
        prompt_tokens: 0,
        completion_tokens: 0,
        cost: None,
        key: None,
    }
}

#[test]
fn lists_are_read_as_models_write_them() {
    let check = |text: &str, n: usize, expected: Result<&[bool], &str>| {
        let found = super::super::answers::binary(&reply(text), n).map(|answers| answers.predicted);
        assert_eq!(found, expected.map(<[bool]>::to_vec).map_err(str::to_owned), "{text}");
    };
    check("[1, 0, 1]", 3, Ok(&[true, false, true]));
    check(" [1,0,1].\n", 3, Ok(&[true, false, true]));
    check("1, 0, 1", 3, Ok(&[true, false, true]));
    check("1\n0\n1\n", 3, Ok(&[true, false, true]));
    check("1", 1, Ok(&[true]));
    check("Text [3] is one of them, so the list is [0, 0, 1]", 3, Ok(&[false, false, true]));
    check("[0, 1, 0] no, rather [0, 0, 1] (see [2])", 3, Ok(&[false, false, true]));
    check("[1, 0]", 3, Err("expected 3 answers, got 2"));
    check("[1, 0, 1, 0]", 3, Err("expected 3 answers, got 4"));
    check("[]", 1, Err("expected a list of 1 ones and zeros, got '[]'"));
    check("[yes, no]", 2, Err("expected a list of 2 ones and zeros, got '[yes, no]'"));
    check("I cannot\nsay", 2, Err("expected a list of 2 ones and zeros, got 'I cannot\\nsay'"));
    check("1. 1\n2. 0", 2, Err("expected a list of 2 ones and zeros, got '1. 1\\n2. 0'"));
    check("", 2, Err("expected a list of 2 ones and zeros, got ''"));
}

#[test]
fn a_choice_is_one_number() {
    let check = |text: &str, expected: Option<usize>| {
        let found = super::super::answers::choice(&reply(text), 5, 0);
        assert_eq!(found.map(|(named, _)| named).ok(), expected, "{text}");
    };
    check("3", Some(2));
    check(" Text 3.", Some(2));
    check("3 (the marks of text 3 are random)", Some(2));
    check("3 or 4", None);
    check("0", None);
    check("6", None);
    check("99999999999999999999999999", None);
    check("none", None);
}

#[test]
fn marks_stay_readable_whatever_the_text_holds() {
    let tokens = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let check = |texts: &[&str], marks: &[bool], expected: &str| {
        assert_eq!(windows::marked(&tokens(texts), marks), expected, "{texts:?}");
    };
    check(&[" the", " king", "dom", " of"], &[false, true, true, false], "the «kingdom» of");
    check(&[" a", " b", " c"], &[true, false, true], "«a» b «c»");
    check(&["say ", "«no»"], &[false, true], "say «‹no›»");
    check(&["a\n", "2. b\t"], &[true, false], "«a\\n»2. b\\t");
    check(&[], &[], "");
    assert_eq!(windows::plain(&tokens(&[" one\n", " two\u{7}"])), "one\\n two\\u{7}");
}

#[test]
fn tokens_above_three_tenths_of_the_largest_are_active() {
    let example = |activations: &[f32]| Example {
        tokens: vec![String::new(); activations.len()],
        activations: activations.to_vec(),
        activating: true,
    };
    assert_eq!(windows::active(&example(&[10.0, 3.0, 3.1, -9.0])), [true, false, true, false]);
    assert_eq!(windows::active(&example(&[0.0, -1.0])), [false, false]);
    assert_eq!([windows::mean_count(&[1, 2]), windows::mean_count(&[1, 1, 2]), windows::mean_count(&[])], [2, 1, 1]);
    let marks = windows::random_marks(6, 4, 1, 2);
    assert_eq!(marks.iter().filter(|mark| **mark).count(), 4);
    assert_eq!(marks, windows::random_marks(6, 4, 1, 2));
    assert_eq!(windows::random_marks(3, 9, 1, 2), [true; 3]);
    // Every token is marked now and then, also the first and the last.
    let often = (0..200).map(|window| windows::random_marks(6, 1, 0, window)).fold([0; 6], |mut counts, marks| {
        counts.iter_mut().zip(marks).for_each(|(count, mark)| *count += u32::from(mark));
        counts
    });
    assert!(often.iter().all(|count| (15..60).contains(count)), "{often:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_missing_and_the_others_count() {
    // Of three prompts one is refused for its content and one answered with too few numbers.
    let rule = |request: &Request| {
        let texts = texts(request);
        if texts.iter().any(|text| text.contains("train")) {
            let (model, endpoint) = ("m".to_owned(), "e".to_owned());
            return Err(Error::CompletionRefused { model, endpoint, status: 400, reason: "content".to_owned() });
        }
        Ok(if texts.len() < 5 { "[1, 1, 1]".to_owned() } else { rules::list(&texts, |text| text.contains("cat")) })
    };
    let model = RuleModel::new(rule);
    let judged = judge_all(Judge::Detection, Some(&model), None, &[cats()]).await.unwrap().remove(0);
    let refused = judged.iter().filter(|j| j.reason.as_ref().is_some_and(|r| r.contains("content"))).count();
    let short: Vec<&Judgement> =
        judged.iter().filter(|j| j.reason.as_deref() == Some("expected 1 answers, got 3")).collect();
    assert_eq!((refused, short.len()), (5, 1), "{judged:?}");
    assert!(short[0].predicted.is_none() && short[0].completion.is_some());
    let rest: Vec<_> = judged.iter().zip(cats().examples).filter(|(j, _)| j.reason.is_none()).collect();
    assert_eq!(rest.len(), 5);
    assert!(rest.iter().all(|(judgement, example)| judgement.predicted == Some(example.activating)));
}

#[tokio::test]
async fn what_stops_everyone_stops_the_judge() {
    let faults: [fn() -> Error; 3] = [
        || Error::BudgetReached { spent: "5".to_owned(), budget: "5".to_owned(), done: "some".to_owned() },
        || Error::ApiKeyRefused { model: "m".to_owned(), variable: "K".to_owned(), status: 401 },
        || Error::CompletionRefused {
            model: "m".to_owned(),
            endpoint: "e".to_owned(),
            status: 404,
            reason: "no such model".to_owned(),
        },
    ];
    for fault in faults {
        let model = RuleModel::new(move |_| Err(fault()));
        let error = judge_all(Judge::Intruder, Some(&model), None, &[cats()]).await.unwrap_err();
        assert_eq!(error.to_string(), fault().to_string());
    }
}

#[tokio::test]
async fn a_short_context_gets_fewer_windows_then_no_examples() {
    let words = |request: &Request| -> usize {
        request.messages.iter().map(|message| message.content.split_whitespace().count()).sum()
    };
    let cat = |request: &Request| rules::list(&texts(request), |text| text.contains("cat"));
    let whole = RuleModel::answering(cat);
    judge_all(Judge::Detection, Some(&whole), None, &[cats()]).await.unwrap();
    let full = whole.requests().iter().map(words).max().unwrap();
    let check = |context: usize, n_prompts: usize, shots: bool| async move {
        let model = RuleModel::answering(cat).context(context);
        let judged = judge_all(Judge::Detection, Some(&model), None, &[cats()]).await.unwrap().remove(0);
        assert!(judged.iter().all(|judgement| judgement.predicted.is_some()), "{context}: {judged:?}");
        let requests = model.requests();
        assert_eq!(requests.len(), n_prompts, "context of {context}");
        assert!(requests.iter().all(|request| (request.messages.len() > 2) == shots), "context of {context}");
    };
    // 24 tokens and 4 an answer are kept for the reply.
    check(full + 44, 3, true).await;
    check(full + 24, 4, true).await;
    check(full, 11, true).await;
    check(200, 11, false).await;
    let model = RuleModel::answering(cat).context(60);
    let judged = judge_all(Judge::Detection, Some(&model), None, &[cats()]).await.unwrap().remove(0);
    assert!(model.requests().is_empty());
    let reason = judged[0].reason.as_deref().unwrap();
    assert!(reason.contains("more than the context of 60"), "{reason}");
}

#[tokio::test]
async fn windows_that_cannot_be_shown_are_missing() {
    let model = RuleModel::answering(|request| rules::list(&texts(request), |_| true));
    let mut task = cats();
    task.examples[0].activations.fill(0.0);
    let judged = judge_all(Judge::Fuzzing, Some(&model), None, std::slice::from_ref(&task)).await.unwrap().remove(0);
    assert!(judged[0].reason.as_deref().unwrap().contains("no activation above 0"));
    assert!(judged[1..].iter().all(|judgement| judgement.predicted.is_some()));
    task.examples.drain(1..3);
    let judged = judge_all(Judge::Intruder, Some(&model), None, std::slice::from_ref(&task)).await.unwrap().remove(0);
    let reason = judged.last().unwrap().reason.as_deref();
    assert_eq!(reason, Some("expected 4 activating windows beside the intruder, got 3"));
    let none = Task { examples: Vec::new(), ..cats() };
    for judge in [Judge::Detection, Judge::Fuzzing, Judge::Intruder] {
        assert_eq!(judge_all(judge, Some(&model), None, std::slice::from_ref(&none)).await.unwrap(), [vec![]]);
    }
}
