//! How long a client waits before it reconnects.
//!
//! The fault: when a server with many clients restarts, all of them return at the same moments.
//!
//! Hint: every client computes the same delays. `random` is there to be used.

use std::time::Duration;

/// The bound of the first delay.
pub const BASE: Duration = Duration::from_millis(200);
/// No delay is longer.
pub const MAX: Duration = Duration::from_secs(10);

/// Returns the delay before attempt `attempt`, the first of which is 0. `random` is a number from 0
/// to 1, drawn anew for each call.
pub fn delay(attempt: u32, random: f64) -> Duration {
    let _ = random;
    BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX)
}
