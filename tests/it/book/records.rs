//! The blocks of the book that are made from records in JSON, which scripts in `load-tests` and the
//! tests of `measure.rs` write: `<!-- attacks of load-tests/results/attacks.json -->`.

use std::fmt::Write as _;

use poll_vs_push::units::thousands;
use serde_json::Value;

use super::read;

pub const KINDS: [&str; 7] =
    ["attacks", "slices", "operations", "nchan", "ratios", "limits", "exchange"];

/// A group of comparisons below this share is reported as "up to twice".
const TWICE: f64 = 2.0;
/// Attacks without slices are listed if a percentile of others rose further than that.
const MUCH: f64 = 3.0;

pub fn block(kind: &str, path: &str) -> String {
    let record: Value = serde_json::from_str(&read(path)).expect("a record in JSON");
    match kind {
        "attacks" => attacks(&record),
        "slices" => slices(&record),
        "operations" => operations(&record),
        "nchan" => nchan(&record),
        "ratios" => ratios(&record),
        "limits" => limits(&record),
        "exchange" => exchange(&record),
        _ => panic!("no block is made from {kind}"),
    }
}

/// A number of a record, by its place in it: `kills.stored`.
pub fn value(place: &str, path: &str) -> String {
    let record: Value = serde_json::from_str(&read(path)).expect("a record in JSON");
    let found = record.pointer(&format!("/{}", place.replace('.', "/")));
    thousands(number(found.unwrap_or_else(|| panic!("{path} has no {place}"))) as i64)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// `2026-11-26, AMD EPYC, 2 cores`.
fn circumstances(record: &Value) -> String {
    format!("{}, {}", text(&record["measured"]), text(&record["machine"]))
}

/// Milliseconds with two significant digits.
fn ms(value: f64) -> String {
    if value < 9.95 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

/// The 99th percentiles of other clients before and during an attack, ms.
fn percentiles(attack: &Value) -> Vec<[f64; 2]> {
    let kinds = attack["p99_ms"].as_object().expect("kinds of clients");
    kinds.values().map(|pair| [0, 1].map(|index| number(&pair[index]))).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::MIN, f64::max)
}

/// What all attacks did to memory, to the log and to others, in sentences.
fn attacks(record: &Value) -> String {
    let all = list(&record["attacks"]);
    let many = |attack: &&Value| {
        ["of_one_address", "many_addresses"].iter().any(|name| text(&attack["test"]).contains(name))
    };
    let worst = |attacks: Vec<&Value>| {
        let grown = |attack: &&Value| number(&attack["grown_kib"]);
        let worst = attacks.into_iter().max_by(|a, b| grown(a).total_cmp(&grown(b)));
        let worst = worst.expect("an attack");
        format!("{:.0} MiB ({})", grown(&worst) / 1024.0, text(&worst["attack"]))
    };
    let client = worst(all.iter().filter(|attack| !many(attack)).collect());
    let address = worst(all.iter().filter(many).collect());
    let log = match number(&record["log_bytes_max"]) {
        0.0 => "nothing was logged".to_owned(),
        bytes => format!("at most {} bytes were logged", thousands(bytes as i64)),
    };
    let pairs: Vec<_> = all.iter().flat_map(percentiles).collect();
    let [before, during] =
        [0, 1].map(|index| pairs.iter().map(|pair| pair[index]).collect::<Vec<_>>());
    let least = before.iter().copied().fold(f64::MAX, f64::min);
    let most = largest(before.iter().copied());
    let (up_to_twice, beyond): (Vec<[f64; 2]>, Vec<_>) =
        pairs.iter().partition(|[before, during]| during / before <= TWICE);
    let mut made = format!(
        "Measured: {}. Resident memory grew by at most {client} for an attack by one client, and \
         by at most {address} for many connections; {log}. The 99th percentiles of other clients' \
         publications, short polls, long polls and WebSocket deliveries were {} to {} before the \
         attacks (median {}) and at most {} during them (median {}). Of {} comparisons within one \
         attack, {} were at most a factor of 2",
        circumstances(record),
        ms(least),
        ms(most),
        ms(median(before)),
        ms(largest(during.iter().copied())),
        ms(median(during)),
        pairs.len(),
        up_to_twice.len(),
    );
    if !beyond.is_empty() {
        let factor = largest(beyond.iter().map(|[before, during]| during / before));
        let from = largest(beyond.iter().map(|[before, _]| *before));
        let _ = write!(
            made,
            "; the other {} (at most {factor:.1}) began from a percentile of {} or less",
            beyond.len(),
            ms(from)
        );
    }
    wrapped(&(made + "."))
}

/// A paragraph in lines of at most 118 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 118 {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.join("\n") + "\n"
}

/// The attacks during which others waited much longer without the slices, and with them.
fn slices(record: &Value) -> String {
    // The largest percentile during the attack, and the largest factor.
    let worst = |attack: &Value| {
        let pairs = percentiles(attack);
        let factor = largest(pairs.iter().map(|[before, during]| during / before));
        (largest(pairs.iter().map(|[_, during]| *during)), factor)
    };
    let mut rows: Vec<_> = list(&record["without_slices"])
        .iter()
        .map(|attack| (text(&attack["attack"]), worst(attack)))
        .filter(|(_, (_, factor))| *factor > MUCH)
        .collect();
    rows.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let mut made =
        "| attack of one address | without slices | with 100 µs |\n|---|---:|---:|\n".to_owned();
    for (name, without) in rows {
        // It may have been measured more than once: the worst is shown.
        let with = list(&record["attacks"]).iter().filter(|attack| text(&attack["attack"]) == name);
        let with = with.map(worst).max_by(|a, b| a.1.total_cmp(&b.1)).expect("it was measured");
        let cell =
            |(during, factor): (f64, f64)| format!("{}, a factor of {factor:.1}", ms(during));
        let _ = writeln!(made, "| {name} | {} | {} |", cell(without), cell(with));
    }
    made
}

fn operations(record: &Value) -> String {
    let count = |value: &Value| thousands(number(value) as i64);
    let [fan_out, churn, durable, slow] =
        ["fan_out", "churn", "durable", "slow_readers"].map(|name| &record[name]);
    let percentiles = |name: &str| {
        let [p50, p99] = ["p50", "p99"].map(|figure| ms(number(&slow[name][figure])));
        format!("p50 {p50} and p99 {p99}")
    };
    let rows = [
        (
            format!("{} WebSockets in one process", count(&fan_out["websockets"])),
            format!(
                "{} kB of resident memory each; a message reaches all of them within {} s",
                fan_out["kb_each"], fan_out["all_received_s"]
            ),
        ),
        (
            format!("{} WebSockets opened and closed", count(&churn["connections"])),
            format!(
                "{} MB of memory and {} file descriptors after the first {}; {} MB and {} after \
                 the last",
                churn["memory_mb"][0],
                churn["descriptors"][0],
                count(&churn["first"]),
                churn["memory_mb"][1],
                churn["descriptors"][1]
            ),
        ),
        (
            format!("{} publishers, `--durability full`", durable["publishers"]),
            format!(
                "{} acknowledged messages a second; a bare loop that writes as many messages and \
                 syncs stores {} a second on that disk",
                count(&durable["acknowledged_s"]),
                count(&durable["bare_loop_s"])
            ),
        ),
        (
            "1,000 WebSockets, ten more that do not read".to_owned(),
            format!(
                "{} of the others, against {} without the ten",
                percentiles("with_ten_ms"),
                percentiles("without_ms")
            ),
        ),
    ];
    let rows = rows.map(|(name, figure)| format!("| {name} | {figure} |\n"));
    format!("| what | figure ({}) |\n|---|---|\n{}", circumstances(record), rows.concat())
}

fn nchan(record: &Value) -> String {
    let mut made = format!(
        "Measured: {} (load average before: {}), with nchan {} and nginx {}; microseconds of the \
         server's CPU time for each delivery, by the number of subscribers. Messages are published \
         as fast as they are received:",
        circumstances(record),
        text(&record["load_average_before"]),
        text(&record["nchan"]),
        text(&record["nginx"]),
    );
    made = format!("{}\n{}", wrapped(&made), costs_beside_nchan(&record["cpu_us_per_delivery"]));
    if let Some(rows) = record.get("at_a_fixed_rate") {
        let rate = thousands(number(&record["deliveries_per_s"]) as i64);
        let _ = write!(made, "\nAt {rate} deliveries a second:\n\n{}", costs_beside_nchan(rows));
    }
    made
}

fn costs_beside_nchan(rows: &Value) -> String {
    let rows = list(rows);
    let mut sizes: Vec<u64> = rows.iter().filter_map(|row| row["subscribers"].as_u64()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let heads = sizes.iter().map(|size| format!(" {} |", thousands(*size as i64)));
    let mut made = format!("| transport | server |{}\n", heads.collect::<String>());
    let _ = writeln!(made, "|---|---|{}", "---:|".repeat(sizes.len()));
    for (transport, label) in [("websocket", "WebSocket"), ("sse", "SSE")] {
        for (program, label) in [("poll-vs-push", label), ("nchan", "")] {
            let cell = |size: &u64| {
                let is_it = |row: &&Value| {
                    row["transport"] == transport && row["subscribers"].as_u64() == Some(*size)
                };
                let row = rows.iter().find(is_it);
                row.map_or(" |".to_owned(), |row| format!(" {:.1} |", number(&row[program])))
            };
            let cells: String = sizes.iter().map(cell).collect();
            let _ = writeln!(made, "| {label} | {program} |{cells}");
        }
    }
    made
}

/// CPU time of the load test relative to the server.
fn ratios(record: &Value) -> String {
    let mut made = format!(
        "Measured: {}.\n\n\
         | workload | receivers of a message | no link | link of 40 ms |\n|---|---:|---:|---:|\n",
        circumstances(record)
    );
    for row in list(&record["ratios"]) {
        let topics = number(&row["topics"]);
        let _ = writeln!(
            made,
            "| {topics} topics, {}/s in each | {} | {:.2} | {:.2} |",
            row["rate_per_s"],
            1000.0 / topics,
            number(&row["no_link"]),
            number(&row["link_40_ms"]),
        );
    }
    made
}

/// The bytes of one poll and its response, without message objects: the means over the polls of the
/// case "quiet" of a run.
fn exchange(run: &Value) -> String {
    const VARIANTS: [(&str, &str); 3] = [
        ("short-polling", "short polling"),
        ("short-polling+conditional", "+conditional"),
        ("short-polling+h2", "+h2"),
    ];
    let of = |variant: &str| {
        let cells = list(&run["cells"]).iter();
        let cells: Vec<_> =
            cells.filter(|cell| cell["case"] == "quiet" && cell["transport"] == variant).collect();
        let sum =
            |path: &str| cells.iter().map(|cell| number(cell.pointer(path).expect(path))).sum();
        let [sent, answers, empty]: [f64; 3] =
            ["sent", "answers", "empty_answers"].map(|name| sum(&format!("/requests/{name}")));
        let bytes = |name: &str| -> f64 { sum(&format!("/bytes/{name}")) };
        let tcp_ip = (bytes("up/tcp_ip") + bytes("down/tcp_ip")) / answers;
        let each = [
            bytes("up/headers") / sent,
            bytes("up/framing") / sent,
            bytes("down/headers") / answers,
            bytes("down/framing") / answers,
            tcp_ip,
        ];
        (100.0 * empty / answers, each)
    };
    let columns = VARIANTS.map(|(variant, _)| of(variant));
    let mut made = String::from("| mean bytes of a poll |");
    for (_, label) in VARIANTS {
        let _ = write!(made, " {label} |");
    }
    made += "\n|---|---:|---:|---:|\n";
    let mut row = |name: &str, cells: [String; 3]| {
        let _ = writeln!(made, "| {name} | {} |", cells.join(" | "));
    };
    let names = [
        "request: headers",
        "request: framing",
        "response: headers",
        "response: body without messages",
        "TCP/IP",
    ];
    for (index, name) in names.into_iter().enumerate() {
        row(name, columns.map(|(_, each)| format!("{:.0}", each[index])));
    }
    row("all", columns.map(|(_, each)| format!("{:.0}", each.iter().sum::<f64>())));
    row("empty responses", columns.map(|(empty, _)| format!("{empty:.0} %")));
    made
}

/// From which load on the load test was the limit.
fn limits(record: &Value) -> String {
    let limits = list(&record["limits"]);
    let deliveries = |limit: &Value| thousands(number(&limit["deliveries_per_s"]) as i64);
    let is_void = |limit: &&Value| limit["is_void"].as_bool().expect("true or false");
    let last =
        limits.iter().take_while(|limit| !is_void(limit)).last().expect("a load that it carries");
    let first = limits.iter().find(is_void);
    let first = first.map_or(String::new(), |limit| {
        format!(", and its cell was void at {} deliveries a second", deliveries(limit))
    });
    let text = format!(
        "On two cores the load test carried {} deliveries a second, with {} of a core for the \
         server and {} for itself{first}.",
        deliveries(last),
        last["server_cores"],
        last["generator_cores"],
    );
    wrapped(&text)
}
