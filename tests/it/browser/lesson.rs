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
        .every((row) => /silent|server gone/.test(row.textContent))";
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
