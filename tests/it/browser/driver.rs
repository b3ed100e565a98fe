//! A Chromium instance for one test, controlled over WebDriver.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use poll_vs_push::client::{Dialer, HttpConnection};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

use super::super::support::{FORGOTTEN, soon};

/// Only one browser at a time, because it needs all of a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The console is read after this many checks, about once a second.
const LOOKS_AT_CONSOLE: u32 = 15;
const MISSING: &str = "\nSKIPPED: no chromedriver, so the live page is not tried in a browser. \
    Debian: apt-get install chromium chromium-driver\n";

/// A browser with the live page open. End it with [`Browser::close`].
pub struct Browser {
    pub client: Client,
    driver: Driver,
    driver_address: SocketAddr,
    complaints: std::sync::Mutex<Vec<String>>,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Opens the page of `server`. Without a driver it prints a message and returns `None`; on a
    /// build machine this is a failure.
    pub async fn open(server: SocketAddr) -> Option<Browser> {
        let turn = ONE_AT_A_TIME.lock().await;
        let Some((driver, driver_address)) = start_driver().await else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{MISSING}");
            // Not with `eprintln!`, whose output the test harness captures.
            let _ = std::io::stderr().write_all(MISSING.as_bytes());
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        let connecting = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&profile))
            .connect(&format!("http://{driver_address}"))
            .await;
        let client = connecting.expect("chromedriver starts Chromium");
        let complaints = Default::default();
        let browser =
            Browser { client, driver, driver_address, complaints, _profile: profile, _turn: turn };
        browser.goto(server).await;
        Some(browser)
    }

    /// Opens the page of `server` in the current window.
    pub async fn goto(&self, server: SocketAddr) {
        soon(self.client.goto(&format!("http://{server}/?topic=room"))).await.expect("a page");
    }

    pub async fn find(&self, css: &str) -> Element {
        soon(self.client.find(Locator::Css(css))).await.unwrap_or_else(|error| {
            panic!("{css}: {error}");
        })
    }

    pub async fn click(&self, css: &str) {
        soon(self.find(css).await.click()).await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Presses keys while the element has the focus.
    pub async fn keys(&self, css: &str, keys: &str) {
        soon(self.find(css).await.send_keys(keys)).await.expect("takes keys");
    }

    /// The result of `script`, the body of a function.
    pub async fn run(&self, script: &str) -> Value {
        soon(self.client.execute(script, Vec::new())).await.expect("the script runs")
    }

    pub async fn text(&self, css: &str) -> String {
        self.run(&format!("return document.querySelector({}).textContent", json!(css)))
            .await
            .as_str()
            .expect("text")
            .to_owned()
    }

    /// The text of one part of each lane, by transport.
    pub async fn lanes(&self, part: &str) -> BTreeMap<String, String> {
        let script = "const lanes = [...document.querySelectorAll('.lane')];
            return Object.fromEntries(lanes.map((lane) =>
                [lane.id.replace('lane-', ''), lane.querySelector(PART).textContent]));";
        let lanes = self.run(&script.replace("PART", &json!(part).to_string())).await;
        serde_json::from_value(lanes).expect("texts by transport")
    }

    /// The same as numbers.
    pub async fn counts(&self, part: &str) -> BTreeMap<String, u64> {
        let number = |text: String| text.replace(',', "").parse().expect("a number");
        self.lanes(part).await.into_iter().map(|(name, text)| (name, number(text))).collect()
    }

    /// Waits until a part of every lane satisfies a condition.
    pub async fn until_all(&self, part: &str, is_wanted: impl Fn(&str) -> bool) {
        self.wait_for(part, || self.lanes(part), |lanes| lanes.values().all(|it| is_wanted(it)))
            .await;
    }

    /// Waits until a part of the lanes, as numbers, satisfies a condition.
    pub async fn until_counts(
        &self,
        part: &str,
        is_wanted: impl Fn(&BTreeMap<String, u64>) -> bool,
    ) {
        self.wait_for(part, || self.counts(part), is_wanted).await;
    }

    /// Waits until `script` returns true.
    pub async fn until(&self, script: &str) {
        self.wait_for(script, || self.run(script), |value| *value == Value::Bool(true)).await;
    }

    /// Looks again and again until `is_wanted`. Panics at once if a script of the page has failed,
    /// because nothing that it should do would ever happen.
    async fn wait_for<T: std::fmt::Debug, F: Future<Output = T>>(
        &self,
        what: &str,
        look: impl Fn() -> F,
        is_wanted: impl Fn(&T) -> bool,
    ) {
        let since = Instant::now();
        for looks in 1.. {
            let seen = look().await;
            if is_wanted(&seen) {
                return;
            }
            if looks % LOOKS_AT_CONSOLE == 0 {
                let complaints = self.read_console().await;
                let failure = complaints.iter().find(|line| line.contains("Uncaught"));
                assert_eq!(failure, None, "{what}: {seen:?}");
            }
            assert!(since.elapsed() < FORGOTTEN, "{what} never was as wanted: {seen:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Opens the page of `server` in a new window, which becomes the current one.
    pub async fn one_more_window(&self, server: SocketAddr) {
        let window = soon(self.client.new_window(true)).await.expect("a window");
        soon(self.client.switch_to_window(window.handle)).await.expect("it is there");
        self.goto(server).await;
    }

    /// A Chrome-specific command that WebDriver does not have.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.ask("goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// Console messages of the page and the browser since the last call.
    pub async fn console(&self) -> Vec<String> {
        self.read_console().await;
        std::mem::take(&mut self.complaints.lock().expect("not poisoned"))
    }

    /// All console messages since the last call of [`Browser::console`], which still returns them:
    /// the driver itself returns each only once.
    async fn read_console(&self) -> Vec<String> {
        let entries = self.ask("se/log", json!({ "type": "browser" })).await;
        let line = |entry: &Value| format!("{}: {}", entry["level"], entry["message"]);
        let new = entries.as_array().expect("a list").iter().map(line);
        let mut complaints = self.complaints.lock().expect("not poisoned");
        complaints.extend(new);
        complaints.clone()
    }

    async fn ask(&self, route: &str, body: Value) -> Value {
        let session = self.client.session_id().await.expect("a session").expect("its name");
        let mut http = HttpConnection::new(Dialer::new(self.driver_address));
        let path = format!("/session/{session}/{route}");
        let post = "POST".parse().expect("a method");
        let asking = http.request(post, &path, body.to_string().into());
        let answer = soon(asking).await.expect("chromedriver answers");
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        answer["value"].clone()
    }

    /// Panics if the page, or the browser on its behalf, has logged an error.
    pub async fn close_without_complaint(self) {
        assert_eq!(self.console().await, Vec::<String>::new());
        self.close().await;
    }

    pub async fn close(mut self) {
        soon(self.client.close()).await.expect("closes");
        self.driver.0.kill().await.expect("ends");
    }
}

/// chromedriver, the leader of a process group. Dropping it kills the whole group; otherwise a
/// failed test would leave Chromium running.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let leader = self.0.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn start_driver() -> Option<(Driver, SocketAddr)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(Driver)
        .ok()?;
    let mut lines = BufReader::new(driver.0.stdout.take().expect("piped")).lines();
    loop {
        let line = soon(lines.next_line()).await.expect("text").expect("it says its port");
        let port = line.strip_prefix("ChromeDriver was started successfully on port ");
        if let Some(port) = port.and_then(|port| port.trim_end_matches('.').parse::<u16>().ok()) {
            return Some((driver, SocketAddr::from(([127, 0, 0, 1], port))));
        }
    }
}

fn capabilities(profile: &TempDir) -> serde_json::Map<String, Value> {
    let mut args: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,1000",
        // Fewer frames to draw.
        "--force-prefers-reduced-motion",
    ]
    .map(str::to_owned)
    .to_vec();
    args.push(format!("--user-data-dir={}", profile.path().display()));
    let capabilities = json!({
        "goog:chromeOptions": { "args": args },
        "goog:loggingPrefs": { "browser": "ALL" },
    });
    capabilities.as_object().expect("it is one").clone()
}
