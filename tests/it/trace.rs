//! `trace`: its parts add up to the byte ledger of the load test; its output on terminals and
//! pipes.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use poll_vs_push::client::Dialer;
use poll_vs_push::trace::{self, Action, Conversation, Options, PartKind, TraceError, render};
use poll_vs_push::variant::{Transport, Variant};

use super::support::{TestServer, room, soon};

/// Short waits and `messages` messages.
pub fn options(messages: u32) -> Options {
    Options {
        topic: room(),
        messages,
        every: Duration::from_millis(30),
        poll_interval: Duration::from_millis(50),
        long_poll_hold: Duration::from_secs(20),
        round_trip: Duration::ZERO,
    }
}

async fn traced(variant: Variant, options: Options) -> Conversation {
    let server = TestServer::start().await;
    let dialer = Dialer::new(server.address);
    let trace = soon(trace::run(variant, &dialer, &options)).await.expect("it succeeds");
    server.stop().await;
    trace
}

fn has(trace: &Conversation, kind: PartKind) -> bool {
    trace.steps.iter().flat_map(|step| &step.parts).any(|part| part.kind == kind)
}

#[tokio::test]
async fn parts_add_up_to_the_ledger_of_every_transport() {
    let names = ["short-polling+conditional", "long-polling+conditional", "short-polling+adaptive"];
    let extra = names.map(|name| name.parse().expect("a variant"));
    for variant in Transport::ALL.map(Variant::from).into_iter().chain(extra) {
        for round_trip in [0, 6] {
            let round_trip = Duration::from_millis(round_trip);
            let trace = traced(variant, Options { round_trip, ..options(3) }).await;
            assert_eq!(trace.ledgers(), trace.metered, "{variant}: {:#?}", trace.steps);
            let [up, down] = trace.ledgers();
            let sums = [up.headers, up.tcp_ip, down.headers, down.payload, down.tcp_ip];
            assert!(sums.iter().all(|sum| *sum > 0), "{variant}: {sums:?}");
            let is_publication = |action: &Action| matches!(action, Action::Publish { .. });
            let published = trace.steps.iter().filter(|step| is_publication(&step.action));
            assert_eq!(published.count(), 3, "{variant}");
        }
    }
}

#[tokio::test]
async fn each_transport_shows_its_own_kinds_and_where_it_waits() {
    use PartKind::{ChunkSize, EventField, FrameHeader, Mask};
    let wanted = [
        (Transport::ShortPolling, vec![], "in the client, until the next poll is due"),
        (Transport::LongPolling, vec![], "in the server, which holds the request"),
        (Transport::WebSocket, vec![FrameHeader], "in the server, on the open connection"),
        (Transport::Sse, vec![ChunkSize, EventField], "in the server, on the open connection"),
        (Transport::SocketioWebsocket, vec![Mask], "in the server, on the open connection"),
    ];
    for (transport, kinds, place) in wanted {
        let options = Options { every: Duration::from_millis(200), ..options(1) };
        let trace = traced(transport.into(), options).await;
        for kind in kinds.into_iter().chain([PartKind::RequestLine, PartKind::Payload]) {
            assert!(has(&trace, kind), "{transport}: no {kind:?}");
        }
        let waited = trace.steps.iter().find_map(|step| match step.action {
            Action::Wait { place, .. } => Some(place),
            _ => None,
        });
        assert_eq!(waited, Some(place), "{transport}");
    }
}

#[tokio::test]
async fn text_fits_a_narrow_terminal_and_has_no_colours_unless_asked() {
    let trace = traced(Transport::SocketioWebsocket.into(), options(1)).await;
    for columns in [40, 60, 100] {
        let text = render::text(&trace, columns, false);
        assert!(!text.contains('\x1b'), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
    }
    assert!(render::text(&trace, 100, true).contains("\x1b[32m"));
    let page = render::page(&[trace], 100);
    assert!(page.contains("<span class=\"payload\">") && !page.contains("{\"offset\""));
}

#[tokio::test]
async fn compressed_and_http2_variants_are_refused() {
    for name in ["long-polling+gzip", "sse+h2"] {
        let variant: Variant = name.parse().expect("a variant");
        let dialer = Dialer::new(([127, 0, 0, 1], 1).into());
        let error = trace::run(variant, &dialer, &options(1)).await.expect_err("refused");
        assert!(matches!(error, TraceError::Unreadable { .. }), "{error}");
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.arg("trace").args(args).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (Output, String) {
    let output = program(args).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

#[test]
fn wrong_flags_are_named_with_their_remedy() {
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--transports", "pigeon"], 2, "expected one of short-polling"),
        (&["--transports", "sse+h2"], 2, "--transports 'sse+h2'"),
        (&["--messages", "0"], 2, "between 1 and 20"),
        (&["--every", "2h"], 2, "between 1ms and 1m"),
        (&["--target", "https://localhost"], 2, "use http://"),
        (&["--target", "ftp://localhost"], 2, "must begin with http://"),
        (&["--target", "http://127.0.0.1:1"], 1, "--target http://127.0.0.1:1: "),
    ];
    for (args, code, text) in cases {
        let (output, errors) = output(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(errors.contains(text) && output.stdout.is_empty(), "{args:?}: {errors}");
    }
}

#[test]
fn output_to_a_pipe_is_plain_and_a_closed_pipe_ends_it() {
    let short = ["--transports", "websocket,sse", "--messages", "1", "--every", "20ms"];
    let (out, errors) = output(&short);
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    assert!(out.status.success() && errors.is_empty(), "{errors}");
    assert!(text.contains("frame header") && !text.contains('\x1b'), "{text}");
    let mut child =
        program(&short).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
    assert!(child.wait().expect("it ends").success(), "{errors}");
    assert_eq!(errors, "");
}
