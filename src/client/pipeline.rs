//! An HTTP/1.1 connection on which requests are sent before earlier ones are answered (RFC 9112,
//! section 9.3.2). The server processes them one after the other and answers them in this order.
//!
//! hyper's client sends a request when the last one is answered. A publisher 40 ms away would then
//! send at most 25 messages a second to a topic.

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::header_list::has_token;

use super::{ClientError, Dialer, HttpResponse, WireStream};

/// Largest response, head and body, bytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Largest number of headers of a response.
const HEADERS_MAX: usize = 100;

/// Opens a connection: the half that sends requests, and the half that reads responses.
///
/// # Errors
/// If the server cannot be reached.
pub async fn open(dialer: &Dialer) -> Result<(PipelinedRequests, PipelinedResponses), ClientError> {
    let stream = dialer.dial().await.map_err(ClientError::Connect)?;
    let (reader, writer) = split(stream);
    let requests = PipelinedRequests { dialer: dialer.clone(), writer, unsent: BytesMut::new() };
    Ok((requests, PipelinedResponses { reader, unread: BytesMut::new() }))
}

/// The half that sends requests.
#[derive(Debug)]
pub struct PipelinedRequests {
    dialer: Dialer,
    writer: WriteHalf<WireStream>,
    unsent: BytesMut,
}

impl PipelinedRequests {
    /// Adds a request to those that [`PipelinedRequests::write`] sends.
    pub fn push(&mut self, method: &Method, path: &str, body: &[u8]) {
        let start = format!("{method} {}{path} HTTP/1.1\r\n", self.dialer.base_path());
        let length = format!("content-length: {}\r\n\r\n", body.len());
        self.unsent.extend_from_slice(start.as_bytes());
        for (name, value) in self.dialer.headers() {
            let line = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            line.into_iter().for_each(|part| self.unsent.extend_from_slice(part));
        }
        self.unsent.extend_from_slice(length.as_bytes());
        self.unsent.extend_from_slice(body);
    }

    /// Whether every request has been sent.
    pub fn is_sent(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends a part of the requests. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn write(&mut self) -> Result<(), ClientError> {
        self.writer.write_buf(&mut self.unsent).await?;
        Ok(())
    }
}

/// The half that reads responses.
#[derive(Debug)]
pub struct PipelinedResponses {
    reader: ReadHalf<WireStream>,
    unread: BytesMut,
}

impl PipelinedResponses {
    /// The next response; `None` if the server has closed the connection. Nothing is lost if this
    /// is dropped while it waits.
    ///
    /// # Errors
    /// If the connection breaks, or the server sends something other than a response.
    pub async fn next(&mut self) -> Result<Option<HttpResponse>, ClientError> {
        loop {
            if let Some(response) = parse(&mut self.unread, false)? {
                return Ok(Some(response));
            }
            if self.unread.len() > RESPONSE_BYTES_MAX {
                let error = format!("a response has more than {RESPONSE_BYTES_MAX} bytes");
                return Err(ClientError::ProtocolError(error));
            }
            if self.reader.read_buf(&mut self.unread).await? > 0 {
                continue;
            }
            return match parse(&mut self.unread, true)? {
                None if !self.unread.is_empty() => {
                    Err(ClientError::Closed("in the middle of a response".to_owned()))
                }
                response => Ok(response),
            };
        }
    }
}

/// Whether the server processes no further request of the connection after this response. Those
/// that it has not answered can be sent again (RFC 9112, section 9.6).
pub fn is_last(response: &HttpResponse) -> bool {
    has_token(&response.headers, &CONNECTION, "close")
}

/// Takes the first complete response from `bytes`, if there is one; `ended` is true at the end of
/// the connection.
fn parse(bytes: &mut BytesMut, ended: bool) -> Result<Option<HttpResponse>, ClientError> {
    loop {
        let Some((status, headers, head_length)) = head(bytes)? else { return Ok(None) };
        // Interim responses, such as 100 (RFC 9110, section 15.2).
        if status.is_informational() {
            bytes.advance(head_length);
            continue;
        }
        let Some((body, length)) = body(status, &headers, &bytes[head_length..], ended)? else {
            return Ok(None);
        };
        bytes.advance(head_length + length);
        return Ok(Some(HttpResponse { status, headers, body }));
    }
}

/// Status, headers and length of a response head.
fn head(bytes: &[u8]) -> Result<Option<(StatusCode, HeaderMap, usize)>, ClientError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| invalid(&error))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status = StatusCode::from_u16(response.code.unwrap_or_default());
    let status = status.map_err(|error| invalid(&error))?;
    let mut headers = HeaderMap::new();
    for field in response.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        headers.append(
            name.map_err(|error| invalid(&error))?,
            value.map_err(|error| invalid(&error))?,
        );
    }
    Ok(Some((status, headers, length)))
}

/// The body at the beginning of `bytes` and its length there (RFC 9112, section 6.3); `None` if it
/// is not complete.
fn body(
    status: StatusCode,
    headers: &HeaderMap,
    bytes: &[u8],
    ended: bool,
) -> Result<Option<(Bytes, usize)>, ClientError> {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Some((Bytes::new(), 0)));
    }
    if has_token(headers, &TRANSFER_ENCODING, "chunked") {
        return chunks(bytes);
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(ended.then(|| (Bytes::copy_from_slice(bytes), bytes.len())));
    };
    let length = length.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| invalid(&"content-length is not a number"))?;
    Ok(bytes.get(..length).map(|body| (Bytes::copy_from_slice(body), length)))
}

/// A chunked body (RFC 9112, section 7.1).
fn chunks(bytes: &[u8]) -> Result<Option<(Bytes, usize)>, ClientError> {
    let (mut body, mut at) = (BytesMut::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&bytes[at..]);
        let size = size.map_err(|_| invalid(&"the size of a chunk is not a number"))?;
        let httparse::Status::Complete((head, size)) = size else { return Ok(None) };
        at += head;
        if size == 0 {
            break;
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size));
        let end = end.ok_or_else(|| invalid(&"a chunk is too large"))?;
        let Some(chunk) = bytes.get(at..end) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(invalid(&"a chunk does not end with a line end")),
        }
    }
    // Trailers, up to an empty line.
    let mut trailers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let parsed = httparse::parse_headers(&bytes[at..], &mut trailers);
    match parsed.map_err(|error| invalid(&error))? {
        httparse::Status::Complete((length, _)) => Ok(Some((body.freeze(), at + length))),
        httparse::Status::Partial => Ok(None),
    }
}

fn invalid(error: &dyn std::fmt::Display) -> ClientError {
    ClientError::ProtocolError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The responses in `text`, given to the parser byte by byte.
    fn responses(text: &str) -> Vec<(u16, String)> {
        let (mut bytes, mut found) = (BytesMut::new(), Vec::new());
        let mut keep = |response: HttpResponse| {
            let body = String::from_utf8(response.body.to_vec()).expect("UTF-8");
            found.push((response.status.as_u16(), body));
        };
        for byte in text.bytes() {
            bytes.extend_from_slice(&[byte]);
            parse(&mut bytes, false).expect("a good response").into_iter().for_each(&mut keep);
        }
        while let Some(response) = parse(&mut bytes, true).expect("a good response") {
            keep(response);
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        found
    }

    #[test]
    fn ends_of_responses_are_found_by_length_chunks_status_and_close() {
        let text = "HTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok\
                    HTTP/1.1 204 No Content\r\n\r\n\
                    HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx: y\r\n\r\n\
                    HTTP/1.0 503 Busy\r\nconnection: close\r\n\r\nuntil the end";
        let expected = [(201, "ok"), (204, ""), (200, "abcde"), (503, "until the end")];
        assert_eq!(responses(text), expected.map(|(status, body)| (status, body.to_owned())));
    }

    #[test]
    fn response_with_invalid_framing_is_an_error() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            let error = parse(&mut BytesMut::from(text), false).map(|_| ());
            assert!(matches!(error, Err(ClientError::ProtocolError(_))), "{text}: {error:?}");
        }
    }
}
