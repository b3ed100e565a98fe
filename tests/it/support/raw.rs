//! A TCP client that sends exactly the given bytes, valid or not, and parses HTTP responses and
//! WebSocket frames with its own code, independent of the server's libraries.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// The key in the example of RFC 6455, section 1.3, and its accept value.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Any mask works; this one changes every byte.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A connection.
pub struct Raw(TcpStream);

/// An HTTP response.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    /// Status line and headers, in lower case.
    head: String,
    pub body: String,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireFrame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Close code and reason, if present.
    Close(Option<(u16, String)>),
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw(soon(TcpStream::connect(address)).await.expect("the server listens"))
    }

    /// A connection from 127.0.0.`host` with the smallest possible kernel buffers.
    pub async fn connect_narrow_from(host: u8, address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("loopback has it");
        Raw(soon(socket.connect(address)).await.expect("the server listens"))
    }

    /// A connection from 127.0.0.`host`.
    pub async fn connect_from(host: u8, address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("loopback has it");
        Raw(soon(socket.connect(address)).await.expect("the server listens"))
    }

    /// A connection with the smallest possible kernel buffers.
    pub async fn connect_narrow(address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Raw(soon(socket.connect(address)).await.expect("the server listens"))
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.expect("the server takes it");
    }

    /// Closes the sending side; the server can still be read from.
    pub async fn finish_sending(&mut self) {
        soon(self.0.shutdown()).await.expect("the connection is open");
    }

    /// Everything until the server closes the connection.
    pub async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Reads until at least this many bytes have arrived, and returns their number.
    pub async fn read_at_least(&mut self, bytes: usize) -> usize {
        let mut buffer = vec![0; 64 << 10];
        let mut received = 0;
        while received < bytes {
            let count = soon(self.0.read(&mut buffer)).await.expect("more");
            assert_ne!(count, 0, "the connection ended after {received} bytes");
            received += count;
        }
        received
    }

    /// Sends as much as the server accepts before it closes the connection.
    pub async fn send_all_it_takes(&mut self, bytes: &[u8]) {
        let _ = soon(self.0.write_all(bytes)).await;
    }

    /// `GET path` with only the headers in `more`, each line of which ends with CR LF.
    pub async fn get(&mut self, path: &str, more: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")).await;
    }

    /// The next response; it must have a `content-length`, or be a 101.
    pub async fn answer(&mut self) -> RawResponse {
        let mut answer = self.response_without_body().await;
        if answer.status != 101 {
            let length = answer.header("content-length").expect("a length").parse();
            let mut body = vec![0; length.expect("a number")];
            soon(self.0.read_exact(&mut body)).await.expect("the body");
            answer.body = String::from_utf8(body).expect("text");
        }
        answer
    }

    /// The header section of the next response.
    pub async fn response_without_body(&mut self) -> RawResponse {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.expect("the head of an answer"));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let status = head[9..12].parse().expect("a status");
        RawResponse { status, head, body: String::new() }
    }

    /// Waits until the server has closed the connection without sending more.
    pub async fn ends(mut self) {
        let mut rest = Vec::new();
        match soon(self.0.read_to_end(&mut rest)).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        assert!(rest.is_empty(), "more came: {}", String::from_utf8_lossy(&rest));
    }

    /// The headers of an upgrade request.
    pub fn upgrade_headers() -> String {
        format!(
            "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n"
        )
    }

    /// Upgrades the connection to a WebSocket.
    pub async fn upgrade(&mut self, path: &str) {
        self.get(path, &Raw::upgrade_headers()).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 101);
        let accept = answer.header("sec-websocket-accept").expect("an accepted key");
        assert_eq!(accept, ACCEPT.to_ascii_lowercase());
    }

    /// Sends a masked frame, as a client must. `first` contains FIN, reserved bits and opcode.
    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(first, payload);
        self.send(bytes).await;
    }

    /// The next frame, which must be unfragmented and unmasked.
    pub async fn frame(&mut self) -> WireFrame {
        let stream = &mut self.0;
        let reading = async {
            let first = stream.read_u8().await?;
            let length = match stream.read_u8().await? {
                126 => u64::from(stream.read_u16().await?),
                127 => stream.read_u64().await?,
                short => u64::from(short),
            };
            assert!(length < 1 << 24, "a masked or an absurd length: {length:#x}");
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await?;
            io::Result::Ok((first, payload))
        };
        let (first, payload) = soon(reading).await.expect("a frame");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        match first {
            0x81 => WireFrame::Text(text(&payload)),
            0x88 if payload.is_empty() => WireFrame::Close(None),
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                WireFrame::Close(Some((code, text(&payload[2..]))))
            }
            0x89 => WireFrame::Ping(payload),
            0x8a => WireFrame::Pong(payload),
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    /// The JSON of the next frame.
    pub async fn event(&mut self) -> serde_json::Value {
        match self.frame().await {
            WireFrame::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?} where an event should be"),
        }
    }

    /// Waits for the server's close frame, skipping earlier frames, answers it, and waits for the
    /// end of the connection. Returns the close code.
    pub async fn closed_with(mut self) -> u16 {
        let code = loop {
            if let WireFrame::Close(close) = self.frame().await {
                break close.expect("a code").0;
            }
        };
        self.send_all_it_takes(&frame(0x88, &code.to_be_bytes())).await;
        self.ends().await;
        code
    }
}

impl RawResponse {
    /// The value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The text of a JSON error.
    pub fn error(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        json["error"].as_str().expect("an error").to_owned()
    }
}

/// The bytes of a masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
        huge => {
            bytes.push(0x80 | 127);
            bytes.extend((huge as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
