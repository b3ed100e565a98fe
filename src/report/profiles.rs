//! Bytes per delivered message under other request headers and with TLS: the measured bytes, plus
//! or minus the headers of each request and the overhead of each TLS record.

use crate::scenario::Headers;
use crate::theory::bytes::{Sizes, tls_bytes_s};
use crate::variant::{Extra, Waiting};

use super::VariantResult;
use super::figures;

/// The request headers, and whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    pub headers: Headers,
    pub is_tls: bool,
}

/// The profiles that are shown side by side.
pub const PROFILES: [Profile; 3] = [
    Profile { headers: Headers::Minimal, is_tls: false },
    Profile { headers: Headers::Browser, is_tls: false },
    Profile { headers: Headers::Browser, is_tls: true },
];

impl Profile {
    /// The head of a table's column.
    pub fn label(self) -> &'static str {
        match (self.headers, self.is_tls) {
            (Headers::Minimal, false) => "minimal headers",
            (Headers::Minimal, true) => "minimal headers and TLS",
            (Headers::Browser, false) => "a browser's headers",
            (Headers::Browser, true) => "a browser's headers and TLS",
        }
    }

    /// Bytes that requests and records of this profile add to a message, beyond minimal headers
    /// without TLS.
    fn added(self, result: &VariantResult, requests: f64) -> f64 {
        let headers = match self.headers {
            Headers::Minimal => 0.0,
            Headers::Browser => Sizes::BROWSER_HEADERS * requests,
        };
        let rate = result.workload.rate;
        let transport = result.variant.transport;
        let sizes = Sizes::ours(transport, self.headers);
        let tls = match self.is_tls {
            true => tls_bytes_s(transport, rate, rate * requests, &sizes) / rate,
            false => 0.0,
        };
        headers + tls
    }
}

/// Requests of a subscriber per message delivered to it; 0 for push.
pub fn requests_per_message(result: &VariantResult) -> Option<f64> {
    match result.variant.transport.waiting() {
        Waiting::PerConnection => Some(0.0),
        _ => Some(result.summary(&figures::REQUESTS_PER_MESSAGE)?.value),
    }
}

/// Bytes per message of `result`, which was measured under `measured`, under the profile `other`.
/// `None` without a result, for HTTP/2, which compresses headers that repeat, and for a variant
/// with TLS of its own.
pub fn bytes_per_message(result: &VariantResult, measured: Profile, other: Profile) -> Option<f64> {
    if [Extra::H2, Extra::Tls, Extra::Resumed].iter().any(|extra| result.variant.has(*extra)) {
        return None;
    }
    let bytes = result.summary(&figures::BYTES_PER_MESSAGE)?.value;
    let requests = requests_per_message(result)?;
    Some(bytes - measured.added(result, requests) + other.added(result, requests))
}
