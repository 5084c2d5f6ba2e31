//! Imports from a web server that a test starts: killed and gone on with, bounded in memory, and of a server that lists nothing.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tiny_http::{Response, Server, StatusCode};

use crate::exchange_formats::dump;
use crate::openai::{TABLES, assert_equal, counted, dataset, files, import, values};
use crate::support::{ok, program, refused};

/// A server of files that some function makes; it ends with the test.
struct Files {
    address: String,
    n_requests: Arc<AtomicUsize>,
    n_bytes: Arc<AtomicU64>,
    server: Arc<Server>,
}

impl Files {
    /// Serves, on eight threads, what `of` has of a path; what it has not is answered with 404, and no folder is listed.
    fn start(of: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let address = format!("http://{}", server.server_addr().to_ip().unwrap());
        let (n_requests, n_bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let of = Arc::new(of);
        for _ in 0..8 {
            let (server, of) = (Arc::clone(&server), Arc::clone(&of));
            let (n_requests, n_bytes) = (Arc::clone(&n_requests), Arc::clone(&n_bytes));
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    n_requests.fetch_add(1, Ordering::Relaxed);
                    let is_get = *request.method() == tiny_http::Method::Get;
                    let answered = match of(request.url().trim_start_matches('/')).filter(|_| is_get) {
                        Some(bytes) => {
                            n_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                            // In one piece: the client wants to be told how long a file is.
                            request.respond(Response::from_data(bytes).with_chunked_threshold(usize::MAX))
                        }
                        None => request.respond(Response::empty(StatusCode(if is_get { 404 } else { 405 }))),
                    };
                    // A client that was killed hears nothing.
                    drop(answered);
                }
            });
        }
        Self { address, n_requests, n_bytes, server }
    }

    fn of_folder(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self::start(move |path| std::fs::read(folder.join(path)).ok())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        (0..8).for_each(|_| self.server.unblock());
    }
}

const NEURONS: [&str; 4] = ["--layers", "0-1", "--neurons", "0-39"];

/// Killed at some request, or while some table is committed: what is there is whole, and the next import adds the rest.
#[test]
fn an_import_from_a_web_server_that_is_killed_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(path, 40);
    import(path, ".", "whole", &NEURONS);
    let expected = values(path, "whole");
    let server = Files::of_folder(path);
    // Something is there before: what is killed must not spoil it, and it is not fetched again.
    import(path, &server.address, "lake", &["--layers", "0", "--neurons", "0-9"]);
    let n_of_first = server.n_requests.load(Ordering::Relaxed);
    let kept = values(path, "lake");
    let mut n_kills = 0;
    let n_probes = n_of_first - 10 * 5;
    // With the last request begins the commit.
    for place in [1, 60, 150, 250, 340, 70 * 5 + n_probes] {
        let before = server.n_requests.load(Ordering::Relaxed);
        let mut child = program(path)
            .args(["import", "openai", &server.address, "--lake", "lake"])
            .args(NEURONS)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
            if server.n_requests.load(Ordering::Relaxed) >= before + place {
                // SIGKILL.
                child.kill().unwrap();
                child.wait().unwrap();
                n_kills += 1;
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "request {place} never came");
            std::thread::sleep(Duration::from_micros(200));
        }
        let now = values(path, "lake");
        for table in TABLES {
            let mut rows = now[table].clone();
            rows.dedup();
            assert_eq!(rows.len(), now[table].len(), "rows of {table} twice");
            assert!(kept[table].iter().all(|row| rows.binary_search(row).is_ok()), "rows of {table} went");
        }
    }
    assert!(n_kills >= 4, "only {n_kills} kills came in time");
    let before = server.n_requests.load(Ordering::Relaxed);
    import(path, &server.address, "lake", &NEURONS);
    assert_equal(&values(path, "lake"), &expected);
    // The ten neurons of the first import were not asked for again.
    let n_last = server.n_requests.load(Ordering::Relaxed) - before;
    assert!(n_last <= 70 * 5 + n_probes, "{n_last} requests");
    let again = import(path, &server.address, "lake", &NEURONS);
    assert_eq!((counted(&again, "units"), counted(&again, "skipped")), (0, 80));
}

/// The largest resident size that a process had, in bytes, as long as it runs.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Many times what may be held goes through: files are let go as they are read.
#[test]
fn an_import_from_a_web_server_holds_few_files_at_a_time() {
    const PADDING: usize = 400_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let server = Files::start(|path| {
        let numbers: Vec<usize> = path.split(['/', '.']).filter_map(|part| part.parse().ok()).collect();
        let [layer, neuron] = numbers.as_slice() else { return None };
        let bytes = files(*layer, *neuron).remove(path.strip_prefix("data/")?)?;
        // Nobody reads this member, but everybody has to fetch it.
        let end = bytes.iter().rposition(|byte| *byte == b'}')?;
        let padding = format!(",\"padding\":\"{}\"", "x".repeat(PADDING));
        Some([&bytes[..end], padding.as_bytes(), &bytes[end..]].concat())
    });
    let arguments = ["--layers", "0", "--neurons", "0-399", "--concurrency", "4"];
    let mut child = program(path)
        .args(["import", "openai", &server.address, "--lake", "lake"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut largest = 0;
    let status = loop {
        largest = largest.max(peak(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success());
    let fetched = server.n_bytes.load(Ordering::Relaxed);
    assert!(fetched >= 400 * 5 * PADDING as u64, "{fetched} bytes");
    // Parts of 24 neurons, as many at a time as there are cores and again: what is fetched together is less than half of all.
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let at_once = (2 * cores * 24 * 5 * PADDING as u64).min(fetched);
    assert!(largest > 0 && largest < at_once + (250 << 20), "peak of {largest} bytes, {fetched} fetched");
}

#[test]
fn one_source_of_a_neuronpedia_dump_comes_from_a_server_that_lists_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dump(path);
    ok(path, &["import", "neuronpedia", "v1", "--lake", "local"]);
    let server = Files::of_folder(path);
    let source = format!("{}/v1/gpt2-small/8-res-jb", server.address);
    let first = ok(path, &["import", "neuronpedia", &source, "--lake", "remote"]);
    assert!(first.contains("explanations"), "{first}");
    let tables = ["neurons", "activation_records", "token_sequences", "explanations", "token_effects"];
    let [local, remote] =
        ["local", "remote"].map(|lake| crate::support::rows_of(path, lake, &tables, "* EXCEPT (run)"));
    for table in tables {
        assert!(!local[table].is_empty(), "{table}");
        assert_eq!(remote[table], local[table], "{table}");
    }
    let before = crate::support::rows_of(path, "remote", &tables, "*");
    ok(path, &["import", "neuronpedia", &source, "--lake", "remote"]);
    assert_eq!(crate::support::rows_of(path, "remote", &tables, "*"), before, "importing twice changes nothing");
    // More than one source cannot be found without a listing.
    let error = refused(path, &["import", "neuronpedia", &format!("{}/v1", server.address), "--lake", "none"], 2);
    assert!(error.contains("the folder of one source"), "{error}");
}
