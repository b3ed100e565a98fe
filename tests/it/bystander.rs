//! A client that is served while others attack: it publishes, and reads what it published by short
//! polling, long polling and WebSocket. It measures how long each takes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Raw, new_message, soon};

/// Time between two publications, and between two short polls.
const PAUSE: Duration = Duration::from_millis(4);
/// The last number of its address, 127.0.0.200.
const ADDRESS: u8 = 200;
/// Longest time without a delivery after which a reader looks whether it has to stop.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is measured: the exchange of a publication and of a short poll, and the time from the
/// beginning of a publication to its delivery by long polling and WebSocket.
pub const KINDS: [&str; 4] = ["publish", "short-poll", "long-poll", "websocket"];

type Times = Arc<Mutex<[Vec<Duration>; KINDS.len()]>>;

/// Runs in a thread of its own: an attacker in this process must not delay it.
pub struct Bystander {
    is_stopped: Arc<AtomicBool>,
    times: Times,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Client {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    times: Times,
    began_at: Instant,
}

impl Bystander {
    pub fn start(address: SocketAddr) -> Bystander {
        let (is_stopped, times) = (Arc::new(AtomicBool::new(false)), Times::default());
        let client = Client {
            address,
            is_stopped: is_stopped.clone(),
            times: times.clone(),
            began_at: Instant::now(),
        };
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime").block_on(async {
                tokio::join!(
                    client.publish(),
                    client.poll(),
                    client.long_poll(),
                    client.read_websocket()
                );
            });
        });
        Bystander { is_stopped, times, thread: Some(thread) }
    }

    /// False once it was refused or a response was wrong.
    pub fn is_served(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// How often the rarest of [`KINDS`] has been measured since the last call of
    /// [`Bystander::take_p99_ms`].
    pub fn count(&self) -> usize {
        let times = self.times.lock().expect("no panic");
        times.iter().map(Vec::len).min().expect("there are kinds")
    }

    /// The 99th percentile of each of [`KINDS`] since the last call, milliseconds.
    pub fn take_p99_ms(&self) -> [f64; KINDS.len()] {
        let times = std::mem::take(&mut *self.times.lock().expect("no panic"));
        times.map(|mut times| {
            times.sort();
            let index = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        })
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.is_stopped.store(true, Relaxed);
        // A panic was reported by its own thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Client {
    async fn connect(&self) -> BufReader<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, ADDRESS], 0))).expect("loopback has it");
        let stream = soon(socket.connect(self.address)).await.expect("the server listens");
        stream.set_nodelay(true).expect("an option of TCP");
        BufReader::new(stream)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    fn record(&self, kind: usize, time: Duration) {
        self.times.lock().expect("no panic")[kind].push(time);
    }

    /// Records the delivery of a message, which contains when it was published.
    fn delivered(&self, kind: usize, message: &Value) {
        let text = message["text"].as_str().expect("a message");
        let published_us = text.parse().expect("a time");
        self.record(kind, self.began_at.elapsed() - Duration::from_micros(published_us));
    }

    async fn publish(&self) {
        let mut stream = self.connect().await;
        let head = "POST /topics/bystander/messages HTTP/1.1\r\nhost: localhost\r\n";
        while !self.is_stopped() {
            let began_at = Instant::now();
            let body = new_message(&self.began_at.elapsed().as_micros().to_string());
            let post = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            exchange(&mut stream, 201, &post).await;
            self.record(0, began_at.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn poll(&self) {
        let mut stream = self.connect().await;
        while !self.is_stopped() {
            let began_at = Instant::now();
            let get = "GET /topics/bystander/poll HTTP/1.1\r\nhost: localhost\r\n\r\n";
            exchange(&mut stream, 200, get).await;
            self.record(1, began_at.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn long_poll(&self) {
        let mut stream = self.connect().await;
        let mut after = 0;
        while !self.is_stopped() {
            let path = format!("/topics/bystander/long-poll?after={after}&limit=100&wait=1");
            let get = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let batch = exchange(&mut stream, 200, &get).await;
            after = batch["cursor"].as_u64().expect("a cursor");
            if let Some(message) = batch["messages"].as_array().and_then(|it| it.last()) {
                self.delivered(2, message);
            }
        }
    }

    async fn read_websocket(&self) {
        let mut stream = self.connect().await;
        let upgrade = Raw::upgrade_headers();
        let get = format!("GET /topics/bystander/ws HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n");
        stream.write_all(get.as_bytes()).await.expect("the server reads");
        assert_eq!(status_and_length(&mut stream).await.0, 101);
        while !self.is_stopped() {
            if tokio::time::timeout(LOOK_EVERY, stream.fill_buf()).await.is_err() {
                continue;
            }
            let event = text_frame(&mut stream).await;
            if event["text"].is_string() {
                self.delivered(3, &event);
            }
        }
    }
}

/// Sends `request` and returns the JSON of its response.
async fn exchange(stream: &mut BufReader<TcpStream>, status: u16, request: &str) -> Value {
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let (actual, length) = status_and_length(stream).await;
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.expect("a body");
    assert_eq!(actual, status, "{request}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

/// Reads the headers of a response.
async fn status_and_length(stream: &mut BufReader<TcpStream>) -> (u16, usize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let count = soon(stream.read_until(b'\n', &mut head)).await.expect("headers");
        assert_ne!(count, 0, "the connection ended");
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let status = head[9..12].parse().expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (status, length.map_or(0, |length| length.parse().expect("a number")))
}

/// The JSON of the next text frame; `Null` for another frame. Frames of the server are short here.
async fn text_frame(stream: &mut BufReader<TcpStream>) -> Value {
    let [first, length] = [stream.read_u8().await, stream.read_u8().await].map(Result::unwrap);
    assert!(length < 126, "a long frame");
    let mut payload = vec![0; usize::from(length)];
    stream.read_exact(&mut payload).await.expect("a payload");
    if first == 0x81 { serde_json::from_slice(&payload).expect("JSON") } else { Value::Null }
}
