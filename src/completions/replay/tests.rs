//! Recorded replies, written by hand and by the recorder.

use super::*;
use crate::completions::request::{Message, Purpose};
use crate::completions::slots::Piece;

fn call(text: &str, sample_no: u32) -> Call {
    let request = Request::greedy(vec![Message::user(text)], 4);
    Call { purpose: Purpose::Judge, request, sample_no }
}

#[tokio::test]
async fn a_file_written_by_hand_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replies.jsonl");
    let name = path.to_str().unwrap();
    let request = serde_json::to_string(&call("one", 0).request).unwrap();
    let key = call("two", 0).key(&ModelName { engine: Engine::Replay, model: name.to_owned() });
    let elsewhere = call("three", 0).key(&"openai:gpt-4o".parse().unwrap());
    let lines = [
        format!("{{\"request\": {request}, \"reply\": \"1\"}}"),
        format!("{{\"request\": {request}, \"sample_no\": 1, \"reply\": \"I\"}}"),
        format!("{{\"key\": \"{key}\", \"reply\": \"2\"}}"),
        String::new(),
        format!("{{\"key\": \"{elsewhere}\", \"model\": \"openai:gpt-4o\", \"reply\": \"3\"}}"),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let model = ReplayModel::load(name).unwrap();
    let calls = [call("one", 0), call("one", 1), call("two", 0), call("three", 0), call("four", 0)];
    let replies = model.complete_all(&calls).await;
    let texts: Vec<_> = replies.iter().map(|reply| reply.as_ref().map(|reply| reply.text.as_str()).ok()).collect();
    assert_eq!(texts, [Some("1"), Some("I"), Some("2"), Some("3"), None]);
    let message = replies[4].as_ref().unwrap_err().to_string();
    let key = calls[4].key(model.name());
    assert_eq!(
        message,
        format!(
            "model 'replay:{name}': malformed reply: expected a recorded reply to the request, found none under key '{key}'"
        )
    );
    assert!(!model.abilities().prompt_log_probabilities && !model.abilities().reply_log_probabilities);
}

#[tokio::test]
async fn what_is_recorded_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let by_hand = folder.path().join("a.jsonl");
    let prompt = SlotPrompt {
        messages: vec![Message::user("rate")],
        answer: vec![Piece::Text("a\t".to_owned()), Piece::Slot("1".to_owned())],
        candidates: vec!["0".to_owned(), "1".to_owned()],
    };
    let continuation = Continuation { prefix: "a".to_owned(), text: " b".to_owned() };
    let model = "openai:m".parse().unwrap();
    let lines = [
        serde_json::json!({"key": call("x", 0).key(&model), "model": "openai:m", "reply": {"text": "y", "finish": "length", "tokens":
            [{"text": "y", "log_probability": -0.5, "alternatives": [["y", -0.5]]}], "prompt_tokens": 3, "completion_tokens": 1}}),
        serde_json::json!({"key": reading_key(&model, &slots_request(&prompt)), "model": "openai:m", "readings": [[null, -0.25]]}),
        serde_json::json!({"key": reading_key(&model, &losses_request(&continuation)), "model": "openai:m", "losses": [1.5]}),
    ];
    std::fs::write(&by_hand, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let first = Arc::new(ReplayModel::load(by_hand.to_str().unwrap()).unwrap());
    assert!(first.abilities().prompt_log_probabilities && first.abilities().reply_log_probabilities);

    let recorded = folder.path().join("b.jsonl");
    let recorder = Recorder::new(first, &recorded).unwrap();
    let (prompts, texts) = ([prompt], [continuation]);
    let ask = async |model: &dyn LanguageModel| {
        let reply = model.complete_all(&[call("x", 0), call("x", 0)]).await.remove(1).unwrap();
        let readings = model.read_slots_all(&prompts).await.remove(0).unwrap();
        (Reply { key: None, ..reply }, readings, model.losses_all(&texts).await.remove(0).unwrap())
    };
    let said = ask(&recorder).await;
    assert_eq!((said.0.text.as_str(), said.0.tokens.len(), said.2.values.as_slice()), ("y", 1, &[1.5][..]));
    assert_eq!(said.1.values[0].log_probabilities, [None, Some(-0.25)]);
    assert_eq!(ask(&ReplayModel::load(recorded.to_str().unwrap()).unwrap()).await, said);
    assert_eq!(std::fs::read_to_string(&recorded).unwrap().lines().count(), 3);
}

#[test]
fn a_line_that_is_no_recorded_reply_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("replies.jsonl");
    let cases = [
        ("{\"reply\": \"x\"}", "expected a key or a request, got neither"),
        ("{\"key\": \"k\"}", "expected one of reply, readings and losses"),
        ("{\"key\": \"k\", \"reply\": \"x\", \"losses\": []}", "expected one of reply, readings and losses"),
        ("{\"key\": \"k\", \"reply\": 7}", "expected a recorded reply, got "),
        ("{\"key\": \"k\", \"answer\": \"x\"}", "unknown field `answer`"),
        ("{\"key\": \"k\", \"model\": \"gpt\", \"reply\": \"x\"}", "expected openai:NAME"),
    ];
    for (line, expected) in cases {
        std::fs::write(&path, format!("\n{line}\n")).unwrap();
        let message = ReplayModel::load(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("line 2: ") && message.contains(expected), "{message}");
    }
    assert!(matches!(ReplayModel::load("none.jsonl"), Err(Error::File { .. })));
}
