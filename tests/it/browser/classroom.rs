//! The teacher's page with a full class.

use super::super::class::Device;
use super::*;

async fn open_teacher(browser: &Browser, server: &TestServer) {
    let key = server.app.class.as_ref().expect("a class").key();
    let url = format!("http://{}/teacher#{key}", server.address);
    soon(browser.client.goto(&url)).await.expect("the teacher's page");
    browser.until("return document.querySelector('#devices').textContent !== ''").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teachers_page_hides_its_key_and_keeps_it_after_a_reload() {
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    open_teacher(&browser, &server).await;
    let class = server.app.class.as_ref().expect("a class");
    let shown = browser.run("return location.href + document.body.textContent").await;
    assert!(!shown.as_str().expect("text").contains(class.key()), "{shown}");
    soon(browser.client.refresh()).await.expect("reloads");
    browser.until("return document.querySelector('#devices').textContent !== ''").await;
    browser.keys("#rate", END).await;
    let is_set = async {
        while class.overview().settings.rate != 20.0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon(is_set).await;
    assert_eq!(browser.text("#problem").await, "");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teachers_page_is_updated_once_a_second_however_many_devices_report() {
    const SECONDS: u64 = 6;
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    open_teacher(&browser, &server).await;
    let join = |number| Device::join(server.dialer(), number, &format!("team{number}"));
    let devices: Vec<_> = (0..30).map(join).collect();
    let counted = "return document.querySelector('#devices').textContent
        === '30 devices, 30 teams'";
    browser.until(counted).await;
    let watch = "window.updates = 0;
        new MutationObserver(() => (window.updates += 1))
            .observe(document.querySelector('#histogram'), { childList: true });
        const until = performance.now() + 1000 * SECONDS;
        window.isOver = () => performance.now() > until";
    browser.run(&watch.replace("SECONDS", &SECONDS.to_string())).await;
    browser.until("return isOver()").await;
    let updates = browser.run("return updates").await.as_u64().expect("a number");
    assert!((1..=SECONDS + 2).contains(&updates), "{updates} updates in {SECONDS} s");
    let messages = "return Number(document.querySelector('#histogram .figure').textContent
        .replaceAll(',', '')) > 0";
    browser.until(messages).await;
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    browser.until("return document.documentElement.scrollWidth <= 390").await;
    drop(devices);
    browser.close_without_complaint().await;
    server.stop().await;
}
