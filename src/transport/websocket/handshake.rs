//! The server's part of the WebSocket handshake (RFC 6455, section 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::ApiError;
use crate::header_list::has_token;

/// The response to an upgrade request, and the future of the upgraded connection; or the error
/// response.
pub(in crate::transport) fn respond(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<(Response, OnUpgrade), Box<Response>> {
    let refused = |refusal: Box<HttpResponse<Bytes>>| Box::new(refusal.map(Into::into));
    let accept = check(headers).map_err(refused)?;
    let Some(upgrade) = upgrade else { return Err(refused(upgrade_required())) };
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
        return Err(upgrade_required());
    }
    let only = |name| {
        let mut values = headers.get_all(name).into_iter();
        values.next().filter(|_| values.next().is_none())
    };
    if only(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let text = "Sec-WebSocket-Version: must be 13";
        let mut refusal = refuse(StatusCode::UPGRADE_REQUIRED, text);
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refusal);
    }
    let is_key = |key: &&HeaderValue| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    let Some(key) = only(SEC_WEBSOCKET_KEY).filter(is_key) else {
        let text = "Sec-WebSocket-Key: must be 16 random bytes in base64";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    };
    Ok(derive_accept_key(key.as_bytes()))
}

/// 426, with the protocol of the route (RFC 9110, section 15.5.22).
fn upgrade_required() -> Box<HttpResponse<Bytes>> {
    let text = "this route is a WebSocket: send Connection: Upgrade and Upgrade: websocket";
    let mut refusal = ApiError::new(StatusCode::UPGRADE_REQUIRED, text).into_response();
    let headers = refusal.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    Box::new(refusal)
}
