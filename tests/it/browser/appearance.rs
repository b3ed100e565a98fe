//! What does not depend on the messages: names for screen readers, forced colours, text from right
//! to left, a stable layout, and tokens.

use poll_vs_push::app::token::{Claims, TokenKey};

use super::*;

/// A text whose last character would reverse the direction of the text after it.
const TURNING: &str = "evil\u{202e}";

async fn open(browser: &Browser, server: &TestServer, path: &str) {
    // The same path with another fragment would not load the page again.
    soon(browser.client.goto("about:blank")).await.expect("a page");
    let url = format!("http://{}{path}", server.address);
    soon(browser.client.goto(&url)).await.expect("a page");
}

async fn set_width(browser: &Browser, width: u32) {
    let screen =
        json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800 });
    browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
}

/// The names of all controls as the browser reports them to a screen reader. Links to the same
/// address may share a name.
async fn names_of_controls(browser: &Browser) -> Vec<(String, String)> {
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().expect("a list");
    let roles = ["button", "combobox", "listbox", "textbox", "slider", "checkbox", "image"];
    let text = |node: &serde_json::Value, key: &str| {
        node[key]["value"].as_str().unwrap_or_default().to_owned()
    };
    let shown = nodes.iter().filter(|node| node["ignored"] != true);
    let named = shown.map(|node| (text(node, "role"), text(node, "name")));
    named.filter(|(role, _)| roles.contains(&role.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_of_every_page_have_distinct_names() {
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    let teacher = format!("/teacher#{key}");
    let pages: [(&str, &str); 5] = [
        ("/?topic=room", "return document.querySelectorAll('.lane').length === 5"),
        ("/lesson", "return document.querySelectorAll('.lane').length > 10"),
        ("/class?team=one", "return document.querySelectorAll('.lane').length === 4"),
        (&teacher, "return document.querySelector('#devices').textContent !== ''"),
        ("/model", "return !!document.querySelector('#model .verdict')"),
    ];
    for (path, is_ready) in pages {
        open(&browser, &server, path).await;
        browser.until(is_ready).await;
        // Everything that a page can show.
        browser
            .run(
                "for (const node of document.querySelectorAll('[hidden]')) node.hidden = false;
                 for (const node of document.querySelectorAll('.wire')) node.click();
                 return true",
            )
            .await;
        let named = names_of_controls(&browser).await;
        assert!(named.len() > 2, "{path}: {named:?}");
        let mut seen = std::collections::HashSet::new();
        for (role, name) in named {
            assert!(!name.trim().is_empty(), "{path}: a {role} without a name");
            assert!(seen.insert(name.clone()), "{path}: two controls are called '{name}'");
        }
    }
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_are_visible_in_forced_colours() {
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let forced = json!({ "features": [{ "name": "forced-colors", "value": "active" }] });
    browser.devtools("Emulation.setEmulatedMedia", forced).await;
    quiet(&browser).await;
    settle(&browser, &server, "one").await;
    let contrast = "const page = getComputedStyle(document.body);
        const ground = getComputedStyle(document.documentElement).backgroundColor;
        const bars = [...document.querySelectorAll('SELECTOR')].filter((bar) =>
            bar.getBoundingClientRect().width > 0 && bar.getBoundingClientRect().height > 0);
        return bars.length > 0 && bars.every((bar) => {
            const own = getComputedStyle(bar);
            return own.backgroundColor !== ground && own.backgroundColor === page.color;
        })";
    browser.until(&contrast.replace("SELECTOR", ".race .bar")).await;

    let report = json!({ "device": "0123456789abcdef", "team": "one",
        "delays_ms": { "websocket": [5.0, 5.0], "sse": [50.0] } });
    assert_eq!(server.post("/class/report", report.to_string()).await.status, 200);
    open(&browser, &server, "/teacher").await;
    browser.until(&contrast.replace("SELECTOR", ".histogram .bar")).await;
    browser.close().await;
    server.stop().await;
}

/// Wherever untrusted text appears within the page's own words, it is isolated: in an
/// element `bdi`, or between the characters FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_text_is_isolated_on_every_page() {
    const LOOSE: &str = "const loose = [];
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const text = node.textContent;
            const isBetween = /\\u2068[^\\u2069]*evil[^\\u2069]*\\u2069/.test(text);
            if (text.includes('evil') && !node.parentElement.closest('bdi') && !isBetween)
                loose.push(text);
        }
        return loose";
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    let draft = json!({ "sender": TURNING, "text": TURNING }).to_string();
    assert_eq!(server.post("/topics/room/messages", draft.clone()).await.status, 201);
    until_all_have_heard(&browser, &format!("{TURNING}: {TURNING}")).await;
    browser.run("document.querySelectorAll('.wire').forEach((wire) => wire.click())").await;
    let found = "return document.body.textContent.split('evil').length > 8";
    browser.until(found).await;
    assert_eq!(browser.run(LOOSE).await, json!([]), "the lanes");

    open(&browser, &server, "/lesson?topic=room#race").await;
    let is_connected = "return [...document.querySelectorAll('#race .state')]
        .every((state) => state.textContent === 'connected')";
    browser.until(is_connected).await;
    assert_eq!(server.post("/topics/room/messages", draft).await.status, 201);
    browser.until("return document.querySelector('#race .follow-title').textContent.startsWith('Message')").await;
    browser.run("document.querySelectorAll('#race .wire').forEach((wire) => wire.click())").await;
    assert_eq!(browser.run(LOOSE).await, json!([]), "the lesson");

    for step in [
        json!({ "what": "cell", "number": 1, "of": 2, "label": TURNING, "left_s": 1.0 }),
        json!({ "what": "phase", "phase": TURNING }),
        json!({ "what": "done", "transport": "sse", "label": TURNING, "case": TURNING, "repeat": 0,
            "requests_per_message": null,
            "latency_ms": { "mean": 1.0, "p50": 1.0, "p99": 1.0, "max": 1.0 } }),
        json!({ "what": "failed", "label": TURNING, "error": TURNING }),
    ] {
        let draft = json!({ "sender": "compare", "text": step.to_string() }).to_string();
        assert_eq!(server.post("/topics/compare/messages", draft).await.status, 201);
    }
    open(&browser, &server, "/watch").await;
    browser.until("return document.querySelectorAll('#cells tr').length === 2").await;
    assert_eq!(browser.run(LOOSE).await, json!([]), "the runs");
    browser.close().await;
    server.stop().await;
}

/// The sum of Chromium's layout shifts since the page was loaded, without those that a user caused,
/// and what has moved.
async fn layout_shifts(browser: &Browser) -> (f64, String) {
    let script = "const shifts = window.shifts;
        const moved = shifts.filter((shift) => !shift.hadRecentInput);
        return [moved.reduce((sum, { value }) => sum + value, 0), moved.flatMap(({ sources }) =>
            sources.map(({ node }) => `${node?.nodeName}.${node?.className ?? ''}#${node?.id ?? ''}`
            )).join(' ')]";
    let found = browser.run(script).await;
    (found[0].as_f64().expect("a number"), found[1].as_str().expect("a text").to_owned())
}

/// So that shifts are observed from the start.
const OBSERVE: &str = "window.shifts = [];
    new PerformanceObserver((list) => window.shifts.push(...list.getEntries()))
        .observe({ type: 'layout-shift', buffered: true });";

/// A browser whose pages observe their layout shifts.
async fn observing_browser() -> Option<Browser> {
    let server = TestServer::start().await;
    let browser = Browser::open(server.address).await;
    server.stop().await;
    let browser = browser?;
    let observe = json!({ "source": OBSERVE });
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", observe).await;
    Some(browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn layout_does_not_shift_when_figures_appear_and_states_change() {
    let Some(browser) = observing_browser().await else { return };
    for width in [1280, 390] {
        set_width(&browser, width).await;
        let server = TestServer::with(|config| config.retain_messages = 5).await;
        open(&browser, &server, "/?topic=room").await;
        connected(&browser).await;
        let has_figures = |text: &str| text.replace(',', "").parse::<u64>().is_ok_and(|it| it > 1);
        browser.until_all(".messages", has_figures).await;
        // From here on only the test publishes, so that its message stays the newest.
        browser.keys("#rate", HOME).await;
        server.publish(&"a long text ".repeat(50)).await;
        until_all_have_heard(&browser, &format!("A: {}", "a long text ".repeat(50))).await;
        browser.run("document.querySelector('#pause').click(); return true").await;
        browser.until_all(".state", |state| state == "paused").await;
        for number in 0..20 {
            server.publish(&number.to_string()).await;
        }
        browser.run("document.querySelector('#pause').click(); return true").await;
        browser.until_all(".lost", |lost| lost != "0").await;
        server.stop().await;
        browser.until_all(".state", |state| state.starts_with("disconnected")).await;
        expect_no_shift(&browser, "the lanes", width).await;

        let server = TestServer::start().await;
        open(&browser, &server, "/lesson#race").await;
        let has_figures =
            "return document.querySelector('#race .follow-title').textContent.startsWith('Message')
            && document.querySelector('#race .messages').textContent > 1";
        browser.until(has_figures).await;
        expect_no_shift(&browser, "the lesson", width).await;
        server.stop().await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layout_of_class_runs_and_model_does_not_shift() {
    let Some(browser) = observing_browser().await else { return };
    let reports = tempfile::tempdir().expect("a directory");
    for number in 1..4 {
        let run = reports.path().join(format!("2026-01-0{number}T00-00-00Z"));
        std::fs::create_dir(&run).expect("made");
        std::fs::write(run.join("report.html"), "<!doctype html>").expect("written");
    }
    for width in [1280, 390] {
        set_width(&browser, width).await;
        let server = TestServer::with(|config| {
            config.class = true;
            config.reports = Some(reports.path().to_path_buf());
        })
        .await;
        open(&browser, &server, "/class").await;
        browser.until("return document.querySelector('#join button') !== null").await;
        expect_no_shift(&browser, "the form of the class", width).await;

        open(&browser, &server, "/class?team=one").await;
        let has_messages = "return document.querySelector('#class-settings').textContent !== ''
            && document.querySelectorAll('.lane').length === 4
            && [...document.querySelectorAll('.messages')].every((it) => it.textContent !== '0')";
        browser.until(has_messages).await;
        expect_no_shift(&browser, "the class", width).await;

        open(&browser, &server, "/teacher").await;
        browser.until("return document.querySelector('#devices').textContent !== ''").await;
        let long = "a-team-with-a-long-name-";
        for (number, count) in [(0, 1), (1, 100), (2, 10), (3, 10), (4, 10)] {
            let report = json!({ "device": format!("0123456789abcde{number}"),
                "team": format!("{long}{number}"),
                "delays_ms": { "websocket": vec![5.0; count], "sse": vec![50.0; count] } });
            assert_eq!(server.post("/class/report", report.to_string()).await.status, 200);
        }
        let has_figures = "return document.querySelector('#teams').textContent.includes('name-4')";
        browser.until(has_figures).await;
        expect_no_shift(&browser, "the teacher's page", width).await;

        open(&browser, &server, "/model").await;
        browser.until("return !!document.querySelector('#model .verdict')").await;
        expect_no_shift(&browser, "the model", width).await;

        open(&browser, &server, "/watch").await;
        browser.until("return document.querySelectorAll('#runs a').length === 3").await;
        let delays = json!({ "mean": 1.0, "p50": 1.0, "p99": 1.0, "max": 1.0 });
        let done = |repeat: u32| {
            json!({ "what": "done", "transport": "sse", "label": "SSE", "case": "a case",
                "repeat": repeat, "requests_per_message": 1.0, "latency_ms": delays })
        };
        let cell = json!({ "what": "cell", "number": 1, "of": 2, "label": "Server-sent events",
            "left_s": 100.0 });
        let steps = [
            json!({ "what": "calibrating", "left_s": 10.0 }),
            cell,
            json!({ "what": "phase", "phase": "subscribers connect" }),
            done(0),
            json!({ "what": "failed", "label": "SSE", "error": "a reason ".repeat(20) }),
            json!({ "what": "finished", "run": "2026-01-03T00-00-00Z" }),
        ];
        for (number, step) in steps.iter().enumerate() {
            let draft = json!({ "sender": "compare", "text": step.to_string() }).to_string();
            assert_eq!(server.post("/topics/compare/messages", draft).await.status, 201);
            // Each is drawn before the next.
            let shown = match number {
                0 => "return document.querySelector('#now').textContent.includes('processing')",
                1 => "return document.querySelector('#now').textContent.includes('events')",
                2 => "return document.querySelector('#now').textContent.includes('connect')",
                3 => "return document.querySelectorAll('#cells tr').length === 1",
                4 => "return document.querySelectorAll('#cells tr').length === 2",
                _ => "return document.querySelector('#finished a') !== null",
            };
            browser.until(shown).await;
            expect_no_shift(&browser, "the runs", width).await;
        }
        server.stop().await;
    }
    browser.close().await;
}

async fn expect_no_shift(browser: &Browser, page: &str, width: u32) {
    // After a further frame has been drawn.
    let drawn = "return new Promise((resolve) =>
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))";
    browser.until(drawn).await;
    let (sum, moved) = layout_shifts(browser).await;
    assert!(sum < 0.01, "{page} at {width}: {sum}: {moved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn page_passes_a_token_on_and_keeps_it_out_of_the_address() {
    const KEY: &str = "a key of thirty-two bytes or more";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, KEY).expect("writes");
    let server = TestServer::with(|config| config.token_key = Some(file)).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    browser.until_all(".state", |state| state.starts_with("disconnected")).await;
    let short_polling = "#lane-short-polling .state";
    assert!(browser.text(short_polling).await.contains("#token="), "the remedy is named");

    let room = || vec!["room".to_owned()];
    let claims =
        Claims { sub: "A".into(), exp: None, nbf: None, subscribe: room(), publish: room() };
    let token = TokenKey::new(KEY.as_bytes()).expect("long enough").sign(&claims);
    open(&browser, &server, &format!("/?topic=room#token={token}")).await;
    quiet(&browser).await;
    receive(&browser, 2).await;
    let address = browser.run("return location.href").await;
    assert!(!address.as_str().expect("text").contains(&token), "{address}");
    browser.run("document.querySelectorAll('.wire').forEach((wire) => wire.click())").await;
    assert!(!browser.text("main").await.contains(&token), "the wire does not show it");
    // A reload keeps it; the lesson has it too.
    soon(browser.client.refresh()).await.expect("reloads");
    connected(&browser).await;
    soon(browser.client.goto(&format!("http://{}/lesson?topic=room#race", server.address)))
        .await
        .expect("a page");
    let is_connected = "return [...document.querySelectorAll('#race .state')]
        .every((state) => state.textContent === 'connected')";
    browser.until(is_connected).await;
    browser.close().await;
    server.stop().await;
}
