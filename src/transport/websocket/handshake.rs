//! The server's part of the WebSocket handshake (RFC 6455, section 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::ApiError;
use crate::header_list::{has_token, has_token_parameters, is_absent_or_list_of, is_token};

/// The only version of the protocol (RFC 6455, section 4.1).
const VERSION: &str = "13";

/// The response to an upgrade request, and the future of the upgraded connection; or the error
/// response.
pub(in crate::transport) fn respond(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<(Response, OnUpgrade), Box<Response>> {
    let refused = |refusal: Box<HttpResponse<Bytes>>| Box::new(refusal.map(Into::into));
    let accept = check(headers).map_err(refused)?;
    let Some(upgrade) = upgrade else { return Err(refused(upgrade_required(NO_UPGRADE))) };
    let response = HttpResponse::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(Default::default())
        .expect("base64 is a valid header");
    Ok((response, upgrade))
}

/// Checks a client's handshake (RFC 6455, section 4.2.1). Returns the value of
/// `Sec-WebSocket-Accept`, or the error response.
pub fn check(headers: &HeaderMap) -> Result<String, Box<HttpResponse<Bytes>>> {
    let refuse = |status, text: &str| Box::new(ApiError::new(status, text).into_response());
    let asks =
        has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket");
    if !asks {
        return Err(upgrade_required(NO_UPGRADE));
    }
    let only = |name| {
        let mut values = headers.get_all(name).into_iter();
        values.next().filter(|_| values.next().is_none())
    };
    if only(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(upgrade_required("Sec-WebSocket-Version: must be 13"));
    }
    if has_body(headers) {
        // It would have to be read before the response (RFC 9110, section 7.8).
        return Err(refuse(StatusCode::BAD_REQUEST, "a WebSocket handshake must have no body"));
    }
    for (name, is_element) in [
        (SEC_WEBSOCKET_PROTOCOL, is_token as fn(&[u8]) -> bool),
        (SEC_WEBSOCKET_EXTENSIONS, has_token_parameters),
    ] {
        if !is_absent_or_list_of(headers, &name, is_element) {
            return Err(refuse(StatusCode::BAD_REQUEST, &format!("{name}: the list is malformed")));
        }
    }
    let is_key = |key: &&HeaderValue| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    let Some(key) = only(SEC_WEBSOCKET_KEY).filter(is_key) else {
        let text = "Sec-WebSocket-Key: must be 16 random bytes in base64";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    };
    Ok(derive_accept_key(key.as_bytes()))
}

/// True if the headers announce a body (RFC 9112, section 6.3).
fn has_body(headers: &HeaderMap) -> bool {
    let is_zero = |length: &HeaderValue| {
        length.to_str().is_ok_and(|text| text.parse::<u64>().is_ok_and(|bytes| bytes == 0))
    };
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).into_iter().any(|length| !is_zero(length))
}

/// Names the version of HTTP too, because HTTP/2 has no upgrade.
const NO_UPGRADE: &str = "this route is a WebSocket: use HTTP/1.1, and send Connection: Upgrade and \
    Upgrade: websocket";

/// 426, with the protocol of the route (RFC 9110, section 15.5.22) and its version (RFC 6455,
/// section 4.4).
fn upgrade_required(text: &str) -> Box<HttpResponse<Bytes>> {
    let mut refusal = ApiError::new(StatusCode::UPGRADE_REQUIRED, text).into_response();
    let headers = refusal.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    Box::new(refusal)
}
