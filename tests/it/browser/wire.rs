//! A relay between browser and server that can be interrupted, and that records the requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Relays connections until it is dropped.
pub struct Wire {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _passing: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    /// The bytes from the browser, of all connections.
    asked: String,
    /// Cancelled to break the current connections.
    cut: CancellationToken,
}

impl Wire {
    pub async fn to(server: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let passing = pass(listener, server, state.clone());
        Wire { address, state, _passing: AbortOnDropHandle::new(tokio::spawn(passing)) }
    }

    /// Breaks all connections; new ones are relayed.
    pub fn cut(&self) {
        let mut state = self.state.lock().expect("no panic under this lock");
        std::mem::take(&mut state.cut).cancel();
    }

    /// The headers of all requests so far whose first line contains `what`, in lower case.
    pub fn asked(&self, what: &str) -> Vec<String> {
        let asked = self.state.lock().expect("no panic under this lock").asked.to_lowercase();
        let of_it = |head: &&str| head.lines().next().is_some_and(|line| line.contains(what));
        asked.split("\r\n\r\n").filter(of_it).map(str::to_owned).collect()
    }
}

async fn pass(listener: TcpListener, server: SocketAddr, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.expect("a visitor");
        let cut = state.lock().expect("no panic under this lock").cut.clone();
        let state = state.clone();
        connections.spawn(cut.run_until_cancelled_owned(async move {
            let far = TcpStream::connect(server).await.expect("the server listens");
            let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
                (near.into_split(), far.into_split());
            let up = async {
                let mut part = [0; 4096];
                while let Ok(count @ 1..) = near_read.read(&mut part).await {
                    let text = String::from_utf8_lossy(&part[..count]);
                    state.lock().expect("no panic under this lock").asked.push_str(&text);
                    if far_write.write_all(&part[..count]).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = up => {}
                _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
            }
        }));
    }
}
