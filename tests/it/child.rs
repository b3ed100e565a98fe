//! A server in a separate process, for tests that kill it or limit its resources.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_poll-vs-push");

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct ChildServer {
    pub child: Child,
    pub address: SocketAddr,
}

impl ChildServer {
    /// Starts `poll-vs-push serve` on a free port with these further arguments.
    pub fn start(arguments: &[&str]) -> ChildServer {
        ChildServer::start_on("127.0.0.1:0", arguments)
    }

    /// Starts `poll-vs-push serve` on that address with these further arguments.
    pub fn start_on(listen: &str, arguments: &[&str]) -> ChildServer {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", listen]).args(arguments);
        ChildServer::spawn(command)
    }

    /// Starts `command`, which must print its address as `serve` does.
    pub fn spawn(mut command: Command) -> ChildServer {
        command.env("RUST_LOG", "off").stderr(Stdio::piped());
        ChildServer::spawn_as_it_is(command)
    }

    /// Starts `poll-vs-push serve` with these further arguments. What it logs at `level`, or at the
    /// default level, goes to `log`.
    pub fn start_with_log(arguments: &[&str], level: Option<&str>, log: File) -> ChildServer {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).stderr(log);
        match level {
            Some(level) => command.env("RUST_LOG", level),
            None => command.env_remove("RUST_LOG"),
        };
        ChildServer::spawn_as_it_is(command)
    }

    /// Starts `command` without changing its standard error and environment.
    pub fn spawn_as_it_is(mut command: Command) -> ChildServer {
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("can be read");
        let said = line.trim().rsplit_once("//").map(|(_, address)| address.parse());
        let Some(Ok(address)) = said else {
            let mut why = String::new();
            let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
            panic!("instead of its address the server said '{line}' and: {why}");
        };
        ChildServer { child, address }
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Stops the server, and waits until all clients have been asked to disconnect.
    pub fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it can be told");
        self.child.wait().expect("it ends");
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
