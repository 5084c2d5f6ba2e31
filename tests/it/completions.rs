//! The HTTP engine against endpoints that answer rightly, wrongly, late and not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neuronlake::Error;
use neuronlake::completions::LanguageModel;
use neuronlake::completions::budget::{Budget, BudgetLimit};
use neuronlake::completions::http::key::ApiKey;
use neuronlake::completions::http::{Api, HttpModel, HttpOptions};
use neuronlake::completions::limits::{LimitOptions, Limits};
use neuronlake::completions::prices::Prices;
use neuronlake::completions::reply::Finish;
use neuronlake::completions::request::{Call, Message, Purpose, Request};
use serde_json::{Value, json};

use crate::fault_server::{Asked, FaultServer, Faults, Served, chat_reply, question};
use crate::llama_server::{LlamaServer, smollm2};

/// Found nowhere but in the header of a request.
const KEY: &str = "sk-marked-5f2c91-of-the-tests";

/// Limits under which a test does not wait.
pub(crate) fn quick() -> LimitOptions {
    LimitOptions { waits: (Duration::from_millis(1), Duration::from_millis(20)), retries: 6, ..LimitOptions::default() }
}

fn options(server: &FaultServer) -> HttpOptions {
    let base_url = server.url().parse().unwrap();
    HttpOptions {
        key: ApiKey::choose(&base_url, |variable| (variable == "NEURONLAKE_API_KEY").then(|| KEY.to_owned())),
        base_url,
        api: Api::Chat,
        limits: Arc::new(Limits::new(quick())),
        budget: Arc::new(Budget::new(None)),
        prices: Arc::new(Prices::embedded().unwrap()),
        counts_only: false,
    }
}

fn model(name: &str, options: HttpOptions) -> HttpModel {
    HttpModel::new(name.parse().unwrap(), options).unwrap()
}

/// Call number `n`, unlike all others.
pub(crate) fn call(n: usize) -> Call {
    Call::first(Purpose::Explain, Request::greedy(vec![Message::user(format!("question {n}"))], 8))
}

fn requests(server: &FaultServer) -> Vec<Value> {
    server.asked().into_iter().map(|asked| asked.body).collect()
}

/// With NEURONLAKE_SLOW=1 enough calls for the throughput to be read; it is told, never asserted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_answered_once_however_the_endpoint_behaves() {
    let n_calls = if std::env::var_os("NEURONLAKE_SLOW").is_some() { 60_000 } else { 1_000 };
    let faults = Faults { seed: 7, latency: Duration::from_millis(50), too_many: 0.02, resets: 0.005, malformed: 0.01 };
    let server = FaultServer::start(faults.serve());
    let limits = LimitOptions { in_flight: 64, ..LimitOptions::default() };
    let model = model("openai:m", HttpOptions { limits: Arc::new(Limits::new(limits)), ..options(&server) });
    let calls: Vec<Call> = (0..n_calls).map(call).collect();
    let start = Instant::now();
    let replies = model.complete_all(&calls).await;
    let took = start.elapsed();
    for (i, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.unwrap().text, format!("QUESTION {i}"));
    }
    let counts = server.counts();
    assert_eq!(counts.len(), n_calls);
    assert!(counts.values().all(|(_, answered)| *answered == 1), "a call was paid for more than once");
    let n_asked = server.asked().len();
    assert!(n_asked > n_calls, "no fault was injected");
    let ideal = server.delay() / 64;
    eprintln!(
        "{n_calls} calls, {n_asked} requests: {took:.2?}, the delays alone {ideal:.2?}: {:.1} % of what they allow",
        100.0 * ideal.as_secs_f64() / took.as_secs_f64()
    );
}

#[tokio::test]
async fn faults_that_pass_are_tried_again() {
    for status in [408, 409, 425, 429, 500, 502, 503, 504] {
        let server = FaultServer::start(move |asked: &Asked| match asked.number {
            0 | 1 => Served { headers: vec![("retry-after", "0".to_owned())], ..Served::status(status, "busy") },
            _ => Served::json(&chat_reply("fine")),
        });
        let reply = model("openai:m", options(&server)).complete(&call(0)).await.unwrap();
        assert_eq!((reply.text.as_str(), server.asked().len()), ("fine", 3), "{status}");
    }
    for body in
        ["", "{", "[]", "{}", "{\"choices\": []}", "{\"choices\": [{}]}", "<html>", "{\"error\": {\"code\": 502}}"]
    {
        let server = FaultServer::start(move |asked: &Asked| match asked.number {
            0 => Served::status(200, body),
            _ => Served::json(&chat_reply("fine")),
        });
        let reply = model("openai:m", options(&server)).complete(&call(0)).await.unwrap();
        assert_eq!((reply.text.as_str(), server.asked().len()), ("fine", 2), "{body}");
    }
    let server = FaultServer::start(|asked: &Asked| match asked.number {
        0 => Served { delay: Duration::from_secs(30), ..Served::json(&chat_reply("late")) },
        _ => Served::json(&chat_reply("fine")),
    });
    let limits = LimitOptions { time_out: Duration::from_millis(200), ..quick() };
    let patient = HttpOptions { limits: Arc::new(Limits::new(limits)), ..options(&server) };
    assert_eq!(model("openai:m", patient).complete(&call(0)).await.unwrap().text, "fine");
}

#[tokio::test]
async fn faults_that_stay_are_told_after_the_last_try() {
    let server = FaultServer::start(|_: &Asked| Served::status(503, &format!("down, you sent {KEY}")));
    let error = model("openai:m", options(&server)).complete(&call(0)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "model 'openai:m': no reply from '{}' after 7 tries: HTTP status 503 Service Unavailable: down, you sent [key]; \
             what was answered is kept, run the same command again to go on",
            server.url()
        )
    );
    assert_eq!(server.asked().len(), 7);

    // An hour is longer than anybody waits.
    let server = FaultServer::start(|_: &Asked| Served {
        headers: vec![("retry-after", "3600".to_owned())],
        ..Served::status(429, "later")
    });
    assert!(
        model("openai:m", options(&server)).complete(&call(0)).await.unwrap_err().to_string().contains("after 1 tries")
    );

    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let gone = HttpOptions { base_url: format!("http://{nobody}/v1").parse().unwrap(), ..options(&server) };
    let message = model("openai:m", gone).complete(&call(0)).await.unwrap_err().to_string();
    assert!(message.contains("after 7 tries: ") && message.contains("onnection refused"), "{message}");
}

/// It has one model and takes any name for it, so an unknown model is no fault on it.
#[tokio::test]
async fn llama_cpps_own_server_may_be_late_full_or_somewhere_else() {
    let server = LlamaServer::start(&smollm2());
    let limits = LimitOptions { time_out: Duration::from_millis(300), retries: 1, ..quick() };
    let options = |path: &str, limits: LimitOptions| {
        let base_url: url::Url = format!("{}{path}", server.address).parse().unwrap();
        HttpOptions {
            key: ApiKey::choose(&base_url, |_| None),
            base_url,
            api: Api::Chat,
            limits: Arc::new(Limits::new(limits)),
            budget: Arc::new(Budget::new(None)),
            prices: Arc::new(Prices::embedded().unwrap()),
            counts_only: false,
        }
    };
    let asked =
        |text: &str, tokens: u32| Call::first(Purpose::Explain, Request::greedy(vec![Message::user(text)], tokens));
    let late = model("openai:any", options("/v1", limits)).complete(&asked("Count to a thousand.", 2_000)).await;
    let message = late.unwrap_err().to_string();
    assert!(message.contains("after 2 tries: no reply in time"), "{message}");

    let full = model("openai:any", options("/v1", quick())).complete(&asked(&"word ".repeat(5_000), 8)).await;
    let error = full.unwrap_err();
    assert!(matches!(error, Error::ContextTooShort { context_length: 4_096, .. }), "{error}");

    let elsewhere = model("openai:any", options("/v2", quick())).complete(&asked("Hello.", 8)).await;
    let message = elsewhere.unwrap_err().to_string();
    assert!(message.contains("an address ending like /v1"), "{message}");

    let reply = model("openai:no-such-model", options("/v1", quick())).complete(&asked("Say yes.", 4)).await.unwrap();
    assert!(reply.prompt_tokens > 3, "{reply:?}");
}

#[tokio::test]
async fn refusals_are_told_at_once_and_without_the_key() {
    let long = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.";
    let cases = [
        (401, format!("no: {KEY}"), "the endpoint refused the key in NEURONLAKE_API_KEY (HTTP status 401)"),
        (403, format!("no: {KEY}"), "the endpoint refused the key in NEURONLAKE_API_KEY (HTTP status 403)"),
        (403, "flagged by moderation".to_owned(), "(HTTP status 403): flagged by moderation"),
        (
            404,
            json!({"error": {"message": "no such model"}}).to_string(),
            "an address ending like /v1, got 'm': no such model",
        ),
        (400, json!({"error": {"message": format!("bad {KEY}")}}).to_string(), "(HTTP status 400): bad [key]"),
        (413, "too large".to_owned(), "(HTTP status 413): too large"),
        (422, json!({"detail": "what?"}).to_string(), "(HTTP status 422): what?"),
        (307, String::new(), "(HTTP status 307): "),
        (
            400,
            json!({"error": {"message": long}}).to_string(),
            "needs 9000 tokens with its reply, 808 more than the context of 8192",
        ),
        (
            400,
            json!({"error": {"message": "too long", "n_prompt_tokens": 600, "n_ctx": 512}}).to_string(),
            "needs 600 tokens with its reply, 88 more than the context of 512",
        ),
        (429, json!({"error": {"code": "insufficient_quota", "message": "pay"}}).to_string(), "(HTTP status 429): pay"),
        (200, json!({"error": {"code": 402, "message": "credits"}}).to_string(), "(HTTP status 402): credits"),
    ];
    for (status, body, expected) in cases {
        let sent = body.clone();
        let server = FaultServer::start(move |_: &Asked| Served::status(status, &sent));
        let error = model("openai:m", options(&server)).complete(&call(0)).await.unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(message.contains(expected), "{status} {body}: {message}");
        assert!(!message.contains(KEY), "{message}");
        assert_eq!(server.asked().len(), 1, "{status} was tried again");
    }
}

#[tokio::test]
async fn a_key_is_sent_as_a_header_and_shown_nowhere() {
    let server = FaultServer::start(|asked: &Asked| Served::json(&chat_reply(&asked.headers["authorization"])));
    let with_key = model("openai:m", options(&server));
    // Even an endpoint that writes it into its reply does not get it stored.
    assert_eq!(with_key.complete(&call(0)).await.unwrap().text, "Bearer [key]");
    assert_eq!(server.asked()[0].headers["authorization"], format!("Bearer {KEY}"));
    assert!(!format!("{with_key:?}").contains(KEY));

    let keyless = FaultServer::start(|asked: &Asked| match asked.headers.get("authorization") {
        Some(_) => Served::status(400, "a key"),
        None => Served::status(401, "no key"),
    });
    let error = model("openai:m", HttpOptions { key: None, ..options(&keyless) }).complete(&call(0)).await.unwrap_err();
    assert!(matches!(error, Error::ApiKeyMissing { .. }), "{error}");
    let openai = HttpOptions { key: None, base_url: "https://api.openai.com/v1".parse().unwrap(), ..options(&keyless) };
    let error = HttpModel::new("openai:gpt-4o".parse().unwrap(), openai).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model 'openai:gpt-4o': expected a key in the environment variable NEURONLAKE_API_KEY or OPENAI_API_KEY, found none"
    );
}

#[test]
fn keys_of_other_programs_are_not_sent_in_the_clear() {
    let choose = |url: &str, names: &[&str]| {
        let variable = |name: &str| names.contains(&name).then(|| format!("value of {name}"));
        ApiKey::choose(&url.parse().unwrap(), variable).map(|key| key.variable())
    };
    let (own, openai) = ("NEURONLAKE_API_KEY", "OPENAI_API_KEY");
    let cases = [
        ("https://api.openai.com/v1", &[openai][..], Some(openai)),
        ("https://api.openai.com/v1", &[own, openai], Some(own)),
        ("http://127.0.0.1:8080/v1", &[openai], Some(openai)),
        ("http://[::1]:8080/v1", &[openai], Some(openai)),
        ("http://localhost/v1", &[openai], Some(openai)),
        ("http://localhost.example.com/v1", &[openai], None),
        ("http://10.0.0.7:8000/v1", &[openai], None),
        ("http://10.0.0.7:8000/v1", &[own, openai], Some(own)),
        ("https://example.com/v1", &[], None),
    ];
    for (url, names, expected) in cases {
        assert_eq!(choose(url, names), expected, "{url} {names:?}");
    }
}

#[tokio::test]
async fn requests_say_what_was_asked_for() {
    let server = FaultServer::start(|asked: &Asked| match asked.path.as_str() {
        "/v1/completions" => Served::json(&json!({"choices": [{"text": " four", "finish_reason": "length"}]})),
        _ => Served::json(&chat_reply("four")),
    });
    let request = Request {
        stop: vec!["\n".to_owned()],
        temperature: 0.7,
        top_logprobs: 3,
        ..Request::greedy(vec![Message::system("Count."), Message::user("one two three")], 5)
    };
    let call = Call::first(Purpose::Judge, request);
    model("openai:gpt-4o", options(&server)).complete(&call).await.unwrap();
    let text = HttpOptions { api: Api::Text, ..options(&server) };
    let reply = model("openai:gpt-4o", text).complete(&call).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.finish), (" four", Finish::Length));
    // Without usage the estimate counts, for the prompt and for the longest reply.
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (31, 5));
    let [chat, text] = &requests(&server)[..] else { panic!("two requests") };
    assert_eq!(
        *chat,
        json!({
            "model": "gpt-4o", "max_tokens": 5, "temperature": 0.7, "top_p": 1.0, "stop": ["\n"], "logprobs": true, "top_logprobs": 3,
            "messages": [{"role": "system", "content": "Count."}, {"role": "user", "content": "one two three"}],
        })
    );
    assert_eq!(
        *text,
        json!({
            "model": "gpt-4o", "max_tokens": 5, "temperature": 0.7, "top_p": 1.0, "stop": ["\n"], "logprobs": 3,
            "prompt": "Count.\n\none two three\n\n",
        })
    );
}

#[tokio::test]
async fn log_probabilities_are_read_in_both_shapes() {
    let content = json!({"content": [
        {"token": "yes", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": -2.5}, {"token": "yes", "logprob": -0.1}]},
        {"token": "!", "logprob": -0.3},
    ]});
    let lists = json!({"tokens": ["yes", "!"], "token_logprobs": [-0.1, -0.3], "text_offset": [0, 3],
        "top_logprobs": [{"no": -2.5, "yes": -0.1}, null]});
    let message = json!({"role": "assistant", "content": "yes!"});
    let cases = [
        (Api::Chat, json!({"message": message, "logprobs": content})),
        (Api::Text, json!({"text": "yes!", "logprobs": content})),
        (Api::Text, json!({"text": "yes!", "logprobs": lists})),
    ];
    for (api, choice) in cases {
        let server = FaultServer::start(move |_: &Asked| Served::json(&json!({"choices": [choice]})));
        let mut asked = call(0);
        asked.request.top_logprobs = 2;
        let reply = model("openai:m", HttpOptions { api, ..options(&server) }).complete(&asked).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.tokens.len()), ("yes!", 2));
        let first = &reply.tokens[0];
        assert_eq!((first.text.as_str(), first.log_probability), ("yes", -0.1));
        assert_eq!(first.alternatives, [("yes".to_owned(), -0.1), ("no".to_owned(), -2.5)]);
        assert_eq!((reply.tokens[1].text.as_str(), reply.tokens[1].alternatives.len()), ("!", 0));
    }
}

/// OpenAI's reasoning models, in their own words.
#[tokio::test]
async fn a_model_that_wants_other_fields_gets_them() {
    let refuse = |message: &str| Served::status(400, &json!({"error": {"message": message}}).to_string());
    let server = FaultServer::start(move |asked: &Asked| {
        if asked.body.get("max_tokens").is_some() {
            return refuse(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            );
        }
        if asked.body.get("temperature").is_some() {
            return refuse(
                "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
            );
        }
        Served::json(&chat_reply(&asked.body["max_completion_tokens"].to_string()))
    });
    let model = model("openai:o9", options(&server));
    for n in 0..3 {
        assert_eq!(model.complete(&call(n)).await.unwrap().text, "8");
    }
    // Two lessons, learned once.
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn costs_come_from_the_endpoint_or_from_the_prices() {
    let server = FaultServer::start(|asked: &Asked| {
        let mut reply = chat_reply("x");
        if question(asked) == "question 1" {
            reply["usage"]["cost"] = json!(0.125);
        }
        Served::json(&reply)
    });
    let priced = model("openai:gpt-4o", options(&server));
    // 10 tokens at $2.50 and 2 at $10 a million.
    assert_eq!(priced.complete(&call(0)).await.unwrap().cost, Some(45e-6));
    assert_eq!(priced.complete(&call(1)).await.unwrap().cost, Some(0.125));
    let unknown = model("openai:m", options(&server));
    assert_eq!(unknown.complete(&call(0)).await.unwrap().cost, None);
    let budget = Arc::new(Budget::new(Some(BudgetLimit::Dollars(1.0))));
    let error = model("openai:m", HttpOptions { budget, ..options(&server) }).complete(&call(0)).await.unwrap_err();
    assert!(matches!(error, Error::PriceUnknown { .. }), "{error}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_budget_is_never_exceeded_and_used_up_as_far_as_it_goes() {
    let server = FaultServer::start(|_: &Asked| Served::json(&chat_reply("x")));
    let budget = Arc::new(Budget::new(Some(BudgetLimit::Tokens(100))));
    let model = model("openai:m", HttpOptions { budget: Arc::clone(&budget), ..options(&server) });
    let calls: Vec<Call> = (10..60).map(call).collect();
    let replies = model.complete_all(&calls).await;
    let spent = budget.spent();
    // A call may take 28 tokens and takes 12: the eighth could end at 112.
    assert_eq!((spent.calls, spent.prompt_tokens, spent.completion_tokens), (7, 70, 14));
    assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 7);
    let error = replies.into_iter().find_map(Result::err).unwrap();
    assert_eq!(
        error.to_string(),
        "budget reached: 84 tokens of 100 tokens spent; 7 calls were answered and are kept, the next could cost up to 28 tokens; \
         run the same command with a larger --budget to go on"
    );
}

#[tokio::test]
async fn limits_hold_for_all_models_of_a_session() {
    let server =
        FaultServer::start(|_: &Asked| Served { delay: Duration::from_millis(5), ..Served::json(&chat_reply("x")) });
    let limits = LimitOptions {
        requests_per_minute: 600.try_into().ok(),
        tokens_per_minute: 600_000.try_into().ok(),
        ..quick()
    };
    let shared = HttpOptions { limits: Arc::new(Limits::new(limits)), ..options(&server) };
    let (a, b) = (model("openai:a", shared.clone()), model("openai:b", shared));
    let calls: Vec<Call> = (0..32).map(call).collect();
    let start = Instant::now();
    let (a, b) = tokio::join!(a.complete_all(&calls), b.complete_all(&calls));
    assert!(a.iter().chain(&b).all(Result::is_ok));
    // 600 a minute, 60 of them at once: the other four come 100 ms apart.
    assert!(start.elapsed() >= Duration::from_millis(380), "{:?}", start.elapsed());
}
