//! How an HTTP request turns into a WebSocket (RFC 6455, section 4), as the server sees it.

use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::app::ApiError;

/// The answer to an upgrade request, and the promise of the connection that follows it; or the
/// refusal.
pub(in crate::transport) fn respond(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<(Response, OnUpgrade), Box<Response>> {
    let refuse = |status, text: &str| Box::new(Response::from(ApiError::new(status, text)));
    let asks =
        has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket");
    let Some(upgrade) = upgrade.filter(|_| asks) else {
        let text = "this is a WebSocket: send Connection: Upgrade and Upgrade: websocket";
        let mut refusal = refuse(StatusCode::UPGRADE_REQUIRED, text);
        refusal.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return Err(refusal);
    };
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let text = "Sec-WebSocket-Version: only 13 is spoken here";
        let mut refusal = refuse(StatusCode::UPGRADE_REQUIRED, text);
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refusal);
    }
    // 16 bytes in base64.
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24) else {
        let text = "Sec-WebSocket-Key: must be there, 16 random bytes in base64";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    };
    let accept = derive_accept_key(key.as_bytes());
    let response = HttpResponse::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(Default::default())
        .expect("base64 is a valid header");
    Ok((response, upgrade))
}

/// True if a comma-separated header names `token`, in whatever case.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}
