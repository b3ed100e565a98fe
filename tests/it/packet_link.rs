//! The packet link, as used from the command line: TCP over it has the expected delays and losses,
//! and leaves nothing behind. Skipped with a message if the system forbids it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use poll_vs_push::run::{Cell, LinkUse, Run};
use poll_vs_push::scenario::Workload;
use poll_vs_push::theory::predict;
use poll_vs_push::variant::Transport;
use rustix::process::{Pid, Signal, kill_process};

use super::child::PROGRAM;

/// A small workload over the packet link.
const SMALL: &str = "--no-calibration --link packets --subscribers 20 --topics 5 --rate 4 \
                     --poll-interval 200ms --idle 0s --warm-up 300ms --duration 2s --repeats 1";

fn compare(directory: &Path, flags: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--output"]).arg(directory.join("run"));
    command.args(SMALL.split_whitespace()).args(flags.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn is_unavailable(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    let is_unavailable = output.status.code() == Some(1) && said.contains("error: --link packets:");
    if is_unavailable {
        eprintln!("skipped: {said}");
    }
    is_unavailable
}

/// The cells of a run; `None` where there can be no packet link. A busy machine may void the run,
/// but not for what was delivered.
fn measure(flags: &str) -> Option<Vec<Cell>> {
    let directory = tempfile::tempdir().expect("a directory");
    let output = compare(directory.path(), flags).output().expect("it runs");
    if is_unavailable(&output) {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?} {said}", output.status);
    let json = std::fs::read_to_string(directory.path().join("run/run.json")).expect("it is there");
    let cells = Run::from_json(&json).expect("a good run").cells;
    for cell in &cells {
        let counts = cell.deliveries;
        let wrong = [counts.lost, counts.duplicated, counts.reordered, counts.early];
        assert_eq!(wrong, [0; 4], "{}: {counts:?}", cell.variant);
        assert_eq!(
            Some(cell.requests.client_total),
            cell.requests.server_total,
            "{}",
            cell.variant
        );
    }
    Some(cells)
}

fn link(cell: &Cell) -> &LinkUse {
    cell.link.as_ref().expect("there is a packet link")
}

#[test]
fn connections_and_deliveries_take_the_round_trips_that_tcp_needs() {
    let flags = "--rtt 60ms --transports websocket,long-polling";
    let Some(cells) = measure(flags) else { return };
    for cell in &cells {
        // Connecting takes a round trip, and so does the first request or the upgrade.
        let ready_us = &cell.connections.ready_us.0;
        assert!(ready_us.min() >= 119_000, "{}: {} us", cell.variant, ready_us.min());
        assert!(ready_us.value_at_quantile(0.25) < 178_000, "{}", cell.variant);
        assert!(cell.latency_us.0.min() >= 29_900, "{}", cell.variant);
        assert_eq!((link(cell).up.lost, link(cell).down.lost), (0, 0));
        assert!(link(cell).cpu_s > 0.0 && link(cell).up.packets > 0);
    }
}

#[test]
fn a_long_poll_takes_three_segments() {
    let flags = "--rtt 100ms --rate 1 --duration 5s --transports long-polling";
    let Some(cells) = measure(flags) else { return };
    // Request, acknowledgement of a request that is held, answer; the next request acknowledges it.
    let cell = &cells[0];
    let bytes = cell.bytes.up.tcp_ip + cell.bytes.down.tcp_ip;
    let per_exchange = bytes as f64 / 52.0 / cell.requests.sent as f64;
    assert!((2.6..3.4).contains(&per_exchange), "{per_exchange} segments an exchange");
}

#[test]
fn losses_lie_within_binomial_bounds_and_lose_no_message() {
    let flags = "--rtt 20ms --loss 4 --rate 10 --duration 3s \
                 --transports websocket,long-polling,short-polling,sse,short-polling+h2";
    let Some(cells) = measure(flags) else { return };
    let (mut packets, mut lost) = (0, 0);
    for cell in &cells {
        packets += link(cell).up.packets + link(cell).down.packets;
        lost += link(cell).up.lost + link(cell).down.lost;
    }
    let expected = packets as f64 * 0.04;
    let deviation = (expected * 0.96).sqrt();
    assert!((lost as f64 - expected).abs() < 5.0 * deviation, "{lost} of {packets} packets");
    // A lost push is repeated after 200 ms and a round trip, unless another follows it.
    let push = cells.iter().find(|cell| cell.variant == Transport::WebSocket).expect("measured");
    assert!(push.latency_us.0.max() > 60_000, "{}", push.latency_us.0.max());
}

#[test]
fn a_transfer_takes_what_the_bandwidth_allows() {
    // Each message of 50,000 bytes takes 200 ms at 2 Mbit/s.
    let flags = "--rtt 20ms --message-bytes 50000 --bandwidth-down-kbit 2000 --rate 1 \
                 --transports websocket";
    let Some(cells) = measure(flags) else { return };
    let min_us = cells[0].latency_us.0.min();
    assert!(min_us >= 210_000, "{min_us} us");
}

#[test]
fn a_full_queue_drops_and_tcp_recovers() {
    let flags = "--rtt 20ms --message-bytes 30000 --bandwidth-down-kbit 4000 --queue-bytes 6000 \
                 --rate 1 --transports websocket";
    let Some(cells) = measure(flags) else { return };
    assert!(link(&cells[0]).down.overflowed > 0, "{:?}", link(&cells[0]));
    assert_eq!(link(&cells[0]).up.overflowed, 0);
}

#[test]
fn invalid_values_are_rejected_before_the_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let cases = [
        ("--loss 101", "--loss 101: must be at least 0 and below 100"),
        ("--loss 100", "--loss 100: must be at least 0 and below 100"),
        ("--loss -1", "--loss -1: must be at least 0 and below 100"),
        ("--loss nan", "--loss NaN: must be at least 0 and below 100"),
        ("--loss-burst 11s", "--loss-burst 11s: must be between 0s and 10s"),
        ("--bandwidth-down-kbit 0", "--bandwidth-down-kbit 0: must be between 1"),
        ("--bandwidth-up-kbit 0", "--bandwidth-up-kbit 0: must be between 1"),
        ("--queue-bytes 1499", "--queue-bytes 1499: must be at least a packet, 1,500 bytes"),
        ("--jitter 11s", "--jitter 11s: must be between 0s and 10s"),
        ("--subscribers 70000", "--subscribers 70000: must be at most 65,533"),
        ("--target http://127.0.0.1:1", "--link packets: it leads to a server that this program"),
        ("--link in-process --loss 1", "--loss 1: needs link = packets (--link packets)"),
        ("--link in-process --bandwidth-up-kbit 9", "--bandwidth-up-kbit 9: needs link"),
    ];
    for (flags, message) in cases {
        let output = compare(directory.path(), flags).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(said.contains(message), "{flags}: {said}");
        assert!(!directory.path().join("run").exists(), "{flags}: nothing has run");
    }
}

#[test]
fn a_forbidden_namespace_is_one_error_before_anything_runs() {
    // A user namespace of ours may set limits that hold for what runs in it.
    const FORBID: &str = "cd /proc/sys/user && echo 0 > max_user_namespaces && \
                          echo 0 > max_net_namespaces && exec \"$0\" \"$@\"; exit 77";
    let directory = tempfile::tempdir().expect("a directory");
    let program = compare(directory.path(), "");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", FORBID]);
    command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    let Ok(output) = command.output() else {
        eprintln!("skipped: there is no unshare(1)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || said.starts_with("unshare:") {
        eprintln!("skipped: {said}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: --link packets: "), "{said}");
    let has_remedy = ["sudo sysctl", "sudo chmod", "sudo modprobe"].map(|text| said.contains(text));
    assert!(has_remedy.contains(&true), "{said}");
    assert!(!directory.path().join("run").exists(), "nothing has run");
}

/// Processes in the network namespace `name`, as /proc names it.
fn processes_in(name: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("it is there").flatten();
    let is_inside = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|namespace| namespace == name)
    };
    let inside = entries.filter(is_inside);
    inside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn neither_an_interrupt_nor_a_kill_leaves_a_process_or_namespace_behind() {
    const FORGOTTEN: Duration = Duration::from_secs(60);
    let own = std::fs::read_link("/proc/self/ns/net").expect("it is there");
    for signal in [Signal::INT, Signal::KILL] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = compare(directory.path(), "--duration 60s --transports websocket");
        let mut child = command.spawn().expect("it starts");
        let started = Instant::now();
        let namespace = loop {
            if child.try_wait().expect("it is ours").is_some() {
                let output = child.wait_with_output().expect("it has ended");
                assert!(is_unavailable(&output), "{output:?}");
                return;
            }
            let link = std::fs::read_link(format!("/proc/{}/ns/net", child.id()));
            let moved = link.ok().filter(|namespace| *namespace != own);
            // The server is there too.
            if let Some(namespace) = moved.filter(|name| processes_in(name).len() > 1) {
                break namespace;
            }
            assert!(started.elapsed() < FORGOTTEN, "it never started its server");
            std::thread::sleep(Duration::from_millis(20));
        };
        kill_process(Pid::from_child(&child), signal).expect("it is ours");
        child.wait().expect("it ends");
        while !processes_in(&namespace).is_empty() {
            assert!(started.elapsed() < FORGOTTEN, "left: {:?}", processes_in(&namespace));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn losses_are_predicted_to_first_order() {
    let workload = |loss: f64| Workload { loss, ..Workload::default() };
    let predicted = |transport: Transport, loss: f64| {
        predict(transport, &workload(loss)).expect("there is a closed form")
    };
    for transport in [Transport::WebSocket, Transport::LongPolling, Transport::ShortPolling] {
        let lossless = predicted(transport, 0.0);
        assert!(lossless.network.is_none() && lossless.knows_quantiles());
        let mut last = lossless.latency_mean_s();
        for loss in [0.1, 1.0, 5.0] {
            let lossy = predicted(transport, loss);
            assert!(lossy.knows_mean() && !lossy.knows_quantiles());
            assert!(lossy.latency_mean_s() > last, "{transport} at {loss} %");
            assert!(lossy.requests_per_subscriber_s <= lossless.requests_per_subscriber_s);
            last = lossy.latency_mean_s();
        }
    }
    // 1 % of the pushes wait 240 ms, those of a hundredth of them twice as long again.
    let push = predicted(Transport::WebSocket, 1.0);
    assert!((push.latency_mean_s() - (0.02 + 0.0024 / 0.98)).abs() < 1e-9);
    // Unless the next message is sent within 150 ms.
    let late_share = push.network.and_then(|network| network.late_share).expect("it is known");
    assert!((late_share - 0.01 * (-0.15 * 0.99f64).exp()).abs() < 1e-9, "{late_share}");
}
