//! A walk through the viewer in a real browser, as a person takes it: search, a neuron, its windows, downstream, SQL, a download.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use neuronlake::tables::definition::table;
use neuronlake::tables::lake::Lake;
use neuronlake::tables::writer::TableWriter;
use serde_json::json;

use crate::serving::Serving;
use crate::support::{copy_folder, ok, small_lake};
use crate::webdriver::Browser;

const ENTER: &str = "\u{E007}";
const CONTROL: &str = "\u{E009}";
const RIGHT: &str = "\u{E014}";
const DOWN: &str = "\u{E015}";
const TAB: &str = "\u{E004}";

/// The small lake with connections: unit n of layer 0 leads to unit n of layer 1.
async fn lake_with_links(folder: &Path) -> String {
    copy_folder(Path::new(small_lake()), folder);
    let lake = folder.to_str().unwrap().to_owned();
    let definition = table("neuron_links").unwrap();
    let row = |direction: &'static str, layer: i32, neuron: i32| {
        let hook = |layer: i32| format!("blocks.{layer}.mlp.hook_post");
        let column = |field: &Field| -> ArrayRef {
            let text = match field.name().as_str() {
                "model" => "neuronlake-default".to_owned(),
                "hook_point" => hook(layer),
                "other_hook_point" => hook(1 - layer),
                "direction" => direction.to_owned(),
                "sign" => "positive".to_owned(),
                _ => "links".to_owned(),
            };
            match (field.name().as_str(), field.data_type()) {
                ("layer", _) => Arc::new(Int32Array::from(vec![layer])),
                ("rank", _) => Arc::new(Int32Array::from(vec![0])),
                (_, DataType::Int32) => Arc::new(Int32Array::from(vec![neuron])),
                (_, DataType::Float32) => Arc::new(Float32Array::from(vec![0.5])),
                _ => Arc::new(StringArray::from(vec![text])),
            }
        };
        let columns = definition.schema.fields().iter().map(|field| column(field)).collect();
        RecordBatch::try_new(Arc::clone(&definition.schema), columns).unwrap()
    };
    let mut writer = TableWriter::open(&Lake::at(&lake).unwrap(), definition, "links").await.unwrap();
    for neuron in 0..16 {
        writer.write(&row("downstream", 0, neuron)).await.unwrap();
        writer.write(&row("upstream", 1, neuron)).await.unwrap();
    }
    writer.commit().await.unwrap();
    lake
}

/// The path of a page, without its server.
fn path(server: &Serving, address: &str) -> String {
    address.strip_prefix(&server.http).unwrap_or_else(|| panic!("left the server: {address}")).to_owned()
}

async fn wait_for(browser: &Browser, server: &Serving, what: &str, is: impl Fn(&str) -> bool) -> String {
    let here = async || Some(path(server, &browser.address().await)).filter(|here| is(here));
    browser.until(what, here).await
}

#[tokio::test]
async fn a_walk_from_a_search_to_a_download() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake_with_links(folder.path()).await;
    let server = Serving::start(&lake, &[], &[]);
    let browser = Browser::start(1280, 900).await;

    // A word that an explanation of layer 0 holds.
    let sql = "SELECT regexp_match(text, '\" ?([a-z]+)\"')[1] AS word, neuron FROM best_explanations \
               WHERE layer = 0 AND regexp_match(text, '\" ?([a-z]+)\"') IS NOT NULL ORDER BY value DESC LIMIT 1";
    let found = ok(Path::new("/"), &["sql", "--lake", &lake, "--format", "csv", sql]);
    let (word, _) = found.lines().nth(1).unwrap().split_once(',').unwrap();
    browser.open(&server.http).await;
    let field = browser.find("header input[name=q]").await;
    browser.write(&field, &format!("{word}{ENTER}")).await;
    wait_for(&browser, &server, "the answer to a search", |here| here.starts_with("/search?q=")).await;
    let first = browser.find("main table.rows a[href*='/neuron/neuronlake-default/blocks.0.']").await;
    browser.click(&first).await;
    let neuron = wait_for(&browser, &server, "the page of a neuron", |here| here.starts_with("/neuron/")).await;
    assert!(neuron.starts_with("/neuron/neuronlake-default/blocks.0.mlp.hook_post/"), "{neuron}");
    let title = browser.find("h1").await;
    assert!(browser.text(&title).await.starts_with("Neuron "));

    // The value of a token shows where the pointer is, and goes with it.
    let token = browser.find(".heat .k[tabindex='0']").await;
    let value = browser.script("return arguments[0].dataset.v", Some(&token)).await.as_str().unwrap().to_owned();
    let tooltip = browser.find("#tooltip").await;
    assert_eq!(browser.text(&tooltip).await, "");
    browser.point(&token).await;
    let told = browser.until("a value where the pointer is", async || {
        Some(browser.text(&tooltip).await).filter(|text| !text.is_empty())
    });
    let told = told.await;
    assert!(told.contains(&format!("activation {value}")), "{told}");
    browser.point(&title).await;
    browser.until("no value where no token is", async || browser.text(&tooltip).await.is_empty().then_some(())).await;
    // The same by keyboard: the focus tells, arrow keys go on.
    browser.script("arguments[0].focus({ preventScroll: true })", Some(&token)).await;
    assert!(browser.text(&tooltip).await.contains(&format!("activation {value}")));
    let label = browser.script("return document.activeElement.getAttribute('aria-label')", None).await;
    assert!(label.as_str().unwrap().contains(&format!("activation {value}")), "told to a screen reader too: {label}");
    let moved =
        "const at = [...document.activeElement.parentElement.children]; return at.indexOf(document.activeElement)";
    let before = browser.script(moved, None).await.as_i64().unwrap();
    browser.press(&[], if before == 0 { RIGHT } else { "\u{E012}" }).await;
    assert_eq!((browser.script(moved, None).await.as_i64().unwrap() - before).abs(), 1);
    browser.script("document.activeElement.blur()", None).await;

    // Downstream, and on by arrow keys.
    let downstream = browser.find("section[aria-labelledby=net] a[href*='blocks.1.']").await;
    browser.click(&downstream).await;
    let there =
        wait_for(&browser, &server, "the unit downstream", |here| here.contains("/blocks.1.mlp.hook_post/")).await;
    let number = |here: &str| here.split(['/', '?']).nth(4).unwrap().parse::<i64>().unwrap();
    assert_eq!(number(&there), number(&neuron));
    browser.find("a[data-key]").await;
    let (key, by) = if number(&there) < 15 { (RIGHT, 1) } else { ("\u{E012}", -1) };
    browser.press(&[], key).await;
    wait_for(&browser, &server, "the neuron beside", |here| {
        here.starts_with("/neuron/") && number(here) == number(&there) + by
    })
    .await;
    browser.find("a[data-key=ArrowDown]").await;
    browser.press(&[], DOWN).await;
    wait_for(&browser, &server, "the layer below", |here| here.contains("/blocks.0.mlp.hook_post/")).await;

    // The SQL behind the page, then a query of one's own and its rows as a file.
    browser.click(&browser.find("details.behind summary").await).await;
    browser.click(&browser.find("details.behind a[href^='/sql?q=']").await).await;
    wait_for(&browser, &server, "the SQL page", |here| here.starts_with("/sql?q=")).await;
    browser.find("#sql-rows").await;
    let text = browser.find("#sql-text").await;
    browser.script("arguments[0].value = ''", Some(&text)).await;
    let own = "SELECT layer, neuron FROM neurons WHERE neuron < 3 ORDER BY layer, neuron";
    browser.write(&text, own).await;
    browser.press(&[CONTROL], ENTER).await;
    browser
        .until("the rows of the query", async || {
            let count = browser.script("return document.getElementById('sql-count')?.textContent", None).await;
            (count == "6 rows").then_some(())
        })
        .await;
    wait_for(&browser, &server, "the query in the address", |here| here.contains("neuron+%3C+3")).await;
    browser.click(&browser.find("#download-csv").await).await;
    let file = browser.downloads.path().join("neuronlake.csv");
    let expected = ok(Path::new("/"), &["sql", "--lake", &lake, "--format", "csv", own]);
    let whole = async || std::fs::read_to_string(&file).ok().filter(|text| text.len() >= expected.len());
    assert_eq!(browser.until("the downloaded file", whole).await, expected);

    assert_eq!(browser.console().await, Vec::<String>::new(), "nothing to complain of on the way");
    browser.close().await;
}

#[tokio::test]
async fn a_text_is_looked_into_token_by_token() {
    let server = Serving::start(small_lake(), &[], &[]);
    let browser = Browser::start(1280, 900).await;
    // A phone: no window is that narrow.
    let phone = json!({ "width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true });
    browser.command("Emulation.setDeviceMetricsOverride", phone).await;
    browser.open(&format!("{}/text", server.http)).await;
    browser.write(&browser.find("#text").await, "The king rode to the castle.").await;
    browser.click(&browser.find("form.bar button.main").await).await;
    let token = browser.find("form.tokens button[value='1']").await;
    browser.script("window.same = true", None).await;
    browser.click(&token).await;
    wait_for(&browser, &server, "the token in the address", |here| here.contains("position=1")).await;
    let heading = browser.find("#at").await;
    assert!(browser.text(&heading).await.starts_with("Strongest on token 1"));
    assert_eq!(
        browser.script("return window.same", None).await,
        json!(true),
        "the page stayed, only what was found changed"
    );
    let focused = browser.script("return document.activeElement.value", None).await;
    assert_eq!(focused, "1", "and the focus is where it was");
    browser.press(&[], TAB).await;
    browser.press(&[], ENTER).await;
    wait_for(&browser, &server, "the next token, by keyboard", |here| here.contains("position=2")).await;
    browser.script("history.back()", None).await;
    wait_for(&browser, &server, "the token before", |here| here.contains("position=1")).await;

    // On a phone nothing but tables and code is wider than the screen.
    let unit = "/neuron/neuronlake-default/blocks.1.mlp.hook_post/3";
    let stacked = format!("{unit}?view=stacked&values=yes");
    for page in
        ["/", "/text?q=The+king", "/compare", "/sql?q=SELECT+*+FROM+scores", "/browse", "/search?q=the", unit, &stacked]
    {
        browser.open(&format!("{}{page}", server.http)).await;
        let wide = browser.script("return document.documentElement.scrollWidth", None).await;
        assert!(wide.as_i64().unwrap() <= 390, "{page} is {wide} wide");
    }
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.close().await;
}
