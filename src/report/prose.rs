//! Texts of the document that do not depend on figures, the circumstances of the run, and helpers
//! for sentences.

use std::time::Duration;

use crate::measure::Histogram;
use crate::run::{Cell, Network, Run};
use crate::scenario::{Headers, Link, Process, Workload};
use crate::theory::ProcessingTime;
use crate::units::show_duration;
use crate::variant::Pacing;

use super::Report;
use crate::units::{Unit, thousands};

/// How the figures were measured, in brief.
pub const METHOD: [&str; 9] = [
    "Latency runs from the instant at which the schedule planned a publication to its receipt at \
     the subscriber, on one monotonic clock, so a late publisher does not hide latency (no \
     coordinated omission).",
    "Every transport gets the same schedule over the same simulated link. The link delays each \
     direction of every subscriber's connection; publishing is not delayed.",
    "Only the steady state counts. Every delivery is verified: a message that is lost, duplicated \
     or out of order voids the transport's result. Client and server must count the same requests.",
    "Repeats are interleaved. Percentiles are taken from the values of all repeats together; every \
     other figure is the median of the repeats. Smaller print: the smallest and the largest repeat.",
    "A percentile is shown only if at least 10 deliveries, and one whole message, lie above it.",
    "A CPU or memory figure has an error: the resolution of the clock or of the allocator, the CPU \
     use of an idle server, and the number of messages. It is shown only if that error is at most \
     25 % of the figure.",
    "A difference is claimed only if two figures lie further apart than the sum of their intervals \
     (bootstrap over the repeats, 95 %, at least as wide as the error) and by more than 2 %.",
    crate::advise::TOO_CLOSE_MEANING,
    "Theory is a closed form, evaluated with the rate of the messages that the schedule drew. The \
     processing time of the machine, where it was measured (see Circumstances), is added to every \
     delivery and every gap between two polls. Beside the prediction is the ratio measured / \
     predicted (×1.02); for shares, the difference in percentage points. For latencies that consist \
     mostly of processing time, as at a round trip of 0, the difference replaces the ratio.",
];

/// Properties that decide as often as the figures do, and the consequence of each for polling, for
/// a streamed response (SSE), and for a WebSocket.
pub const UNMEASURED: [[&str; 4]; 8] = [
    [
        "proxies and buffering",
        "pass everywhere; a long poll must end before the proxy's timeout",
        "a proxy that buffers responses delays messages: turn its buffering off",
        "a proxy must support the upgrade; some networks block it",
    ],
    [
        "authentication in browsers",
        "any header, with fetch",
        "EventSource sends cookies but no custom headers",
        "cookies, but no custom headers",
    ],
    [
        "reconnecting",
        "the next request",
        "EventSource reconnects and sends Last-Event-ID",
        "your code, with backoff and a cursor",
    ],
    [
        "connections per host in a browser",
        "six over HTTP/1.1; a long poll occupies one",
        "six over HTTP/1.1; a stream occupies one",
        "a separate, much higher limit",
    ],
    [
        "HTTP/2",
        "requests share one connection",
        "streams share one connection",
        "one connection each unless RFC 8441 is supported",
    ],
    [
        "background tabs, closed apps",
        "timers are throttled, so polls are late; a closed page or app needs the push service of \
         its platform (Web Push, APNs, FCM)",
        "not throttled, but a frozen tab, a closed page or app receives nothing",
        "not throttled, but a frozen tab, a closed page or app receives nothing",
    ],
    [
        "serverless platforms",
        "short polls fit; held requests are billed while they wait",
        "a response is cut at the platform's time limit",
        "needs a gateway that keeps the connections",
    ],
    [
        "operation",
        "any load balancer; deploys need no drain",
        "long-lived responses: deploys must drain",
        "long-lived connections: deploys must drain",
    ],
];

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items: Vec<String> = items.into_iter().collect();
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

/// `20 ms`, or `20 ms to 30 ms` if the two values are shown differently.
pub fn range(unit: Unit, low: f64, high: f64) -> String {
    let (low, high) = (unit.show(low), unit.show(high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// The paragraphs of a text in lines; an empty line separates two.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty())
}

/// Names and values of everything that a reader needs to repeat the measurement.
pub fn circumstances(report: &Report) -> Vec<(&'static str, String)> {
    let run = report.run;
    let (tool, machine) = (&run.tool, &run.machine);
    let commit = tool.commit.as_deref().unwrap_or("unknown commit");
    let place = match run.server.is_child {
        true => "a process of its own on the same machine",
        false => "not started by this run",
    };
    let seal = if run.server.is_tls { ", over TLS" } else { "" };
    let server = format!("{}, {place}{seal}", run.server.version);
    let rows = [
        ("Started", Some(run.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())),
        ("Took", Some(Unit::Seconds.show((run.finished_at - run.started_at).get_seconds() as f64))),
        ("Tool", Some(format!("{} {}, {commit}, {} build", tool.name, tool.version, tool.profile))),
        ("Compiler", Some(tool.rustc.clone())),
        ("Server", Some(server)),
        ("Load generators", generators(run)),
        ("Processor", Some(format!("{}, {} cores", machine.cpu, machine.cores))),
        ("Memory", Some(Unit::Bytes.show(machine.memory_bytes as f64))),
        ("System", Some(format!("{}, kernel {}", machine.os, machine.kernel))),
        (
            "Load before",
            Some(format!("{:.2} (load average, one minute)", machine.load_average_before)),
        ),
        ("Network", network(&run.cells)),
        ("Processing time", Some(processing_time(report.run.processing_time))),
        ("Scenario", Some(format!("{}, seed {}", run.scenario.name, run.scenario.seed))),
        ("Repeats", Some(run.scenario.repeats.to_string())),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// How many load generators and machines took part, if there are several.
fn generators(run: &Run) -> Option<String> {
    let count = run.segments.len();
    (count > 1).then(|| {
        let machines = match run.generator_machines() {
            1 => "one machine".to_owned(),
            n => format!("{n} machines"),
        };
        format!("{count} segments on {machines}; processor, memory and system of the first")
    })
}

fn processing_time(processing_time: Option<ProcessingTime>) -> String {
    let Some(ProcessingTime { push_s, round_trip_s }) = processing_time else {
        return "not measured, so predictions contain none".to_owned();
    };
    format!(
        "{} per push, {} per request with its response, without the link; measured before the first \
         cell",
        Unit::Seconds.show(push_s),
        Unit::Seconds.show(round_trip_s)
    )
}

/// The round trips to a server that this run did not start, with their spread.
fn network(cells: &[Cell]) -> Option<String> {
    let networks: Vec<&Network> = cells.iter().filter_map(|cell| cell.network.as_ref()).collect();
    if networks.is_empty() {
        return None;
    }
    let [mut subscribers, mut publisher] = [Histogram::new(), Histogram::new()];
    for network in &networks {
        subscribers.merge(network.subscribers.best_us());
        publisher.merge(network.publisher.best_us());
    }
    let is_kernel = networks.iter().all(|network| !network.subscribers.kernel_us.0.is_empty());
    let show = |micros: f64| Unit::Seconds.show(micros / 1e6);
    let spread = |name: &str, histogram: &Histogram| {
        let inner = &histogram.0;
        let at = |p: f64| show(inner.value_at_quantile(p) as f64);
        format!(
            "round trip of {name} {} in the median, {} to {} in 80 % of {} connections",
            at(0.5),
            at(0.1),
            at(0.9),
            thousands(inner.len() as i64)
        )
    };
    Some(format!(
        "{}; {}; measured {}; a simulated link is added to it",
        spread("the subscribers", &subscribers),
        spread("the publisher", &publisher),
        match is_kernel {
            true => "by the kernel (TCP_INFO) when each connection was opened",
            false => "as the time of each connect",
        }
    ))
}

/// The link in a few words.
fn link(workload: &Workload) -> String {
    let mut parts = vec![format!("round trip {}", show_duration(workload.rtt))];
    if workload.link == Link::Packets {
        parts.push("packet link".to_owned());
    }
    if !workload.jitter.is_zero() {
        parts.push(format!("jitter up to {} each way", show_duration(workload.jitter)));
    }
    if workload.is_lossy() {
        let bursts = match workload.loss_burst {
            Duration::ZERO => String::new(),
            burst => format!(" in bursts of {} on average", show_duration(burst)),
        };
        parts.push(format!("{} % of the packets lost each way{bursts}", workload.loss));
    }
    let limits = [("to", workload.bandwidth_down_kbit), ("from", workload.bandwidth_up_kbit)];
    for (direction, kbit) in limits {
        if let Some(kbit) = kbit {
            parts.push(format!("{} kbit/s {direction} each subscriber", thousands(kbit.into())));
        }
    }
    parts.join(", ")
}

/// The workload in a sentence.
pub fn workload(workload: &Workload) -> String {
    let process = match workload.process {
        Process::Poisson => "at random (Poisson)",
        Process::Periodic => "at equal intervals",
    };
    let pacing = match workload.poll_pacing {
        Pacing::AfterResponse => "after each response",
        Pacing::FixedRate => "at a fixed rate",
    };
    let headers = match workload.headers {
        Headers::Minimal => "minimal request headers",
        Headers::Browser => "a browser's request headers",
    };
    let restart = match workload.restarts() {
        true => {
            format!(
                ", followed by a restart of the server within {}",
                show_duration(workload.restart)
            )
        }
        false => String::new(),
    };
    format!(
        "{} subscribers on {} topics; messages of {} of text, {} on each topic, published \
         {process}; {}; short polling every {} {pacing}; long polls answered after at most {}; \
         {headers}; steady state {}{restart}.",
        thousands(i64::from(workload.subscribers)),
        thousands(i64::from(workload.topics)),
        Unit::Bytes.show(f64::from(workload.message_bytes)),
        Unit::PerSecond.show(workload.rate),
        link(workload),
        show_duration(workload.poll_interval),
        show_duration(workload.long_poll_hold),
        show_duration(workload.duration),
    )
}
