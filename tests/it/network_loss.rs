//! Clients whose network disappears: no FIN, no RST, no acknowledgement. On every transport the
//! server detects it within `--send-timeout` and one `--heartbeat`, and frees their resources.
//!
//! The server runs in a network namespace of its own, joined to the clients' by a virtual link. The
//! clients vanish when what they send is no longer routed. Where the system allows no namespaces,
//! the test is skipped, with a message.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use poll_vs_push::client::{Dialer, HttpConnection};
use poll_vs_push::transport::Subscriber;
use poll_vs_push::variant::Transport;
use tokio_util::task::AbortOnDropHandle;

use crate::child::{ChildServer, PROGRAM};
use crate::support::{FORGOTTEN, Raw, Scrape, options, publish, soon, variants_with_http2};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "POLL_VS_PUSH_TEST_NAMESPACE";
/// Addresses of the server: one for clients that will vanish, and one that stays reachable.
const SERVER: [u8; 4] = [10, 9, 0, 1];
const SERVER_OBSERVED: [u8; 4] = [10, 9, 0, 3];
const HEARTBEAT: Duration = Duration::from_secs(2);
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// The documented time to detect that a client has vanished, and a margin for the kernel's timers,
/// which check `TCP_USER_TIMEOUT` only when they retransmit, and for a busy machine.
const NOTICED_BY: Duration =
    HEARTBEAT.saturating_add(SEND_TIMEOUT).saturating_add(Duration::from_secs(3));

#[test]
fn vanished_clients_are_noticed_on_every_transport() {
    let needs = "ip link add name a type veth peer name b && command -v nsenter";
    let probe = Command::new("unshare").args(["-rn", "sh", "-c", needs]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        // Not with a macro, whose output the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "skipped vanished_clients_are_noticed_on_every_transport: no network namespace: \
             {probe:?}"
        );
        return;
    }
    let mut inside = Command::new("unshare");
    inside.arg("-rn").arg(std::env::current_exe().expect("the test's own path"));
    inside.args(["network_loss::inside_a_namespace", "--exact", "--ignored", "--nocapture"]);
    let output = inside.env(INSIDE, "1").stdin(Stdio::null()).output().expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(text.contains("noticed idle clients") && text.contains("noticed busy clients"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by vanished_clients_are_noticed_on_every_transport"]
async fn inside_a_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        println!("skipped: only within a network namespace");
        return;
    }
    run("ip link set lo up");
    for is_busy in [false, true] {
        let time = time_to_notice(is_busy).await;
        let which = if is_busy { "busy" } else { "idle" };
        println!("noticed {which} clients after {time:?}");
    }
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    let output = command.args(words).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace for the server, at the other end of a virtual link. Removed when dropped.
struct ServersNetwork {
    /// A process that keeps the namespace open.
    keeper: Child,
}

impl ServersNetwork {
    fn new() -> ServersNetwork {
        let mut keeper = Command::new("unshare");
        keeper.args(["-n", "sleep", "600"]);
        let network = ServersNetwork { keeper: keeper.spawn().expect("unshare runs") };
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let id = network.keeper.id().to_string();
        while namespace(&id) == namespace("self") {
            std::thread::sleep(Duration::from_millis(1));
        }
        run(&format!("ip link add name clients type veth peer name server netns {id}"));
        run("ip addr add 10.9.0.2/24 dev clients");
        run("ip link set clients up");
        for part in ["addr add 10.9.0.1/24", "addr add 10.9.0.3/24", "link set"] {
            let device = if part == "link set" { "server up" } else { "dev server" };
            run(&format!("nsenter -t {id} -n ip {part} {device}"));
        }
        network
    }

    fn serve(&self, arguments: &[&str]) -> ChildServer {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.keeper.id().to_string(), "-n", PROGRAM, "serve"]);
        command.args(["--listen", "0.0.0.0:0"]).args(arguments);
        ChildServer::spawn(command)
    }
}

impl Drop for ServersNetwork {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = Command::new("ip").args(["route", "del", "blackhole", "10.9.0.1/32"]).output();
        let _ = Command::new("ip").args(["link", "del", "clients"]).output();
    }
}

/// Time until the server has released everything of its vanished clients. If `is_busy`, messages
/// are published to and by them until the end.
async fn time_to_notice(is_busy: bool) -> Duration {
    let network = ServersNetwork::new();
    let (heartbeat, timeout) = (format!("{HEARTBEAT:?}"), format!("{SEND_TIMEOUT:?}"));
    let flags = ["--heartbeat", &heartbeat, "--send-timeout", &timeout, "--max-sessions", "3"];
    let server = network.serve(&flags);
    let at = |address: [u8; 4]| SocketAddr::from((address, server.address.port()));
    let mut clients = Vec::new();
    for variant in variants_with_http2() {
        let dialer = Dialer::new(at(SERVER));
        let subscribing = Subscriber::connect(variant, dialer, options(None));
        let mut subscriber = soon(subscribing).await.expect("subscribes");
        clients.push(AbortOnDropHandle::new(tokio::spawn(async move {
            while subscriber.next().await.is_ok() {}
            // The connections stay open.
            std::future::pending::<()>().await;
        })));
    }
    // A Socket.IO session between two polls.
    let mut between_polls = Raw::connect(at(SERVER)).await;
    between_polls.get("/socket.io/?EIO=4&transport=polling", "").await;
    assert_eq!(between_polls.response_without_body().await.status, 200);
    let mut observer = HttpConnection::new(Dialer::new(at(SERVER_OBSERVED)));
    publish(&mut observer, "hi").await;
    let all = clients.len() as f64 + 2.0;
    soon(until(&mut observer, |state| state.connections == all && state.held >= 8.0)).await;

    run("ip route add blackhole 10.9.0.1/32");
    let since = Instant::now();
    let is_over = |state: State| state.connections == 1.0 && state.held == 0.0;
    while !is_over(State::of(&mut observer).await) {
        assert!(since.elapsed() < FORGOTTEN, "{:?}", State::of(&mut observer).await);
        if is_busy {
            publish(&mut observer, "more").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let time = since.elapsed();
    // Without any timeout the kernel would give up after about 15 minutes.
    assert!(time < NOTICED_BY, "{time:?}");
    // There is room for as many sessions as before, once the last one has ended.
    for _ in 0..3 {
        while let Err(error) = soon(observer.get("/socket.io/?EIO=4&transport=polling")).await {
            assert!(since.elapsed() < NOTICED_BY, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    time
}

/// The resources that the server holds for its clients.
#[derive(Debug, Clone, Copy)]
struct State {
    connections: f64,
    held: f64,
}

impl State {
    async fn of(observer: &mut HttpConnection) -> State {
        let text = soon(observer.get("/metrics")).await.expect("metrics");
        let scrape = Scrape::parse(std::str::from_utf8(&text).expect("text"));
        let held = Transport::ALL.map(|transport| scrape.of("waiting", transport.name()));
        let connections = scrape.get("poll_vs_push_open_connections");
        State { connections, held: held.iter().sum() }
    }
}

async fn until(observer: &mut HttpConnection, holds: impl Fn(State) -> bool) {
    while !holds(State::of(observer).await) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
