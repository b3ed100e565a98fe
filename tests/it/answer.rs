//! What a reader who has to decide finds in the README, the report and `advise`.

use std::path::Path;
use std::process::Command;

use poll_vs_push::advise::prices::{Billable, PriceList};
use poll_vs_push::report::profiles::{PROFILES, Profile};
use poll_vs_push::report::{self, Report, figures};
use poll_vs_push::run::Run;
use poll_vs_push::scenario::Headers;
use poll_vs_push::variant::Transport;

use super::book::{read, root};
use super::support::TestServer;

const ADVISE: [&str; 7] = ["advise", "--subscribers", "1000", "--rate", "1", "--staleness", "1s"];

fn sample() -> Run {
    Run::from_json(&read("docs/sample/run.json")).expect("this version wrote it")
}

fn advise(more: &[&str], directory: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    let output = command.args(ADVISE).args(more).current_dir(directory).output().expect("starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn advice_does_not_depend_on_the_directory() {
    let expected = advise(&[], root().as_path());
    assert!(expected.contains("Recommendation: "), "{expected}");
    assert!(expected.contains("CPU and memory: the built-in reference, "), "{expected}");
    let directory = tempfile::tempdir().expect("a directory");
    let latest = directory.path().join("reports/latest");
    std::fs::create_dir_all(&latest).expect("made");
    // A run of another machine, on which push costs a hundred times as much.
    let mut run = sample();
    run.machine.cpu = "another machine".to_owned();
    for cell in run.cells.iter_mut().filter(|cell| cell.variant == Transport::Sse) {
        cell.server.as_mut().expect("it reported its CPU").cpu_s *= 100.0;
    }
    let path = latest.join("run.json");
    std::fs::write(&path, run.to_json()).expect("written");
    assert_eq!(advise(&[], directory.path()), expected);
    let of_run = advise(&["--costs", &path.display().to_string()], directory.path());
    assert!(of_run.contains("the run given with --costs, another machine"), "{of_run}");
}

#[test]
fn advise_says_what_is_extrapolated_what_drives_polling_and_why_a_bill_is_missing() {
    let prices = root().join("load-tests/prices/serverless.toml").display().to_string();
    let more = ["--prices", &prices];
    let text = advise(&more, root().as_path());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in [
        "Short polling: ",
        "is what the acceptable age of 1 s leaves after one and a half round trips. Half the age",
        "Not offered: WebSocket and Socket.IO WebSocket (a function cannot hold a WebSocket)",
        "Too close to call: a cost at most 25 % above the lowest, whichever cost is minimised.",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!text.contains("memory is for"), "a thousand subscribers were measured: {text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    let many = ["advise", "--subscribers", "50000", "--rate", "1", "--staleness", "1s"];
    let output = command.args(many).output().expect("starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("* Extrapolated in proportion: measured up to 1,000 subscribers"),
        "{text}"
    );
    assert!(text.contains("memory is for 50 times as many subscribers"), "{text}");
}

/// Each number of a bill has its date and source beside it.
#[test]
fn report_shows_the_date_and_source_of_each_price() {
    let run = sample();
    let report = Report::new(&run);
    for text in [report.html(), report.markdown()] {
        for price in PriceList::built_in().iter().flat_map(|list| list.prices.values()) {
            let source = text.find(&price.source).expect("the source");
            let nearby: String = text[source..].chars().take(300).collect();
            assert!(nearby.contains(&price.date.to_string()), "{nearby}");
        }
        assert!(text.contains("With a browser's request headers and TLS"), "{text}");
        assert!(text.contains("Lowest monthly bill then, on a virtual machine: "), "{text}");
    }
}

/// The sample with its figures as after one second instead of five.
#[test]
fn run_of_one_second_claims_no_ratio_of_cpu() {
    let mut run = sample();
    run.cells.retain(|cell| cell.repeat == 0);
    for cell in &mut run.cells {
        cell.steady_s = 1.0;
        cell.published = 10;
        cell.deliveries.in_steady = 100;
        let server = cell.server.as_mut().expect("it reported its CPU");
        server.cpu_s /= 200.0;
        cell.generator.cpu_s /= 200.0;
    }
    let report = Report::new(&run);
    let [point] = report.points.as_slice() else { panic!("one workload") };
    assert!(point.ranking(&figures::CPU_PER_MESSAGE).groups.is_empty());
    let claims = |line: &&String| line.contains("CPU") && line.contains("times");
    let answer = report.answer();
    assert_eq!(answer.iter().filter(claims).count(), 0, "{answer:?}");
    assert!(answer.iter().any(|line| line.contains("too short")), "{answer:?}");
    let row = "(`server.cpu_per_message`) | sample too small |";
    assert!(report.markdown().contains(row));
}

#[test]
fn readme_and_report_show_minimal_and_browser_headers_and_tls() {
    let readme = read("README.md");
    let run = sample();
    let report = Report::new(&run).markdown();
    let with_tls = Profile { headers: Headers::Browser, is_tls: true };
    for profile in [PROFILES[0], with_tls] {
        assert!(readme.contains(&format!("bytes per message, {} |", profile.label())));
        assert!(report.contains(&format!(" {} |", profile.label())), "{}", profile.label());
    }
    let label = Transport::ShortPolling.label();
    let row = readme.lines().find(|line| line.starts_with(&format!("| {label} |"))).expect("a row");
    let bytes: Vec<f64> =
        row.split('|')
            .filter_map(|field| field.trim().strip_suffix(" B")?.parse::<f64>().ok())
            .chain(row.split('|').filter_map(|field| {
                Some(1e3 * field.trim().strip_suffix(" kB")?.parse::<f64>().ok()?)
            }))
            .collect();
    assert!(bytes[1] > 1.5 * bytes[0], "headers of a browser double the bytes of polls: {row}");
}

#[test]
fn report_opens_with_the_recommendation() {
    let run = sample();
    let report = Report::new(&run);
    let markdown = report.markdown();
    let start = markdown.find("## ").expect("a section");
    assert!(markdown[start..].starts_with("## Decision\n\n**Recommendation: "), "{markdown:.900}");
    assert!(markdown[..start].lines().filter(|line| !line.is_empty()).count() <= 3);
    let html = report.html();
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at("Recommendation: ") < at("<svg") && at("Recommendation: ") < at("<table"));
    assert!(at("id=\"decision\"") < at("aria-label=\"Contents\""));
}

#[test]
fn report_and_advise_state_what_it_costs_and_what_would_change_the_answer() {
    let run = sample();
    let report = Report::new(&run);
    let prices = root().join("load-tests/prices/virtual-machine.toml").display().to_string();
    let advice = advise(&["--prices", &prices], root().as_path());
    for text in [report.markdown(), report.html(), advice] {
        assert!(text.contains("What would change the recommendation"));
        assert!(text.contains("Acceptable age above ") || text.contains("Rate above "), "{text}");
        assert!(text.contains("Monthly bill"), "{text}");
        assert!(text.contains(Billable::GbOut.label()), "what dominates a bill: {text}");
    }
    for list in PriceList::built_in() {
        assert!(report.markdown().contains(&format!("{}, {}", list.title, list.currency)));
    }
}

/// The targets of the links in `html`.
fn links(html: &str) -> Vec<&str> {
    let targets = html.split(" href=\"").skip(1);
    targets.filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[tokio::test]
async fn links_of_a_report_lead_somewhere_from_a_file_and_from_the_server() {
    let folder = root().join("docs/sample");
    let run = sample();
    let files = report::files(&run, &folder, None);
    let (_, html) = files.iter().find(|(name, _)| *name == "report.html").expect("a page");
    let reports = Some(root().join("docs"));
    let server = TestServer::with(|config| config.reports = reports).await;
    let targets = links(html);
    assert!(targets.iter().filter(|target| target.ends_with(".md")).count() >= 4, "{targets:?}");
    for target in targets {
        if let Some(id) = target.strip_prefix('#') {
            assert!(html.contains(&format!("id=\"{id}\"")), "{target}");
            continue;
        }
        assert!(folder.join(target).is_file(), "{target} from a file");
        // As a browser resolves it at /reports/sample/report.html.
        let path = match target.strip_prefix("../../") {
            Some(rest) => format!("/{rest}"),
            None => format!("/reports/sample/{target}"),
        };
        assert_eq!(server.get(&path).await.status, 200, "{target} at {path}");
    }
    server.stop().await;
}
