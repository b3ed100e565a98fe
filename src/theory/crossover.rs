//! The rates at which one transport overtakes another, and published rules of thumb.

use super::Cycle;

/// The message rate above which long polling sends more requests than short polling with period
/// `period_s`, per second: `lambda* = W(g / (P - g)) / g`, where W is Lambert's.
///
/// The hold is assumed to be much longer than `1 / lambda*`. `None` if the period does not exceed
/// the gap of the long poll: then short polling always sends at least as many requests.
pub fn requests_crossover(gap_s: f64, period_s: f64) -> Option<f64> {
    if period_s <= gap_s {
        return None;
    }
    // W(x) / x tends to 1.
    let limit = 1.0 / (period_s - gap_s);
    Some(if gap_s > 0.0 { lambert_w(gap_s * limit) / gap_s } else { limit })
}

/// The same for a hold of `hold_s`, per second; 0 if holds are so short that long polling sends
/// more requests at every rate.
///
/// Computed by bisection, since there is no closed form for a hold of limited length.
pub fn requests_crossover_with_hold(gap_s: f64, hold_s: f64, period_s: f64) -> Option<f64> {
    let endless = requests_crossover(gap_s, period_s)?;
    let cycle = |rate| Cycle { rate, one_way_s: 0.0, gap_s, hold_s };
    if gap_s + hold_s <= period_s {
        return Some(0.0);
    }
    let (mut low, mut high) = (0.0, endless);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        let longer = middle == 0.0 || cycle(middle).length_s() > period_s;
        *(if longer { &mut low } else { &mut high }) = middle;
    }
    Some(high)
}

/// The principal branch of Lambert's W for `x >= 0`: the `w` for which `w e^w = x`.
fn lambert_w(x: f64) -> f64 {
    let mut w = x.ln_1p();
    for _ in 0..50 {
        let error = w - x * (-w).exp();
        w -= error / (1.0 + w);
    }
    w
}

/// The message rate above which short polling with period `period_s` transfers fewer bytes than
/// push, per second, because it batches: `(H_req + H_resp + 3 S) / (P (F + 2 S))`.
///
/// `exchange_bytes` is the overhead of a poll, `push_bytes` the overhead of a pushed message
/// ([`Sizes::exchange`] and [`Sizes::push`]).
///
/// [`Sizes::exchange`]: super::bytes::Sizes::exchange
/// [`Sizes::push`]: super::bytes::Sizes::push
pub fn bytes_crossover(period_s: f64, exchange_bytes: f64, push_bytes: f64) -> f64 {
    exchange_bytes / (period_s * push_bytes)
}

/// The rate of periodic messages up to which long polling is as fast as push, per second: the gap
/// must fit between two messages, so with a gap of one round trip the one-way delay may be half the
/// interval at most (Pimentel and Nickerson 2012). Infinite if the gap is 0.
pub fn pimentel_rate(gap_s: f64) -> f64 {
    1.0 / gap_s
}

/// The worst delay of a long poll in transits (one-way delays): `(d + g) / d`. Three over a kept
/// connection (RFC 6202, section 2.2). Infinite if there is no delay.
pub fn worst_transits(long_poll: &Cycle) -> f64 {
    (long_poll.one_way_s + long_poll.gap_s) / long_poll.one_way_s
}

/// How much later than the first the `k`-th subscriber of a fan-out is served, seconds, by a server
/// that spends `per_subscriber_s` of wall time on each.
pub fn fan_out_delay_s(k: f64, per_subscriber_s: f64) -> f64 {
    k * per_subscriber_s
}
