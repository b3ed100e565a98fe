//! A half-open connection: the page shows it as silent, not as connected.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::super::child::ChildServer;
use super::super::support::soon;
use super::driver::Browser;

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
