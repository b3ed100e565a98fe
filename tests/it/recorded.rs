//! What is derived from the recorded runs: the reports beside each `run.json`, the built-in costs
//! of `advise`, and the table in the README, between `<!-- overview of RUN.json -->` and
//! `<!-- end -->`. Each is compared with what this version derives; the tables of the book are
//! compared in `book.rs`.
//!
//! `UPDATE_RECORDED=1` writes them instead; `load-tests/update-recorded.sh` does so in the right
//! order.

use std::fs;
use std::path::{Path, PathBuf};

use poll_vs_push::advise::{CostSource, Costs};
use poll_vs_push::capacity::CapacityRun;
use poll_vs_push::report::figures::{self, Figure};
use poll_vs_push::report::profiles::{PROFILES, bytes_per_message};
use poll_vs_push::report::{self, PointResults, Report, VariantResult};
use poll_vs_push::run::Run;
use poll_vs_push::scenario::Scenario;
use poll_vs_push::units::Unit;
use poll_vs_push::variant::Transport;

use super::book::{read, root};

/// The recorded default run.
const SAMPLE: &str = "docs/sample/run.json";

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

/// Requests per second of one subscriber, and the share that returned no message.
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

#[test]
fn the_table_of_the_readme_is_made_from_the_recorded_run() {
    let text = read("README.md");
    let start = format!("<!-- overview of {SAMPLE} -->\n");
    let (before, rest) = text.split_once(&start).expect("a table");
    let (_, after) = rest.split_once("<!-- end -->\n").expect("a table has an end");
    let updated = [before, &start, &overview(SAMPLE), "<!-- end -->\n", after].concat();
    assert_current(&root().join("README.md"), &updated);
}

/// `advise` without a run must say what the published run says.
#[test]
fn built_in_costs_are_those_of_the_recorded_default_run() {
    let mut costs = Costs::from_run(&recorded(SAMPLE));
    for (transport, own) in &mut costs.transports {
        assert_eq!(own.origin, CostSource::Run, "{SAMPLE} is too short for the CPU of {transport}");
        own.origin = CostSource::Reference;
    }
    assert!(Transport::ALL.iter().all(|transport| costs.transports.contains_key(transport)));
    let head = "# Costs of the transports for use without a run: those of docs/sample/run.json, \
                written by\n# load-tests/update-recorded.sh.\n";
    assert_current(&root().join("src/advise/reference.toml"), &[head, &costs.to_toml()].concat());
}

/// A report shows the texts of its run's scenario.
#[test]
fn recorded_runs_have_the_texts_of_their_scenario_files() {
    let mut paths = folders_with_runs();
    paths.push(root().join("docs/sample"));
    for folder in paths {
        let scenario = recorded(folder.join("run.json")).scenario;
        let file = read(format!("load-tests/scenarios/{}.toml", scenario.name));
        let current = Scenario::from_toml(&file).expect("a scenario");
        let texts = |scenario: Scenario| {
            let cases = scenario.cases.into_iter();
            let cases: Vec<_> =
                cases.map(|case| (case.name, case.description, case.published)).collect();
            (scenario.title, scenario.description, cases)
        };
        let remedy = "run load-tests/update-recorded.sh";
        assert!(texts(scenario) == texts(current), "{}: {remedy}", folder.display());
    }
}

/// The recorded runs but the default one.
fn folders_with_runs() -> Vec<PathBuf> {
    let results = fs::read_dir(root().join("load-tests/results")).expect("a folder");
    let results = results.map(|entry| entry.expect("an entry").path());
    results.filter(|folder| folder.join("run.json").is_file()).collect()
}

fn is_page(name: &str) -> bool {
    name.ends_with(".html")
}

#[test]
fn recorded_reports_are_what_this_version_generates() {
    let others = folders_with_runs();
    assert!(others.len() >= 3, "only {others:?} were found");
    // Reports of many workloads take a while in a build without optimization.
    for folder in others.iter().filter(|_| is_update()) {
        let run = recorded(folder.join("run.json"));
        report::write_all(&run, folder, None).expect("writes the report");
    }
    let folder = root().join("docs/sample");
    let run = recorded(SAMPLE);
    let found = fs::read_to_string(root().join("load-tests/results/capacity/capacity.json"));
    let found = CapacityRun::from_json(&found.expect("reads")).expect("a search");
    let capacity = Some(found.section());
    if is_update() {
        report::write_all(&run, &folder, capacity.clone()).expect("writes the report");
    }
    // The page contains styles and scripts too, which change without its numbers.
    for (name, text) in
        report::files(&run, &folder, capacity).iter().filter(|(name, _)| !is_page(name))
    {
        assert_current(&folder.join(name), text);
    }
}
