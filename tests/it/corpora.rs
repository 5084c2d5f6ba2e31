//! The same texts from every kind of file.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use tiny_http::{Header, Response, Server};

use crate::support::ok;

const TEXTS: [&str; 3] =
    ["The king slept.\nThe sea did not.", "“Æther”, said the cat — twice.", "One more: 猫 and 🦀."];

#[test]
fn texts_are_the_same_from_every_kind_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("texts")).unwrap();
    for (number, text) in TEXTS.iter().enumerate() {
        fs::write(path.join(format!("texts/{number}.txt")), text).unwrap();
    }
    fs::write(path.join("texts/notes.md"), "not a text of the pattern").unwrap();
    let lines: String =
        TEXTS.iter().map(|text| format!("{}\n", serde_json::json!({ "id": 7, "body": text }))).collect();
    let mut gzip = GzEncoder::new(File::create(path.join("texts.jsonl.gz")).unwrap(), Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    gzip.finish().unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(TEXTS.to_vec()));
    let batch = RecordBatch::try_from_iter([("story", column)]).unwrap();
    let mut parquet =
        ArrowWriter::try_new(File::create(path.join("texts.parquet")).unwrap(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    parquet.close().unwrap();
    let served = format!("{}/texts.jsonl", serve(lines));

    let sources = [
        ("texts/*.txt", None),
        ("texts.jsonl.gz", Some("body")),
        ("texts.parquet", Some("story")),
        (served.as_str(), Some("body")),
    ];
    for (number, (corpus, field)) in sources.into_iter().enumerate() {
        let lake = format!("lake-{number}");
        let mut arguments = vec!["run", "--lake", &lake, "--to", "documents", "--corpus", corpus];
        arguments.extend(field.iter().flat_map(|field| ["--field", field]));
        ok(path, &arguments);
        let out =
            ok(path, &["sql", "--lake", &lake, "--format", "json", "SELECT text FROM documents ORDER BY document"]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
        assert_eq!(texts, TEXTS, "{corpus}");
    }
}

/// Serves a text at every path, whole or in ranges, and returns the address.
fn serve(text: String) -> String {
    let server = Server::http("127.0.0.1:0").unwrap();
    let address = format!("http://{}", server.server_addr());
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let range = request.headers().iter().find(|header| header.field.equiv("Range"));
            let range = range.and_then(|header| {
                let (start, end) = header.value.as_str().strip_prefix("bytes=")?.split_once('-')?;
                let (start, end): (usize, usize) = (start.parse().ok()?, end.parse().unwrap_or(usize::MAX));
                Some((start, end.min(text.len() - 1)))
            });
            let modified = Header::from_bytes("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
            let answer = match range {
                None => Response::from_data(text.as_bytes()),
                Some((start, end)) => {
                    let range = format!("bytes {start}-{end}/{}", text.len());
                    let range = Header::from_bytes("Content-Range", range).unwrap();
                    Response::from_data(&text.as_bytes()[start..=end]).with_status_code(206).with_header(range)
                }
            };
            // A client that has gone away needs no answer.
            request.respond(answer.with_header(modified).with_chunked_threshold(usize::MAX)).ok();
        }
    });
    address
}
