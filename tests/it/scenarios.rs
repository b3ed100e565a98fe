//! The included scenarios: each is valid, refers to existing figures, and takes no longer than
//! documented.

use std::path::PathBuf;
use std::time::Duration;

use poll_vs_push::load::{LoadTest, ServerSource};
use poll_vs_push::report::figures;
use poll_vs_push::report::threshold::FigureReference;
use poll_vs_push::scenario::Scenario;

/// Documented maximum durations (docs/scenarios.md).
const LONGEST_S: [(&str, u64); 16] = [
    ("accuracy", 600),
    ("capacity", 60),
    ("default", 180),
    ("interval", 600),
    ("loss", 720),
    ("mobile", 720),
    ("packet-link", 600),
    ("papers", 900),
    ("ramp", 240),
    ("rate", 600),
    ("restart", 120),
    ("rtt", 600),
    ("size", 600),
    ("subscribers", 600),
    ("tls", 240),
    ("variants", 150),
];

fn shipped() -> Vec<(String, Scenario)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/scenarios");
    let files = std::fs::read_dir(directory).expect("it is there");
    let paths = files.map(|file| file.expect("it can be read").path());
    let mut scenarios: Vec<_> = paths
        .map(|path: PathBuf| {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let scenario = Scenario::from_toml(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            (name, scenario)
        })
        .collect();
    scenarios.sort_by(|(a, _), (b, _)| a.cmp(b));
    scenarios
}

#[test]
fn scenarios_are_named_as_their_files_and_described() {
    let known: Vec<&str> = LONGEST_S.iter().map(|(name, _)| *name).collect();
    let names: Vec<String> = shipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, known);
    for (name, scenario) in shipped() {
        assert_eq!(scenario.name, name);
        assert!(scenario.description.len() > 100, "{name}");
        let silent = scenario.cases.iter().find(|case| case.description.is_empty());
        assert!(silent.is_none(), "{name}: {silent:?}");
    }
}

#[test]
fn scenarios_take_no_longer_than_documented() {
    for ((name, scenario), (_, longest_s)) in shipped().into_iter().zip(LONGEST_S) {
        let source = ServerSource::Child { program: PathBuf::new(), worker_threads: None };
        let load_test = LoadTest::new(scenario, source).expect("this machine can carry it");
        let expected = load_test.expected_duration();
        println!("{name}: {} s", expected.as_secs());
        assert!(expected < Duration::from_secs(longest_s), "{name}: {expected:?}");
    }
}

#[test]
fn published_figures_refer_to_measured_figures() {
    let mut compared = 0;
    for (name, scenario) in shipped() {
        for case in &scenario.cases {
            let transports = case.transports.as_ref().unwrap_or(&scenario.transports);
            for ours in case.published.iter().filter_map(|published| published.ours.as_ref()) {
                let reference: FigureReference =
                    ours.parse().unwrap_or_else(|error| panic!("{name}, {}: {error}", case.name));
                assert!(transports.contains(&reference.variant), "{}: {ours}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 10);
}

#[test]
fn every_figure_is_documented() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scenarios.md"));
    let page = page.expect("it can be read");
    for figure in figures::ALL {
        let (section, rest) = figure.name.split_once('.').expect("a section");
        let (start, name) = (format!("| `{section}`"), format!("`{rest}`"));
        // A parameter may have the name of a section.
        let mut rows = page.lines().filter(|line| line.starts_with(&start));
        assert!(rows.any(|row| row.contains(&name)), "docs/scenarios.md lacks {}", figure.name);
    }
}
