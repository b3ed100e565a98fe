//! Every page by keyboard alone: the tab key reaches each control, and the focus is visible.

use std::collections::BTreeSet;

use super::*;

const TAB: &str = "\u{E004}";

/// Gives each control that the tab key has to reach a number, and returns the numbers. Of the radio
/// buttons of a group the tab key reaches one.
const CONTROLS: &str = "const isShown = (node) => node.checkVisibility({ visibilityProperty: true });
    const all = [...document.querySelectorAll(
        'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')];
    const groups = new Set();
    const isFirst = ({ type, name }) => type !== 'radio' || (!groups.has(name) && groups.add(name));
    return all.filter((node) => isShown(node) && !node.disabled && isFirst(node))
        .map((node) => (node.dataset.number ??= String(window.controls = (window.controls ?? 0) + 1)))";

/// The number of the control that has the focus, how it is shown, and what it is.
const FOCUSED: &str = "const node = document.activeElement;
    const { outlineStyle } = getComputedStyle(node);
    const { top, bottom } = node.getBoundingClientRect();
    const isSeen = outlineStyle !== 'none' && bottom > 0 && top < innerHeight;
    const first = node.type === 'radio'
        ? document.querySelector(`input[name=\"${node.name}\"]`) : node;
    return [first.dataset.number ?? '', isSeen, node.outerHTML.slice(0, 120)]";

/// Presses the tab key until every control had the focus. Panics if that does not happen.
async fn reach_all(browser: &Browser, page: &str) {
    let numbers = async || {
        let found = browser.run(CONTROLS).await;
        serde_json::from_value::<BTreeSet<String>>(found).expect("numbers")
    };
    let controls = numbers().await;
    assert!(controls.len() > 1, "{page}: {controls:?}");
    let mut reached = BTreeSet::new();
    soon(browser.find("body").await.send_keys(TAB)).await.expect("takes keys");
    for _ in 0..3 * controls.len() {
        let focused = browser.run(FOCUSED).await;
        let is_body = focused[2].as_str().expect("HTML").starts_with("<body");
        assert!(is_body || focused[1] == true, "{page}: no visible focus: {}", focused[2]);
        reached.insert(focused[0].as_str().expect("a number").to_owned());
        if controls.is_subset(&reached) {
            return;
        }
        let element = soon(browser.client.active_element()).await.expect("one has the focus");
        soon(element.send_keys(TAB)).await.expect("takes keys");
    }
    // A control that has been removed in the meantime cannot be reached.
    let left: Vec<_> = numbers().await.intersection(&controls).cloned().collect();
    let missed: Vec<_> = left.into_iter().filter(|number| !reached.contains(number)).collect();
    let names = "return NUMBERS.map((number) =>
        document.querySelector(`[data-number=\"${number}\"]`).outerHTML.slice(0, 120))";
    let names = browser.run(&names.replace("NUMBERS", &json!(missed).to_string())).await;
    assert!(missed.is_empty(), "{page}: the tab key does not reach {names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_key_reaches_every_control_of_every_page() {
    let server = TestServer::with(|config| config.class = true).await;
    let Some(browser) = Browser::open(server.address).await else { return };
    let pages = [
        ("/?topic=room", "return document.querySelectorAll('.lane').length === 5"),
        ("/lesson", "return document.querySelector('#one .state').textContent === 'connected'"),
        ("/class", "return document.querySelector('#join button') !== null"),
        ("/class?team=one", "return document.querySelectorAll('.lane').length === 4"),
        ("/teacher", "return document.querySelector('#devices').textContent !== ''"),
        ("/model", "return !!document.querySelector('#model .verdict')"),
        ("/watch", "return document.querySelector('#no-runs') !== null"),
    ];
    for (path, is_ready) in pages {
        let url = format!("http://{}{path}", server.address);
        soon(browser.client.goto(&url)).await.expect("a page");
        browser.until(is_ready).await;
        // The answers of the lesson are shown after the guesses.
        browser
            .run(
                "for (const node of document.querySelectorAll('.reveal')) node.hidden = false;
                 return true",
            )
            .await;
        reach_all(&browser, path).await;
    }
    browser.close().await;
    server.stop().await;
}
