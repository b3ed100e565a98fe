//! The program as started by a user: output, shutdown and exit codes.

use std::process::Stdio;

use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::variant::Transport;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Raw, Reader, TestServer, options, soon};

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(args).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error of a command that ends by itself.
async fn run(args: &[&str]) -> (i32, String, String) {
    let output = soon(program(args).output()).await.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

/// `serve` on a free port.
struct Served {
    child: Child,
    address: std::net::SocketAddr,
}

impl Served {
    async fn start() -> Served {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--drain-timeout", "10s"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let stdout = child.stdout.as_mut().expect("piped");
        let mut line = String::new();
        soon(BufReader::new(stdout).read_line(&mut line)).await.expect("a line");
        let address = line.trim_end().strip_prefix("listening on http://").expect(&line);
        Served { address: address.parse().expect("an address"), child }
    }

    /// Sends a signal; returns the exit code.
    async fn stop_by(mut self, signal: Signal) -> i32 {
        let id = self.child.id().expect("it runs");
        let pid = Pid::from_raw(id as i32).expect("no process has the id 0");
        kill_process(pid, signal).expect("it is ours");
        soon(self.child.wait()).await.expect("it ends").code().expect("an exit, not a signal")
    }
}

#[tokio::test]
async fn serve_prints_its_address_and_stops_at_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let served = Served::start().await;
        assert_ne!(served.address.port(), 0);
        let mut http = HttpConnection::new(Dialer::new(served.address));
        soon(http.get("/healthz")).await.expect("a 200");
        assert_eq!(served.stop_by(signal).await, 0, "{signal:?}");
    }
}

#[tokio::test]
async fn signal_closes_websockets_and_answers_long_polls() {
    let served = Served::start().await;
    let mut socket = Raw::connect(served.address).await;
    socket.upgrade("/topics/room/ws").await;
    // Both are waiting: each has received its starting position.
    let dialer = Dialer::new(served.address);
    let mut reader = Reader::connect(Transport::LongPolling, dialer, options(None)).await;
    let held = tokio::spawn(async move { reader.next().await });
    let mut http = HttpConnection::new(Dialer::new(served.address));
    let waits = "poll_vs_push_waiting{transport=\"long-polling\"} 1";
    let is_held = async {
        while !soon(http.get("/metrics")).await.is_ok_and(|text| contains(&text, waits)) {
            tokio::task::yield_now().await;
        }
    };
    soon(is_held).await;
    let (code, socket_code) = tokio::join!(served.stop_by(Signal::TERM), socket.closed_with());
    assert_eq!((code, socket_code), (0, 1001));
    assert_eq!(soon(held).await.expect("no panic"), Default::default());
}

fn contains(text: &[u8], what: &str) -> bool {
    std::str::from_utf8(text).expect("UTF-8").contains(what)
}

#[tokio::test]
async fn port_in_use_is_an_error_with_address_and_flag() {
    let server = TestServer::start().await;
    let address = server.address.to_string();
    let (code, _, error) = run(&["serve", "--listen", &address]).await;
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert!(error.contains("--listen") && error.contains("in use"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn help_has_examples() {
    let (code, help, _) = run(&["--help"]).await;
    assert_eq!(code, 0);
    assert!(help.contains("serve"), "{help}");
    let (code, help, _) = run(&["serve", "--help"]).await;
    assert_eq!(code, 0);
    assert!(help.contains("Examples:") && help.contains("poll-vs-push serve"), "{help}");
    assert!(help.contains("--max-connections") && help.contains("127.0.0.1:3030]"));
    let (code, version, _) = run(&["--version"]).await;
    assert_eq!(
        (code, version.as_str()),
        (0, concat!("poll-vs-push ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[tokio::test]
async fn invalid_arguments_are_errors_with_flag_and_value() {
    let cases: [(&[&str], &str); 8] = [
        (&["--subscribers", "x"], "'x' for '--subscribers <N>': must be a whole number"),
        (&["--topics", "99999999999"], "'99999999999' for '--topics <N>': is too large"),
        (&["--rate", "x"], "'x' for '--rate <RATE>': must be a rate"),
        (&["serve", "--log-bytes=-1"], "'-1' for '--log-bytes <BYTES>': must be a whole"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["serve", "--no-such-flag"], "--no-such-flag"),
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--heartbeat", "soon"], "'soon' is not a duration such as 40ms"),
    ];
    for (args, reason) in cases {
        let (code, _, error) = run(args).await;
        assert_eq!(code, 2, "{args:?}");
        assert!(error.contains(reason), "{args:?}: {error}");
    }
}

/// Origins and hosts that no request can have, and a key that has no end.
#[tokio::test]
async fn names_that_match_nothing_are_errors() {
    let cases = [
        ("--allow-origin", "nonsense", "--allow-origin 'nonsense': no page has this origin"),
        ("--allow-origin", "https://a.example/", "--allow-origin 'https://a.example/': no page"),
        ("--allow-origin", "https://", "--allow-origin 'https://': no page has this origin"),
        ("--allow-host", "https://a.example", "--allow-host 'https://a.example': not the name"),
        ("--allow-host", "a.example:80", "without scheme and port"),
        ("--allow-host", "a b", "--allow-host 'a b': not the name of a host"),
        ("--reports", "/dev/null", "--reports: '/dev/null' is not a directory"),
        ("--token-key", "/dev/zero", "'/dev/zero' has 65536 bytes or more, so it is not a key"),
    ];
    for (flag, value, message) in cases {
        let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0", flag, value]).await;
        assert_eq!(code, 2, "{flag} {value}: {error}");
        assert!(error.contains(message), "{flag} {value}: {error}");
    }
}

/// What has no effect is not ignored in silence.
#[tokio::test]
async fn settings_without_effect_cause_warnings() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "k".repeat(32)).expect("written");
    let key = key.to_str().expect("UTF-8");
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--token-key", key]);
    command.args(["--allow-host", "a.example"]).env("RUST_LOG", "poll_vs_push=loud");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    soon(BufReader::new(stdout).read_line(&mut line)).await.expect("a line");
    child.start_kill().expect("it runs");
    let output = soon(child.wait_with_output()).await.expect("it ends");
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    for warning in ["--allow-host has no effect", "RUST_LOG is ignored"] {
        assert!(log.contains(warning), "{warning}: {log}");
    }
}

#[tokio::test]
async fn token_without_rights_or_lifetime_is_an_error() {
    let cases: [(&[&str], &str); 3] = [
        (&[], "name topics with --subscribe"),
        (&["--subscribe", "a", "--expires", "0s"], "--expires 0s: must be between 1s"),
        (&["--publish", "a", "--expires", "100000h"], "must be between 1s and 10 years"),
    ];
    for (flags, message) in cases {
        let (code, token, error) = run(&[&["token", "--key", "none"], flags].concat()).await;
        assert_eq!((code, token.as_str()), (2, ""), "{flags:?}");
        assert!(error.contains(message), "{error}");
    }
}

/// A token that no server would accept, or a right that no request could use.
#[tokio::test]
async fn patterns_that_match_no_topic_and_long_tokens_are_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, "k".repeat(32)).expect("written");
    let key = key.to_str().expect("UTF-8");
    let longest = "x".repeat(64);
    let (too_long, prefix) = (format!("{longest}x"), format!("{longest}*"));
    let bad = ["", "a*b", "**", "*a", "a/b", ".", "..", "ö", "a b", "a,b", &too_long];
    for flag in ["--subscribe", "--publish"] {
        for pattern in bad {
            let (code, token, error) = run(&["token", "--key", key, flag, pattern]).await;
            assert_eq!((code, token.as_str()), (2, ""), "{flag} '{pattern}'");
            let named = error.contains(&format!("'{pattern}' for '{flag} <PATTERN>'"));
            let is_missing = pattern.is_empty() && error.contains(flag);
            assert!(named || is_missing, "{flag} '{pattern}': {error}");
            assert!(error.contains("no topic matches it"), "{flag} '{pattern}': {error}");
        }
        for pattern in ["*", "a", "news.*", "..*", "A_b-c.d", &longest, &prefix] {
            let (code, token, error) = run(&["token", "--key", key, flag, pattern]).await;
            assert_eq!((code, token.split('.').count()), (0, 3), "{flag} '{pattern}': {error}");
        }
    }
    for (subject, expected) in [(2_000, 0), (9_000, 2)] {
        let subject = "s".repeat(subject);
        let arguments = ["token", "--key", key, "--publish", "a", "--subject", &subject];
        let (code, token, error) = run(&arguments).await;
        assert_eq!((code, token.is_empty()), (expected, expected != 0), "{error}");
        assert!(code == 0 || error.contains("a server accepts at most 4096"), "{error}");
    }
}

/// Found before anything is measured or started.
#[tokio::test]
async fn flags_that_contradict_each_other_or_mean_nothing_are_errors() {
    let target = ["--target", "http://127.0.0.1:1"];
    let cases: [(&[&str], &str); 25] = [
        (&["trace", "--topic", ".."], "--topic ..: cannot be a topic"),
        (&["trace", "--topic", "."], "--topic .: cannot be a topic"),
        (
            &["trace", "--transports", "websocket,websocket"],
            "--transports websocket,websocket: websocket is given twice",
        ),
        (&["--transports", "sse,sse"], "--transports sse,sse: sse is given twice"),
        (&["--fail-if", "sse.latency.p99>99999999999999999999s"], "is too large"),
        (&["--fail-if", "sse.latency.timeout_share>200%"], "is never true"),
        (&["capacity", "--slo", "latency.p99<0ms"], "is never true"),
        (&["capacity", "--slo", "latency.p99>=0ms"], "is always true"),
        (&["--rate", "1e-300"], "--rate 1e-300: must be between"),
        (&["--rate", "1e400"], "'1e400' for '--rate <RATE>': is too large"),
        (&["--loss", "1e-300"], "--loss 1e-300: needs link = packets"),
        (&["capacity", "--over", "rate", "--most", "1e-300"], "--most 1e-300: must be between"),
        (&["--loss", "1e300"], "--loss 1e300: must be at least 0"),
        (&["--subscribers", "1"], "with --subscribers 1: workload.topics = "),
        (&["capacity", "--rate", "1e-300"], "--rate 1e-300: must be between"),
        (&["predict", "--subscribers", "1"], "with --subscribers 1: workload.topics = "),
        (&["capacity", "--transports", "sse,sse"], "--transports sse,sse: sse is given twice"),
        (
            &[&["capacity", "--server-threads", "2"], &target[..]].concat(),
            "--server-threads 2: only a server started by this command",
        ),
        (
            &[&target[..], &["--servers", "http://127.0.0.1:2,http://127.0.0.1:2/"]].concat(),
            "--servers http://127.0.0.1:2/: it is given twice",
        ),
        (&["serve", "--class", "--token-key", "k"], "cannot be used with '--token-key <FILE>'"),
        (&["serve", "--durability", "full"], "not provided:\n  --data <DIR>"),
        (&["serve", "--retain-data-bytes", "2000000"], "not provided:\n  --data <DIR>"),
        (&["advise", "--print-costs", "--browser"], "'--print-costs' cannot be used with"),
        (&["advise", "--print-costs", "--rate", "1"], "'--print-costs' cannot be used with"),
        (&["inspect", "nothing", "--after", "5"], "--after 5: lists messages, but the topics"),
    ];
    for (args, message) in cases {
        let (code, out, error) = run(args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {error}");
        assert!(error.contains(message), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn out_of_range_flags_of_advise_and_predict_are_errors() {
    let advise = ["advise", "--subscribers", "0", "--rate", "1", "--staleness", "1s"];
    let cases: [(&[&str], &str); 2] = [
        (&advise, "--subscribers 0: must be at least 1"),
        (&["predict", "--message-bytes", "3"], "--message-bytes 3: must be between 16 and 60,000"),
    ];
    for (args, message) in cases {
        let (code, _, error) = run(args).await;
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn advise_answers_extremes_and_refuses_what_lies_beyond() {
    let workload = |changed: &[(&str, &str)]| -> Vec<String> {
        let mut flags = vec![("--subscribers", "1000"), ("--rate", "1"), ("--staleness", "2s")];
        for (flag, value) in changed {
            flags.retain(|(other, _)| other != flag);
            flags.push((flag, value));
        }
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        std::iter::once("advise".to_owned()).chain(flags).collect()
    };
    let prices = concat!(env!("CARGO_MANIFEST_DIR"), "/load-tests/prices/serverless.toml");
    let accepted: [&[(&str, &str)]; 10] = [
        &[("--subscribers", "1")],
        &[("--subscribers", "4294967295"), ("--topics", "4294967295")],
        &[("--rate", "0.000001"), ("--staleness", "24h")],
        &[("--rate", "10000")],
        &[("--rate", "1/20s")],
        &[("--staleness", "1us"), ("--rtt", "0s")],
        &[("--staleness", "1us"), ("--rtt", "10s")],
        &[("--message-bytes", "0")],
        &[("--message-bytes", "1000000"), ("--interval", "1ns")],
        &[("--rate", "10/d"), ("--prices", prices), ("--cost", "money")],
    ];
    for changed in accepted {
        let arguments = workload(changed);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, out, error) = run(&arguments).await;
        assert_eq!((code, error.as_str()), (0, ""), "{changed:?}");
        let words = out.split(|c: char| !c.is_alphanumeric());
        assert!(!words.into_iter().any(|word| ["NaN", "inf"].contains(&word)), "{out}");
        assert!(out.starts_with("Recommendation: ") || out.starts_with("No transport"), "{out}");
    }
    let refused = [
        ("--subscribers", "0", "must be at least 1"),
        ("--subscribers", "4294967296", "is too large"),
        ("--subscribers", "-1", "unexpected argument"),
        ("--topics", "0", "must be at least 1 and at most"),
        ("--topics", "1001", "must be at least 1 and at most"),
        ("--rate", "0", "must be between 0.000001 and 10,000"),
        ("--rate", "10001", "must be between 0.000001 and 10,000"),
        ("--rate", "nan", "must be between 0.000001 and 10,000"),
        ("--rate", "1e-300", "--rate 1e-300: must be between"),
        ("--rate", "1e400", "is too large"),
        ("--rate", "2/week", "such as 0.5 (per second), 5/min, 2/h, 10/d or 1/20s"),
        ("--staleness", "0s", "must be between 1us and 24h"),
        ("--staleness", "86401s", "must be between 1us and 24h"),
        ("--rtt", "10001ms", "must be between 0s and 10s"),
        ("--interval", "0s", "must be above 0s"),
        ("--message-bytes", "1000001", "must be between 0 and 1,000,000"),
        ("--cost", "money", "requires a price list, given with --prices"),
    ];
    for (flag, value, message) in refused {
        let arguments = workload(&[(flag, value)]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, _, error) = run(&arguments).await;
        assert_eq!(code, 2, "{flag} {value}: {error}");
        assert!(error.contains(message), "{flag} {value}: {error}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_flag_without_feature_is_an_error() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", "c.pem", "--tls-key", "k.pem"];
    let compare = ["compare", "--target", "https://127.0.0.1", "--ca", "cert.pem"];
    for args in [&serve[..], &compare] {
        let (code, _, error) = run(args).await;
        assert_eq!(code, 2, "{args:?}");
        assert!(error.contains("--features tls"), "{error}");
    }
}

#[test]
fn server_durations_have_limits() {
    let flags = ["heartbeat", "send-timeout", "header-timeout", "body-timeout", "idle-timeout"];
    for flag in flags {
        for bad in ["0s", "1ns", "99999999h"] {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
            command.args(["serve", "--listen", "127.0.0.1:0", &format!("--{flag}"), bad]);
            let output = command.output().expect("the program starts");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "--{flag} {bad}: {text}");
            assert!(text.contains(&format!("--{flag}")) && text.contains(bad), "{text}");
        }
    }
}

#[tokio::test]
async fn missing_files_are_usage_errors_that_name_flag_and_file() {
    let target = ["--target", "http://127.0.0.1:1", "--target-file", "/nowhere/t.toml"];
    let workload = ["--subscribers", "10", "--rate", "1", "--staleness", "1s"];
    let cases: [(&[&str], &[&str], &str); 9] = [
        (&["compare", "--scenario", "/nowhere/s.toml"], &[], "--scenario /nowhere/s.toml: "),
        (&["compare", "--baseline", "/nowhere/run.json"], &[], "--baseline /nowhere/run.json: "),
        (&["predict", "--scenario", "/nowhere/s.toml"], &[], "--scenario /nowhere/s.toml: "),
        (&["load"], &target, "--target-file /nowhere/t.toml: "),
        (&["advise", "--costs", "/nowhere/run.json"], &workload, "--costs /nowhere/run.json: "),
        (&["report", "/nowhere/run.json"], &[], "error: /nowhere/run.json: "),
        (&["inspect", "/nowhere"], &[], "/nowhere"),
        (&["token", "--key", "/nowhere/key", "--subscribe", "a"], &[], "'/nowhere/key'"),
        (&["serve", "--token-key", "/nowhere/key"], &[], "'/nowhere/key'"),
    ];
    for (arguments, more, message) in cases {
        let (code, _, error) = run(&[arguments, more].concat()).await;
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
        assert_eq!(error.matches("No such file").count(), 1, "{arguments:?}: {error}");
    }
}

/// serde would read a struct from an array too, and then name the struct.
#[tokio::test]
async fn results_that_are_no_json_object_are_errors() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("results.json");
    let path = file.to_str().expect("UTF-8");
    let run_file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sample/run.json");
    let commands: [&[&str]; 4] = [
        &["report", path],
        &["report", run_file, "--output", path, "--capacity", path],
        &["compare", "--baseline", path],
        &["advise", "--print-costs", "--costs", path],
    ];
    for content in ["[]", "[5]", "7", "null", "\"{}\""] {
        std::fs::write(&file, content).expect("written");
        for arguments in commands {
            let (code, _, error) = run(arguments).await;
            assert_eq!(code, 2, "{arguments:?}: {error}");
            let is_plain = error.contains("expected an object") && !error.contains("struct");
            assert!(is_plain, "{content} {arguments:?}: {error}");
        }
    }
}

#[tokio::test]
async fn replaced_results_are_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    let run_file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sample/run.json");
    for is_noted in [false, true] {
        let (code, _, error) = run(&["report", run_file, "--output", path]).await;
        assert_eq!(code, 0, "{error}");
        let note = format!("note: --output {path}: replaces the earlier results in it");
        assert_eq!(error.contains(&note), is_noted, "{error}");
    }
}

#[tokio::test]
async fn advise_prints_bills_and_refuses_bad_price_lists() {
    let root = env!("CARGO_MANIFEST_DIR");
    let workload = ["advise", "--subscribers", "1000", "--rate", "0.1", "--staleness", "5s"];
    for name in ["virtual-machine", "serverless", "websocket-gateway"] {
        let path = format!("{root}/load-tests/prices/{name}.toml");
        let args = [&workload[..], &["--prices", &path]].concat();
        let (code, out, error) = run(&args).await;
        assert_eq!((code, error.as_str()), (0, ""), "{name}");
        assert!(out.contains("Monthly bill: ") && out.contains("https://"), "{out}");
        let (_, out, _) = run(&[&args[..], &["--json"]].concat()).await;
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let bills = json["bills"].as_array().expect("a list");
        assert_eq!(bills.len(), json["advice"]["estimates"].as_array().expect("a list").len());
        assert!(bills.iter().any(|bill| bill["total"].as_f64() > Some(0.0)), "{bills:?}");
    }
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("undated.toml").display().to_string();
    let text = std::fs::read_to_string(format!("{root}/load-tests/prices/virtual-machine.toml"))
        .expect("text");
    let undated = text.replacen("date = \"2026-11-25\"", "", 1);
    std::fs::write(&path, undated).expect("written");
    let (code, _, error) = run(&[&workload[..], &["--prices", &path]].concat()).await;
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(&format!("--prices {path}: date is missing")), "{error}");
    let (code, _, error) = run(&[&workload[..], &["--prices", "/nowhere.toml"]].concat()).await;
    assert!(code == 2 && error.contains("--prices /nowhere.toml: cannot be read"), "{error}");
    let (code, _, error) = run(&[&workload[..], &["--interval", "0s"]].concat()).await;
    assert!(code == 2 && error.contains("--interval"), "{error}");
}
