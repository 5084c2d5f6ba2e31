//! A small HTTP server on loopback that answers as a test wants: late, wrongly, not at all. Also of use to benches.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// 0-based number among all requests.
    pub(crate) number: u64,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

/// What is sent back, and when.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// `None` for a connection that is reset in place of an answer.
    pub(crate) body: Option<String>,
    pub(crate) delay: Duration,
    /// The length that the head promises when it is not the body's; the connection is closed after such an answer.
    pub(crate) length: Option<usize>,
}

impl Served {
    pub(crate) fn json(body: &Value) -> Self {
        Self { status: 200, headers: Vec::new(), body: Some(body.to_string()), delay: Duration::ZERO, length: None }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: Some(body.to_owned()), delay: Duration::ZERO, length: None }
    }
}

type Handler = dyn Fn(&Asked) -> Served + Send + Sync;

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    // By body: requests that came in, and answers of status 200 that were written to the last byte.
    counts: HashMap<String, (u64, u64)>,
    // Answers on their way: a client may have read the last byte before the server has counted it.
    writing: usize,
    // Requests that came in and have no byte of an answer yet, now and at most.
    waiting: usize,
    most_waiting: usize,
    delay: Duration,
}

/// A running server; it ends when it is dropped.
pub(crate) struct FaultServer {
    address: SocketAddr,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    // Dropping the runtime closes every connection.
    runtime: Option<tokio::runtime::Runtime>,
}

impl FaultServer {
    pub(crate) fn start(handler: impl Fn(&Asked) -> Served + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Bound by hand: a test may itself run inside a runtime, where none can be waited for.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let (shared, handler): (_, Arc<Handler>) = (Arc::clone(&seen), Arc::new(handler));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared), Arc::clone(&handler)));
            }
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    /// The base URL to be given to a client.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.0.lock().unwrap().asked.clone()
    }

    /// By body of the request: how often it came in, and how often it was answered.
    pub(crate) fn counts(&self) -> HashMap<String, (u64, u64)> {
        let seen = self.seen.0.lock().unwrap();
        self.seen.1.wait_while(seen, |seen| seen.writing > 0).unwrap().counts.clone()
    }

    /// The most requests that waited for an answer at a time: no more than a client had under way.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.0.lock().unwrap().most_waiting
    }

    /// The sum of all delays injected.
    pub(crate) fn delay(&self) -> Duration {
        self.seen.0.lock().unwrap().delay
    }

    /// Waits until so many requests came in, or for so long; whether they came.
    pub(crate) fn wait_for(&self, n: usize, at_most: Duration) -> bool {
        let seen = self.seen.0.lock().unwrap();
        let (_seen, waited) = self.seen.1.wait_timeout_while(seen, at_most, |seen| seen.asked.len() < n).unwrap();
        !waited.timed_out()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connection(stream: TcpStream, seen: Arc<(Mutex<Seen>, Condvar)>, handler: Arc<Handler>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some((path, headers, body)) = read_request(&mut stream).await {
        let served = {
            let mut shared = seen.0.lock().unwrap();
            shared.waiting += 1;
            shared.most_waiting = shared.most_waiting.max(shared.waiting);
            let number = shared.asked.len() as u64;
            let asked = Asked { number, path, headers, body: serde_json::from_str(&body).unwrap_or(Value::Null) };
            let served = handler(&asked);
            shared.asked.push(asked);
            shared.counts.entry(body.clone()).or_default().0 += 1;
            shared.delay += served.delay;
            seen.1.notify_all();
            served
        };
        if !served.delay.is_zero() {
            tokio::time::sleep(served.delay).await;
        }
        seen.0.lock().unwrap().waiting -= 1;
        let Some(text) = served.body else {
            // Closing at once, with a reset and not with a goodbye.
            let _ = stream.get_ref().set_zero_linger();
            return;
        };
        let mut head =
            format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", served.status, served.length.unwrap_or(text.len()));
        for (name, value) in &served.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let answer = format!("{head}\r\n{text}");
        seen.0.lock().unwrap().writing += 1;
        let written = stream.get_mut().write_all(answer.as_bytes()).await;
        {
            let mut shared = seen.0.lock().unwrap();
            shared.writing -= 1;
            if written.is_ok() && served.status == 200 && serde_json::from_str::<Value>(&text).is_ok() {
                shared.counts.entry(body).or_default().1 += 1;
            }
            seen.1.notify_all();
        }
        if written.is_err() || served.length.is_some() {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, HashMap<String, String>, String)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, headers, String::from_utf8(body).ok()?))
}

/// A reply of the chat interface, with 10 tokens of prompt and 2 of reply.
pub(crate) fn chat_reply(text: &str) -> Value {
    json!({
        "id": "x", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    })
}

/// The last message of a chat request.
pub(crate) fn question(asked: &Asked) -> &str {
    let messages = asked.body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default()
}

/// Faults that a seed decides, each with its share of the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) latency: Duration,
    pub(crate) too_many: f64,
    pub(crate) resets: f64,
    pub(crate) malformed: f64,
}

impl Faults {
    /// Answers the question in capital letters, after the latency; one in twenty answers takes longer, up to 16 times.
    pub(crate) fn serve(self) -> impl Fn(&Asked) -> Served + Send + Sync + 'static {
        move |asked| {
            let fault = uniform(self.seed, 2 * asked.number);
            let late = uniform(self.seed, 2 * asked.number + 1);
            let tail = if late < 0.05 { (0.05 / late.max(1e-9)).sqrt().min(16.0) } else { 1.0 };
            let delay = self.latency.mul_f64(tail);
            let reply = chat_reply(&question(asked).to_uppercase());
            let served = if fault < self.too_many {
                let headers = vec![("retry-after", "1".to_owned())];
                Served { headers, ..Served::status(429, "{\"error\": \"slow down\"}") }
            } else if fault < self.too_many + self.resets {
                Served { body: None, ..Served::json(&reply) }
            } else if fault < self.too_many + self.resets + self.malformed {
                let text = reply.to_string();
                Served { body: Some(text[..text.len() / 2].to_owned()), ..Served::json(&reply) }
            } else {
                Served::json(&reply)
            };
            Served { delay, ..served }
        }
    }
}

/// A number in 0..1 for a seed and a number.
pub(crate) fn uniform(seed: u64, n: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n.wrapping_mul(0xD1B5_4A32_D192_ED03));
    for _ in 0..2 {
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}
