//! The model page's formulas against those of the program: the same workloads through both.

use std::io::Write as _;
use std::process::Stdio;

use poll_vs_push::advise::prices::PriceList;
use poll_vs_push::advise::{Cost, Costs, Need, advise, choose, estimates};
use poll_vs_push::model;
use poll_vs_push::scenario::Headers;
use poll_vs_push::units::{RATES_READ, RATES_REFUSED, parse_rate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{TestServer, soon};

const WORKLOADS: usize = 2_000;
/// Workloads whose margins are compared: each of them takes thousands of estimates.
const WITH_MARGINS: usize = 40;
const TOLERANCE: f64 = 1e-9;
/// Bounds of the page's controls; a quarter of the values is at one of them.
const SUBSCRIBERS: [f64; 2] = [1.0, 1e7];
const TOPICS: [f64; 2] = [1.0, 1e6];
const RATE: [f64; 2] = [1e-5, 1e3];
const MESSAGE_BYTES: [f64; 2] = [1.0, 1e6];
const STALENESS: [f64; 2] = [0.01, 86_400.0];
const RTT: [f64; 2] = [0.001, 10.0];
const INTERVAL: [f64; 2] = [0.01, 86_400.0];
/// Margins are found by bisection, and sums that differ in the last bit may end it one step apart.
const MARGIN_TOLERANCE: f64 = 1e-4;
const MISSING: &str = "\nSKIPPED: no node, so the model page's formulas are not compared. Debian: apt install nodejs\n";

const DRIVER: &str = r#"
import { readFileSync } from "node:fs";
const { model, needs, with_margins } = JSON.parse(readFileSync(process.argv[2]));
const COSTS = {
  cpu: (estimate) => estimate.cpu_cores_busy,
  bytes: (estimate) => estimate.bytes_up_s + estimate.bytes_down_s,
  requests: (estimate) => estimate.requests_s,
  memory: (estimate) => estimate.memory_bytes,
  money: (estimate, need) => bill(model.prices[0], estimate, need)?.total ?? null,
};
const answers = needs.map((need, index) => {
  const candidates = estimates(need, model);
  return {
    estimates: candidates,
    choice: choose(candidates, (it) => COSTS[need.cost](it, need), need, model.constants),
    bills: model.prices.map((list) => candidates.map((estimate) => bill(list, estimate, need))),
    margins: index < with_margins ? margins(need, model, COSTS[need.cost]) : null,
    alternatives: index < with_margins ? alternatives(need, model, COSTS[need.cost]) : null,
  };
});
process.stdout.write(JSON.stringify(answers));
"#;

/// Workloads over all that the page's controls allow, many at the bounds.
fn workloads(seed: u64) -> Vec<Need> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut log = move |[low, high]: [f64; 2]| match rng.random_range(0..8) {
        0 => low,
        1 => high,
        _ => low * (high / low).powf(rng.random::<f64>()),
    };
    let mut picks = ChaCha8Rng::seed_from_u64(seed + 1);
    let costs = [Cost::Cpu, Cost::Bytes, Cost::Requests, Cost::Memory, Cost::Money];
    let workload = |_| {
        let subscribers = log(SUBSCRIBERS) as u32;
        let poll_interval_s = log(INTERVAL);
        Need {
            subscribers,
            topics: (log(TOPICS) as u32).min(subscribers),
            rate: log(RATE),
            staleness_s: log(STALENESS),
            rtt_s: if picks.random::<f64>() < 0.1 { 0.0 } else { log(RTT) },
            poll_interval_s: picks.random::<bool>().then_some(poll_interval_s),
            message_bytes: if picks.random::<f64>() < 0.1 { 0 } else { log(MESSAGE_BYTES) as u32 },
            headers: if picks.random() { Headers::Browser } else { Headers::Minimal },
            is_tls: picks.random(),
            browser_only: picks.random(),
            two_way: picks.random(),
            cost: costs[picks.random_range(0..costs.len())],
        }
    };
    (0..WORKLOADS).map(workload).collect()
}

/// Costs in which nothing is zero, and no two transports or sizes are alike.
fn other_costs() -> Costs {
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let mut costs = Costs::reference();
    costs.publish_cpu_us = 31.0;
    for own in costs.transports.values_mut() {
        own.request_cpu_us = rng.random_range(5.0..90.0);
        own.message_cpu_us = rng.random_range(1.0..40.0);
        own.memory_bytes = rng.random_range(3e3..50e3);
        for size in [
            &mut own.sizes.request_head,
            &mut own.sizes.response_head,
            &mut own.sizes.envelope,
            &mut own.sizes.message_object,
            &mut own.sizes.heartbeat_s,
            &mut own.sizes.segment_head,
        ] {
            *size = rng.random_range(10.0..200.0);
        }
        own.sizes.segment_payload = rng.random_range(500.0..1_500.0);
    }
    costs
}

/// The results of the page's formulas; absent if there is no program to run them.
async fn in_javascript(needs: &[Need], costs: &Costs, prices: &[PriceList]) -> Option<Vec<Value>> {
    let model = model::data(costs, prices, &needs[0]);
    let given = json!({ "model": model, "needs": needs, "with_margins": WITH_MARGINS });
    evaluate("formulas.js", DRIVER, given).await
}

/// What `driver`, appended to a file of the page, prints for an input; absent without Node.
async fn evaluate(file: &str, driver: &str, given: Value) -> Option<Vec<Value>> {
    let mut input = tempfile::NamedTempFile::new().expect("a file");
    write!(input, "{given}").expect("written");
    let (_, text) = model::files().find(|(name, _)| *name == file).expect("a file of the page");
    let mut script = tempfile::Builder::new().suffix(".mjs").tempfile().expect("a file");
    write!(script, "{text}{driver}").expect("written");
    let mut node = Command::new("node");
    node.arg(script.path()).arg(input.path()).stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = soon(node.output()).await else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{MISSING}");
        // Not by `eprintln!`, which the test runner keeps to itself.
        let _ = std::io::stderr().write_all(MISSING.as_bytes());
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("a list"))
}

/// Panics unless every field of `ours` is in `theirs` with the same value, numbers within the
/// tolerance.
fn assert_same(ours: &Value, theirs: &Value, tolerance: f64, what: &str) {
    match (ours, theirs) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, ours) in fields {
                assert_same(ours, &theirs[name], tolerance, &format!("{what}.{name}"));
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{what}");
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert_same(ours, theirs, tolerance, &format!("{what}[{index}]"));
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("finite"), b.as_f64().expect("finite"));
            let error = (a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE);
            assert!(error <= tolerance || a == b, "{what}: {a} in Rust, {b} in JavaScript");
        }
        _ => assert_eq!(ours, theirs, "{what}"),
    }
}

#[tokio::test]
async fn javascript_and_rust_agree_on_random_workloads() {
    compare(workloads(17), Costs::reference(), PriceList::built_in()).await;
    // The first list is the one by which `Cost::Money` chooses.
    let mut prices = PriceList::built_in();
    prices.rotate_left(1);
    compare(workloads(117), other_costs(), prices).await;
}

#[tokio::test]
async fn javascript_and_rust_read_the_same_rates() {
    const READ: &str = r#"
        import { readFileSync } from "node:fs";
        const texts = JSON.parse(readFileSync(process.argv[2]));
        process.stdout.write(JSON.stringify(texts.map(parseRate)));
    "#;
    let texts: Vec<&str> = RATES_READ.iter().map(|(text, _)| *text).chain(RATES_REFUSED).collect();
    let Some(read) = evaluate("text.js", READ, json!(texts)).await else { return };
    for (text, theirs) in texts.iter().zip(read) {
        assert_same(&json!(parse_rate(text).ok()), &theirs, TOLERANCE, text);
    }
}

async fn compare(needs: Vec<Need>, costs: Costs, prices: Vec<PriceList>) {
    let costs = Costs { prices: prices.first().cloned(), ..costs };
    let Some(answers) = in_javascript(&needs, &costs, &prices).await else { return };
    assert_eq!(answers.len(), needs.len());
    for (index, (need, theirs)) in needs.iter().zip(&answers).enumerate() {
        let estimates = estimates(need, &costs);
        let what = |part: &str| format!("{need:?}\n{part}");
        let mut ours = json!(estimates);
        for estimate in ours.as_array_mut().expect("a list") {
            let estimate = estimate.as_object_mut().expect("fields");
            // Bills are compared below.
            estimate.remove("monthly_bill");
        }
        assert_same(&ours, &theirs["estimates"], TOLERANCE, &what("estimates"));
        assert_same(&json!(choose(need, &costs)), &theirs["choice"], TOLERANCE, &what("choice"));
        let bills: Vec<Vec<_>> = prices
            .iter()
            .map(|list| estimates.iter().map(|estimate| list.bill(estimate, need)).collect())
            .collect();
        assert_same(&json!(bills), &theirs["bills"], TOLERANCE, &what("bills"));
        if index < WITH_MARGINS {
            let advice = json!(advise(need, &costs));
            for part in ["margins", "alternatives"] {
                assert_same(&advice[part], &theirs[part], MARGIN_TOLERANCE, &what(part));
            }
        }
    }
}

/// `advise` and the page must not begin with different workloads.
#[test]
fn page_and_advise_have_the_same_defaults() {
    let Need { subscribers, rate, staleness_s, .. } = Need::DEFAULT;
    let mut advise = std::process::Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    advise.args(["advise", "--json", "--subscribers", &subscribers.to_string()]);
    advise.args(["--rate", &rate.to_string(), "--staleness", &format!("{staleness_s}s")]);
    let output = advise.output().expect("it starts");
    let advice: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(advice["advice"]["need"], json!(Need::DEFAULT));
    let page = model::page();
    let (_, data) = page.split_once("id=\"model-data\"").expect("data");
    let (_, data) = data.split_once('>').expect("an end of the tag");
    let data = data.split("</script>").next().expect("an end of the element");
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(data["need"], json!(Need::DEFAULT));
}

#[tokio::test]
async fn model_page_is_served_with_its_files() {
    let server = TestServer::start().await;
    let page = server.get("/model").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    for (name, _) in model::files() {
        assert_eq!(server.get(&format!("/page/{name}")).await.status, 200, "{name}");
    }
    for list in PriceList::built_in() {
        assert!(text.contains(&list.title), "{}", list.title);
    }
    server.stop().await;
}
