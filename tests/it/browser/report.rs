//! The report in a real browser: on screens of three widths, and on paper.

use std::path::Path;

use serde_json::json;

use super::super::support::{TestServer, soon};
use super::driver::Browser;

/// Opens the report of the recorded default run, as this version writes it.
async fn open(folder: &Path) -> Option<(Browser, TestServer)> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sample/run.json");
    let text = std::fs::read_to_string(sample).expect("a file");
    let run = poll_vs_push::run::Run::from_json(&text).expect("a run");
    poll_vs_push::report::write_all(&run, folder, None).expect("written");
    let server = TestServer::start().await;
    let browser = Browser::open(server.address).await?;
    let page = format!("file://{}", folder.join("report.html").display());
    soon(browser.client.goto(&page)).await.expect("a page");
    Some((browser, server))
}

async fn resize(browser: &Browser, width: u32, height: u32) {
    let screen = json!({
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
    });
    browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    browser.until(&format!("return innerWidth === {width}")).await;
}

/// Elements that are cut off at the right without a shadow, and without a way to scroll.
const CUT: &str = "
    const isScrolling = (node) => getComputedStyle(node).overflowX === 'auto'
        && getComputedStyle(node).backgroundImage !== 'none' && node.tabIndex === 0;
    return [...document.querySelectorAll('main *:not(svg *, .for-readers)')]
        .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
        .filter((node) => !node.closest('.scroll') || !isScrolling(node.closest('.scroll')))
        .map((node) => node.outerHTML.slice(0, 120))";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_report_is_cut_without_a_way_to_scroll() {
    let folder = tempfile::tempdir().expect("a directory");
    let Some((browser, server)) = open(folder.path()).await else { return };
    for width in [1280, 820, 390] {
        resize(&browser, width, 900).await;
        browser.until("return document.documentElement.scrollWidth <= innerWidth").await;
        assert_eq!(browser.run(CUT).await, json!([]), "{width} px");
    }
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_of_a_long_table_stays_visible_and_contents_lead_to_sections() {
    let folder = tempfile::tempdir().expect("a directory");
    let Some((browser, server)) = open(folder.path()).await else { return };
    resize(&browser, 1280, 700).await;
    let scroll = "const row = document.querySelector('#figures tbody tr:nth-child(25)');
        row.scrollIntoView({ block: 'center' }); return true";
    browser.run(scroll).await;
    let top = "return Math.abs(document.querySelector('#figures thead th')
        .getBoundingClientRect().top) < 1";
    browser.until(top).await;
    let missing = "return [...document.querySelectorAll('nav a[href^=\"#\"]')]
        .filter((link) => !document.querySelector(link.getAttribute('href'))).length";
    assert_eq!(browser.run(missing).await, json!(0));
    browser.close_without_complaint().await;
    server.stop().await;
}

/// CSS pixels of an A4 page without the margins of 12 mm that the style asks for.
const PAGE: (u32, u32) = (703, 1_031);

#[tokio::test(flavor = "multi_thread")]
async fn decision_fits_on_one_printed_page() {
    let folder = tempfile::tempdir().expect("a directory");
    let Some((browser, server)) = open(folder.path()).await else { return };
    browser.devtools("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    resize(&browser, PAGE.0, PAGE.1).await;
    let height = "return document.querySelector('#decision').getBoundingClientRect().bottom
        - document.body.getBoundingClientRect().top";
    let height = browser.run(height).await.as_f64().expect("a number");
    assert!(height > 300.0 && height < f64::from(PAGE.1), "{height} px");
    let next = "return getComputedStyle(document.querySelector('#decision')).breakAfter";
    assert_eq!(browser.run(next).await, json!("page"));
    browser.close_without_complaint().await;
    server.stop().await;
}
