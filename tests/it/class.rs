//! A classroom (`serve --class`) and the faults of the lesson (`serve --demo`).

use std::process::Stdio;
use std::time::{Duration, Instant};

use hyper::Method;
use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::transport::{SubscribeOptions, Subscriber};
use poll_vs_push::variant::Transport;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

use super::support::{TestServer, soon};

const PATHS: [(&str, &str); 8] = [
    ("GET", "/class"),
    ("GET", "/teacher"),
    ("GET", "/class/state"),
    ("GET", "/class/qr"),
    ("POST", "/class/report"),
    ("POST", "/class/settings"),
    ("POST", "/demo/freeze?seconds=1"),
    ("POST", "/demo/restart"),
];

async fn class() -> TestServer {
    TestServer::with(|config| config.class = true).await
}

fn report(device: usize, team: &str) -> String {
    let delays = json!({ "websocket": [12.0], "short-polling": [900.0] });
    json!({ "device": format!("d{device}"), "team": team, "delays_ms": delays }).to_string()
}

async fn state(server: &TestServer) -> Value {
    serde_json::from_slice(&server.get("/class/state").await.body).expect("JSON")
}

#[tokio::test]
async fn without_their_flags_neither_class_nor_faults_exist() {
    let server = TestServer::start().await;
    for (method, path) in PATHS {
        let status = match method {
            "GET" => server.get(path).await.status,
            _ => server.post(path, "").await.status,
        };
        assert_eq!(status, 404, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn thirty_devices_are_one_histogram_and_get_the_teachers_settings() {
    let server = class().await;
    for device in 0..30 {
        let team = if device % 2 == 0 { "red" } else { "blue" };
        let answer = server.post("/class/report", report(device, team)).await;
        assert_eq!(answer.status, 200);
        assert!(String::from_utf8_lossy(&answer.body).contains("\"rate\":0.5"));
    }
    let seen = state(&server).await;
    assert_eq!((&seen["devices"], &seen["teams"]), (&json!(30), &json!(["blue", "red"])));
    assert_eq!(seen["delays"]["websocket"]["count"], 30);
    assert_eq!(seen["delays"]["short-polling"]["bars"][7], 30, "{seen}");
    assert!(!seen.to_string().contains(server.app.class.as_ref().expect("a class").key()));

    let settings = json!({ "rate": 2.0, "poll_interval_ms": 500, "round_trip_ms": 40 });
    let change = |key: &str| json!({ "key": key, "settings": settings }).to_string();
    assert_eq!(server.post("/class/settings", change("guess")).await.status, 403);
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    assert_eq!(server.post("/class/settings", change(&key)).await.status, 204);
    assert_eq!(state(&server).await["settings"], settings);
    for wrong in ["{}", "{\"device\":1}", &report(0, "a b"), "[]", r#"["d","red",{}]"#] {
        let answer = server.post("/class/report", wrong.to_owned()).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(!text.contains("struct"), "{wrong}: {text}");
    }
    let arrays = [
        "[]".to_owned(),
        json!([key, settings]).to_string(),
        json!({ "key": key, "settings": [1.0, 500, 40] }).to_string(),
    ];
    for wrong in arrays {
        let answer = server.post("/class/settings", wrong.clone()).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(text.contains("invalid type: sequence, expected an object"), "{wrong}: {text}");
    }
    assert_eq!(state(&server).await["settings"], settings);
    server.stop().await;
}

/// The text of a QR code that is drawn with a path of squares.
fn decode_qr(svg: &str) -> String {
    let attribute = |name: &str| {
        let (_, rest) = svg.split_once(&format!("{name}=\"")).expect("the attribute exists");
        rest.split('"').next().expect("a value")
    };
    let size: usize = attribute("width").parse().expect("a number of pixels");
    let mut pixels = vec![255; size * size];
    // Each square: M{left} {top}h{side}..
    for square in attribute(" d").split('M').skip(1) {
        let numbers: Vec<usize> = square
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let [left, top, side] = numbers[..3].try_into().expect("three numbers");
        for row in top..top + side {
            pixels[row * size + left..][..side].fill(0);
        }
    }
    let mut decoder = quircs::Quirc::default();
    let code = decoder.identify(size, size, &pixels).next().expect("a code").expect("a grid");
    String::from_utf8(code.decode().expect("no errors").payload).expect("UTF-8")
}

#[tokio::test]
async fn qr_code_contains_the_address_of_the_class() {
    let server = class().await;
    let image = server.get("/class/qr").await;
    assert_eq!(image.headers["content-type"], "image/svg+xml");
    let url = decode_qr(std::str::from_utf8(&image.body).expect("text"));
    assert_eq!(state(&server).await["url"], url);
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/class"), "{url}");
    server.stop().await;
}

/// The transports of a device's page.
const OF_A_DEVICE: [Transport; 4] =
    [Transport::ShortPolling, Transport::LongPolling, Transport::WebSocket, Transport::Sse];

/// A device as its page behaves: a subscriber for each transport, and a report every two seconds.
pub struct Device {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Device {
    pub fn join(dialer: Dialer, number: usize, team: &str) -> Device {
        let mut tasks = Vec::new();
        for transport in OF_A_DEVICE {
            let topic = format!("class-{team}").parse().expect("a good name");
            let interval = Duration::from_secs(2);
            let options = SubscribeOptions { interval, ..SubscribeOptions::new(topic) };
            let connecting = Subscriber::connect(transport, dialer.clone(), options);
            tasks.push(tokio::spawn(async move {
                let mut subscriber = connecting.await.expect("there is room");
                while subscriber.next().await.is_ok() {}
            }));
        }
        let body = report(number, team);
        tasks.push(tokio::spawn(async move {
            let mut http = HttpConnection::new(dialer);
            loop {
                let path = "/class/report";
                let answer = http.request(Method::POST, path, body.clone().into()).await;
                assert_eq!(answer.expect("an answer").status, 200);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }));
        Device { _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() }
    }
}

#[tokio::test]
async fn thirty_devices_share_a_publisher_and_send_few_requests() {
    const DEVICES: usize = 30;
    const TEAMS: usize = 6;
    const SECONDS: u64 = 8;
    let server = class().await;
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    let settings = json!({ "rate": 1.0, "poll_interval_ms": 2_000, "round_trip_ms": 0 });
    let change = json!({ "key": key, "settings": settings }).to_string();
    assert_eq!(server.post("/class/settings", change).await.status, 204);
    let join = |number| Device::join(server.dialer(), number, &format!("team{}", number % TEAMS));
    let devices: Vec<_> = (0..DEVICES).map(join).collect();
    let all_joined = async {
        while state(&server).await["devices"] != DEVICES {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(all_joined).await;

    let requests = async || {
        let scrape = server.scrape().await;
        let polls = [Transport::ShortPolling, Transport::LongPolling]
            .map(|transport| scrape.of("requests_total", &transport.to_string()));
        (polls, scrape.get("poll_vs_push_published_total"))
    };
    let ([short_before, long_before], published_before) = requests().await;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let ([short, long], published) = requests().await;
    let seconds = since.elapsed().as_secs_f64();
    let [short, long, published] =
        [short - short_before, long - long_before, published - published_before];
    println!("{seconds:.1} s: {short} short polls, {long} long polls, {published} messages");
    // One message a second for each team, however many devices it has: 8 on average, and a Poisson
    // number is less than three times that.
    assert!(published > 0.0 && published <= 3.0 * seconds * TEAMS as f64, "{published} messages");
    // A short poll every two seconds.
    let polls_max = DEVICES as f64 * (seconds / 2.0 + 2.0);
    assert!(short > 0.0 && short <= polls_max, "{short} short polls");
    // A long poll for each message of the team, and those that are pending.
    let per_team = DEVICES as f64 / TEAMS as f64;
    assert!(long <= published * per_team + 2.0 * DEVICES as f64, "{long} long polls");
    drop(devices);
    server.stop().await;
}

#[tokio::test]
async fn the_server_publishes_to_the_topic_of_each_team() {
    let server = class().await;
    let key = server.app.class.as_ref().expect("a class").key().to_owned();
    let settings = json!({ "rate": 20.0, "poll_interval_ms": 500, "round_trip_ms": 0 });
    let change = json!({ "key": key, "settings": settings }).to_string();
    assert_eq!(server.post("/class/settings", change.clone()).await.status, 204);
    server.post("/class/report", report(1, "red")).await;
    server.post("/class/report", report(2, "blue")).await;
    for team in ["red", "blue"] {
        let path = format!("/topics/class-{team}/long-poll?after=0&wait=50");
        let answer = soon(server.get(&path)).await;
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains("\"sender\":\"class\""), "{team}: {body}");
    }
    server.stop().await;
}

/// `serve --demo` on a free port, its output's first line read.
async fn demo() -> (Child, HttpConnection) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--drain-timeout", "1s"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    soon(BufReader::new(stdout).read_line(&mut line)).await.expect("a line");
    let address = line.trim_end().strip_prefix("listening on http://").expect(&line);
    (child, HttpConnection::new(Dialer::new(address.parse().expect("an address"))))
}

#[tokio::test]
async fn a_frozen_server_answers_late_and_recovers() {
    let (mut child, mut http) = demo().await;
    let path = "/demo/freeze?seconds=2";
    let answer = soon(http.request(Method::POST, path, Default::default())).await;
    assert_eq!(answer.expect("an answer").status, 202);
    let slow = async {
        loop {
            let asked = Instant::now();
            http.get("/healthz").await.expect("a 200");
            if asked.elapsed() > Duration::from_millis(500) {
                return;
            }
        }
    };
    soon(slow).await;
    let path = "/demo/freeze?seconds=31";
    let answer = soon(http.request(Method::POST, path, Default::default())).await;
    assert_eq!(answer.expect("an answer").status, 400);
    child.kill().await.expect("it was alive");
}

#[tokio::test]
async fn a_restarted_server_returns_on_its_port_with_a_new_epoch() {
    let (mut child, mut http) = demo().await;
    let body = r#"{"sender":"A","text":"hi"}"#;
    let first = http.request(Method::POST, "/topics/room/messages", body.into()).await;
    let first = first.expect("an answer").body;
    let restart = http.request(Method::POST, "/demo/restart", Default::default()).await;
    assert_eq!(restart.expect("an answer").status, 202);
    let returns = async {
        loop {
            let again = http.request(Method::POST, "/topics/room/messages", body.into()).await;
            if again.is_ok_and(|answer| answer.status == 201 && answer.body[..20] != first[..20]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(returns).await;
    child.kill().await.expect("it was alive");
}

#[tokio::test]
async fn faults_are_refused_on_an_address_that_others_reach() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
    command.args(["serve", "--demo", "--listen", "0.0.0.0:0"]).stdin(Stdio::null());
    let output = soon(command.output()).await.expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("--demo") && errors.contains("127.0.0.1"), "{errors}");
}
