//! Which differences between ways are real: for each figure that decides, the ways in order.

use super::figures::HEADLINES;
use super::terminal::heading;
use super::{Point, Way};

/// How to read [`orders`].
pub const KEY: &str = "Smallest first. < is a real difference; ≈ joins neighbours that the repeats \
                       cannot tell apart.";

/// Figure and order, for instance `latency, mean` and `WebSocket ≈ long polling < short polling`.
/// Figures that fewer than two ways have are left out.
pub fn orders(point: &Point) -> Vec<(&'static str, String)> {
    let order = |figure: &&'static super::figures::Figure| {
        let ranked = point.ranked(figure);
        let name = |(way, _): &(&Way, _)| way.variant.label();
        let mut text = name(ranked.first()?).to_owned();
        for pair in ranked.windows(2) {
            let sign = if pair[0].1.differs_from(pair[1].1) { '<' } else { '≈' };
            text.push_str(&format!(" {sign} {}", name(&pair[1])));
        }
        (ranked.len() >= 2).then_some((heading(figure), text))
    };
    HEADLINES.iter().filter_map(order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, fixture};

    #[test]
    fn real_differences_are_told_from_chance() {
        let run = fixture::run();
        let report = Report::new(&run);
        let orders: Vec<String> = orders(&report.points[0])
            .into_iter()
            .map(|(figure, order)| format!("{figure}: {order}"))
            .collect();
        insta::assert_snapshot!(orders.join("\n"), @"
        latency, mean: WebSocket ≈ long polling < short polling
        median: long polling ≈ WebSocket < short polling
        p99: WebSocket < long polling < short polling
        requests, each subscriber: WebSocket < short polling ≈ long polling
        answers empty: long polling < short polling
        bytes a message: WebSocket < short polling ≈ long polling
        server CPU a message: WebSocket < short polling ≈ long polling
        ");
    }
}
