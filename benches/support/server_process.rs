//! Servers in processes of their own: this project's, and nginx with nchan, for comparison.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poll_vs_push::load::target::{PublishRoute, Target};
use poll_vs_push::variant::Transport;
use tempfile::TempDir;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    PollVsPush,
    Nchan,
}

impl Program {
    /// The prefix of the names of its benches.
    pub fn prefix(self) -> &'static str {
        match self {
            Program::PollVsPush => "",
            Program::Nchan => "nchan-",
        }
    }

    /// Whether it offers the transport.
    pub fn has(self, transport: Transport) -> bool {
        self == Program::PollVsPush || nchan().transports().contains(&transport)
    }
}

/// The paths and messages of nchan.
fn nchan() -> Target {
    let toml = include_str!("../../load-tests/targets/nchan.toml");
    Target::from_toml(toml).expect("a valid target file")
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    pub address: SocketAddr,
    /// `None` for this project's own server.
    pub target: Option<Arc<Target>>,
    child: Child,
    _directory: Option<TempDir>,
}

impl ServerProcess {
    /// Starts the server on a free port of the loopback address.
    pub fn start(program: Program) -> ServerProcess {
        match program {
            Program::PollVsPush => ServerProcess::start_own(),
            Program::Nchan => ServerProcess::start_nchan(),
        }
    }

    fn start_own() -> ServerProcess {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poll-vs-push"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "off");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit_once("//").and_then(|(_, address)| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in '{line}'"));
        ServerProcess { address, target: None, child, _directory: None }
    }

    /// Needs `nginx` and its module nchan.
    fn start_nchan() -> ServerProcess {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        drop(listener);
        let template = include_str!("../../load-tests/targets/nchan.nginx.conf");
        let port = address.port().to_string();
        // One process, so that its CPU time is that of the server.
        let mut config = format!("master_process off;\n{}", template.replace("@PORT@", &port));
        if rustix::process::geteuid().is_root() {
            config.insert_str(0, "user root;\n");
        }
        std::fs::write(directory.path().join("nginx.conf"), config).expect("a file");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf", "-e", "error.log"]);
        let child = command.stderr(log).spawn().expect("nginx is installed");
        let mut server =
            ServerProcess { address, target: Some(Arc::new(nchan())), child, _directory: None };
        server.wait_until_it_listens(directory.path());
        server._directory = Some(directory);
        server
    }

    fn wait_until_it_listens(&mut self, directory: &Path) {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            let has_ended = self.child.try_wait().expect("it is a child").is_some();
            if has_ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                panic!("nginx did not start; does it have the module nchan? {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How to publish to it.
    pub fn publish_route(&self) -> PublishRoute {
        self.target.as_ref().map_or_else(PublishRoute::ours, |target| target.publish.clone())
    }

    /// CPU time of the process so far, seconds; `None` without `/proc`.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split(' ').skip(12);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some((ticks()? + ticks()?) as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
