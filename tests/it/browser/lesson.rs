//! The lesson in a real browser: guesses, the steps of a message, faults of the network.

use super::*;

async fn open(server: &TestServer, scene: &str) -> Option<Browser> {
    let browser = Browser::open(server.address).await?;
    let url = format!("http://{}/lesson#{scene}", server.address);
    soon(browser.client.goto(&url)).await.expect("the lesson");
    let is_connected = "return [...document.querySelectorAll('#SCENE .state')]
        .every((state) => state.textContent === 'connected')";
    browser.until(&is_connected.replace("SCENE", scene)).await;
    Some(browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_reveals_the_answer_and_a_message_can_be_followed() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "one").await else { return };
    browser.until("return document.querySelector('#one .reveal').hidden").await;
    browser.click("#one input[value=server]").await;
    browser.until("return !document.querySelector('#one .reveal').hidden").await;
    browser.click("#one .senders button").await;
    let places = "return [...document.querySelectorAll('#one .place')]
        .map((place) => place.textContent).join() === 'Server,Browser,Server,Server,Network,Browser'";
    browser.until(places).await;
    browser.click("#one .follow-steps button").await;
    assert_eq!(browser.text("#one .freeze").await, "Back to now");
    browser.click("#one .freeze").await;
    assert_eq!(browser.text("#one .when-shown").await, "now");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dragging_a_timeline_moves_the_time_back_and_the_message_is_kept() {
    use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "race").await else { return };
    let has_message =
        "return document.querySelector('#race .follow-title').textContent.startsWith('Message')";
    browser.until(has_message).await;
    let element = browser.find("#race-sse canvas").await;
    let duration = Some(std::time::Duration::from_millis(50));
    let move_by = |x: f64, y: f64| PointerAction::MoveBy { duration, x, y };
    // The drag ends far above the lanes.
    let drag = MouseActions::new("mouse".to_owned())
        .then(PointerAction::MoveToElement { element, duration, x: 0.0, y: 0.0 })
        .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
        .then(move_by(100.0, 0.0))
        .then(move_by(100.0, -250.0))
        .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT })
        .then(move_by(-200.0, 250.0));
    soon(browser.client.perform_actions(drag)).await.expect("dragged");
    // 200 pixels of about 1,000 which show 11 to 12 s.
    let shown = browser.text("#race .when-shown").await;
    let seconds: f64 = shown.strip_suffix(" s ago").and_then(|it| it.parse().ok()).expect(&shown);
    assert!((1.5..4.0).contains(&seconds), "{shown}");
    // "Message 7 took 52 ms." or "Message 7 is on its way."
    let number = async || {
        let title = browser.text("#race .follow-title").await;
        title.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).expect("a number")
    };
    let message = number().await;
    // Messages continue to arrive.
    let messages = "return Number(document.querySelector('#race-sse .messages').textContent)";
    let before = browser.run(messages).await.as_u64().expect("a number");
    browser.until(&format!("{messages} > {}", before + 1)).await;
    assert_eq!(number().await, message);
    assert_eq!(browser.text("#race .when-shown").await, shown, "the button was released");
    browser.click("#race .freeze").await;
    assert_eq!(browser.text("#race .when-shown").await, "now");
    let is_newer = async {
        while number().await == message {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    soon(is_newer).await;
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_race_publishes_by_itself_when_it_is_the_first_scene() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "race").await else { return };
    browser.until("return document.querySelector('#race .follow-title').textContent.startsWith('Message')").await;
    assert_eq!(browser.text("#publisher-state").await, "");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_detect_a_cut_network_and_reconnect() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "break").await else { return };
    browser.click("#break .breaker button").await;
    // The lane of Socket.IO notices after 45 s, by the heartbeat of its protocol.
    let noticed = "return [...document.querySelectorAll('.noticed tbody tr')].slice(0, 4)
        .every((row) => /silent|disconnected/.test(row.textContent))";
    browser.until(noticed).await;
    let first = "return document.querySelector('.noticed li').textContent.startsWith('+0.0 s: ')";
    browser.until(first).await;
    browser.click("#break .breaker button").await;
    let is_back = "return document.querySelector('#break-websocket .state').textContent
        === 'connected'";
    browser.until(is_back).await;
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_interval_replaces_the_current_sleep_and_figures_can_be_reset() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    quiet(&browser).await;
    browser.keys("#interval", END).await;
    // Longer than the interval before, so that the sleep of 10 s has begun.
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let polls = browser.counts(".requests").await["short-polling"];
    let changed = std::time::Instant::now();
    browser.keys("#interval", HOME).await;
    browser.until_counts(".requests", |counts| counts["short-polling"] > polls + 2).await;
    assert!(changed.elapsed().as_secs() < 8, "the old sleep of 10 s went on");
    browser.keys("#interval", END).await;
    browser.click("#reset").await;
    browser.until_counts(".requests", |counts| counts["websocket"] == 0).await;
    browser.close_without_complaint().await;
    server.stop().await;
}

/// Presses keys in the element that has the focus.
async fn press(browser: &Browser, keys: &str) {
    let focused = soon(browser.client.active_element()).await.expect("an element has the focus");
    soon(focused.send_keys(keys)).await.expect("takes keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_scene_works_by_keyboard_alone() {
    const TAB: &str = "\u{E004}";
    const ENTER: &str = "\u{E007}";
    const LEFT: &str = "\u{E012}";
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "one").await else { return };
    // What has the focus shows it.
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    let seen = "return document.activeElement.matches(SELECTOR)";
    let reach = async |selector: &str| {
        let is_there = seen.replace("SELECTOR", &serde_json::json!(selector).to_string());
        for _ in 0..30 {
            if browser.run(&is_there).await == true {
                let outline = browser.run(outline).await;
                assert_ne!(outline, "none", "{selector}: the focus is not visible");
                return;
            }
            press(&browser, TAB).await;
        }
        panic!("{selector} is not reached by the tab key");
    };
    soon(browser.find("body").await.send_keys(TAB)).await.expect("takes keys");
    reach("#one .guess input").await;
    press(&browser, " ").await;
    browser.until("return !document.querySelector('#one .reveal').hidden").await;
    reach("#one .senders button").await;
    press(&browser, ENTER).await;
    browser.until("return document.querySelector('#one .messages').textContent === '1'").await;
    reach("#one .freeze").await;
    press(&browser, " ").await;
    assert_eq!(browser.text("#one .freeze").await, "Back to now");
    reach("#one .when").await;
    press(&browser, &LEFT.repeat(4)).await;
    assert_eq!(browser.text("#one .when-shown").await, "0.2 s ago");
    reach("#one .follow-steps button").await;
    press(&browser, ENTER).await;
    let current = "return !!document.querySelector('#one .follow-steps [aria-current]')";
    browser.until(current).await;
    reach("#interval-one").await;
    press(&browser, LEFT).await;
    assert_eq!(browser.text("#interval-one-shown").await, "1,000 ms");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scene_with_the_focus_is_connected() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "one").await else { return };
    // Without moving the window.
    let focus = "document.querySelector('#held .senders button').focus({ preventScroll: true })";
    browser.run(focus).await;
    let is_connected = "return document.querySelector('#held .state').textContent === 'connected'";
    browser.until(is_connected).await;
    press(&browser, " ").await;
    browser.until("return document.querySelector('#held .messages').textContent === '3'").await;
    // The first scene, entered again, does not receive what the other one published.
    browser.run(&focus.replace("#held", "#one")).await;
    browser.until(&is_connected.replace("#held", "#one")).await;
    press(&browser, " ").await;
    browser.until("return document.querySelector('#one .messages').textContent === '1'").await;
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_have_the_colours_of_a_forced_palette() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "pushed").await else { return };
    let features = serde_json::json!([{ "name": "forced-colors", "value": "active" }]);
    let media = serde_json::json!({ "features": features });
    browser.devtools("Emulation.setEmulatedMedia", media).await;
    // The bar of the WebSocket is 6 pixels high and lies on the upper line, which is at 15.
    let is_drawn = "const probe = document.body.appendChild(document.createElement('p'));
        probe.style = 'forced-color-adjust: none; color: Highlight';
        const reference = new OffscreenCanvas(1, 1).getContext('2d');
        reference.fillStyle = getComputedStyle(probe).color;
        probe.remove();
        reference.fillRect(0, 0, 1, 1);
        const wanted = reference.getImageData(0, 0, 1, 1).data.join();
        const canvas = document.querySelector('#pushed canvas');
        const row = Math.round(13 * canvas.height / canvas.clientHeight);
        const { data } = canvas.getContext('2d').getImageData(0, row, canvas.width, 1);
        for (let i = 0; i < data.length; i += 4)
            if (data.slice(i, i + 4).join() === wanted) return true;
        return false";
    browser.until(is_drawn).await;
    // Not without complaint: Chromium advises another kind of canvas to scripts that read it.
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_race_fits_a_laptop_and_a_phone() {
    let server = TestServer::start().await;
    let Some(browser) = open(&server, "race").await else { return };
    for (width, height) in [(1280, 720), (390, 844)] {
        let screen = serde_json::json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        // From the title to the slider of the time.
        let fits = "document.querySelector('#race').scrollIntoView();
            const end = document.querySelector('#race .time').getBoundingClientRect().bottom;
            return end <= innerHeight && document.documentElement.scrollWidth <= innerWidth";
        browser.until(fits).await;
    }
    browser.close_without_complaint().await;
    server.stop().await;
}
