//! Pages of many neighbours, and pages that nobody asked for yet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::json::ReaderBuilder;
use futures::future::join_all;
use neuronlake::tables::definition::table;
use neuronlake::tables::lake::Lake;
use neuronlake::tables::writer::TableWriter;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::serving::Serving;

/// Units of the lake: more than are read together at first.
const UNITS: usize = 100;

/// The home page, five pages of the table, and one of each unit.
const PAGES: u64 = 1 + 5 + UNITS as u64;

const NONE_AHEAD: [&str; 2] = ["--pages-ahead", "0"];

async fn explain(lake: &str, texts: impl Iterator<Item = (usize, String)>) {
    let row = |(neuron, text): (usize, String)| {
        json!({
            "model": "m", "hook_point": "blocks.0.mlp.hook_post", "layer": 0, "neuron": neuron, "corpus": "c", "run": "r",
            "explanation": text, "explainer": "n2g", "explainer_model": null, "sample_no": 0, "round": 0, "text": text,
            "reason": null,
        })
    };
    let definition = table("explanations").unwrap();
    let mut decoder = ReaderBuilder::new(Arc::clone(&definition.schema)).build_decoder().unwrap();
    decoder.serialize(&texts.map(row).collect::<Vec<Value>>()).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let mut writer = TableWriter::open(&Lake::at(lake).unwrap(), definition, "r").await.unwrap();
    writer.write(&batch).await.unwrap();
    writer.commit().await.unwrap();
}

/// A lake of units with one explanation each.
async fn lake(folder: &Path) -> String {
    let lake = folder.join("lake").to_str().unwrap().to_owned();
    // A folder is a lake when it has this table.
    Lake::at(&lake).unwrap().open_or_create(table("runs").unwrap()).await.unwrap();
    explain(&lake, (0..UNITS).map(|neuron| (neuron, format!("explanation of {neuron}")))).await;
    lake
}

fn serve(lake: &str, arguments: &[&str]) -> Serving {
    Serving::start(lake, arguments, &[("NEURONLAKE_MODELS", "/nonexistent")])
}

fn address(neuron: usize) -> String {
    format!("/neuron/m/blocks.0.mlp.hook_post/{neuron}")
}

async fn page(server: &Serving, path: &str) -> String {
    let response = Client::new().get(format!("{}{path}", server.http)).send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    text
}

/// One of the server's counters; 0 before it counted anything.
async fn count(server: &Serving, name: &str) -> u64 {
    let metrics = page(server, "/metrics").await;
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
}

async fn queries(server: &Serving) -> u64 {
    count(server, "neuronlake_queries_served_total{outcome=\"done\"}").await
}

async fn made(server: &Serving, asked_by: &str) -> u64 {
    count(server, &format!("neuronlake_pages_made_total{{asked_by=\"{asked_by}\"}}")).await
}

/// Waits until so many pages were made that nobody asked for.
async fn made_ahead(server: &Serving, n_pages: u64) {
    while made(server, "nobody").await < n_pages {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_hundred_who_wait_share_the_queries_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    let server = serve(&lake, &NONE_AHEAD);
    page(&server, &address(0)).await;
    let of_one = queries(&server).await;
    let addresses: Vec<String> = (1..UNITS).map(address).collect();
    let pages = join_all(addresses.iter().map(|path| page(&server, path))).await;
    let of_others = queries(&server).await - of_one;
    assert!(of_others <= of_one, "{of_others} queries for {} pages, {of_one} for the first", pages.len());
    for (place, page) in pages.iter().enumerate() {
        let neuron = place + 1;
        assert!(page.contains(&format!("<bdi>explanation of {neuron}</bdi>")), "{neuron}: {page}");
        assert!(page.contains(&format!("neuron BETWEEN {neuron} AND {neuron}")), "{neuron}: {page}");
    }
    // Read in a block of another width, it is the same page.
    let alone = serve(&lake, &NONE_AHEAD);
    assert_eq!(page(&alone, &address(77)).await, pages[76]);
}

#[tokio::test]
async fn pages_of_a_table_are_asked_for_together_and_are_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    let server = serve(&lake, &NONE_AHEAD);
    let path = |number: usize| format!("/browse?size=10&sort=neuron&page={number}");
    let first = page(&server, &path(1)).await;
    let of_one = queries(&server).await;
    for number in 2..=8 {
        let shown = page(&server, &path(number)).await;
        let units: Vec<usize> = (0..UNITS).filter(|n| shown.contains(&format!(">explanation of {n}</bdi>"))).collect();
        assert_eq!(units, ((number - 1) * 10..number * 10).collect::<Vec<_>>(), "page {number}");
        assert!(shown.contains(&format!("LIMIT 10 OFFSET {}", (number - 1) * 10)), "{shown}");
    }
    assert_eq!(queries(&server).await, of_one);
    assert!(first.contains(">explanation of 9</bdi>") && !first.contains(">explanation of 10</bdi>"));
    assert!(page(&server, &path(10)).await.contains(">explanation of 99</bdi>"));
    assert!(queries(&server).await > of_one, "the next eight pages are asked for when one of them is");
}

#[tokio::test]
async fn limits_are_for_what_is_asked_and_not_for_what_is_asked_along() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    // Ten units are few enough, and so is one; eighty, and a block of units, are not.
    let server = serve(&lake, &[&NONE_AHEAD[..], &["--query-rows", "15"]].concat());
    let shown = page(&server, "/browse?size=10&sort=neuron&page=2").await;
    assert!(shown.contains(">explanation of 10</bdi>") && shown.contains(">explanation of 19</bdi>"), "{shown}");
    assert!(page(&server, &address(50)).await.contains("<bdi>explanation of 50</bdi>"));
}

#[tokio::test]
async fn pages_made_ahead_are_those_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    let server = serve(&lake, &[]);
    made_ahead(&server, PAGES).await;
    let before = queries(&server).await;
    let paths = ["/".to_owned(), "/browse".to_owned(), "/browse?page=2".to_owned(), address(0), address(99)];
    let with_corpus = format!("{}?corpus=c", address(99));
    let mut kept = Vec::new();
    for path in paths.iter().chain([&with_corpus]) {
        // Whatever a browser says that it reads, it is the same page.
        let response = Client::new().get(format!("{}{path}", server.http)).header("accept", "text/html;q=0.9, */*");
        kept.push(response.send().await.unwrap().text().await.unwrap());
    }
    assert_eq!((made(&server, "visitor").await, queries(&server).await), (0, before), "no visitor waited for a page");
    let asked = serve(&lake, &NONE_AHEAD);
    for (path, kept) in paths.iter().chain([&with_corpus]).zip(&kept) {
        assert_eq!(page(&asked, path).await, *kept, "{path}");
    }
    assert_eq!(made(&asked, "nobody").await, 0);

    // A lake that changed has its pages made anew.
    explain(&lake, [(3, "another explanation".to_owned())].into_iter()).await;
    made_ahead(&server, 2 * PAGES).await;
    let shown = page(&server, &address(3)).await;
    assert!(
        shown.contains("<bdi>another explanation</bdi>") && shown.contains("<bdi>explanation of 3</bdi>"),
        "{shown}"
    );
    assert_eq!(made(&server, "visitor").await, 0);
}

#[tokio::test]
async fn no_more_pages_are_made_than_the_server_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path()).await;
    let server = serve(&lake, &["--pages-ahead", "1"]);
    made_ahead(&server, 7).await;
    // Whoever waits for nothing more finds the second unit's page not made.
    page(&server, "/browse?page=2").await;
    let visitors = made(&server, "visitor").await;
    page(&server, &address(50)).await;
    assert_eq!((made(&server, "nobody").await, made(&server, "visitor").await), (7, visitors + 1));
}
