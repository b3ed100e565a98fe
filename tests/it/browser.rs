//! The live page in a real browser: what it shows agrees with the server.

mod appearance;
mod classroom;
mod driver;
mod keyboard;
mod lesson;
mod model;
mod report;
mod silence;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use poll_vs_push::variant::Transport;
use serde_json::json;

use super::support::{TestServer, eventually, soon};
use driver::Browser;
use wire::Wire;

const HOME: &str = "\u{E011}";
const END: &str = "\u{E010}";
const TRANSPORTS: usize = 5;

/// Waits until every lane is connected and stops the page's publisher: only the test publishes,
/// over a link without delay.
async fn quiet(browser: &Browser) {
    browser.keys("#rate", HOME).await;
    browser.keys("#round-trip", HOME).await;
    connected(browser).await;
}

async fn connected(browser: &Browser) {
    browser.until_all(".state", |state| state == "connected").await;
}

/// Publishes with the page's button until every lane has received at least `count` messages.
async fn receive(browser: &Browser, count: u64) {
    for _ in 0..count {
        browser.click("#one-more").await;
    }
    let enough = |text: &str| text.replace(',', "").parse::<u64>().expect("a number") >= count;
    browser.until_all(".messages", enough).await;
}

/// Publishes `text`, and waits until every lane has received it and all earlier messages.
async fn settle(browser: &Browser, server: &TestServer, text: &str) {
    server.publish(text).await;
    until_all_have_heard(browser, &format!("A: {text}")).await;
}

/// Waits until this message is the newest in all lanes.
async fn until_all_have_heard(browser: &Browser, message: &str) {
    let heard_by_all = "const figures = [...document.querySelectorAll('#race-rows .number')];
        return document.querySelector('#race-text').textContent === MESSAGE
            && figures.every((figure) => figure.textContent.endsWith('ms'))";
    browser.until(&heard_by_all.replace("MESSAGE", &json!(message).to_string())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_in_every_lane_and_counters_match_the_server() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    assert_eq!(browser.lanes("h3").await.len(), TRANSPORTS);
    receive(&browser, 3).await;
    let delays = browser.lanes(".last").await;
    assert!(delays.values().all(|delay| delay.ends_with(" ms")), "{delays:?}");
    // From here on the page sends so few requests that both counters can be read between two of
    // them.
    browser.keys("#interval", END).await;
    let looking = async {
        loop {
            let page = [
                browser.counts(".requests").await,
                browser.counts(".empty").await,
                browser.counts(".messages").await,
            ];
            let scrape = server.scrape().await;
            let agree = page[0].keys().all(|transport| {
                let of = |name: &str| scrape.of(name, transport) as u64;
                let theirs = ["requests_total", "empty_answers_total", "deliveries_total"].map(of);
                theirs == [page[0][transport], page[1][transport], page[2][transport]]
            });
            if agree {
                return page;
            }
        }
    };
    let [requests, empty, _] = soon(looking).await;
    assert_eq!([requests["websocket"], requests["sse"], requests["socketio-websocket"]], [1, 1, 1]);
    assert!(requests["short-polling"] > 1 && requests["long-polling"] > 3, "{requests:?}");
    assert!(empty["short-polling"] >= 1 && empty["websocket"] == 0, "{empty:?}");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_change_rate_round_trip_and_lanes() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    settle(&browser, &server, "one").await;
    let before = browser.counts(".messages").await;
    browser.click("#pause").await;
    browser.until_all(".state", |state| state == "paused").await;
    server.publish("missed by nobody").await;
    assert_eq!(browser.counts(".messages").await, before);
    browser.click("#pause").await;
    settle(&browser, &server, "two").await;
    let two_more = before.into_iter().map(|(transport, count)| (transport, count + 2)).collect();
    browser.until_counts(".messages", |counts| *counts == two_more).await;

    browser.click("#lane-sse .plug").await;
    browser.until_all(".state", |state| ["connected", "unplugged"].contains(&state)).await;
    browser.keys("#rate", END).await;
    let many_more = two_more["websocket"] + 10;
    browser.until_counts(".messages", |counts| counts["websocket"] > many_more).await;
    assert_eq!(browser.counts(".messages").await["sse"], two_more["sse"]);
    browser.keys("#rate", HOME).await;
    browser.click("#lane-sse .plug").await;
    connected(&browser).await;
    // The lane that was disconnected has received the messages that it missed.
    settle(&browser, &server, "three").await;
    let gained =
        |counts: &BTreeMap<String, u64>, transport| counts[transport] - two_more[transport];
    let same_gain = |counts: &BTreeMap<_, _>| gained(counts, "sse") == gained(counts, "websocket");
    browser.until_counts(".messages", same_gain).await;

    browser.click("#race-older").await;
    let older: u64 = browser.text("#race-number").await.parse().expect("a number");
    browser.click("#race-newer").await;
    assert_eq!(browser.text("#race-number").await, (older + 1).to_string());
    browser.click("#lane-websocket .wire").await;
    assert!(browser.text("#lane-websocket .wire-view").await.contains("FIN 1"));
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_text_is_never_interpreted_as_markup() {
    const MARKUP: &str = "<script>window.hacked = 1</script><img src=x onerror='hacked = 1'>";
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    // Through both routes for publishing, and as the sender.
    browser.keys(".chat-form .text", MARKUP).await;
    browser.click(".chat-form button").await;
    browser.until("return document.querySelectorAll('#chat-log p').length === 1").await;
    browser.click(".chat-form .by option[value=socket]").await;
    browser.keys(".chat-form .text", MARKUP).await;
    browser.click(".chat-form button").await;
    browser.until("return document.querySelectorAll('#chat-log p').length === 2").await;
    let body = json!({ "sender": MARKUP, "text": "<b>" }).to_string();
    assert_eq!(server.post("/topics/room/messages", body).await.status, 201);
    browser.until("return document.querySelectorAll('#chat-log p').length === 3").await;
    let isolated = "return [...document.querySelectorAll('#chat-log p')].every((line) =>
        line.querySelectorAll('bdi').length === 2)";
    assert_eq!(browser.run(isolated).await, true, "foreign text cannot turn ours around");
    let log = browser.text("#chat-log").await;
    assert_eq!(log.matches(MARKUP).count(), 3, "{log}");
    until_all_have_heard(&browser, &format!("{MARKUP}: <b>")).await;
    // The last response of a short poll may be empty.
    for transport in ["long-polling", "websocket", "sse", "socketio-websocket"] {
        browser.click(&format!("#lane-{transport} .wire")).await;
        assert!(
            browser.text(&format!("#lane-{transport} .wire-view")).await.contains("<b>"),
            "{transport}"
        );
    }
    let made = "return document.querySelectorAll('main script, main img, main a').length";
    assert_eq!(browser.run(made).await, 0);
    assert_eq!(browser.run("return window.hacked === undefined").await, true);
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_reconnect_after_a_restart_and_show_a_gap() {
    let keep_five = |config: &mut poll_vs_push::app::ServerConfig| config.retain_messages = 5;
    let server = TestServer::with(keep_five).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    settle(&browser, &server, "heard by all").await;
    browser.click("#pause").await;
    browser.until_all(".state", |state| state == "paused").await;
    for number in 0..20 {
        server.publish(&number.to_string()).await;
    }
    browser.click("#pause").await;
    browser.until_all(".lost", |lost| lost == "15").await;

    let address: SocketAddr = server.address;
    server.stop().await;
    browser.until_all(".state", |state| state.starts_with("disconnected")).await;
    let server = TestServer::with(|config| config.listen = address).await;
    connected(&browser).await;
    settle(&browser, &server, "after the restart").await;
    // The browser logs that the server was unreachable, as expected. No other error is allowed.
    let complaints = browser.console().await;
    let is_right =
        |line: &&String| !line.contains("net::ERR_") && !line.contains("WebSocket connection");
    assert_eq!(complaints.iter().filter(is_right).collect::<Vec<_>>(), Vec::<&String>::new());
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_exchange_messages_and_share_six_connections() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    let first = soon(browser.client.window()).await.expect("a window");
    browser.one_more_window(server.address).await;
    connected(&browser).await;
    browser.keys(".chat-form .text", "hello from the second").await;
    browser.click(".chat-form button").await;
    soon(browser.client.switch_to_window(first)).await.expect("it is still there");
    let heard = "return document.querySelector('#chat-log').textContent.includes('the second')";
    browser.until(heard).await;

    // Two windows use four connections, the limit that the page sets itself of the browser's six.
    browser.one_more_window(server.address).await;
    let waits = "return ['long-polling', 'sse'].every((transport) => document
        .querySelector(`#lane-${transport} .state`).textContent.startsWith('waits: 4 of'))";
    browser.until(waits).await;
    assert_eq!(server.waiting(Transport::Sse), 2);
    browser.keys(".chat-form .text", "hello from the third").await;
    browser.click(".chat-form button").await;
    browser
        .until("return document.querySelector('#chat-log').textContent.includes('the third')")
        .await;
    assert!(browser.text("#connections").await.contains(": 4 of the 6"));
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_works_on_a_phone_and_with_a_screen_reader() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    quiet(&browser).await;
    browser.click("#lane-sse .wire").await;
    receive(&browser, 1).await;
    browser.click("#lane-websocket .wire").await;
    browser.until("return document.documentElement.scrollWidth <= 390").await;
    let nameless = "return [...document.querySelectorAll('button, input, select')].filter((node) =>
        !node.ariaLabel && !node.textContent.trim() && !node.labels?.length).map((node) => node.id)";
    assert_eq!(browser.run(nameless).await, json!([]));
    let same = "const names = [...document.querySelectorAll('button')].map((node) =>
            node.ariaLabel ?? node.textContent.trim());
        return names.filter((name, index) => names.indexOf(name) !== index);";
    assert_eq!(browser.run(same).await, json!([]), "every button has a name of its own");
    let label = "return document.querySelector('#lane-sse canvas').ariaLabel";
    let label = browser.run(label).await;
    assert!(label.as_str().expect("a label").contains("Server-sent events, connected"), "{label}");
    browser.click("#say").await;
    browser
        .until("return document.querySelector('#announcer').textContent.includes('median delay')")
        .await;
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_progress_is_shown_and_its_report_opens() {
    let reports = tempfile::tempdir().expect("a directory");
    let run = reports.path().join("2026-01-01T00-00-00Z");
    std::fs::create_dir(&run).expect("made");
    let report = "<!doctype html><title>It</title><p id=it>The answer<script>alert(1)</script>";
    std::fs::write(run.join("report.html"), report).expect("written");
    let server =
        TestServer::with(|config| config.reports = Some(reports.path().to_path_buf())).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let steps = [
        json!({ "what": "cell", "number": 2, "of": 9, "label": "WebSocket", "left_s": 41.2 }),
        json!({ "what": "phase", "phase": "measuring" }),
        json!({ "what": "done", "transport": "websocket", "label": "WebSocket", "case": "",
            "repeat": 0, "requests_per_message": null,
            "latency_ms": { "mean": 1.25, "p50": 1.0, "p99": 2.0, "max": 30.0 } }),
    ];
    for step in steps {
        let body = json!({ "sender": "compare", "text": step.to_string() }).to_string();
        assert_eq!(server.post("/topics/compare/messages", body).await.status, 201);
    }
    soon(browser.client.goto(&format!("http://{}/watch", server.address))).await.expect("a page");
    browser.until("return document.querySelectorAll('#cells tr').length === 1").await;
    let now = browser.text("#now").await;
    // The words of the run are isolated.
    let words = now.replace(['\u{2068}', '\u{2069}'], "");
    assert_eq!(words, "2 of 9: WebSocket; 41 s left – measuring");
    assert!(browser.text("#cells").await.contains("1.3 ms"));
    browser.until("return document.querySelectorAll('#runs a').length === 1").await;
    // The sandbox runs no scripts of a report.
    browser.click("#runs a").await;
    browser.until("return document.querySelector('#it') !== null").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_source_resumes_without_losing_messages() {
    // The live page uses another server here, so its lanes have no effect.
    let (elsewhere, server) = (TestServer::start().await, TestServer::start().await);
    let wire = Wire::to(server.address).await;
    let Some(browser) = Browser::open(elsewhere.address).await else { return };
    // A page without scripts: only the browser itself reconnects.
    let page = format!("http://{}/healthz", wire.address);
    soon(browser.client.goto(&page)).await.expect("a page");
    let listen = "window.heard = [];
        window.opened = 0;
        const source = window.source = new EventSource('/topics/room/events');
        source.onopen = () => opened += 1;
        source.onmessage = (event) => heard.push([JSON.parse(event.data).text, event.lastEventId]);
        for (const name of ['gap', 'reset'])
            source.addEventListener(name, () => heard.push([name, '']));
        source.addEventListener('subscribed', () => window.subscribed = true);";
    browser.run(listen).await;
    browser.until("return window.subscribed === true").await;
    let epoch = server.publish("one").await.epoch;
    browser.until("return heard.length === 1").await;
    for (away, back) in [(["two", "three"], 3), (["four", "five"], 5)] {
        wire.cut();
        eventually("gone", || server.waiting(Transport::Sse) == 0).await;
        for text in away {
            server.publish(text).await;
        }
        browser.until(&format!("return heard.length >= {back}")).await;
    }
    server.publish("six").await;
    browser.until("return heard.length >= 6").await;
    let heard = browser.run("return heard").await;
    let texts = ["one", "two", "three", "four", "five", "six"];
    let wanted: Vec<_> =
        (1..).zip(texts).map(|(offset, text)| json!([text, format!("{epoch}:{offset}")])).collect();
    assert_eq!(heard, json!(wanted));
    assert_eq!(browser.run("return opened").await, 3);
    let asked = wire.asked("/topics/room/events");
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(!asked[0].contains("last-event-id"), "{asked:?}");
    assert!(asked[1].contains(&format!("last-event-id: {epoch}:1")), "{asked:?}");
    assert!(asked[2].contains(&format!("last-event-id: {epoch}:3")), "{asked:?}");
    browser.close().await;
    server.stop().await;
    elsewhere.stop().await;
}
