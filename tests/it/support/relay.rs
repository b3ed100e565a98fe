//! A relay between a client and a server over HTTP/1.1 that behaves in a chosen way: as a proxy
//! that strips a prefix, one that closes reused connections, or one that delivers twice.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What a relay does to what it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Removes `/base` from paths. Other paths are answered with 404.
    StripBase,
    /// Closes the connection instead of passing on the second GET of a poll.
    CloseReusedPolls,
    /// Closes the connection instead of passing on a publication, once, if it is not the
    /// connection's first.
    CloseOnePublication,
    /// Passes on every chunk or frame with a message whose offset is divisible by 7 twice.
    Double,
}

/// Relays connections until it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    /// Requests that were not passed on, or chunks and frames that were passed on twice.
    interventions: Arc<AtomicU64>,
    _relaying: AbortOnDropHandle<()>,
}

impl Relay {
    pub async fn to(server: SocketAddr, behaviour: Behaviour) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let interventions = Arc::new(AtomicU64::new(0));
        let counter = interventions.clone();
        let relaying = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, server, behaviour, counter.clone()));
            }
        });
        Relay { address, interventions, _relaying: AbortOnDropHandle::new(relaying) }
    }

    pub fn interventions(&self) -> u64 {
        self.interventions.load(Relaxed)
    }
}

async fn relay(
    client: TcpStream,
    server: SocketAddr,
    behaviour: Behaviour,
    interventions: Arc<AtomicU64>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let (up, down) = (BufReader::new(from_client), BufReader::new(from_server));
    tokio::select! {
        ended = requests(up, to_server, behaviour, &interventions) => ended,
        ended = responses(down, to_client, behaviour, &interventions) => ended,
    }
}

/// The next head, with the empty line; an error at the end of the connection.
async fn head(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// The value of a header, in lower case.
fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_ascii_lowercase())
}

/// Passes on as many bytes as `content-length` says.
async fn body(
    head: &str,
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let length = header(head, "content-length").map_or(0, |text| text.parse().expect("a length"));
    tokio::io::copy(&mut from.take(length), to).await?;
    Ok(())
}

async fn requests(
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    behaviour: Behaviour,
    interventions: &AtomicU64,
) -> io::Result<()> {
    for number in 0.. {
        let mut head = head(&mut from).await?;
        let is_unwanted = match behaviour {
            Behaviour::StripBase => {
                let stripped = head.replacen(" /base/", " /", 1);
                let is_outside = stripped == head;
                head = stripped;
                is_outside
            }
            Behaviour::CloseReusedPolls => number > 0 && head.contains("/poll?"),
            Behaviour::CloseOnePublication => {
                number > 0 && head.starts_with("POST ") && interventions.load(Relaxed) == 0
            }
            Behaviour::Double => false,
        };
        if is_unwanted {
            interventions.fetch_add(1, Relaxed);
            return Ok(());
        }
        to.write_all(head.as_bytes()).await?;
        body(&head, &mut from, &mut to).await?;
        if header(&head, "upgrade").is_some() {
            tokio::io::copy(&mut from, &mut to).await?;
        }
    }
    Ok(())
}

async fn responses(
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    behaviour: Behaviour,
    interventions: &AtomicU64,
) -> io::Result<()> {
    if behaviour != Behaviour::Double {
        tokio::io::copy(&mut from, &mut to).await?;
        return Ok(());
    }
    loop {
        let head = head(&mut from).await?;
        to.write_all(head.as_bytes()).await?;
        let is_upgrade = head.starts_with("HTTP/1.1 101");
        let is_chunked = header(&head, "transfer-encoding").is_some();
        if !is_upgrade && !is_chunked {
            body(&head, &mut from, &mut to).await?;
            continue;
        }
        loop {
            let part = if is_upgrade { frame(&mut from).await } else { chunk(&mut from).await }?;
            if is_doubled(&part) {
                interventions.fetch_add(1, Relaxed);
                to.write_all(&part).await?;
            }
            to.write_all(&part).await?;
        }
    }
}

/// A chunk with its size and line ends.
async fn chunk(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    from.read_until(b'\n', &mut chunk).await?;
    let size = std::str::from_utf8(&chunk).expect("hex digits").trim();
    let size = usize::from_str_radix(size, 16).expect("hex digits");
    let begin = chunk.len();
    chunk.resize(begin + size + 2, 0);
    from.read_exact(&mut chunk[begin..]).await?;
    Ok(chunk)
}

/// A frame of a WebSocket with its header.
async fn frame(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    from.read_exact(&mut frame).await?;
    let length = match frame[1] {
        126 => {
            frame.resize(4, 0);
            from.read_exact(&mut frame[2..]).await?;
            usize::from(u16::from_be_bytes([frame[2], frame[3]]))
        }
        short => usize::from(short),
    };
    let begin = frame.len();
    frame.resize(begin + length, 0);
    from.read_exact(&mut frame[begin..]).await?;
    Ok(frame)
}

fn is_doubled(part: &[u8]) -> bool {
    let text = String::from_utf8_lossy(part);
    let offsets = text.split("{\"offset\":").skip(1);
    let digits = |rest: &str| rest.split(',').next().and_then(|text| text.parse::<u64>().ok());
    offsets.filter_map(digits).any(|offset| offset % 7 == 0)
}
