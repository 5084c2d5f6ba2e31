//! An S3 server that honours conditional writes, and a proxy in front of it that fails as networks do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::readers::python;
use crate::support::clean;

/// The server ends when the tests do, however they end: its input is closed then.
const SERVER: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
";

/// The address of the one server of these tests.
fn server() -> SocketAddr {
    static SERVER_OF_ALL: OnceLock<(SocketAddr, Mutex<Child>)> = OnceLock::new();
    let start = || {
        let mut command = Command::new(python());
        clean(&mut command, &std::env::temp_dir());
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the S3 server ended").unwrap();
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().parse().unwrap();
            }
        };
        // Its log is not read, and must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        (address, Mutex::new(child))
    };
    SERVER_OF_ALL.get_or_init(start).0
}

/// What goes wrong with requests.
#[derive(Debug, Default)]
struct Faults {
    /// Of a thousand requests.
    per_mille: AtomicU32,
    /// Nothing gets through.
    dark: AtomicBool,
    /// Every request is answered with this page and status 403.
    refuse: Mutex<Option<String>>,
    n_requests: AtomicU64,
    n_failed: AtomicU64,
    /// By method and the kind of thing asked for.
    counts: Mutex<BTreeMap<String, u64>>,
}

/// A bucket of its own behind a proxy of its own.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    address: SocketAddr,
    faults: Arc<Faults>,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Forwarded,
    /// 500 or 503, without having been forwarded.
    Refused(u16),
    /// The connection breaks before the server sees the request …
    Cut,
    /// … or after it did what was asked.
    CutAfter,
    /// … or half of the answer comes.
    CutHalf,
    /// Nothing is answered for longer than the client waits.
    Hangs,
}

impl Bucket {
    /// A new bucket whose requests are all forwarded.
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("bucket-{}", MADE.fetch_add(1, Ordering::SeqCst));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Faults::default());
        let (ours, upstream) = (Arc::clone(&faults), server());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let faults = Arc::clone(&ours);
                std::thread::spawn(move || {
                    // A connection that broke is the client's affair.
                    let _ = serve(client, upstream, &faults);
                });
            }
        });
        let bucket = Self { name, address, faults };
        bucket.make();
        bucket
    }

    fn make(&self) {
        let answer = asked_of_server("PUT", &format!("/{}", self.name));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// The texts of the objects whose name holds a part.
    pub(crate) fn objects(&self, part: &str) -> Vec<String> {
        let listed = asked_of_server("GET", &format!("/{}?list-type=2&max-keys=1000", self.name));
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0));
        let texts = keys.filter(|key| key.contains(part)).map(|key| {
            let answer = asked_of_server("GET", &format!("/{}/{key}", self.name));
            answer.split_once("\r\n\r\n").map_or(String::new(), |(_, text)| text.to_owned())
        });
        texts.collect()
    }

    /// The address of a lake in the bucket.
    pub(crate) fn lake(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// What the environment of a process must hold that reaches the bucket through the proxy.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_of(self.address)
    }

    /// The same past the proxy and its faults.
    pub(crate) fn direct(&self) -> Vec<(&'static str, String)> {
        self.environment_of(server())
    }

    fn environment_of(&self, address: SocketAddr) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "a-key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            // Hanging requests are given up soon, so that the tests are.
            ("AWS_TIMEOUT", "2s".to_owned()),
        ]
    }

    /// Lets so many of a thousand requests fail, in six ways.
    pub(crate) fn fail(&self, per_mille: u32) {
        self.faults.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// Lets nothing through, or everything again.
    pub(crate) fn outage(&self, dark: bool) {
        self.faults.dark.store(dark, Ordering::SeqCst);
    }

    /// Answers every request with status 403 and this page.
    pub(crate) fn refuse(&self, page: &str) {
        *self.faults.refuse.lock().unwrap() = Some(page.to_owned());
    }

    /// Requests that came, and those that were made to fail.
    pub(crate) fn n_requests(&self) -> (u64, u64) {
        (self.faults.n_requests.load(Ordering::SeqCst), self.faults.n_failed.load(Ordering::SeqCst))
    }

    /// Requests since the last call, by method and the kind of thing asked for.
    pub(crate) fn take_counts(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.faults.counts.lock().unwrap())
    }

    /// Waits until so many requests have come since `before`. Whether they did.
    pub(crate) fn wait_for(&self, before: u64, n: u64, longest: Duration) -> bool {
        let start = Instant::now();
        while self.n_requests().0 < before + n {
            if start.elapsed() > longest {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }
}

/// The answer of the server, past every proxy.
fn asked_of_server(method: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(server()).unwrap();
    // It takes any signature; without one it answers for owners only.
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: s3\r\nContent-Length: 0\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=a-key/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A secret that nothing may ever show.
pub(crate) const SECRET: &str = "do-not-show-this-key";

/// One connection, one request: the server closes it, and the client asks again on another.
fn serve(mut client: TcpStream, upstream: SocketAddr, faults: &Faults) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut request = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let head = loop {
        if let Some(end) = find(&request, b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while request.len() < head + length.unwrap_or(0) {
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let number = faults.n_requests.fetch_add(1, Ordering::SeqCst);
    *faults.counts.lock().unwrap().entry(kind(&text)).or_default() += 1;
    if let Some(page) = faults.refuse.lock().unwrap().as_deref() {
        return answer(&mut client, 403, page);
    }
    let fate = fate(number, faults);
    if fate != Fate::Forwarded {
        faults.n_failed.fetch_add(1, Ordering::SeqCst);
    }
    match fate {
        Fate::Refused(status) => return answer(&mut client, status, "<Error><Code>SlowDown</Code></Error>"),
        Fate::Cut => return Ok(()),
        Fate::Hangs => {
            // Until the client gives up and closes.
            client.set_read_timeout(Some(Duration::from_secs(60)))?;
            let _ = client.read(&mut buffer);
            return Ok(());
        }
        Fate::Forwarded | Fate::CutAfter | Fate::CutHalf => {}
    }
    // The first line as it is, then a header of ours: the server closes after its answer.
    let mut server = TcpStream::connect(upstream)?;
    server.set_nodelay(true)?;
    let first = text.find("\r\n").map_or(0, |end| end + 2);
    let rest =
        text[first..].split_inclusive("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head_out = format!("{}Connection: close\r\n{}", &text[..first], rest.collect::<String>());
    server.write_all(head_out.as_bytes())?;
    server.write_all(&request[head..])?;
    let mut whole = Vec::new();
    server.read_to_end(&mut whole)?;
    match fate {
        Fate::CutAfter => return Ok(()),
        Fate::CutHalf => whole.truncate(whole.len() / 2),
        _ => {}
    }
    client.write_all(&whole)?;
    client.shutdown(Shutdown::Write)
}

fn answer(client: &mut TcpStream, status: u16, page: &str) -> std::io::Result<()> {
    let text = format!(
        "HTTP/1.1 {status} Refused\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    client.write_all(text.as_bytes())
}

/// What happens to a request, by its number: the same in every run of the tests.
fn fate(number: u64, faults: &Faults) -> Fate {
    if faults.dark.load(Ordering::SeqCst) {
        return Fate::Cut;
    }
    // SplitMix64.
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    if z % 1_000 >= u64::from(faults.per_mille.load(Ordering::SeqCst)) {
        return Fate::Forwarded;
    }
    match (z >> 32) % 6 {
        0 => Fate::Refused(500),
        1 => Fate::Refused(503),
        2 => Fate::Cut,
        3 => Fate::CutAfter,
        4 => Fate::CutHalf,
        _ => Fate::Hangs,
    }
}

/// `GET commit`, `LIST log`, `PUT data`, …
fn kind(head: &str) -> String {
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if query.contains("list-type") {
        return if query.contains("_delta_log") { "LIST log" } else { "LIST" }.to_owned();
    }
    let what = match path {
        path if path.ends_with("_last_checkpoint") => "last checkpoint",
        path if path.contains("/_delta_log/") => "commit",
        path if path.contains("/_completions/") => "replies",
        path if path.contains("/_leases/") => "lease",
        path if path.ends_with(".parquet") => "data",
        _ => "other",
    };
    format!("{method} {what}")
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
