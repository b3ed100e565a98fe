//! A server far away: server and load test as two processes in a network namespace, with a packet
//! link of 40 ms between them. Skipped, with a message, where the system forbids namespaces.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use poll_vs_push::packet_link::{self, LinkParameters, Loss, PacketLink};
use poll_vs_push::report::Report;
use poll_vs_push::run::{Network, Run};
use poll_vs_push::variant::Transport;

use super::child::{ChildServer, PROGRAM};

/// Set in the process that runs in the namespace.
const INSIDE: &str = "POLL_VS_PUSH_TEST_INSIDE_NAMESPACE";
/// Printed if the system forbids namespaces.
const SKIPPED: &str = "skipped";
const ONE_WAY: Duration = Duration::from_millis(20);

/// Runs the test `name` of this module again in a process in a namespace of its own. Returns
/// whether this is that process.
fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args([&format!("remote::{name}"), "--exact", "--nocapture"]).env(INSIDE, "1");
    let enter = || {
        packet_link::enter().map_err(|error| {
            eprintln!("{SKIPPED}: {error}");
            std::io::ErrorKind::Unsupported.into()
        })
    };
    // SAFETY: the closure runs in the forked process, which has one thread as `enter` demands, and
    // takes no lock that another thread of this process may have held.
    unsafe { command.pre_exec(enter) };
    match command.output() {
        Err(error) => eprintln!("{SKIPPED}: no network namespace with a TUN device: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
    }
    false
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A server behind a link of 40 ms.
struct Remote {
    server: ChildServer,
    _link: PacketLink,
}

impl Remote {
    fn start(flags: &[&str]) -> Remote {
        let server = ChildServer::start_on("0.0.0.0:0", flags);
        let profile = LinkParameters {
            one_way: ONE_WAY,
            jitter: Duration::ZERO,
            loss: Loss { share: 0.0, burst: Duration::ZERO },
            down_bit_s: None,
            up_bit_s: None,
            queue_bytes: 1 << 20,
        };
        let link = PacketLink::start(profile, server.address.port(), 1).expect("in a namespace");
        Remote { server, _link: link }
    }

    /// Runs `compare --target` with these flags and a small workload.
    fn compare(&self, directory: &Path, flags: &str) -> Output {
        let url = format!("http://{}:{}", packet_link::address(0), self.server.address.port());
        let mut command = Command::new(PROGRAM);
        command.args(["compare", "--target", &url, "--output"]).arg(directory);
        command.args(["--rtt", "0s", "--repeats", "1", "--idle", "0s", "--warm-up", "300ms"]);
        command.args(flags.split_whitespace()).stdin(Stdio::null());
        command.output().expect("it runs")
    }
}

#[test]
fn publisher_keeps_its_schedule_and_predictions_contain_the_round_trip() {
    if !is_inside("publisher_keeps_its_schedule_and_predictions_contain_the_round_trip") {
        return;
    }
    let remote = Remote::start(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    // A publisher that waits for acknowledgements sends at most 25 messages a second to a topic.
    let flags = "--no-calibration --subscribers 8 --topics 2 --rate 60 --poll-interval 200ms --duration 2s \
                 --transports websocket,short-polling";
    let output = remote.compare(directory.path(), flags);
    // A busy machine may void the run, but not for what was delivered.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output));
    let json = std::fs::read_to_string(directory.path().join("run.json")).expect("it is there");
    let run = Run::from_json(&json).expect("a good run");
    for cell in &run.cells {
        let counts = cell.deliveries;
        assert_eq!(counts.received, counts.expected, "{}: {counts:?}", cell.variant);
        assert_eq!((counts.duplicated, counts.reordered), (0, 0), "{}", cell.variant);
        let late_us = cell.generator.publisher_late_us.0.value_at_quantile(0.5);
        assert!(late_us < 100_000, "{}: {late_us} us late", cell.variant);
        let network = cell.network.as_ref().expect("the server was not started by the run");
        assert!(network.subscribers.connect_us.0.min() >= 39_900);
        assert!(network.subscribers.kernel_us.0.min() >= 39_000);
        assert_eq!(network.subscribers.kernel_us.0.len(), 8);
        assert!(network.path().publisher_rtt_s >= 0.039);
        assert!(cell.latency_us.0.min() >= 39_900, "both ways are part of a latency");
    }
    // Half a round trip to the server and half of one to the subscriber; a poll waits for half an
    // interval and half a round trip more.
    let report = Report::new(&run);
    for result in &report.points[0].results {
        let network = result.cells.first().and_then(|cell| cell.network.as_ref());
        let Some(path) = network.map(Network::path) else { continue };
        let waits_s = match result.variant.transport {
            Transport::ShortPolling => (0.2 + path.subscriber_rtt_s) / 2.0,
            _ => 0.0,
        };
        let expected = result.expected.as_ref().expect("a closed form");
        let off_s = expected.prediction.latency_mean_s() - (path.push_s() + waits_s);
        assert!(off_s.abs() < 1e-6, "{}: {off_s}", result.variant);
    }
    let text = report.markdown();
    assert!(text.contains("- Network: round trip of the subscribers"), "{text}");
}

#[test]
fn exceeded_limit_is_named_with_its_flag() {
    if !is_inside("exceeded_limit_is_named_with_its_flag") {
        return;
    }
    for (flags, limit, transport) in [
        (["--max-connections-per-address", "3"], "3 connections of your address", "websocket"),
        (["--max-subscriptions-per-address", "3"], "3 subscribers of your address", "sse"),
        (["--max-waiters", "3"], "3 subscribers", "long-polling"),
    ] {
        let remote = Remote::start(&flags);
        let directory = tempfile::tempdir().expect("a directory");
        let given = format!(
            "--no-calibration --subscribers 8 --topics 1 --duration 500ms --transports {transport}"
        );
        let output = remote.compare(directory.path(), &given);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let named = format!("the server has {limit}, which is its limit ({})", flags[0]);
        assert!(text.contains(&named), "{text}");
    }
}
