//! A half-open connection: the page shows it as silent, not as connected.

use poll_vs_push::client::{Dialer, HttpConnection};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::super::child::ChildServer;
use super::super::support::soon;
use super::driver::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn frozen_server_is_shown_on_the_page_of_a_run() {
    let mut server = ChildServer::start(&["--heartbeat", "1s"]);
    let Some(browser) = Browser::open(server.address).await else { return };
    let publish = async |what: serde_json::Value| {
        let body = json!({ "sender": "compare", "text": what.to_string() }).to_string();
        let mut http = HttpConnection::new(Dialer::new(server.address));
        let path = "/topics/compare/messages";
        let post = "POST".parse().expect("a method");
        let answer = soon(http.request(post, path, body.into())).await.expect("an answer");
        assert_eq!(answer.status, 201);
    };
    publish(json!({ "what": "cell", "number": 1, "of": 2, "label": "SSE", "left_s": 9.0 })).await;
    let page = format!("http://{}/watch?heartbeat=1", server.address);
    soon(browser.client.goto(&page)).await.expect("a page");
    browser.until("return document.querySelector('#now').textContent.startsWith('1 of 2')").await;

    let process = Pid::from_child(&server.child);
    kill_process(process, Signal::STOP).expect("it is ours");
    browser.until("return document.querySelector('#lost').textContent.includes('lost')").await;
    kill_process(process, Signal::CONT).expect("it is ours");
    browser.until("return document.querySelector('#lost').textContent === ''").await;
    // It continues after its cursor.
    publish(json!({ "what": "cell", "number": 2, "of": 2, "label": "SSE", "left_s": 4.0 })).await;
    browser.until("return document.querySelector('#now').textContent.startsWith('2 of 2')").await;
    browser.close().await;
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_server_makes_every_lane_silent_until_it_continues() {
    let mut server = ChildServer::start(&["--heartbeat", "1s"]);
    let Some(browser) = Browser::open(server.address).await else { return };
    let page = format!("http://{}/?topic=room&heartbeat=1", server.address);
    soon(browser.client.goto(&page)).await.expect("a page");
    // Only heartbeats are sent: a lane that misses them would become silent here.
    browser.keys("#rate", "\u{E011}").await;
    browser.until_all(".state", |state| state == "connected").await;
    let watch = "window.silent = new Set();
        new MutationObserver(() => {
            for (const lane of document.querySelectorAll('.lane'))
                if (lane.querySelector('.state').textContent.startsWith('silent for'))
                    silent.add(lane.id);
        }).observe(document.querySelector('#lane-list'), { subtree: true, childList: true });
        const until = performance.now() + 5000;
        window.idle = () => performance.now() > until";
    browser.run(watch).await;
    browser.until("return idle()").await;
    assert_eq!(browser.run("return [...silent]").await, json!([]), "idle is not silent");

    let process = Pid::from_child(&server.child);
    kill_process(process, Signal::STOP).expect("it is ours");
    browser.until("return silent.size === document.querySelectorAll('.lane').length").await;
    kill_process(process, Signal::CONT).expect("it is ours");
    browser.until_all(".state", |state| state == "connected").await;
    browser.close().await;
    server.kill();
}
