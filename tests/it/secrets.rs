//! Tokens, keys and passwords: no file, no log and no message of any command contains one.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::child::{ChildServer, PROGRAM};
use crate::support::{Raw, WireFrame};

const KEY: &str = "a key of thirty-two bytes or more";
const TARGET: &str = include_str!("../../load-tests/targets/poll-vs-push.toml");

fn token(key: &Path, topics: &str) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["token", "--subscribe", topics, "--publish", topics, "--key"]).arg(key);
    let output = command.output().expect("the program starts");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Every file in `directory` and below it.
fn files(directory: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("readable");
            all.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    all
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A load test whose target file contains `token`, with the most verbose logs.
fn load(server: &ChildServer, target: &Path, output: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["load", "--target", &format!("http://{}", server.address)]);
    command.arg("--target-file").arg(target).arg("--output").arg(output);
    command.args(["--no-calibration", "--subscribers", "2", "--topics", "1", "--idle", "0s"]);
    command.args(["--repeats", "1", "--rate", "20", "--poll-interval", "50ms", "--rtt", "2ms"]);
    command.args(["--warm-up", "100ms", "--duration", "500ms"]);
    command.env("RUST_LOG", "trace").stdin(Stdio::null()).output().expect("it runs")
}

#[test]
fn load_test_writes_its_token_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("key"), KEY).expect("written");
    let log = File::create(path("server.log")).expect("a file");
    let key = path("key");
    let flags = ["--token-key", key.to_str().expect("text"), "--log-bytes", "100000000"];
    let mut server = ChildServer::start_with_log(&flags, Some("trace"), log);
    let good = token(&path("key"), "*");
    let signature = good.rsplit_once('.').expect("three parts").1.to_owned();
    let bad = format!("{good}x");
    for (token, is_measured) in [(&good, true), (&bad, false)] {
        let headers = format!("headers = {{ authorization = \"Bearer {token}\" }}\n");
        // The stream has headers already.
        let target =
            TARGET.replace("headers = { ", &format!("{}, ", headers.trim_end_matches(" }\n")));
        let mut target = target;
        for section in ["publish", "short-polling", "long-polling", "websocket"] {
            let begin = format!("[{section}]\n");
            target = target.replace(&begin, &format!("{begin}{headers}"));
        }
        std::fs::write(path("target.toml"), target).expect("written");
        let results = path(if is_measured { "measured" } else { "refused" });
        let output = load(&server, &path("target.toml"), &results);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        if is_measured {
            // 3 is a void cell, as on a busy machine.
            assert!(matches!(output.status.code(), Some(0 | 3)), "{error}");
            assert!(results.join("report.html").exists() && results.join("run.json").exists());
            assert!(results.join("report.md").exists() && results.join("results.csv").exists());
        } else {
            assert!(error.contains("401 Unauthorized"), "{error}");
        }
        let mut all =
            vec![("standard output".to_owned(), out), ("standard error".to_owned(), error)];
        if results.exists() {
            all.extend(files(&results));
        }
        for (what, text) in all {
            assert!(!text.contains(&signature), "{what} contains the token: {text}");
        }
    }
    server.stop();
    let log = std::fs::read_to_string(path("server.log")).expect("text");
    assert!(log.contains("TRACE"), "nothing was logged at that level");
    assert!(!log.contains(&signature) && !log.contains(KEY), "the log of the server");
}

#[test]
fn error_messages_contain_no_password_and_no_token() {
    const SECRET: &str = "correct-horse-battery";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("target.toml");
    let file_name = file.to_str().expect("text");
    let key = directory.path().join("short-key");
    std::fs::write(&key, "correct-horse-battery").expect("written");
    let key = key.to_str().expect("text");
    let targets = [
        format!("[publish]\nheaders = {{ authorization = \"Bearer {SECRET}\\u0007\" }}\n"),
        format!("[publish]\nheaders = {{ authorization = \"Bearer {SECRET} }}\n"),
        format!("[publish]\nheaders = {{ authorization = \"{SECRET}\" }}\nwrong = 1\n"),
    ];
    let with_password = format!("http://user:{SECRET}@127.0.0.1:1");
    let with_token = format!("http://127.0.0.1:1/?token={SECRET}");
    let mut commands: Vec<Vec<&str>> = vec![vec!["serve", "--token-key", key]];
    for url in [&with_password, &with_token] {
        for command in ["compare", "trace", "capacity"] {
            commands.push(vec![command, "--target", url]);
        }
    }
    let check = |arguments: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!output.status.success() && !said.is_empty(), "{arguments:?}: {said}");
        assert!(!said.contains(SECRET), "{arguments:?}: {said}");
    };
    commands.iter().for_each(|arguments| check(arguments));
    for target in targets {
        std::fs::write(&file, &target).expect("written");
        check(&["load", "--target", "http://127.0.0.1:1", "--target-file", file_name]);
    }
}

/// Refusals after the handshake, where the token is known to the session.
#[tokio::test]
async fn socketio_errors_do_not_contain_the_token() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    std::fs::write(&key, KEY).expect("written");
    let token = token(&key, "own");
    let server = ChildServer::start(&["--token-key", key.to_str().expect("text")]);
    let mut raw = Raw::connect(server.address).await;
    raw.upgrade(&format!("/socket.io/?EIO=4&transport=websocket&token={token}")).await;
    let packets = [
        "40/unknown,{\"token\":\"TOKEN\"}",
        "40{\"token\":\"TOKEN\"}",
        "42[\"subscribe\",{\"topic\":\"other\"}]",
        "421[\"publish\",{\"topic\":\"other\",\"sender\":\"A\",\"text\":\"x\"}]",
        "42[\"subscribe\",{\"topic\":\"own\",\"after\":\"x\"}]",
    ];
    for packet in packets {
        raw.send_frame(0x81, packet.replace("TOKEN", &token).as_bytes()).await;
    }
    let mut errors = 0;
    while errors < 4 {
        let WireFrame::Text(text) = raw.frame().await else { continue };
        assert!(!text.contains(&token), "{text}");
        errors += usize::from(text.contains("error") || text.starts_with("44"));
    }
}
