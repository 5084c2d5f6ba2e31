//! Tests of the corpus reader: every format, every fault, and that cutting neither loses nor changes text.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::{ArrayRef, Int32Array, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use futures::TryStreamExt;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::emit::Emitter;
use super::format::Compression;
use super::lines::Lines;
use super::open::decompressed;
use super::text::read_text;
use super::{CorpusSpec, DEFAULT_CORPUS, Document, read_corpus};
use crate::error::corpus::CorpusError;
use crate::error::{Error, Result};

/// Reads everything; the number of dropped texts comes second.
fn read(spec: &CorpusSpec) -> Result<(Vec<Document>, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = read_corpus(spec);
        let mut documents = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            documents.extend(batch);
        }
        Ok((documents, stream.n_dropped()))
    })
}

fn spec(url: impl AsRef<Path>) -> CorpusSpec {
    CorpusSpec::new(url.as_ref().to_str().expect("a UTF-8 path"))
}

fn texts(spec: &CorpusSpec) -> Vec<String> {
    read(spec).expect("a corpus").0.into_iter().map(|document| document.text).collect()
}

fn fault(spec: &CorpusSpec) -> Error {
    read(spec).map(|(documents, _)| documents.len()).expect_err("an error")
}

/// The message with its sources, as the program prints it.
fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(&path, bytes).expect("a file");
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    // As the `zstd` program does; without it a damaged text may pass.
    encoder.include_checksum(true).expect("an option");
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut bytes = Vec::new();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
    bytes
}

/// Bytes that arrive in pieces of the given sizes, over and over.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes.get(self.turn % self.sizes.len().max(1)).copied().unwrap_or(1).max(1);
        self.turn += 1;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n = size.min(out.len()).min(rest.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Cuts bytes that arrive in pieces.
fn cut(bytes: &[u8], sizes: &[usize], min_chars: usize, max_bytes: usize) -> Result<Vec<String>> {
    let pieces = Pieces { bytes: bytes.to_vec(), at: 0, sizes: sizes.to_vec(), turn: 0 };
    let opened = decompressed(pieces, None).expect("bytes in memory");
    let (sender, mut receiver) = mpsc::channel(10_000);
    let mut emitter = Emitter::new(sender, None, Arc::new(AtomicU64::new(0)));
    let flow = read_text(Lines::new(opened, "x.txt", max_bytes), min_chars, &mut emitter)?;
    assert!(flow.is_continue());
    emitter.finish();
    let mut texts = Vec::new();
    while let Some(batch) = receiver.blocking_recv() {
        texts.extend(batch.expect("documents").into_iter().map(|document| document.text));
    }
    Ok(texts)
}

#[test]
fn text_is_cut_at_blank_lines_and_end_of_text_marks() {
    let check = |text: &str, min_chars: usize, expected: &[&str]| {
        let cut = cut(text.as_bytes(), &[usize::MAX], min_chars, 1 << 20).expect("text");
        assert_eq!(cut, expected, "{text:?} with {min_chars}");
    };
    check("one\n\ntwo\n", 0, &["one\n\ntwo"]);
    check("one\n\ntwo\n", 100, &["one\n\ntwo"]);
    check("one\n\ntwo\n", 3, &["one", "two"]);
    check("one\r\n\r\ntwo\r\n", 3, &["one", "two"]);
    check("one\r\n \t\r\ntwo", 3, &["one", "two"]);
    check("\n\n  one\n\n\n\n  two\n\n\n", 3, &["  one", "  two"]);
    // The rest is too short for a document of its own.
    check("first part\n\nsecond part\n\nend", 10, &["first part", "second part\n\nend"]);
    check("first part\n\nend", 10, &["first part\n\nend"]);
    check("a<|endoftext|>b", 10, &["a", "b"]);
    check("a\n<|endoftext|>\nb\n<|endoftext|>\n", 10, &["a", "b"]);
    check("first part\n\nsecond part<|endoftext|>x", 10, &["first part", "second part", "x"]);
    check("<|endoftext|><|endoftext|>x<|endoftext", 10, &["x<|endoftext"]);
    check("\u{feff}x\u{feff}", 10, &["x\u{feff}"]);
    check("", 10, &[]);
    check(" \n\t\n", 10, &[]);
    // No blank line for 16 times the length: cut at a line end.
    let line = "12345678\n";
    let long = line.repeat(5);
    let (first, second) = (line.repeat(4), line.repeat(4));
    check(&line.repeat(8), 2, &[first.trim_end(), second.trim_end()]);
    check(&long, 2, &[first.trim_end(), line.trim_end()]);
}

#[test]
fn a_document_has_a_largest_size() {
    let error = cut(&b"x".repeat(101), &[7], 0, 100).expect_err("a line of 101 bytes");
    assert!(matches!(error, Error::Corpus(CorpusError::DocumentTooLong { offset: 0, limit: 100, .. })), "{error}");
    let error = cut(&b"xxxxxxxxx\n".repeat(11), &[7], 0, 100).expect_err("lines of 110 bytes in all");
    assert!(matches!(error, Error::Corpus(CorpusError::DocumentTooLong { offset: 0, limit: 100, .. })), "{error}");
    assert_eq!(cut(&b"x".repeat(100), &[7], 0, 100).expect("a line of 100 bytes").len(), 1);
}

/// Text of the characters that matter to the cutter.
fn awkward_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\r".to_owned()),
        Just(" ".to_owned()),
        Just("\u{a0}".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("<|endoftext|>".to_owned()),
        Just("<|endof".to_owned()),
        Just("🦀é".to_owned()),
        "[a-z é中]{1,12}",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

const MARK: &str = "<|endoftext|>";

/// Stands for a mark where parts of marks must not be found.
const GAP: &str = "\0";

/// What no cut may touch: everything but whitespace and marks.
fn substance(text: &str) -> String {
    text.replace(GAP, "").split_whitespace().collect()
}

proptest! {
    #[test]
    fn cutting_loses_no_text(text in awkward_text(), min_chars in 0_usize..40) {
        let documents = cut(text.as_bytes(), &[usize::MAX], min_chars, 1 << 20).expect("UTF-8");
        let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // Documents are pieces of the text, in order; between them stand only whitespace and marks.
        let body = body.replace(MARK, GAP);
        let mut rest = body.as_str();
        for document in &documents {
            let at = rest.find(document.as_str());
            prop_assert!(at.is_some(), "{:?} is not in {:?}", document, rest);
            let at = at.unwrap_or_default();
            prop_assert_eq!(substance(&rest[..at]), "");
            rest = &rest[at + document.len()..];
            prop_assert!(!document.trim().is_empty());
            prop_assert!(!document.contains(MARK));
        }
        prop_assert_eq!(substance(rest), "");
        // Only a text that is short as a whole makes a short document.
        let short = documents.iter().filter(|text| text.chars().count() < min_chars).count();
        let whole = body.split(GAP).filter(|text| !text.trim().is_empty()).count();
        prop_assert!(short <= whole);
    }

    #[test]
    fn arrival_in_pieces_changes_nothing(
        text in awkward_text(), min_chars in 0_usize..40, sizes in proptest::collection::vec(1_usize..9, 1..8),
    ) {
        let whole = cut(text.as_bytes(), &[usize::MAX], min_chars, 1 << 20).expect("UTF-8");
        let pieces = cut(text.as_bytes(), &sizes, min_chars, 1 << 20).expect("UTF-8");
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn wrong_bytes_are_found_where_they_are(text in awkward_text(), tail in "[a\n]{0,5}", sizes in proptest::collection::vec(1_usize..9, 1..8)) {
        let mut bytes = text.clone().into_bytes();
        bytes.push(0xff);
        bytes.extend(tail.into_bytes());
        let error = cut(&bytes, &sizes, 0, 1 << 20).expect_err("0xff is not UTF-8");
        let found = matches!(error, Error::Corpus(CorpusError::NotUtf8 { offset, .. }) if offset == text.len() as u64);
        prop_assert!(found, "{}", error);
    }

    #[test]
    fn hostile_files_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in 0_usize..5,
        ending in prop_oneof![Just("txt"), Just("jsonl"), Just("parquet"), Just("txt.gz"), Just("jsonl.zst")],
    ) {
        let folder = folder();
        let head: &[u8] = [&b""[..], b"PAR1", &[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], b"{\"text\": "][magic];
        let mut file = [head, &bytes].concat();
        if ending == "parquet" {
            file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            file.extend_from_slice(b"PAR1");
        }
        let path = write(&folder, &format!("x.{ending}"), file);
        match read(&spec(path)) {
            Ok(_) => {}
            Err(error) => prop_assert!(!matches!(error, Error::Internal { .. }), "{}", error),
        }
    }

    #[test]
    fn damaged_parquet_never_panics(at in 0_usize..2000, byte in any::<u8>(), keep in 0_usize..2000) {
        let folder = folder();
        let column: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", "three", "one"]));
        let mut bytes = parquet(vec![("text", column)]);
        let at = at % bytes.len();
        bytes[at] = byte;
        if keep % 3 == 0 {
            bytes.truncate(keep);
        }
        let path = write(&folder, "x.parquet", bytes);
        if let Err(error) = read(&spec(path)) {
            prop_assert!(!matches!(error, Error::Internal { .. }), "{}", error);
        }
    }
}

#[test]
fn the_default_corpus_is_inside_the_program() {
    let (documents, _) = read(&CorpusSpec::new(DEFAULT_CORPUS)).expect("the embedded corpus");
    assert!(documents.len() >= 2);
    for (number, document) in documents.iter().enumerate() {
        assert_eq!(document.document, number as i64);
        assert!(document.source.starts_with("embedded:"), "{}", document.source);
    }
}

#[test]
fn files_of_a_pattern_and_of_a_folder_come_sorted() {
    let folder = folder();
    write(&folder, "b.txt", "second");
    write(&folder, "a.txt", "first");
    write(
        &folder,
        "c.jsonl",
        "{\"text\": \"third\"}\n\n{\"text\": \" \"}\n{\"text\": null}\n{\"text\": \"fourth\", \"n\": 1}",
    );
    write(&folder, "deep/d.txt.gz", gzip(b"fifth"));
    write(&folder, ".hidden.txt", "never");
    write(&folder, "README.md", "never");
    let (documents, n_dropped) = read(&spec(folder.path())).expect("a folder");
    let all: Vec<_> = documents.iter().map(|document| document.text.as_str()).collect();
    assert_eq!(all, ["first", "second", "third", "fourth", "fifth"]);
    assert_eq!(n_dropped, 2);
    assert_eq!(documents.iter().map(|document| document.document).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(documents[0].source.ends_with("/a.txt"), "{}", documents[0].source);

    assert_eq!(texts(&spec(folder.path().join("*.txt"))), ["first", "second"]);
    assert_eq!(texts(&spec(folder.path().join("**/*.gz"))), ["fifth"]);
    let url = format!("file://{}", folder.path().join("a.txt").display());
    assert_eq!(texts(&CorpusSpec::new(url)), ["first"]);
    let mut limited = spec(folder.path());
    limited.limit = Some(3);
    assert_eq!(texts(&limited), ["first", "second", "third"]);
    limited.limit = Some(0);
    assert_eq!(texts(&limited), [""; 0]);
}

#[test]
fn a_file_may_have_a_name_like_a_pattern() {
    let folder = folder();
    let path = write(&folder, "a[1]*.txt", "text");
    assert_eq!(texts(&spec(path)), ["text"]);
}

#[test]
fn compression_shows_in_the_bytes_and_may_come_in_parts() {
    let folder = folder();
    let two_members = [gzip(b"one "), gzip(b"two")].concat();
    assert_eq!(texts(&spec(write(&folder, "members.txt.gz", two_members))), ["one two"]);
    let two_frames = [zst(b"one "), zst(b"two")].concat();
    assert_eq!(texts(&spec(write(&folder, "frames.txt.zst", two_frames))), ["one two"]);
    assert_eq!(texts(&spec(write(&folder, "plain_name.txt", zst(b"packed")))), ["packed"]);
    assert_eq!(texts(&spec(write(&folder, "WRONG.TXT.GZ", zst(b"packed")))), ["packed"]);
    assert_eq!(Compression::of_bytes(b"\x1f"), None);
}

#[test]
fn one_column_of_a_parquet_file_is_read() {
    let folder = folder();
    let names: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5]));
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), Some(""), Some("e")])),
        Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("c"), Some(""), Some("e")])),
        Arc::new(StringViewArray::from(vec![Some("a"), None, Some("c"), Some(""), Some("e")])),
    ];
    for column in columns {
        let bytes = parquet(vec![("id", Arc::clone(&names)), ("body", column)]);
        let mut spec = spec(write(&folder, "x.parquet", bytes));
        spec.field = Some("body".to_owned());
        let (documents, n_dropped) = read(&spec).expect("a column");
        assert_eq!(documents.into_iter().map(|document| document.text).collect::<Vec<_>>(), ["a", "c", "e"]);
        assert_eq!(n_dropped, 2);
    }
    let dictionary: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> = ["x", "y", "x"].into_iter().collect();
    let bytes = parquet(vec![("text", Arc::new(dictionary))]);
    assert_eq!(texts(&spec(write(&folder, "d.parquet", bytes))), ["x", "y", "x"]);
}

#[test]
fn faults_name_the_file_and_what_was_found() {
    let folder = folder();
    let at = |name: &str, bytes: &[u8]| spec(write(&folder, name, bytes));
    let check = |spec: &CorpusSpec, parts: &[&str]| {
        let message = message(&fault(spec));
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    };
    check(&spec(folder.path().join("no*.txt")), &["no corpus file found", "no*.txt"]);
    check(&spec(folder.path().join("none.txt")), &["no corpus file found", "none.txt"]);
    check(&spec(folder.path().join("[.txt")), &["[.txt", "attern"]);
    check(&at("x.md", b"text"), &["x.md", ".jsonl", ".parquet", ".zst"]);
    check(&at("x.parquet.gz", b"text"), &["x.parquet.gz", "expected a corpus file ending in"]);
    check(&at("empty.txt", b" \n \n"), &["empty.txt", "no document", "1 were empty"]);
    check(&at("zero.txt", b""), &["zero.txt", "no document"]);
    check(&at("zero.txt.gz", b""), &["zero.txt.gz", "gzip"]);
    check(&at("latin.txt", b"abc\ncaf\xe9\n"), &["latin.txt", "byte 7"]);
    check(&at("latin.jsonl", b"{\"text\": \"\xe9\"}"), &["latin.jsonl", "byte 10"]);
    check(&at("json.jsonl", b"{\"text\": \"a\"}\n{\"text\"\n"), &["line 2", "no valid JSON"]);
    check(&at("array.json", b"[{\"text\": \"a\"}]"), &["line 1", "an array"]);
    check(&at("field.jsonl", b"{\"body\": 1, \"id\": 2}"), &["line 1", "'text'", "fields 'body', 'id'"]);
    check(&at("number.jsonl", b"{\"text\": 5}"), &["line 1", "'text'", "a number"]);
    check(&at("surrogate.jsonl", b"{\"text\": \"\\ud800\"}"), &["line 1", "no valid JSON"]);
    let deep = "[".repeat(100_000);
    check(&at("deep.jsonl", deep.as_bytes()), &["line 1", "recursion limit"]);

    let random: Vec<u8> =
        (0..20_000_u32).flat_map(|i| format!("{}\n", i.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let packed = gzip(&random);
    check(&at("cut.txt.gz", &packed[..packed.len() - 100]), &["cut.txt.gz", "gzip", "truncated"]);
    check(&at("not.txt.gz", b"plain text"), &["not.txt.gz", "gzip"]);
    let packed = zst(&random);
    check(&at("cut.txt.zst", &packed[..packed.len() - 100]), &["cut.txt.zst", "zstd", "truncated"]);
    let mut damaged = packed.clone();
    damaged[packed.len() / 2] ^= 0xff;
    check(&at("damaged.txt.zst", &damaged), &["damaged.txt.zst", "zstd"]);

    let column: ArrayRef = Arc::new(StringArray::from(vec!["a"; 100]));
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1; 100]));
    let bytes = parquet(vec![("body", column), ("text", number)]);
    check(&at("cut.parquet", &bytes[..bytes.len() / 2]), &["cut.parquet", "truncated or damaged"]);
    check(&at("type.parquet", &bytes), &["'text'", "type Int32"]);
    let mut named = at("column.parquet", &bytes);
    named.field = Some("txt".to_owned());
    check(&named, &["'txt'", "columns 'body', 'text'"]);
    check(&CorpusSpec::new("ftp://host/a.txt"), &["ftp://host/a.txt"]);
    check(&CorpusSpec::new("http://h/a.txt?token=secret"), &["http://h/a.txt'", "query"]);
    check(&CorpusSpec::new("s3://[/a.txt"), &["s3://[/a.txt"]);
}

#[test]
fn a_dropped_stream_stops_the_reader() {
    let folder = folder();
    let path = write(&folder, "many.txt", "word\n\n".repeat(400_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut spec = spec(path);
        spec.document_chars = 1;
        let mut stream = read_corpus(&spec);
        let first = stream.try_next().await.expect("text").expect("a batch");
        assert_eq!(first.len(), 64);
    });
    // Waits for the blocking thread, which ends only because nobody listens any more.
    drop(runtime);
}

#[test]
fn outside_a_runtime_it_is_an_error() {
    let mut stream = read_corpus(&CorpusSpec::new(DEFAULT_CORPUS));
    let error = futures::executor::block_on(stream.try_next()).expect_err("no runtime");
    assert!(matches!(error, Error::Internal { .. }));
}

/// Serves files over HTTP until the test ends.
fn serve(files: Vec<(&'static str, Vec<u8>)>) -> String {
    let server = tiny_http::Server::http("127.0.0.1:0").expect("a free port");
    let address = server.server_addr().to_ip().expect("an IP address");
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let found = files.iter().find(|(path, _)| *path == request.url());
            let range = request.headers().iter().find(|header| header.field.equiv("Range"));
            let range = range.and_then(|header| {
                let (first, last) = header.value.as_str().strip_prefix("bytes=")?.split_once('-')?;
                Some(first.parse::<usize>().ok()?..last.parse::<usize>().ok()? + 1)
            });
            // The client may be gone already; that is its business.
            let _ = match (found, range) {
                (None, _) => request.respond(tiny_http::Response::empty(404)),
                (Some((_, bytes)), None) => request.respond(tiny_http::Response::from_data(bytes.clone())),
                (Some((_, bytes)), Some(range)) => {
                    let header = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
                    let response = tiny_http::Response::from_data(&bytes[range])
                        .with_status_code(206)
                        .with_header(header.parse::<tiny_http::Header>().expect("a header"));
                    request.respond(response)
                }
            };
        }
    });
    format!("http://{address}")
}

#[test]
fn files_of_a_web_server_are_read() {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let server = serve(vec![
        ("/a/x.txt", b"one\n\ntwo".to_vec()),
        ("/a/x.jsonl.gz", gzip(b"{\"text\": \"packed\"}\n")),
        ("/a/x.parquet", parquet(vec![("text", column)])),
        ("/a/bad.parquet", b"PAR1 no".to_vec()),
    ]);
    let at = |name: &str| CorpusSpec::new(format!("{server}/a/{name}"));
    assert_eq!(texts(&at("x.txt")), ["one\n\ntwo"]);
    assert_eq!(texts(&at("x.jsonl.gz")), ["packed"]);
    assert_eq!(texts(&at("x.parquet")), ["a", "b", "c"]);
    assert!(matches!(fault(&at("bad.parquet")), Error::Corpus(CorpusError::Parquet { .. })));
    assert!(matches!(fault(&at("none.txt")), Error::Store { .. }));
    let with_password = server.replace("http://", "http://user:secret@");
    let (documents, _) = read(&CorpusSpec::new(format!("{with_password}/a/x.txt"))).expect("a file");
    assert!(!documents[0].source.contains("secret"), "{}", documents[0].source);
}
