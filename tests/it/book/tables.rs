//! The tables of the book, made from recorded results.

use std::collections::HashMap;
use std::path::Path;

use poll_vs_push::capacity::CapacityRun;
use poll_vs_push::theory::bytes::{
    PollConnection, Sizes, TLS_FULL_BYTES, TLS_RECORD_BYTES, TLS_RESUMED_BYTES,
};
use poll_vs_push::units::Unit;
use poll_vs_push::variant::Variant;

use super::{plan, read, records, root};

/// The figures of a kind of table, by their names in `results.csv`, with the heading of their row.
fn rows(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "figures" => &[
            ("latency.mean", "mean latency"),
            ("latency.p99", "p99 latency"),
            ("requests.per_subscriber_per_second", "requests per second and subscriber"),
            ("requests.empty_share", "empty responses"),
            ("bytes.per_message", "bytes per message"),
            ("server.cpu_per_message", "server CPU per message"),
        ],
        "bytes" => &[
            ("bytes.payload_per_message", "payload"),
            ("bytes.framing_per_message", "framing"),
            ("bytes.headers_per_message", "HTTP headers"),
            ("bytes.tcp_ip_per_message", "TCP/IP headers"),
            ("bytes.per_message", "all"),
        ],
        "recovery" => &[
            ("recovery.noticed", "noticed it"),
            ("recovery.back_mean", "mean time until a subscriber is back"),
            ("recovery.latency_max", "longest wait for a message"),
        ],
        "loss" => &[
            ("latency.p50", "median"),
            ("latency.p99", "p99"),
            ("latency.timeout_share", "late by a timeout"),
        ],
        "access" => &[("latency.mean", "mean latency"), ("latency.p99", "p99 latency")],
        "links" => &[
            ("latency.mean", "mean latency"),
            ("latency.timeout_share", "late by a timeout"),
            ("bytes.tcp_ip_per_message", "TCP/IP bytes per message"),
        ],
        "variants" => &[
            ("bytes.per_message", "bytes per message"),
            ("server.cpu_per_message", "server CPU per message"),
            ("server.memory_per_idle_subscriber", "memory per idle subscriber"),
        ],
        "server" => &[
            ("server.cpu_per_message", "server CPU per message"),
            ("server.memory_per_idle_subscriber", "memory per idle subscriber"),
        ],
        _ => panic!("no kind of table is called '{kind}'"),
    }
}

pub const KINDS: [&str; 13] = [
    "figures",
    "bytes",
    "recovery",
    "loss",
    "access",
    "links",
    "variants",
    "server",
    "capacity",
    "plan",
    "table",
    "predicted",
    "handshakes",
];

/// The heading above the rows' names.
fn corner(kind: &str) -> &'static str {
    match kind {
        "bytes" => "bytes per message",
        "recovery" => "after the restart",
        _ => "",
    }
}

/// A file of results: `case,..,loss,..,transport,status,figure,unit,value,..`.
struct Results {
    /// The points that were measured, by their names; one with an empty name without cases.
    cases: Vec<String>,
    /// The values and units by point, transport and figure.
    values: HashMap<[String; 3], (f64, String)>,
}

impl Results {
    fn of(path: &str) -> Results {
        let text = read(path);
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let head = lines.next().expect("a head");
        let find = |name| head.iter().position(|head| *head == name);
        let column = |name| find(name).expect("the column exists");
        let [case, transport, status, figure, unit, value] =
            ["case", "transport", "status", "figure", "unit", "value"].map(column);
        let lines: Vec<_> = lines.filter(|line| line[status] == "ok").collect();
        // The share of lost packets is part of a point's name if it was swept.
        let predicted = find("predicted");
        let loss =
            find("loss").filter(|loss| lines.iter().any(|line| line[*loss] != lines[0][*loss]));
        let name_of = |line: &[&str]| {
            let share = loss.and_then(|loss| line[loss].parse().ok());
            let share = share.map(|share| format!("{} lost", Unit::Share.show(share)));
            let parts = [Some(line[case].replace('-', " ")), share];
            let parts: Vec<_> =
                parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
            parts.join(", ")
        };
        let mut results = Results { cases: Vec::new(), values: HashMap::new() };
        for line in lines {
            let name = name_of(&line);
            if !results.cases.contains(&name) {
                results.cases.push(name.clone());
            }
            let columns = [("", Some(value)), ("predicted.", predicted)];
            for (prefix, column) in columns {
                if let Some(Ok(number)) = column.map(|column| line[column].parse()) {
                    let figure = format!("{prefix}{}", line[figure]);
                    let key = [name.clone(), line[transport].to_owned(), figure];
                    results.values.insert(key, (number, line[unit].to_owned()));
                }
            }
        }
        results
    }

    fn number(&self, case: &str, transport: &str, figure: &str) -> f64 {
        let key = [case, transport, figure].map(str::to_owned);
        self.values.get(&key).unwrap_or_else(|| panic!("not measured: {figure}")).0
    }

    /// A figure as text; `None` if it was not measured.
    fn show(&self, case: &str, transport: &str, figure: &str) -> Option<String> {
        let key = [case, transport, figure].map(str::to_owned);
        let (value, base) = self.values.get(&key)?;
        Some(unit(figure, base).show(*value))
    }
}

/// The unit in which a figure is shown; `base` is its unit in a file of results.
fn unit(figure: &str, base: &str) -> Unit {
    let figure = figure.trim_start_matches("predicted.");
    let is_share =
        ["requests.empty_share", "recovery.noticed", "latency.timeout_share"].contains(&figure);
    match base {
        "s" => Unit::Seconds,
        "B" => Unit::Bytes,
        _ if is_share => Unit::Share,
        _ => Unit::Count,
    }
}

/// The figure that a comment asks for: `latency.p99 of docs/sample/results.csv: websocket`, with
/// ` in CASE` if the run has cases; its prediction: `predicted.latency.p99 of ..`; or a number that
/// follows from such figures: `example.NAME of docs/sample/results.csv`.
pub fn value(comment: &str) -> String {
    let (source, transport) = comment.split_once(": ").unwrap_or((comment, ""));
    let (figure, path) = source.split_once(" of ").expect("a figure and a file");
    if path.ends_with(".json") {
        return records::value(figure, path);
    }
    if path == "src/theory/bytes.rs" {
        return match figure {
            "browser-headers" => Unit::Count.show(Sizes::BROWSER_HEADERS),
            "tls-record" => Unit::Count.show(TLS_RECORD_BYTES),
            _ => panic!("the model has no '{figure}'"),
        };
    }
    let results = Results::of(path);
    if let Some(name) = figure.strip_prefix("example.") {
        return example(name, &results);
    }
    if let Some(name) = figure.strip_prefix("adaptive.") {
        return adaptive(name, &results);
    }
    if figure == "generator-ratio" {
        let of = |figure: &str| results.number("", transport, figure);
        return format!("{:.2}", of("generator.cpu_per_message") / of("server.cpu_per_message"));
    }
    let (transport, case) = transport.split_once(" in ").unwrap_or((transport, ""));
    results.show(case, transport, figure).unwrap_or_else(|| panic!("not measured: {comment}"))
}

/// A number of the example in the chapter on capacity: 10,000 subscribers with a message a minute,
/// over WebSocket or by a poll every five seconds.
fn example(name: &str, results: &Results) -> String {
    const SUBSCRIBERS: f64 = 10_000.0;
    const POLLS_PER_SECOND: f64 = SUBSCRIBERS / 5.0;
    let of = |transport: &str, figure: &str| results.number("", transport, figure);
    let delivery_s = of("websocket", "server.cpu_per_message");
    let poll_s =
        of("short-polling", "server.cpu_per_message") / of("short-polling", "requests.per_message");
    let deliveries_s = SUBSCRIBERS * delivery_s;
    let polls_s = 60.0 * POLLS_PER_SECOND * poll_s;
    match name {
        "memory" => {
            let one = of("websocket", "server.memory_per_idle_subscriber");
            format!("{:.0} MB", SUBSCRIBERS * one / 1e6)
        }
        "delivery" => format!("{:.0} µs", delivery_s * 1e6),
        "deliveries" => format!("{deliveries_s:.2} s"),
        "poll" => format!("{:.0} µs", poll_s * 1e6),
        "polls" => format!("{polls_s:.0} s"),
        "polls-share" => format!("{:.0} %", 100.0 * POLLS_PER_SECOND * poll_s),
        "ratio" => format!("{:.0}", polls_s / deliveries_s),
        "cores-at-ten-a-second" => format!("{:.1}", 10.0 * deliveries_s),
        "empty-a-second" => empty_share(1.0),
        "empty-a-minute" => empty_share(1.0 / 60.0),
        _ => panic!("the example has no number called '{name}'"),
    }
}

/// A client with a fixed interval that sends as many requests as the adaptive one of the case
/// "quiet" is predicted to send.
fn adaptive(name: &str, results: &Results) -> String {
    const RTT_S: f64 = 0.04;
    let figure = "predicted.requests.per_subscriber_per_second";
    let period_s = 1.0 / results.number("quiet", "short-polling+adaptive", figure);
    match name {
        "fixed-interval" => Unit::Seconds.show(period_s - RTT_S),
        "fixed-latency" => Unit::Seconds.show(period_s / 2.0 + RTT_S / 2.0),
        _ => panic!("nothing adaptive is called '{name}'"),
    }
}

/// The share of empty responses when one is expected `POLL_S` after the other.
fn empty_share(rate: f64) -> String {
    const POLL_S: f64 = 1.04;
    format!("{:.0} %", 100.0 * (-rate * POLL_S).exp())
}

/// The table that a comment asks for: `figures of docs/sample/results.csv: sse websocket`. A
/// sentence if there are no results yet.
pub fn table(comment: &str) -> String {
    let (source, transports) = comment.split_once(": ").unwrap_or((comment, ""));
    let (kind, path) = source.split_once(" of ").expect("a kind and a file");
    if !["plan", "handshakes"].contains(&kind) && !root().join(path).exists() {
        let name = Path::new(path).parent().and_then(Path::file_name).expect("a directory");
        return format!("(This run has not been recorded yet: {}.)\n", name.display());
    }
    if kind == "table" {
        return read(path)
            .lines()
            .filter(|line| line.starts_with('|'))
            .fold(String::new(), |table, line| table + line + "\n");
    }
    if kind == "handshakes" {
        return handshakes();
    }
    let transports: Vec<&str> = transports.split(' ').collect();
    if kind == "predicted" {
        return predicted(&Results::of(path), &transports);
    }
    let rows = match kind {
        "plan" => plan::rows(path, &transports),
        "capacity" => capacity_rows(path, &transports),
        _ => result_rows(kind, &Results::of(path), &transports),
    };
    let label = |name: &&str| {
        let variant: Variant = name.parse().expect("a transport");
        variant.label()
    };
    let labels: Vec<_> = transports.iter().map(label).collect();
    let corner = [corner(kind), " "].concat();
    let mut table = format!("| {}| {} |\n", corner.trim_start(), labels.join(" | "));
    table += &format!("|---|{}\n", "---:|".repeat(transports.len()));
    for (name, cells) in rows {
        let cell = |cell: &Option<String>| match cell {
            Some(text) => format!(" {text} |"),
            None => " |".to_owned(),
        };
        table += &format!("| {name} |{}\n", cells.iter().map(cell).collect::<String>());
    }
    table
}

/// Measured and predicted figures, a transport in each row.
fn predicted(results: &Results, transports: &[&str]) -> String {
    const FIGURES: [(&str, &str); 5] = [
        ("latency.mean", "mean latency"),
        ("predicted.latency.mean", "predicted"),
        ("bytes.per_message", "bytes per message"),
        ("predicted.bytes.per_message", "predicted"),
        ("server.cpu_per_message", "server CPU per message"),
    ];
    let mut made = format!("| | {} |\n|---|", FIGURES.map(|(_, name)| name).join(" | "));
    made += &format!("{}\n", "---:|".repeat(FIGURES.len()));
    for transport in transports {
        let variant: Variant = transport.parse().expect("a transport");
        let cells = FIGURES.map(|(figure, _)| results.show("", transport, figure));
        let cells = cells.map(|cell| cell.map_or(" |".to_owned(), |text| format!(" {text} |")));
        made += &format!("| {} |{}\n", variant.label(), cells.concat());
    }
    made
}

/// The bytes that a connection for each poll adds, by the model.
fn handshakes() -> String {
    let [up, down] = [0, 1].map(|direction| {
        let close = "connection: close\r\n".len() as f64;
        let record = TLS_RECORD_BYTES;
        // The alert has two bytes.
        [close, TLS_FULL_BYTES[direction], TLS_RESUMED_BYTES[direction], record, record + 2.0]
    });
    let plain = PollConnection::of("short-polling+new-connection".parse().expect("a variant"));
    let tls = PollConnection::of("short-polling+new-connection+tls".parse().expect("a variant"));
    let [plain, tls] = [plain, tls].map(|connection| connection.expect("a new connection"));
    let row = |name: &str, up: f64, down: f64, unit: &str| {
        let [up, down] = [up, down].map(|value| format!("{}{unit}", Unit::Count.show(value)));
        format!("| {name} | {up} | {down} |\n")
    };
    let names = [
        "`connection: close`",
        "TLS 1.3, full handshake",
        "TLS 1.3, resumed",
        "TLS: a record each for request and response",
        "TLS: the alert that ends the connection (`close_notify`)",
    ];
    let bytes = (0..names.len()).map(|index| row(names[index], up[index], down[index], ""));
    let segments = [
        row("TCP/IP: opening and closing", plain.segments_up, plain.segments_down, " segments"),
        row(
            "TCP/IP: TLS handshake and its end",
            tls.segments_up - plain.segments_up,
            tls.segments_down - plain.segments_down,
            " segments",
        ),
    ];
    let rows: String = bytes.chain(segments).collect();
    format!("| bytes | up | down |\n|---|---:|---:|\n{rows}")
}

/// The name of a row, and its cell for each transport.
type TableRow = (String, Vec<Option<String>>);

/// The figures of a kind that some of the transports have, for each case.
fn result_rows(kind: &str, results: &Results, transports: &[&str]) -> Vec<TableRow> {
    let row = |case: &String, (figure, name): &(&str, &str)| {
        let name = if case.is_empty() { (*name).to_owned() } else { format!("{case}: {name}") };
        let cell = |transport: &&str| results.show(case, transport, figure);
        let cells: Vec<_> = transports.iter().map(cell).collect();
        cells.iter().any(Option::is_some).then_some((name, cells))
    };
    let of_case = |case| rows(kind).iter().filter_map(move |figure| row(case, figure));
    results.cases.iter().flat_map(of_case).collect()
}

/// The result of a search for the largest load, and what ended it.
fn capacity_rows(path: &str, transports: &[&str]) -> Vec<TableRow> {
    let run: CapacityRun = serde_json::from_str(&read(path)).expect("the result of a search");
    let result = |name: &str| run.results.iter().find(|one| one.variant.to_string() == name);
    let of_each = |text: &dyn Fn(&poll_vs_push::capacity::Capacity) -> String| {
        transports.iter().map(|name| result(name).map(text)).collect()
    };
    let cores = match run.server_cores {
        Some(1) => " on one core".to_owned(),
        Some(cores) => format!(" on {cores} cores"),
        None => String::new(),
    };
    vec![
        (format!("{}{cores}", run.over.label()), of_each(&|one| one.show(run.over))),
        ("what ended the search".to_owned(), of_each(&|one| one.stopped_by.label().to_owned())),
    ]
}

#[test]
fn swept_points_have_rows_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("results.csv");
    let line = |case: &str, loss: f64, p99: f64| {
        format!("{case},{loss},websocket,ok,latency.p99,s,{p99}\n")
    };
    let lines = [line("random", 0.01, 0.3), line("random", 0.05, 0.4), line("bursts", 0.05, 0.5)];
    let text = format!("case,loss,transport,status,figure,unit,value\n{}", lines.concat());
    std::fs::write(&path, text).expect("writes");
    let made = table(&format!("loss of {}: websocket", path.display()));
    let rows: Vec<_> = made.lines().skip(2).collect();
    let expected = [
        "| random, 1 % lost: p99 | 300 ms |",
        "| random, 5 % lost: p99 | 400 ms |",
        "| bursts, 5 % lost: p99 | 500 ms |",
    ];
    assert_eq!(rows, expected);
}
