//! The server under test: a child process for each cell, or a server that is already running; and
//! its resource usage.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::process::ProcessTree;
use super::scrape::Scrape;
use super::target::{PublishRoute, Target};
use crate::client::{ClientError, Dialer, HttpConnection, local_address};
use crate::packet_link::{LinkParameters, PacketLink, Snapshot};
#[cfg(feature = "tls")]
use crate::tls;
use crate::variant::Transport;

/// Timeout for a child to start or stop, and for a server to respond.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for the connections of a cell to be closed.
const LEAVING_MAX: Duration = Duration::from_secs(5);
/// Time between two checks whether they are.
const LEAVING_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Connections of a server in addition to its subscribers.
const CONNECTIONS_SPARE: u32 = 100;
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The same for a server behind a packet link, which reaches it at another address.
const ANY_ADDRESS_AND_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Which server is measured.
#[derive(Debug, Clone)]
pub enum ServerSource {
    /// `PROGRAM serve`, started for each cell, with as many worker threads as given, or one for
    /// each core.
    Child { program: PathBuf, worker_threads: Option<u32> },
    /// A running `poll-vs-push` server, or several `behind` a load balancer that `dialer` reaches.
    Target { dialer: Dialer, behind: Vec<Dialer> },
    /// A running third-party server described by `target`. Its resource usage is known if `pid` is
    /// its process on this machine.
    ThirdParty { dialer: Dialer, target: Arc<Target>, pid: Option<u32> },
}

/// A running server.
#[derive(Debug)]
pub struct ServerUnderTest {
    /// A dialer without simulated delay.
    pub dialer: Dialer,
    /// The version that it reports, for example `poll-vs-push/0.1.0`.
    pub version: String,
    /// The description of a third-party server.
    pub target: Option<Arc<Target>>,
    usage: UsageSource,
    /// Between the server and its subscribers, if there is one.
    link: Option<PacketLink>,
    child: Option<ChildServer>,
}

/// Requirements on a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerRequirements {
    pub subscribers: u32,
    /// Whether it stores its messages on disk, as needed for a restart.
    pub on_disk: bool,
    /// Whether it uses TLS, with a certificate of its own.
    pub tls: bool,
    /// The packet link in front of it, if any, and its seed.
    pub link: Option<LinkParameters>,
    pub seed: u64,
}

/// Where the resource usage of the server comes from.
#[derive(Debug)]
enum UsageSource {
    /// `/metrics` of the server, or of all servers behind a load balancer.
    Metrics(Vec<Metrics>),
    /// The operating system, if the process is known.
    System(Option<Box<ProcessTree>>),
}

/// The counters of one server.
#[derive(Debug)]
struct Metrics {
    connection: HttpConnection,
    /// The previous ones.
    last: Option<Scrape>,
}

/// A child process that stops when its standard input is closed, by [`ChildServer::stop`] or
/// because this process ends.
#[derive(Debug)]
struct ChildServer {
    process: Child,
    stdin: ChildStdin,
    launch: Launch,
}

/// The command line of a child, for starts and restarts.
#[derive(Debug)]
struct Launch {
    program: PathBuf,
    worker_threads: Option<u32>,
    subscribers: u32,
    /// Data directory of a server that stores its messages on disk.
    data: Option<TempDir>,
    /// Certificate and key of a server that uses TLS, and the directory that contains them.
    tls: Option<(TempDir, [PathBuf; 2])>,
}

impl ServerSource {
    /// Whether the connections to the server use TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            ServerSource::Child { .. } => false,
            ServerSource::Target { dialer, .. } | ServerSource::ThirdParty { dialer, .. } => {
                dialer.is_tls()
            }
        }
    }

    /// Starts the child, or connects to the running server.
    ///
    /// # Errors
    /// If the server does not start, does not respond, or is not a `poll-vs-push` server as
    /// expected.
    pub async fn open(&self, requirements: ServerRequirements) -> anyhow::Result<ServerUnderTest> {
        let (dialer, link, child) = match self {
            ServerSource::ThirdParty { dialer, target, pid } => {
                return open_third_party(dialer, target, *pid).await;
            }
            ServerSource::Target { dialer, .. } => (dialer.clone(), None, None),
            ServerSource::Child { program, worker_threads } => {
                let launch = Launch::new(program, *worker_threads, requirements)?;
                let listen =
                    if requirements.link.is_some() { ANY_ADDRESS_AND_PORT } else { ANY_PORT };
                let (mut address, child) = launch.start(listen).await?;
                if address.ip().is_unspecified() {
                    address.set_ip(Ipv4Addr::LOCALHOST.into());
                }
                let start = |profile| PacketLink::start(profile, address.port(), requirements.seed);
                let link = requirements.link.map(start).transpose()?;
                (child.launch.dialer(address)?, link, Some(child))
            }
        };
        let counted = match self {
            ServerSource::Target { behind, .. } if !behind.is_empty() => behind.clone(),
            _ => vec![dialer.clone()],
        };
        let mut servers = Vec::new();
        let mut version = String::new();
        for dialer in counted {
            let mut connection = HttpConnection::new(dialer.clone());
            version = timeout(SERVER_TIMEOUT, identify(&mut connection))
                .await
                .unwrap_or_else(|_| bail!("no response within {SERVER_TIMEOUT:?}"))
                .with_context(|| format!("cannot measure the server at {}", dialer.url()))?;
            servers.push(Metrics { connection, last: None });
        }
        let usage = UsageSource::Metrics(servers);
        Ok(ServerUnderTest { dialer, version, target: None, usage, link, child })
    }
}

async fn open_third_party(
    dialer: &Dialer,
    target: &Arc<Target>,
    pid: Option<u32>,
) -> anyhow::Result<ServerUnderTest> {
    let origin = dialer.url();
    timeout(SERVER_TIMEOUT, dialer.dial())
        .await
        .with_context(|| format!("no connection to {origin} within {SERVER_TIMEOUT:?}"))?
        .with_context(|| format!("cannot reach the server at {origin}"))?;
    let tree = pid.map(ProcessTree::of).transpose()?.map(Box::new);
    Ok(ServerUnderTest {
        dialer: dialer.clone(),
        version: target.name.clone(),
        target: Some(target.clone()),
        usage: UsageSource::System(tree),
        link: None,
        child: None,
    })
}

impl Launch {
    fn new(
        program: &Path,
        worker_threads: Option<u32>,
        ServerRequirements { subscribers, on_disk, tls, .. }: ServerRequirements,
    ) -> anyhow::Result<Launch> {
        let directory =
            || tempfile::tempdir().context("cannot create a data directory for the server");
        let data = on_disk.then(directory).transpose()?;
        let tls = tls.then(certificate).transpose()?;
        Ok(Launch { program: program.to_owned(), worker_threads, subscribers, data, tls })
    }

    /// A dialer for the server, which trusts its certificate.
    #[cfg(feature = "tls")]
    fn dialer(&self, address: SocketAddr) -> anyhow::Result<Dialer> {
        let dialer = Dialer::new(address);
        Ok(match &self.tls {
            None => dialer,
            Some((_, [cert, _])) => {
                dialer.with_trust(tls::Trust::new(cert, tls::SELF_SIGNED_NAME)?)
            }
        })
    }

    #[cfg(not(feature = "tls"))]
    fn dialer(&self, address: SocketAddr) -> anyhow::Result<Dialer> {
        Ok(Dialer::new(address))
    }

    async fn start(self, listen: SocketAddr) -> anyhow::Result<(SocketAddr, ChildServer)> {
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--with-parent", "--listen"])
            .arg(listen.to_string())
            .arg("--max-connections")
            .arg((self.subscribers + CONNECTIONS_SPARE).to_string());
        if listen.ip().is_unspecified() && std::env::var_os("RUST_LOG").is_none() {
            // The server warns that every host may reach it; in the link's namespace there is no
            // other host.
            command.env("RUST_LOG", "error");
        }
        if let Some(threads) = self.worker_threads {
            // Read by Tokio's runtime builder.
            command.env("TOKIO_WORKER_THREADS", threads.to_string());
        }
        if let Some(data) = &self.data {
            command.args(["--restarting", "--data"]).arg(data.path());
        }
        if let Some((_, [cert, key])) = &self.tls {
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C must not reach the child: this process stops it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the server, {}", self.program.display()))?;
        let output = process.stdout.take().expect("piped");
        let stdin = process.stdin.take().expect("piped");
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let reading = timeout(SERVER_TIMEOUT, output.read_line(&mut line)).await;
        reading
            .with_context(|| format!("the server did not start within {SERVER_TIMEOUT:?}"))?
            .context("cannot read the output of the server")?;
        let address = line.trim().strip_prefix("listening on http");
        let address = address.and_then(|rest| rest.trim_start_matches('s').strip_prefix("://"));
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            bail!("expected the address of the server in its output, got '{}'", line.trim());
        };
        Ok((address, ChildServer { process, stdin, launch: self }))
    }
}

/// A certificate and its key in a new directory.
#[cfg(feature = "tls")]
fn certificate() -> anyhow::Result<(TempDir, [PathBuf; 2])> {
    let directory = tempfile::tempdir().context("cannot create a directory for a certificate")?;
    let files = tls::self_signed(directory.path()).context("cannot create a certificate")?;
    Ok((directory, files))
}

#[cfg(not(feature = "tls"))]
fn certificate() -> anyhow::Result<(TempDir, [PathBuf; 2])> {
    bail!(crate::NO_TLS)
}

impl ChildServer {
    /// Stops the process and waits for its end; kills it after a timeout.
    async fn stop(self) -> Launch {
        let ChildServer { mut process, stdin, launch } = self;
        drop(stdin);
        if timeout(SERVER_TIMEOUT, process.wait()).await.is_err() {
            let _ = process.kill().await;
        }
        launch
    }
}

/// The version of a `poll-vs-push` server.
///
/// # Errors
/// If it is another server.
async fn identify(control: &mut HttpConnection) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Health {
        server: String,
    }
    let response = control.request(Method::GET, "/healthz", Bytes::new()).await?;
    let health = serde_json::from_slice(&response.body).ok();
    match health.filter(|Health { server }| is_version(server)) {
        Some(health) => Ok(health.server),
        None => {
            let got = match response.status.is_success() {
                true => format!("a {} without a known version", response.status),
                false => response.refusal().to_string(),
            };
            bail!(
                "not a poll-vs-push server: got {got} for GET {}/healthz; use `load` with a target \
                 file to measure another server",
                control.dialer().base_path()
            )
        }
    }
}

/// Whether `text` is `poll-vs-push/` followed by a version that is safe to print.
fn is_version(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.strip_prefix("poll-vs-push/")
        .is_some_and(|version| (1..=40).contains(&version.len()) && version.chars().all(is_plain))
}

impl Metrics {
    async fn scrape(&mut self, transport: Transport) -> anyhow::Result<Scrape> {
        let request = self.connection.request(Method::GET, "/metrics", Bytes::new());
        let timed_out = |_| {
            ClientError::ProtocolError(format!("no response to /metrics within {SERVER_TIMEOUT:?}"))
        };
        let response = timeout(SERVER_TIMEOUT, request).await.map_err(timed_out)??;
        if response.status != StatusCode::OK {
            return Err(response.refusal().into());
        }
        let scrape = Scrape::parse(&String::from_utf8_lossy(&response.body), transport)?;
        if let Some(last) = self.last.replace(scrape) {
            scrape.check_rises_from(&last)?;
        }
        Ok(scrape)
    }
}

impl ServerUnderTest {
    /// The route for publishing.
    pub fn publish_route(&self) -> Arc<PublishRoute> {
        match &self.target {
            Some(target) => Arc::new(target.publish.clone()),
            None => Arc::new(PublishRoute::ours()),
        }
    }

    /// Reads the current counters, those of several servers added up.
    ///
    /// # Errors
    /// If the server does not respond, has ended, or returns invalid counters.
    pub async fn scrape(&mut self, transport: Transport) -> anyhow::Result<Scrape> {
        match &mut self.usage {
            UsageSource::Metrics(servers) => {
                let (first, others) = servers.split_first_mut().expect("there is a server");
                let mut total = first.scrape(transport).await?;
                for server in others {
                    total = total.plus(server.scrape(transport).await?);
                }
                Ok(total)
            }
            UsageSource::System(tree) => {
                let usage = tree.as_mut().map(|tree| tree.usage()).transpose()?;
                Ok(Scrape { usage, requests: None, connections: None })
            }
        }
    }

    /// Waits until a running server has closed the connections of a cell, at whose start it had
    /// `before` connections. It keeps those of streams and long polls for a second, in which they
    /// would count against its limits and distort the measurement of the next cell.
    pub async fn wait_until_disconnected(&mut self, before: u64, transport: Transport) {
        let leaving = async {
            while let Ok(Scrape { connections: Some(now), .. }) = self.scrape(transport).await {
                if now <= before {
                    return;
                }
                tokio::time::sleep(LEAVING_CHECK_INTERVAL).await;
            }
        };
        // Other clients may have connected meanwhile.
        let _ = timeout(LEAVING_MAX, leaving).await;
    }

    /// The counters of the packet link, if there is one.
    pub fn link_snapshot(&self) -> Option<Snapshot> {
        self.link.as_ref().map(PacketLink::snapshot)
    }

    /// Its port behind the packet link, if there is one.
    pub fn link_port(&self) -> Option<u16> {
        self.link.as_ref().map(|_| self.dialer.address().port())
    }

    /// Whether this program started it.
    pub fn is_child(&self) -> bool {
        self.child.is_some()
    }

    /// Whether its address is one of this machine.
    pub fn is_local(&self) -> bool {
        let address = self.dialer.address();
        address.ip().to_canonical().is_loopback()
            || local_address(address).is_ok_and(|own| own == address.ip())
    }

    /// Waits until a child exits unexpectedly; returns a description.
    pub async fn ended(&mut self) -> String {
        match &mut self.child {
            None => std::future::pending().await,
            Some(child) => match child.process.wait().await {
                Ok(status) => format!("the server exited during the measurement ({status})"),
                Err(error) => format!("cannot wait for the server process: {error}"),
            },
        }
    }

    /// Stops a child and starts it again on the same port, with its stored messages.
    ///
    /// # Errors
    /// If it does not start again, or is not a child.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let child =
            self.child.take().context("only a server started by this program can be restarted")?;
        let launch = child.stop().await;
        let mut address = self.dialer.address();
        if self.link.is_some() {
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let (_, child) = launch.start(address).await.context("cannot restart the server")?;
        self.child = Some(child);
        // The counters of the new process start at 0.
        if let UsageSource::Metrics(servers) = &mut self.usage {
            servers.iter_mut().for_each(|server| server.last = None);
        }
        Ok(())
    }

    /// Stops a child and waits for its end.
    pub async fn close(self) {
        if let Some(child) = self.child {
            child.stop().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_with_unsafe_characters_is_rejected() {
        assert!(is_version("poll-vs-push/0.1.0-rc.1+x"));
        for wrong in ["nginx/1", "poll-vs-push/", "poll-vs-push/1\x1b[2J", "poll-vs-push/1 <b>"] {
            assert!(!is_version(wrong), "{wrong}");
        }
        assert!(!is_version(&format!("poll-vs-push/{}", "1".repeat(41))));
    }
}
