//! The model page and the model in a report, in a real browser.

use poll_vs_push::advise::prices::PriceList;
use poll_vs_push::advise::{Costs, Need, advise};
use poll_vs_push::report::Report;
use poll_vs_push::run::Run;
use poll_vs_push::units::money;
use serde_json::json;

use super::super::support::{TestServer, soon};
use super::driver::Browser;

const VERDICT: &str = "return document.querySelector('#model .verdict')?.textContent ?? ''";

/// Waits until the page recommends what the program does for `need`.
async fn until_recommended(browser: &Browser, need: &Need) {
    let advice = advise(need, &Costs::reference());
    let wanted = advice.choice.expect("something is fast enough").transport.label();
    browser
        .until(&format!(
            "const text = document.querySelector('#model .verdict')?.textContent ?? '';
             return text.toLowerCase().startsWith({})",
            json!(wanted.to_lowercase())
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_page_recommends_what_the_program_does_and_keeps_its_state_in_the_address() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let page = format!("http://{}/model", server.address);
    soon(browser.client.goto(&page)).await.expect("a page");
    until_recommended(&browser, &Need::DEFAULT).await;

    // By keyboard: a value is typed, and the answer follows.
    let set = "const field = document.querySelector('#model-rate');
        field.focus(); field.value = ''; return true";
    browser.run(set).await;
    browser.keys("#model-rate", "50\u{E007}").await;
    browser.until("return location.hash.includes('rate=50')").await;
    let need = Need { rate: 50.0, ..Need::DEFAULT };
    until_recommended(&browser, &need).await;
    let verdict = browser.run(VERDICT).await;

    // The bills of the table are those of the program.
    let estimate = &advise(&need, &Costs::reference()).estimates[0];
    let bill = PriceList::built_in()[0].bill(estimate, &need).expect("a machine carries all");
    let cell = "return document.querySelector('#model tbody tr').cells[3].firstChild.textContent";
    assert_eq!(browser.run(cell).await, format!("{} USD", money(bill.total)));

    // A link leads to the same workload; an invalid link leads to valid values.
    let link = browser.run("return location.href").await;
    soon(browser.client.goto("about:blank")).await.expect("a page");
    soon(browser.client.goto(link.as_str().expect("text"))).await.expect("a page");
    browser.until("return document.querySelector('#model-rate')?.value === '50/s'").await;
    assert_eq!(browser.run(VERDICT).await, verdict);
    let bad = format!("{page}#rate=-1&subscribers=x&staleness_s=1e99&cost=toString&prices=none");
    soon(browser.client.goto("about:blank")).await.expect("a page");
    soon(browser.client.goto(&bad)).await.expect("a page");
    browser.until("return document.querySelector('#model-rate')?.value === '0.864/d'").await;
    assert_eq!(browser.run("return document.querySelector('#model-cost').value").await, "cpu");
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_page_fits_every_width_and_its_controls_have_distinct_names() {
    let server = TestServer::start().await;
    let Some(browser) = Browser::open(server.address).await else { return };
    soon(browser.client.goto(&format!("http://{}/model", server.address))).await.expect("a page");
    for width in [1280, 820, 390] {
        let screen =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800 });
        browser.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let fits = "return document.documentElement.scrollWidth <= innerWidth";
        browser.until(fits).await;
    }
    let doubled =
        "const names = [...document.querySelectorAll('#model :is(input, select, button)')]
            .map((node) => node.ariaLabel ?? node.labels?.[0]?.textContent ?? node.textContent);
        return names.filter((name, index) => !name.trim() || names.indexOf(name) !== index)";
    assert_eq!(browser.run(doubled).await, json!([]));
    browser.close_without_complaint().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_runs_in_a_report_on_its_own_and_in_the_sandbox() {
    let reports = tempfile::tempdir().expect("a directory");
    let folder = reports.path().join("run");
    std::fs::create_dir(&folder).expect("made");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sample/run.json");
    let run: Run = serde_json::from_slice(&std::fs::read(sample).expect("a file")).expect("a run");
    let html = Report::new(&run).html();
    let path = folder.join("report.html");
    std::fs::write(&path, &html).expect("written");
    let server =
        TestServer::with(|config| config.reports = Some(reports.path().to_path_buf())).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let served = format!("http://{}/reports/run/report.html", server.address);
    for address in [served, format!("file://{}", path.display())] {
        soon(browser.client.goto(&address)).await.expect("a page");
        browser.until("return !!document.querySelector('#model .verdict')?.textContent").await;
        // It begins with the workload and the recommendation of the report.
        let same = "const of = (css) => document.querySelector(css).textContent.toLowerCase();
            return of('#decision .strong').startsWith(`recommendation: ${of('#model .verdict').split(',')[0]}`)";
        browser.until(same).await;
        // Links within the report do not change the workload; a change of it appears in the
        // address.
        browser.run("location.hash = '#what-if'; return true").await;
        browser.run("document.querySelector('#model-is_tls, #model .check input').click()").await;
        browser.until("return location.hash.includes('is_tls')").await;
        let rows = "return document.querySelectorAll('#model tbody tr').length";
        assert!(browser.run(rows).await.as_u64() > Some(2));
    }
    browser.close_without_complaint().await;
    server.stop().await;
}
