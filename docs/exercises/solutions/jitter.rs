//! How long a client waits before it reconnects.
//!
//! Full jitter: the delay is uniform between 0 and a bound that doubles with each attempt. Clients
//! that lost their connections together return spread over the interval.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// The bound of the first delay.
pub const BASE: Duration = Duration::from_millis(200);
/// No delay is longer.
pub const MAX: Duration = Duration::from_secs(10);

/// Returns the delay before attempt `attempt`, the first of which is 0. `random` is a number from 0
/// to 1, drawn anew for each call.
pub fn delay(attempt: u32, random: f64) -> Duration {
    BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX).mul_f64(random)
}
