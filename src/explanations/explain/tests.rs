//! Asking for many explanations, with a scripted model.

use super::{MAX_TOKENS, REASONING_TOKENS, Task, Written, explain_all};
use crate::completions::reply::{Failure, Finish, Reply};
use crate::completions::request::Purpose;
use crate::error::Error;
use crate::explanations::evidence::Evidence;
use crate::explanations::explainer::Explainer;
use crate::explanations::tests::scripted::{Scripted, reply, text_of};
use crate::explanations::tests::{evidence, record};

fn kings() -> Evidence {
    let mut evidence = evidence(&["The| old| king#4| sat", "A| king#3| rose"], &["The| old| dog| sat"]);
    evidence.promoted = vec![" crown".to_owned()];
    evidence
}

fn task(evidence: Evidence, sample_no: u32) -> Task {
    Task { evidence, sample_no }
}

#[tokio::test]
async fn every_explainer_with_a_model_writes() {
    for explainer in Explainer::ALL.into_iter().filter(|explainer| explainer.needs_model()) {
        let model = Scripted::saying("This neuron responds to kings and queens.");
        let written = explain_all(explainer, Some(&model), &[task(kings(), 0)]).await.unwrap();
        let written = written[0].as_ref().unwrap();
        assert_eq!((written.text.as_str(), &written.completions), ("kings and queens", &vec!["key".to_owned()]));
        let calls = model.asked();
        assert_eq!((calls.len(), calls[0].purpose, calls[0].request.max_tokens), (1, Purpose::Explain, MAX_TOKENS));
    }
}

#[tokio::test]
async fn the_first_is_the_likeliest_and_others_are_drawn() {
    let model = Scripted::saying("kings");
    let tasks = [task(kings(), 0), task(kings(), 1), task(kings(), 2)];
    explain_all(Explainer::Summary, Some(&model), &tasks).await.unwrap();
    let calls = model.asked();
    let settings: Vec<(f32, u32)> = calls.iter().map(|call| (call.request.temperature, call.sample_no)).collect();
    assert_eq!(settings, [(0.0, 0), (1.0, 1), (1.0, 2)]);
    assert_eq!(calls[1].request, calls[2].request);
}

#[tokio::test]
async fn one_bad_reply_or_neuron_harms_no_other() {
    let model = Scripted::new(|call| match text_of(&call.request) {
        text if text.contains("empty") => Ok(reply("")),
        text if text.contains("malformed") => {
            Err(Error::ReplyMalformed { model: "replay:script".to_owned(), reason: "no choices".to_owned() })
        }
        text if text.contains("filtered") => Err(Error::CompletionRefused {
            model: "replay:script".to_owned(),
            endpoint: "here".to_owned(),
            status: 400,
            reason: "content filter".to_owned(),
        }),
        _ => Ok(reply("kings")),
    });
    let tasks =
        ["empty#1", "malformed#1", "filtered#1", "dead#-1", "fine#1"].map(|text| task(evidence(&[text], &[]), 0));
    let written = explain_all(Explainer::Summary, Some(&model), &tasks).await.unwrap();
    let n_keys = |one: &Result<Written, Failure>| {
        one.as_ref().map_or_else(|failure| failure.completions.len(), |written| written.completions.len())
    };
    let told_keys: Vec<usize> = written.iter().map(n_keys).collect();
    let told: Vec<String> =
        written.into_iter().map(|one| one.map_or_else(|failure| failure.reason, |one| one.text)).collect();
    assert_eq!(
        told,
        [
            "the reply is empty",
            "model 'replay:script': malformed reply: no choices",
            "model 'replay:script': the endpoint 'here' refused the request (HTTP status 400): content filter",
            "it fires on none of the windows shown",
            "kings",
        ]
    );
    assert_eq!(told_keys, [1, 0, 0, 0, 1]);
    assert_eq!(model.asked().len(), 4, "nothing is asked about a neuron that never fires");
}

#[tokio::test]
async fn a_fault_that_meets_all_ends_the_asking() {
    let refused = |status| {
        Scripted::new(move |_| {
            let (model, endpoint) = ("m".to_owned(), "here".to_owned());
            Err(Error::CompletionRefused { model, endpoint, status, reason: "no".to_owned() })
        })
    };
    for status in [400, 404] {
        let error = explain_all(Explainer::Summary, Some(&refused(status)), &[task(kings(), 0)]).await.unwrap_err();
        assert!(matches!(error, Error::CompletionRefused { .. }), "{error:?}");
    }
    let spent = Scripted::new(|_| {
        let (spent, budget) = ("5 usd".to_owned(), "5 usd".to_owned());
        Err(Error::BudgetReached { spent, budget, done: "1 of 2".to_owned() })
    });
    let error = explain_all(Explainer::Summary, Some(&spent), &[task(kings(), 0)]).await.unwrap_err();
    assert!(matches!(error, Error::BudgetReached { .. }), "{error:?}");
}

#[tokio::test]
async fn windows_in_which_a_neuron_fires_are_no_contrast() {
    let model = Scripted::saying("kings");
    let firing = "The| queen#2| sat| alone";
    let both = evidence(&["The| old| king#10| sat"], &[firing, "A| servant#1| stood| up"]);
    let written = explain_all(Explainer::Contrastive, Some(&model), &[task(both, 0)]).await.unwrap();
    assert!(written[0].is_ok());
    let asked = text_of(&model.asked().remove(0).request);
    assert!(asked.contains("A servant stood up") && !asked.contains("sat alone"), "{asked}");
    let only = evidence(&["The| old| king#10| sat"], &[firing]);
    let written = explain_all(Explainer::Contrastive, Some(&model), &[task(only, 0)]).await.unwrap();
    assert!(written[0].as_ref().unwrap_err().reason.contains("in which the neuron is silent"), "{written:?}");
}

#[tokio::test]
async fn what_an_explainer_lacks_is_said() {
    let model = Scripted::saying("kings");
    let bare = [task(evidence(&["a#1"], &[]), 0)];
    let reason =
        async |explainer| explain_all(explainer, Some(&model), &bare).await.unwrap().remove(0).unwrap_err().reason;
    assert_eq!(
        reason(Explainer::Contrastive).await,
        "explainer 'contrastive' needs windows in which the neuron is silent, at most at a tenth of its maximum, got none"
    );
    assert_eq!(
        reason(Explainer::Logits).await,
        "explainer 'logits' needs tokens that the neuron makes likelier, got none"
    );
    assert!(model.asked().is_empty());

    let error = explain_all(Explainer::Summary, None, &bare).await.unwrap_err();
    assert_eq!(error.to_string(), "explainer 'summary': expected a language model, such as summary@openai:gpt-4o");
    let error = explain_all(Explainer::TokenLookup, None, &bare).await.unwrap_err();
    assert!(matches!(error, Error::MethodModel { .. }), "{error:?}");
    let written = explain_all(Explainer::N2g, None, &[task(kings(), 0)]).await.unwrap();
    assert_eq!(written[0].as_ref().unwrap().text, r#"pattern: " king" (8.8); elsewhere 0.0"#);
    assert!(written[0].as_ref().unwrap().completions.is_empty());
}

#[tokio::test]
async fn examples_go_before_windows_when_the_context_is_short() {
    // How many examples and windows are left for each length of the context.
    let asked = async |context_length| {
        let model = Scripted::saying("kings").with_context(context_length);
        let written = explain_all(Explainer::TokenActivation, Some(&model), &[task(kings(), 0)]).await?;
        assert!(written[0].is_ok());
        let request = model.asked().remove(0).request;
        let target = &request.messages[request.messages.len() - 1].content;
        let needed = text_of(&request).split_whitespace().count() + text_of(&request).lines().count() + 60;
        assert!(needed <= context_length);
        Ok::<_, Error>(((request.messages.len() - 2) / 2, target.contains("rose")))
    };
    let mut seen = Vec::new();
    let mut shortest = 0;
    for context_length in (0..1200).rev() {
        match asked(context_length).await {
            Ok(left) if seen.last() != Some(&left) => seen.push(left),
            Ok(_) => {}
            Err(Error::ContextTooShort { needed, context_length: told, .. }) => {
                assert_eq!((needed, told), (context_length + 1, context_length));
                shortest = needed;
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(seen, [(3, true), (2, true), (1, true), (0, true), (0, false)]);
    assert!(asked(shortest).await.is_ok());
}

#[tokio::test]
async fn a_model_that_reasons_is_given_room() {
    let model = Scripted::new(|call| {
        Ok(match call.request.max_tokens {
            MAX_TOKENS => Reply { finish: Finish::Length, ..reply("<think>These words are all") },
            _ => reply("<think>These words are all kings.</think>kings."),
        })
    });
    let written = explain_all(Explainer::Summary, Some(&model), &[task(kings(), 3)]).await.unwrap();
    let kings = written[0].as_ref().unwrap();
    // Both were paid for.
    assert_eq!((kings.text.as_str(), kings.completions.len()), ("kings", 2));
    let calls = model.asked();
    assert_eq!(calls.iter().map(|call| call.request.max_tokens).collect::<Vec<_>>(), [MAX_TOKENS, REASONING_TOKENS]);
    assert_eq!(calls[1].sample_no, 3);
}

#[tokio::test]
async fn uneven_records_are_a_reason_and_no_tasks_are_no_calls() {
    let model = Scripted::saying("kings");
    let mut uneven = kings();
    uneven.quiet.push(record("a"));
    uneven.quiet[1].activations.clear();
    let written = explain_all(Explainer::Contrastive, Some(&model), &[task(uneven, 0)]).await.unwrap();
    assert_eq!(written[0].as_ref().unwrap_err().reason, "expected as many activations as tokens, got 0 and 1");
    assert!(explain_all(Explainer::Summary, Some(&model), &[]).await.unwrap().is_empty());
}
