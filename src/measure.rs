//! Measured quantities: histograms of durations, and bytes by purpose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// An HdrHistogram of microseconds with three significant digits. In JSON it is the base64-encoded
/// V2 deflate format, which other HdrHistogram tools can read.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram(pub hdrhistogram::Histogram<u64>);

impl Histogram {
    /// Largest value: one hour. Longer durations are recorded as one hour.
    pub const MAX_US: u64 = 3_600_000_000;

    /// An empty histogram.
    pub fn new() -> Self {
        let inner = hdrhistogram::Histogram::new_with_bounds(1, Self::MAX_US, 3);
        Histogram(inner.expect("1 to MAX_US with 3 digits are bounds HdrHistogram accepts"))
    }

    /// Records one value, microseconds.
    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        self.0.add(&other.0).expect("all histograms of this type have the same bounds");
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text).map_err(D::Error::custom)?;
        let read: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        let mut histogram = Histogram::new();
        histogram.0.add(&read).map_err(D::Error::custom)?;
        Ok(histogram)
    }
}

/// Round trips, one for each connection that was opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// From the connect call to its return, microseconds. It contains the time to wake the task.
    pub connect_us: Histogram,
    /// From SYN to SYN-ACK as the kernel measured it (`TCP_INFO`), microseconds; empty where the
    /// system does not report it.
    pub kernel_us: Histogram,
}

impl RoundTrips {
    /// The more precise of the two.
    pub fn best_us(&self) -> &Histogram {
        if self.kernel_us.0.is_empty() { &self.connect_us } else { &self.kernel_us }
    }
}

/// Bytes by purpose. The parts add up to the bytes on the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Message objects.
    pub payload: u64,
    /// Framing of the transport: JSON envelope, WebSocket frame header and mask.
    pub framing: u64,
    /// HTTP request lines, status lines and headers.
    pub headers: u64,
    /// TCP and IP headers, pure acknowledgements included.
    pub tcp_ip: u64,
}

impl Ledger {
    /// The sum of all parts, bytes.
    pub fn total(&self) -> u64 {
        self.payload + self.framing + self.headers + self.tcp_ip
    }
}
