//! Every flag of every command that takes a number or a duration, at unusual values: each value is
//! rejected with an error that names the flag, or the command works with it. None panics.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::units::{parse_duration, show_duration};
use poll_vs_push::variant::Transport;

use crate::child::PROGRAM;
use crate::support::{new_message, options, soon};

/// Values of which every flag has to refuse some.
const NUMBERS: [&str; 8] =
    ["0", "1", "18446744073709551615", "18446744073709551616", "1e308", "-1", "NaN", ""];
const DURATIONS: [&str; 9] =
    ["0s", "1ns", "1ms", "1s", "106751991167300d", "9223372036854775807s", "-1s", "NaN", ""];
/// Names that the help gives to values which are numbers, and to those which are durations.
const NUMBER_NAMES: [&str; 9] = [
    "<N>",
    "<COUNT>",
    "<BYTES>",
    "<KBIT>",
    "<PACKETS>",
    "<PERCENT>",
    "<RATE>",
    "<OFFSET>",
    "<PID>",
];
const DURATION_NAME: &str = "<DURATION>";

/// The flags of a command whose values are numbers or durations, with values to try.
fn flags(command: &str) -> Vec<(String, &'static [&'static str])> {
    let help = Command::new(PROGRAM).args([command, "--help"]).output().expect("it starts");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let flag = |line: &str| {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with("-h"));
        let (flag, name) = (words.next()?.strip_prefix("--")?, words.next()?);
        let values: &'static [&'static str] = match name {
            DURATION_NAME => &DURATIONS,
            name if NUMBER_NAMES.contains(&name) => &NUMBERS,
            _ => return None,
        };
        Some((flag.to_owned(), values))
    };
    help.lines().filter_map(flag).collect()
}

/// Runs `command`, whose other required flags are in `given`, with each value of each flag. Returns
/// how many flags there are.
fn try_each(command: &str, given: &[(&str, &str)], more: &[&str]) -> usize {
    let flags = flags(command);
    for (flag, values) in &flags {
        for value in *values {
            let mut arguments = vec![command.to_owned(), format!("--{flag}={value}")];
            let others = given.iter().filter(|(other, _)| other != flag);
            arguments.extend(others.map(|(other, value)| format!("--{other}={value}")));
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            let mut child = Command::new(PROGRAM);
            child.args(&arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
            let output = child.output().expect("it starts");
            let error = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            check(&arguments.join(" "), flag, value, code, &error);
        }
    }
    flags.len()
}

/// A command that does not accept a value names the flag, and never panics.
fn check(command: &str, flag: &str, value: &str, code: Option<i32>, error: &str) {
    assert!(matches!(code, Some(0..=2)), "{command}: {code:?}: {error}");
    assert!(!error.contains("panicked"), "{command}: {error}");
    if code == Some(2) {
        // The error may be about another value, whose bounds depend on this one.
        let names = [format!("--{flag} "), format!("number of {flag} ")];
        let is_named = names.iter().any(|name| error.contains(name));
        // A number may be written in another form.
        let number = value.parse().map(|number: f64| number.to_string()).ok();
        let duration = parse_duration(value).map(show_duration).ok();
        let other = number.or(duration).unwrap_or(value.to_owned());
        let has_value = error.contains(value) || error.contains(&other);
        assert!(is_named && has_value, "{command}: {error}");
    }
    if ["", "NaN", "-1", "-1s"].contains(&value) {
        assert_eq!(code, Some(2), "{command}: {error}");
    }
}

#[test]
fn commands_without_a_server_refuse_values_out_of_range() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, [b'k'; 32]).expect("written");
    let key = key.to_str().expect("UTF-8");
    assert!(try_each("predict", &[], &[]) > 10);
    let required = [("subscribers", "100"), ("rate", "1"), ("staleness", "1s")];
    assert!(try_each("advise", &required, &[]) > 5);
    assert_eq!(try_each("token", &[("key", key), ("subscribe", "a")], &[]), 1);
    let feed = directory.path().join("feed");
    make_feed(&feed);
    let feed = feed.to_str().expect("UTF-8");
    assert_eq!(try_each("inspect", &[("topic", "room")], &[feed]), 1);
}

fn make_feed(directory: &Path) {
    let directory = directory.to_str().expect("UTF-8");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
    runtime.block_on(async {
        let mut server = crate::child::ChildServer::start(&["--data", directory]);
        let mut http = HttpConnection::new(Dialer::new(server.address));
        let posting = http.request(Method::POST, "/topics/room/messages", new_message("hi").into());
        assert_eq!(soon(posting).await.expect("an answer").status, 201);
        server.stop();
    });
}

#[test]
fn load_tests_refuse_values_out_of_range() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().to_str().expect("UTF-8");
    // No server listens there, so a command that passes the checks ends soon.
    let given = [("target", "http://127.0.0.1:1"), ("output", output), ("no-calibration", "")];
    let given = &given[..2];
    assert!(try_each("compare", given, &["--no-calibration"]) > 10);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/targets/nchan.toml");
    let given = [given, &[("target-file", file)]].concat();
    assert!(try_each("load", &given, &["--no-calibration"]) > 10);
    assert!(try_each("capacity", &given, &[]) > 10);
    assert!(try_each("trace", &given[..1], &[]) > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_refuses_values_out_of_range_or_works_with_them() {
    let flags = flags("serve");
    assert!(flags.len() > 25, "{flags:?}");
    for (flag, values) in flags {
        for value in values {
            serve_with(&flag, value).await;
        }
    }
}

/// Starts a server with that flag; one that starts is used by every transport, and stopped.
async fn serve_with(flag: &str, value: &str) {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--with-parent", "--drain-window", "0s"]);
    if flag == "drain-window" {
        command.args(["--drain-timeout", "0s"]);
        command = Command::new(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0", "--with-parent"]);
    }
    let directory = tempfile::tempdir().expect("a directory");
    if flag == "retain-data-bytes" {
        command.arg("--data").arg(directory.path());
    }
    command.arg(format!("--{flag}={value}")).env("RUST_LOG", "warn");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("can be read");
    if let Some(address) = line.trim().strip_prefix("listening on http://") {
        use_every_transport(address.parse().expect("an address")).await;
    }
    drop(child.stdin.take());
    let mut error = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut error).expect("can be read");
    let code = child.wait().expect("it ends").code();
    check(&format!("serve --{flag}={value}"), flag, value, code, &error);
}

/// Publishes and subscribes; limits of almost nothing may refuse it.
async fn use_every_transport(address: SocketAddr) {
    let mut http = HttpConnection::new(Dialer::new(address));
    let _ =
        soon(http.request(Method::POST, "/topics/room/messages", new_message("hi").into())).await;
    for transport in Transport::ALL {
        let dialer = Dialer::new(address);
        let using = async {
            let mut subscriber = Subscriber::connect(transport, dialer, options(None)).await?;
            let _ =
                http.request(Method::POST, "/topics/room/messages", new_message("hi").into()).await;
            // A server that allows no pending long poll responds at once.
            subscriber.next().await
        };
        let limit = std::time::Duration::from_millis(300);
        let _ = tokio::time::timeout(limit, using).await;
    }
}
