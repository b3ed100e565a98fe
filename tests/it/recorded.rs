//! What is derived from the recorded runs: the reports beside each `run.json`, the built-in costs of
//! `advise`, and the tables in README and book. Each is compared with what this version derives.
//!
//! `UPDATE_RECORDED=1` writes them instead; `load-tests/update-recorded.sh` does so in the right
//! order. A comment before a table names its source:
//!
//! - `<!-- KIND of RESULTS.csv: TRANSPORT.. -->`: figures by transport.
//! - `<!-- overview of RUN.json -->`: the headline figures of every transport.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use poll_vs_push::advise::{Costs, Origin};
use poll_vs_push::report::figures::{self, Figure};
use poll_vs_push::report::profiles::{PROFILES, bytes_per_message};
use poll_vs_push::report::{self, PointResults, Report, VariantResult};
use poll_vs_push::run::Run;
use poll_vs_push::units::Unit;
use poll_vs_push::variant::{Transport, Variant};

use super::book::{self, read, root};

/// The recorded default run.
const SAMPLE: &str = "docs/sample/run.json";

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
        "server" => &[
            ("server.cpu_per_message", "server CPU per message"),
            ("server.memory_per_idle_subscriber", "memory per idle subscriber"),
        ],
        _ => panic!("no kind of table is called '{kind}'"),
    }
}

const KINDS: [&str; 4] = ["figures", "bytes", "recovery", "server"];

/// The heading above the rows' names.
fn corner(kind: &str) -> &'static str {
    match kind {
        "bytes" => "bytes per message",
        "recovery" => "after the restart",
        _ => "",
    }
}

/// The values and units of a file of results, by transport and figure.
fn results(path: &str) -> HashMap<(String, String), (f64, String)> {
    let text = read(path);
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("a head");
    let column = |name| head.iter().position(|head| *head == name).expect("the column exists");
    let [transport, figure, unit, value] = ["transport", "figure", "unit", "value"].map(column);
    lines
        .filter_map(|line| {
            let number = line[value].parse().ok()?;
            let key = (line[transport].to_owned(), line[figure].to_owned());
            Some((key, (number, line[unit].to_owned())))
        })
        .collect()
}

/// The unit in which a figure is shown; `base` is its unit in a file of results.
fn unit(figure: &str, base: &str) -> Unit {
    let is_share = ["requests.empty_share", "recovery.noticed"].contains(&figure);
    match base {
        "s" => Unit::Seconds,
        "B" => Unit::Bytes,
        _ if is_share => Unit::Share,
        _ => Unit::Count,
    }
}

/// The table that a comment asks for: `figures of docs/sample/results.csv: sse websocket`.
fn table(comment: &str) -> String {
    let (source, transports) = comment.split_once(": ").expect("transports after a colon");
    let (kind, path) = source.split_once(" of ").expect("a kind and a file");
    let transports: Vec<&str> = transports.split(' ').collect();
    let results = results(path);
    let label = |name: &&str| {
        let variant: Variant = name.parse().expect("a transport");
        variant.label()
    };
    let labels: Vec<_> = transports.iter().map(label).collect();
    let corner = [corner(kind), " "].concat();
    let mut table = format!("| {}| {} |\n", corner.trim_start(), labels.join(" | "));
    table += &format!("|---|{}\n", "---:|".repeat(transports.len()));
    for (figure, name) in rows(kind) {
        let cell = |transport: &&str| {
            let result = results.get(&((*transport).to_owned(), (*figure).to_owned()));
            result.map_or(" |".to_owned(), |(value, base)| {
                format!(" {} |", unit(figure, base).show(*value))
            })
        };
        table += &format!("| {name} |{}\n", transports.iter().map(cell).collect::<String>());
    }
    table
}

/// The headline figures of every transport of a run, with bytes under two header profiles.
fn overview(path: &str) -> String {
    let run = recorded(path);
    let report = Report::new(&run);
    let [point] = report.points.as_slice() else { panic!("{path} has several workloads") };
    let [minimal, _, browser] = PROFILES;
    let head = [
        "transport".to_owned(),
        "mean delay".to_owned(),
        "p99 delay".to_owned(),
        "requests per second".to_owned(),
        format!("bytes per message, {}", minimal.label()),
        format!("bytes per message, {}", browser.label()),
        "server CPU per message".to_owned(),
        "server memory per idle subscriber".to_owned(),
    ];
    let bytes = |result: &VariantResult, profile| {
        let bytes = bytes_per_message(result, report.profile(point), profile);
        bytes.map_or("—".to_owned(), |bytes| Unit::Bytes.show(bytes))
    };
    let row = |result: &VariantResult| {
        let fields = [
            result.variant.label(),
            shown(result, &figures::LATENCY_MEAN),
            shown(result, &figures::LATENCY_P99),
            requests(result),
            bytes(result, minimal),
            bytes(result, browser),
            shown(result, &figures::CPU_PER_MESSAGE),
            shown(result, &figures::MEMORY_PER_SUBSCRIBER),
        ];
        format!("| {} |\n", fields.join(" | "))
    };
    let rule = format!("|---|{}\n", "---:|".repeat(head.len() - 1));
    let rows: String = point.results.iter().map(row).collect();
    format!("| {} |\n{rule}{rows}\n{}\n", head.join(" | "), conditions(&run, point))
}

/// When and on what the run was recorded, in one sentence.
fn conditions(run: &Run, point: &PointResults) -> String {
    format!(
        "Recorded on {} on {} with {} cores, version {} ({}): the medians of {} repeats of {}.",
        run.started_at.strftime("%Y-%m-%d"),
        run.machine.cpu,
        run.machine.cores,
        run.tool.version,
        run.tool.commit.as_deref().unwrap_or("unknown commit"),
        run.scenario.repeats,
        poll_vs_push::units::show_duration(point.workload.duration),
    )
}

fn shown(result: &VariantResult, figure: &Figure) -> String {
    result.summary(figure).map_or("—".to_owned(), |summary| figure.unit.show(summary.value))
}

/// Requests per second of one subscriber, and how many of them brought nothing.
fn requests(result: &VariantResult) -> String {
    let requests = shown(result, &figures::REQUESTS_PER_SUBSCRIBER);
    let requests = requests.trim_end_matches("/s");
    match result.summary(&figures::EMPTY_SHARE).filter(|share| share.value >= 0.01) {
        Some(share) => format!("{requests}, {} empty", Unit::Share.show(share.value)),
        None => requests.to_owned(),
    }
}

fn recorded(path: impl AsRef<Path>) -> Run {
    Run::from_json(&read(path)).expect("a recorded run can be read")
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_RECORDED").is_some()
}

/// Panics if the file differs from `text`, or writes it.
fn assert_current(path: &Path, text: &str) {
    if is_update() {
        fs::write(path, text).expect("writes the file");
    }
    let is_current = fs::read_to_string(path).is_ok_and(|there| there == text);
    let remedy = "run load-tests/update-recorded.sh";
    assert!(is_current, "{} is not what this version derives: {remedy}", path.display());
}

/// The pages with tables: those of the book, and what a reader sees first.
fn pages() -> Vec<(PathBuf, String)> {
    let others = ["README.md", "docs/methodology.md", "docs/bias.md", "docs/variants.md"];
    let others = others.map(|path| (root().join(path), read(path)));
    book::pages().into_iter().chain(others).collect()
}

/// What follows a table.
const END: &str = "<!-- end -->\n";

/// The text up to the next table, the source that its comment names, and the text from the table on.
fn next_table(text: &str) -> Option<(&str, &str, &str)> {
    let kinds = KINDS.iter().chain(&["overview"]);
    let at = kinds.filter_map(|kind| text.find(&format!("<!-- {kind} of "))).min()?;
    let (source, _) = text[at + "<!-- ".len()..].split_once(" -->\n")?;
    let start = at + "<!-- ".len() + source.len() + " -->\n".len();
    Some((&text[..start], source, &text[start..]))
}

#[test]
fn tables_in_readme_and_book_are_made_from_recorded_results() {
    let mut count = 0;
    for (page, text) in pages() {
        let mut updated = String::new();
        let mut rest = text.as_str();
        while let Some((before, source, after)) = next_table(rest) {
            let (_, end) = after.split_once(END).expect("a table has an end");
            let made = match source.strip_prefix("overview of ") {
                Some(run) => overview(run),
                None => table(source),
            };
            updated += &[before, &made, END].concat();
            rest = end;
            count += 1;
        }
        assert_current(&page, &[&updated, rest].concat());
    }
    assert!(count >= 7, "only {count} tables were found");
}

/// `advise` without a run must say what the published run says.
#[test]
fn built_in_costs_are_those_of_the_recorded_default_run() {
    let mut costs = Costs::from_run(&recorded(SAMPLE));
    for (transport, own) in &mut costs.transports {
        assert_eq!(own.origin, Origin::Run, "{SAMPLE} is too short for the CPU of {transport}");
        own.origin = Origin::Reference;
    }
    assert!(Transport::ALL.iter().all(|transport| costs.transports.contains_key(transport)));
    let head = "# Costs of the transports for use without a run: those of docs/sample/run.json, \
                written by\n# load-tests/update-recorded.sh.\n";
    assert_current(&root().join("src/advise/reference.toml"), &[head, &costs.to_toml()].concat());
}

fn is_page(name: &str) -> bool {
    name.ends_with(".html")
}

#[test]
fn recorded_reports_are_what_this_version_generates() {
    let results = fs::read_dir(root().join("load-tests/results")).expect("a folder");
    let results = results.map(|entry| entry.expect("an entry").path());
    let has_run = |folder: &PathBuf| folder.join("run.json").is_file();
    let others: Vec<PathBuf> = results.filter(has_run).collect();
    assert!(others.len() >= 3, "only {others:?} were found");
    // Reports of many workloads take a while in a build without optimization.
    for folder in others.iter().filter(|_| is_update()) {
        let run = recorded(folder.join("run.json"));
        report::write_all(&run, folder).expect("writes the report");
    }
    let folder = root().join("docs/sample");
    let run = recorded(SAMPLE);
    if is_update() {
        report::write_all(&run, &folder).expect("writes the report");
    }
    // The page contains styles and scripts too, which change without its numbers.
    for (name, text) in report::files(&run, &folder).iter().filter(|(name, _)| !is_page(name)) {
        assert_current(&folder.join(name), text);
    }
}
