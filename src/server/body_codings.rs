//! The codings of a request's body: how it is transferred, and how its content is encoded. The
//! server decodes `chunked` only; hyper does that whatever other codings were applied before.

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};

use crate::app::ApiError;
use crate::header_list::elements;

/// Rejects a body with codings that the server does not decode.
///
/// # Errors
/// If the transfer coding is not exactly `chunked` (RFC 9112, section 6.1), or the content is
/// encoded (RFC 9110, section 15.5.16).
pub(super) fn check(headers: &HeaderMap) -> Result<(), Box<Response<Bytes>>> {
    let refuse = |status, text: &str| Box::new(ApiError::new(status, text).into_response());
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if elements(headers, &TRANSFER_ENCODING).any(|coding| !is_chunked(&coding)) {
        let text = "Transfer-Encoding: this server decodes only chunked";
        return Err(refuse(StatusCode::NOT_IMPLEMENTED, text));
    }
    if elements(headers, &TRANSFER_ENCODING).count() > 1 {
        let text = "Transfer-Encoding: chunked must be applied once";
        return Err(refuse(StatusCode::BAD_REQUEST, text));
    }
    let is_identity = |coding: &[u8]| coding.eq_ignore_ascii_case(b"identity");
    if elements(headers, &CONTENT_ENCODING).any(|coding| !is_identity(coding)) {
        let text = "Content-Encoding: this server decodes none; send the body as it is";
        let mut refusal = refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        refusal.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        return Err(refusal);
    }
    Ok(())
}
