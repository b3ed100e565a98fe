//! NATS servers for tests. Those that a test starts itself come from `$NATS_SERVER`, or from
//! `nats-server` in the path; `$NATS_URL` is a running one, which all other tests share.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poll_vs_push::app::ServerConfig;
use poll_vs_push::feed::store::{NatsConfig, NatsStore};
use poll_vs_push::feed::{Feed, FeedLimits, Retention};
use tokio_util::task::AbortOnDropHandle;

use super::FORGOTTEN;

/// A name that no other stream has.
pub fn new_stream() -> String {
    format!("test-{:016x}", rand::random::<u64>())
}

/// Lets a server store its messages on the shared NATS server, if there is one, so that any test of
/// a server can be run over it.
pub fn configure(config: &mut ServerConfig) {
    if let Ok(url) = std::env::var("NATS_URL") {
        (config.nats, config.nats_stream, config.nats_bytes) = (Some(url), new_stream(), 16 << 20);
    }
}

/// A new stream on the shared NATS server; `None` if there is none, and the test is to be skipped.
pub fn shared_store(retention: Retention) -> Option<NatsConfig> {
    let Ok(url) = std::env::var("NATS_URL") else {
        eprintln!("skipped: there is no NATS_URL");
        return None;
    };
    Some(new_store(url, retention))
}

/// A new stream on this NATS server.
pub fn new_store(url: String, retention: Retention) -> NatsConfig {
    NatsConfig {
        url,
        stream: new_stream(),
        stream_bytes: 64 << 20,
        message_bytes: 64 << 10,
        message_bytes_encoded: 400 << 10,
        retention,
    }
}

/// Opens the feed in that stream.
pub async fn open(config: &NatsConfig, limits: FeedLimits) -> Arc<Feed> {
    let store = NatsStore::open(config.clone()).await.expect("NATS is there");
    let feed = Feed::of(Arc::new(store), limits).expect("nothing to open");
    feed.catch_up().await.expect("NATS is there");
    Arc::new(feed)
}

/// Follows the stream of the feed until the handle is dropped.
pub fn follow(feed: &Arc<Feed>) -> AbortOnDropHandle<()> {
    let feed = feed.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { feed.follow().await }))
}

/// A NATS server of one test; killed when dropped.
pub struct NatsServer {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
    pub port: u16,
}

impl NatsServer {
    /// Starts one with JetStream on a free port; `None` if the program is not installed.
    pub fn start() -> Option<NatsServer> {
        NatsServer::with(&["-js"])
    }

    /// Starts one with these arguments on a free port.
    pub fn with(arguments: &[&str]) -> Option<NatsServer> {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
        let Ok(child) = command(directory.path(), &arguments, -1).spawn() else {
            eprintln!("skipped: nats-server is not installed");
            return None;
        };
        let ports = directory.path().join(format!("nats-server_{}.ports", child.id()));
        let deadline = Instant::now() + FORGOTTEN;
        let port = loop {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let port = json["nats"][0].as_str().and_then(|url| url.rsplit(':').next());
            if let Some(port) = port {
                break port.parse().expect("a port");
            }
            assert!(Instant::now() < deadline, "nats-server did not start");
            std::thread::sleep(Duration::from_millis(10));
        };
        Some(NatsServer { directory, arguments, child, port })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Copies what it has stored. Call it while the server is down.
    pub fn copy_of_store(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a directory");
        copy_all(&self.directory.path().join("jetstream"), &copy.path().join("jetstream"));
        copy
    }

    /// Replaces what it has stored by a copy. Call it while the server is down.
    pub fn replace_store(&self, copy: &tempfile::TempDir) {
        let store = self.directory.path().join("jetstream");
        std::fs::remove_dir_all(&store).expect("it is there");
        copy_all(&copy.path().join("jetstream"), &store);
    }

    /// Starts it again on the same port, with what it has stored.
    pub async fn restart(&mut self) {
        self.restart_on(self.port).await;
    }

    /// Starts it again on this port, with what it has stored.
    pub async fn restart_on(&mut self, port: u16) {
        self.port = port;
        let mut command = command(self.directory.path(), &self.arguments, i32::from(self.port));
        self.child = command.spawn().expect("it started before");
        let connecting = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(FORGOTTEN, connecting).await.expect("nats-server starts again");
    }
}

fn copy_all(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status().expect("cp is there");
    assert!(status.success());
}

fn command(directory: &Path, arguments: &[String], port: i32) -> Command {
    let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let mut command = Command::new(program);
    command.args(arguments).args(["-a", "127.0.0.1", "-p", &port.to_string()]);
    command.arg("-sd").arg(directory).arg("--ports_file_dir").arg(directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
