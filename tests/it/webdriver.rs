//! A browser under the test's control: WebDriver's JSON over HTTP to Debian's chromedriver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

/// WebDriver's name for a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a browser is started with: alone, without calls of its own, forgetting everything.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser window.
pub(crate) struct Browser {
    driver: Child,
    client: Client,
    session: String,
    /// Where downloads go.
    pub(crate) downloads: tempfile::TempDir,
    _profile: tempfile::TempDir,
}

/// An element of the page.
#[derive(Debug, Clone)]
pub(crate) struct Element(String);

impl Browser {
    /// A browser with an empty profile and a window of this size.
    pub(crate) async fn start(width: u32, height: u32) -> Self {
        let program = ["/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let (Some(program), true) = (program, Path::new("/usr/bin/chromium").exists()) else {
            panic!(
                "expected chromium and chromedriver in /usr/bin: run scripts/fetch_browser, or install Debian's chromium and chromium-driver"
            );
        };
        let mut driver =
            Command::new(program).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says on which port it listens");
        let (profile, downloads) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        flags.push(format!("--window-size={width},{height}"));
        let capabilities = json!({
            "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": {
                    "binary": "/usr/bin/chromium",
                    "args": flags,
                },
            } },
        });
        // Nothing between here and the driver.
        let client = Client::builder().no_proxy().build().unwrap();
        let mut browser =
            Self { driver, client, session: format!("http://127.0.0.1:{port}/session"), downloads, _profile: profile };
        let started = browser.send("", &capabilities).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        browser.session = format!("{}/{}", browser.session, started["sessionId"].as_str().unwrap());
        let allowed = json!({ "behavior": "allow", "downloadPath": browser.downloads.path() });
        browser.command("Browser.setDownloadBehavior", allowed).await;
        browser
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let text = response.text().await.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match good {
            true => Ok(answer["value"].take()),
            false => Err(answer["value"]["message"].as_str().unwrap_or(&text).to_owned()),
        }
    }

    async fn send(&self, command: &str, body: &Value) -> Result<Value, String> {
        let request = self.client.post(format!("{}{command}", self.session)).header("content-type", "application/json");
        self.answer(request.body(body.to_string())).await
    }

    async fn get(&self, command: &str) -> Result<Value, String> {
        self.answer(self.client.get(format!("{}{command}", self.session))).await
    }

    /// Opens an address and waits for its page.
    pub(crate) async fn open(&self, address: &str) {
        self.send("/url", &json!({ "url": address })).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// The address of the page.
    pub(crate) async fn address(&self) -> String {
        self.get("/url").await.unwrap().as_str().unwrap().to_owned()
    }

    /// The first element that a CSS selector finds; waited for.
    pub(crate) async fn find(&self, selector: &str) -> Element {
        let what = format!("an element '{selector}'");
        let found = self.until(&what, async || {
            let body = json!({ "using": "css selector", "value": selector });
            Some(self.send("/element", &body).await.ok()?[ELEMENT].as_str()?.to_owned())
        });
        Element(found.await)
    }

    /// Asks until there is an answer.
    pub(crate) async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "expected {what} at {}", self.address().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The text that shows.
    pub(crate) async fn text(&self, element: &Element) -> String {
        self.get(&format!("/element/{}/text", element.0)).await.unwrap().as_str().unwrap().to_owned()
    }

    /// Clicks, and types.
    pub(crate) async fn click(&self, element: &Element) {
        self.send(&format!("/element/{}/click", element.0), &json!({})).await.unwrap();
    }

    pub(crate) async fn write(&self, element: &Element, text: &str) {
        self.send(&format!("/element/{}/value", element.0), &json!({ "text": text })).await.unwrap();
    }

    /// What a script returns; `arguments` holds the element, where there is one.
    pub(crate) async fn script(&self, script: &str, element: Option<&Element>) -> Value {
        let arguments: Vec<Value> = element.iter().map(|element| json!({ ELEMENT: element.0 })).collect();
        self.send("/execute/sync", &json!({ "script": script, "args": arguments })).await.unwrap()
    }

    /// Moves the pointer onto an element.
    pub(crate) async fn point(&self, element: &Element) {
        self.script("arguments[0].scrollIntoView({ block: 'center' })", Some(element)).await;
        let moved = json!({ "type": "pointerMove", "duration": 0, "origin": { ELEMENT: element.0 }, "x": 0, "y": 0 });
        let actions = json!({ "actions": [{
            "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": [moved],
        }] });
        self.send("/actions", &actions).await.unwrap();
    }

    /// Presses a key, with others held, on whatever has the focus.
    pub(crate) async fn press(&self, held: &[&str], key: &str) {
        let key_action = |kind: &str, value: &str| json!({ "type": kind, "value": value });
        let mut actions: Vec<Value> = held.iter().map(|key| key_action("keyDown", key)).collect();
        actions.extend([key_action("keyDown", key), key_action("keyUp", key)]);
        actions.extend(held.iter().rev().map(|key| key_action("keyUp", key)));
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.send("/actions", &actions).await.unwrap();
    }

    /// What the console has had to say since it was last asked: errors of scripts, of the policy, of what could not be fetched.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.send("/se/log", &json!({ "type": "browser" })).await.unwrap();
        let entries = entries.as_array().unwrap().iter();
        entries
            .map(|entry| format!("{}: {}", entry["level"].as_str().unwrap(), entry["message"].as_str().unwrap()))
            .collect()
    }

    /// Ends the browser and its driver.
    pub(crate) async fn close(self) {
        self.answer(self.client.delete(&self.session)).await.unwrap();
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        self.send("/goog/cdp/execute", &json!({ "cmd": name, "params": parameters })).await.unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // After a failed test a browser may be left: chromedriver ends its browsers when it is asked to end.
        let asked = Command::new("kill").args(["-TERM", &self.driver.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
    }
}
