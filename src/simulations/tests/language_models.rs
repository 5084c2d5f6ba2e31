//! Simulators that ask a language model, with distributions whose expected values are known (specification §10.2).

use super::scripted::{Scripted, distributions, slot, text};
use crate::completions::Abilities;
use crate::completions::reply::Failure;
use crate::completions::request::{Call, Message, Purpose, Role};
use crate::completions::slots::{Piece, SlotPrompt, SlotReading};
use crate::error::{Error, Result};
use crate::simulations::simulate::{Outcome, Task, simulate_all};
use crate::simulations::simulator::Simulator;

fn task(explanation: &str, tokens: &[&str]) -> Task {
    Task { explanation: explanation.to_owned(), tokens: tokens.iter().map(|token| (*token).to_owned()).collect() }
}

async fn simulate(simulator: Simulator, model: &Scripted, task: Task) -> Result<Outcome> {
    Ok(simulate_all(simulator, Some(model), None, &[task]).await?.remove(0))
}

fn close(got: &[Option<f32>], expected: &[Option<f32>]) {
    let same = |(got, expected): (&Option<f32>, &Option<f32>)| match (got, expected) {
        (Some(got), Some(expected)) => (got - expected).abs() < 1e-5,
        (got, expected) => got == expected,
    };
    assert!(got.len() == expected.len() && got.iter().zip(expected).all(same), "expected {expected:?}, got {got:?}");
}

fn n_slots(prompt: &SlotPrompt) -> usize {
    prompt.answer.iter().filter(|piece| matches!(piece, Piece::Slot(_))).count()
}

#[tokio::test]
async fn all_at_once_gives_the_expected_value_at_every_slot() {
    let model = Scripted::reading(|prompt| {
        Ok(vec![
            slot(prompt, &[("0", 0.5), ("3", 0.2), ("10", 0.1)]),
            slot(prompt, &[("0", 0.2), ("5", 0.1), ("10", 0.1)]),
            slot(prompt, &[]),
            slot(prompt, &[("7", 1e-30)]),
        ])
    });
    let simulation =
        simulate(Simulator::AllAtOnce, &model, task("cats", &["a", "\n", "c", " d"])).await.unwrap().unwrap();
    close(&simulation.expected, &[Some(2.0), Some(3.75), None, Some(7.0)]);
    assert_eq!(simulation.n_unread, 1);
    assert!((simulation.number_mass.unwrap() - (0.8 + 0.4) / 4.0).abs() < 1e-6);
}

#[tokio::test]
async fn all_at_once_shows_examples_and_one_line_a_token() {
    let model = Scripted::reading(|prompt| {
        let roles: Vec<Role> = prompt.messages.iter().map(|message| message.role).collect();
        let (user, assistant) = (Role::User, Role::Assistant);
        assert_eq!(roles, [Role::System, user, assistant, user, assistant, user, assistant, user]);
        assert_eq!(prompt.messages[7].content, "Neuron 4 responds to: words about cats");
        let block = &prompt.messages[2].content;
        assert!(block.starts_with("Responses:\nAll\tunknown\n night\tunknown\n"), "{block}");
        assert!(block.contains("\n by\t0\n morning\t0\n the\t0\n river\t9\n"), "{block}");
        // Every example shows a value above 0 after its first number.
        for block in [2, 4, 6].map(|i| &prompt.messages[i].content) {
            let mut known = block.lines().skip_while(|line| !line.ends_with("\t0"));
            assert!(known.any(|line| !line.ends_with("\t0")), "{block}");
        }
        let answer: String = prompt
            .answer
            .iter()
            .map(|piece| {
                let (Piece::Text(t) | Piece::Slot(t)) = piece;
                t.as_str()
            })
            .collect();
        assert_eq!(answer, "Responses:\nThe\tunknown\n\\t\\n\tunknown\n a\\\\b\tunknown");
        assert_eq!(prompt.candidates.len(), 11);
        Ok((0..n_slots(prompt)).map(|_| slot(prompt, &[("0", 0.9)])).collect())
    });
    let task = task(" words about\n cats. ", &["The", "\t\n", " a\\b"]);
    let simulation = simulate(Simulator::AllAtOnce, &model, task).await.unwrap().unwrap();
    close(&simulation.expected, &[Some(0.0); 3]);
}

#[tokio::test]
async fn a_split_ten_makes_the_scale_one_of_nine() {
    let mut model = Scripted::reading(|prompt| {
        assert_eq!(prompt.candidates, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(prompt.messages[0].content.contains("0 for not at all to 9 "));
        // 9 and 10 of the examples are shown as 8 and 9.
        assert!(
            prompt.messages[2].content.contains(" river\t8\n") && prompt.messages[2].content.contains(" flood\t9\n")
        );
        Ok(vec![slot(prompt, &[("9", 0.3)]), slot(prompt, &[("0", 0.1), ("9", 0.1)])])
    });
    model.tokens_of_ten = Some(2);
    let simulation = simulate(Simulator::AllAtOnce, &model, task("cats", &["a", "b"])).await.unwrap().unwrap();
    close(&simulation.expected, &[Some(10.0), Some(5.0)]);
    // Without a tokenizer the scale is the paper's.
    let mut model = Scripted::reading(|prompt| Ok(vec![slot(prompt, &[("10", 0.1)])]));
    model.tokens_of_ten = None;
    let simulation = simulate(Simulator::AllAtOnce, &model, task("cats", &["a"])).await.unwrap().unwrap();
    close(&simulation.expected, &[Some(10.0)]);
    // A tokenizer that cuts digits has no scale that can be read.
    let model = Scripted { tokens_of_digit: 2, ..Scripted::default() };
    let error = simulate(Simulator::AllAtOnce, &model, task("cats", &["a"])).await.unwrap_err();
    assert!(matches!(error, Error::MethodModel { .. }), "{error}");
}

#[tokio::test]
async fn examples_give_way_to_a_short_context() {
    // The number of the neuron asked about comes back as the value.
    let number = |prompt: &SlotPrompt| {
        let users: Vec<&Message> = prompt.messages.iter().filter(|m| m.role == Role::User).collect();
        assert_eq!(users[users.len() - 1].content, format!("Neuron {} responds to: cats", users.len()));
        Ok(vec![slot(prompt, &[(&users.len().to_string(), 0.5)])])
    };
    let mut seen = Vec::new();
    for context_length in (20..1000).step_by(20) {
        let mut model = Scripted::reading(number);
        model.abilities.context_length = Some(context_length);
        match simulate(Simulator::AllAtOnce, &model, task("cats", &["a"])).await {
            Ok(simulation) => seen.push(simulation.unwrap().expected[0].unwrap()),
            Err(Error::ContextTooShort { needed, context_length: got, .. }) => {
                assert!(seen.is_empty() && got == context_length && needed > context_length, "{needed} of {got}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(seen.len() < 48 && seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, [1.0, 2.0, 3.0, 4.0]);
}

#[tokio::test]
async fn one_bad_reply_is_one_window_and_a_spent_budget_is_all() {
    let malformed = || Error::ReplyMalformed { model: "m".to_owned(), reason: "no choices".to_owned() };
    let model = Scripted::reading(move |prompt| match n_slots(prompt) {
        1 => Ok(vec![slot(prompt, &[("1", 0.1)])]),
        2 => Err(malformed()),
        3 => Ok(vec![]),
        _ => Ok((0..4).map(|_| slot(prompt, &[])).collect()),
    });
    let tokens = ["a", "b", "c", "d"];
    let tasks: Vec<Task> = (1..=4).map(|n| task("cats", &tokens[..n])).collect();
    let got = simulate_all(Simulator::AllAtOnce, Some(&model), None, &tasks).await.unwrap();
    assert!(got[0].is_ok());
    assert!(got[1].as_ref().unwrap_err().reason.contains("no choices"));
    assert_eq!(got[2].as_ref().unwrap_err().reason, "expected 3 slots, got 0");
    assert_eq!(got[3].as_ref().unwrap_err().reason, "expected a number at some token, got none at 4");
    let spent = |_: &SlotPrompt| -> Result<Vec<SlotReading>> {
        Err(Error::BudgetReached { spent: "5 usd".to_owned(), budget: "5 usd".to_owned(), done: String::new() })
    };
    let error = simulate_all(Simulator::AllAtOnce, Some(&Scripted::reading(spent)), None, &tasks).await.unwrap_err();
    assert!(matches!(error, Error::BudgetReached { .. }), "{error}");
}

#[tokio::test]
async fn simulators_say_what_they_lack() {
    let mut model = Scripted::default();
    model.abilities.prompt_log_probabilities = false;
    let error = simulate(Simulator::AllAtOnce, &model, task("cats", &["a"])).await.unwrap_err().to_string();
    assert!(error.contains("use one_at_a_time or log_probability_free"), "{error}");
    model.abilities.reply_log_probabilities = false;
    for simulator in [Simulator::AllAtOnce, Simulator::OneAtATime] {
        let error = simulate(simulator, &model, task("cats", &["a"])).await.unwrap_err().to_string();
        assert!(error.contains("; use log_probability_free") || error.contains("; the simulators log_prob"), "{error}");
    }
    for simulator in Simulator::ALL {
        let without = simulate_all(simulator, None, None, &[task("cats", &["a"])]).await;
        if simulator.needs_model() || simulator.needs_encoder() || simulator == Simulator::TokenLookup {
            let error = without.unwrap_err();
            assert!(matches!(error, Error::MethodModel { .. }), "{error}");
        }
    }
}

/// What the only slot of a one-token window is read as.
async fn read_head(
    reply: &'static [&'static [(&'static str, f64)]],
    tokens_of_ten: Option<usize>,
) -> Result<f32, Failure> {
    let model = Scripted { tokens_of_ten, ..Scripted::replying(|_| Ok(distributions(reply))) };
    let simulation = simulate(Simulator::OneAtATime, &model, task("cats", &["a"])).await.unwrap()?;
    Ok(simulation.expected[0].unwrap())
}

#[tokio::test]
async fn one_at_a_time_reads_the_head_of_the_reply() {
    let value = read_head(&[&[("0", 0.5), ("3", 0.2), (" 4", 0.1), ("10", 0.1), ("11", 0.05)]], None).await.unwrap();
    assert!((value - 2.0).abs() < 1e-6, "{value}");
    // Whitespace first, and numbers that only exist with whitespace.
    let value = read_head(&[&[("\n", 0.9)], &[("4", 0.5), ("6", 0.5)]], None).await.unwrap();
    assert!((value - 5.0).abs() < 1e-6, "{value}");
    let value = read_head(&[&[(" 4", 0.5), (" 6", 0.5)]], None).await.unwrap();
    assert!((value - 5.0).abs() < 1e-6, "{value}");
    // "10" in two tokens: .8 * .75 for ten, .8 * .25 for one, .2 for zero.
    let value = read_head(&[&[("1", 0.8), ("0", 0.2)], &[("0", 0.75), ("", 0.25)]], None).await.unwrap();
    assert!((value - (0.6 * 10.0 + 0.2)).abs() < 1e-6, "{value}");
    // On a scale of nine a 1 is a 1.
    let value = read_head(&[&[("1", 1.0)], &[("0", 1.0)]], Some(2)).await.unwrap();
    assert!((value - 10.0 / 9.0).abs() < 1e-6, "{value}");
    const NO_NUMBER: &[&[(&str, f64)]] = &[&[("The", 0.9), ("11", 0.05), ("05", 0.05)]];
    for nothing in [NO_NUMBER, &[]] {
        let model = Scripted::replying(move |_| Ok(distributions(nothing)));
        let error = simulate(Simulator::OneAtATime, &model, task("cats", &["a"])).await.unwrap().unwrap_err().reason;
        assert_eq!(error, "expected a number at some token, got none at 1");
    }
}

#[tokio::test]
async fn one_at_a_time_asks_about_every_token_with_the_text_so_far() {
    let model = Scripted::replying(|call: &Call| {
        assert_eq!((call.purpose, call.sample_no), (Purpose::Simulate, 0));
        let request = &call.request;
        assert_eq!((request.max_tokens, request.top_logprobs, request.temperature), (2, 20, 0.0));
        let questions: Vec<&str> =
            request.messages.iter().filter(|m| m.role == Role::User).map(|m| m.content.as_str()).collect();
        assert_eq!(questions.len(), 7);
        // Each example has its own explanation.
        assert!(questions[..6].iter().all(|question| !question.contains("cats")));
        assert!(
            questions[4].starts_with("The neuron responds to: the word that comes after a negation\nText: It was not ")
        );
        assert!(questions[4].contains("\nLast token:  even\n"), "{}", questions[4]);
        assert!(questions[5].contains("\nLast token:  off\n"), "{}", questions[5]);
        let answers: Vec<&str> =
            request.messages.iter().filter(|m| m.role == Role::Assistant).map(|m| m.content.as_str()).collect();
        assert_eq!(answers, ["9", "0", "9", "0", "8", "0"]);
        let value = match questions[6] {
            "The neuron responds to: cats\nText: My\nLast token: My\nResponse, 0 to 10:" => "1",
            "The neuron responds to: cats\nText: My cat\nLast token:  cat\nResponse, 0 to 10:" => "9",
            "The neuron responds to: cats\nText: My cat\\n\nLast token: \\n\nResponse, 0 to 10:" => "no",
            other => panic!("{other}"),
        };
        Ok(distributions(&[&[(value, 0.9), ("0", 0.1)][..usize::from(value != "no") + 1]]))
    });
    let mut got = simulate(Simulator::OneAtATime, &model, task("cats", &["My", " cat", "\n"])).await.unwrap().unwrap();
    // "no" is no number: what is left is the 0 beside it.
    assert!((got.number_mass.unwrap() - (1.0 + 1.0) / 3.0).abs() < 0.04 + 1e-6, "{got:?}");
    assert_eq!(got.expected.pop().unwrap(), None);
    close(&got.expected, &[Some(0.9), Some(8.1)]);
    assert_eq!(got.n_unread, 1);
}

/// One call, whatever the number of windows.
#[tokio::test]
async fn a_model_that_takes_no_notice_of_log_probabilities_is_asked_once() {
    let n_calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&n_calls);
    let model = Scripted::replying(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(text("7"))
    });
    let tasks = [task("cats", &["My", " cat"]), task("dogs", &["My", " dog"])];
    let error = simulate_all(Simulator::OneAtATime, Some(&model), None, &tasks).await.unwrap_err();
    assert!(matches!(error, Error::LogProbabilitiesMissing { .. }), "{error}");
    assert_eq!(n_calls.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_whose_call_failed_is_unread() {
    let model = Scripted::replying(|call: &Call| {
        if call.request.messages.last().unwrap().content.contains("Last token:  b\n") {
            return Err(Error::ReplyMalformed { model: "m".to_owned(), reason: "cut".to_owned() });
        }
        Ok(distributions(&[&[("5", 1.0)]]))
    });
    let got = simulate(Simulator::OneAtATime, &model, task("cats", &["a", " b", " c"])).await.unwrap().unwrap();
    assert_eq!((got.expected, got.n_unread), (vec![Some(5.0), None, Some(5.0)], 1));
}

#[tokio::test]
async fn log_probability_free_copies_the_lines() {
    let model = Scripted::replying(|call: &Call| {
        let messages = &call.request.messages;
        assert!(messages[2].content.starts_with("All\t0\n night\t0\n the\t0\n rain\t8\n"), "{}", messages[2].content);
        assert_eq!(messages[7].content, "The neuron responds to: cats\nTokens:\nMy\n cat\n\\n\n purr\ns");
        assert!(call.request.max_tokens >= 5 * 4 && call.request.top_logprobs == 0);
        Ok(text("```\nMy\t0\ncat\t9.5\n\\n\t0\npurr\t11\ns\t3\n```"))
    });
    let tokens = ["My", " cat", "\n", " purr", "s"];
    let got = simulate(Simulator::LogProbabilityFree, &model, task("cats", &tokens)).await.unwrap().unwrap();
    assert_eq!(got.expected, [Some(0.0), Some(9.5), Some(0.0), None, Some(3.0)]);
    assert_eq!((got.n_unread, got.number_mass, got.completions), (1, None, vec!["key".to_owned()]));
    let model = Scripted::replying(|_| Ok(text("I cannot do that.")));
    let failure = simulate(Simulator::LogProbabilityFree, &model, task("cats", &tokens)).await.unwrap().unwrap_err();
    // Paid for, and there to be looked at.
    assert_eq!(failure.completions, ["key"]);
    assert_eq!(failure.reason, "expected numbers for 5 tokens, got 0 of which 0 stand at tokens of the window");
}

#[test]
fn names_go_both_ways_and_models_have_a_default() {
    for simulator in Simulator::ALL {
        assert_eq!(simulator.to_string().parse::<Simulator>().unwrap(), simulator);
        assert_eq!(simulator.scale() == "neuron_activations", simulator == Simulator::TokenLookup);
    }
    let error = "guess".parse::<Simulator>().unwrap_err().to_string();
    assert_eq!(
        error,
        "simulator: expected one of token_lookup, n2g, all_at_once, one_at_a_time, log_probability_free, embedding, got 'guess'"
    );
    let default = |prompt, reply| {
        Simulator::default_for(Abilities {
            context_length: None,
            prompt_log_probabilities: prompt,
            reply_log_probabilities: reply,
        })
    };
    assert_eq!(default(true, true), Simulator::AllAtOnce);
    assert_eq!(default(false, true), Simulator::OneAtATime);
    assert_eq!(default(false, false), Simulator::LogProbabilityFree);
    let mut hashes: Vec<String> = Simulator::ALL.iter().map(|simulator| simulator.prompt_hash()).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
}
