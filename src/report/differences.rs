//! Which differences between transports the run establishes: every ranking of the report, its
//! notation and the sentences of the answer, comes from [`groups`].

use super::figures::{Figure, HEADLINES};
use super::stats::Summary;
use super::terminal::heading;
use super::{Point, Way};

/// How to read [`orders`].
pub const KEY: &str = "Smallest first. Each member of a group differs from each member of the \
                       next. Inside brackets no order is established.";

/// A transport's place in a ranking.
pub type Standing<'a> = (&'a Way<'a>, &'a Summary);

/// The ranking of `figure`, smallest first, cut wherever everything before the cut differs from
/// everything after it. Empty if no transport has the figure.
pub fn groups<'a>(point: &'a Point<'a>, figure: &Figure) -> Vec<Vec<Standing<'a>>> {
    let ranked = point.ranked(figure);
    let mut groups: Vec<Vec<Standing>> = Vec::new();
    for (index, standing) in ranked.iter().enumerate() {
        let (before, after) = ranked.split_at(index);
        let differs = |(_, a): &Standing| after.iter().all(|(_, b)| a.differs_from(b));
        match groups.last_mut() {
            Some(group) if !before.iter().all(differs) => group.push(*standing),
            _ => groups.push(vec![*standing]),
        }
    }
    groups
}

/// Figure and order, for instance `latency, mean` and `[WebSocket, long polling] < short polling`.
/// Figures that fewer than two transports have are left out.
pub fn orders(point: &Point) -> Vec<(&'static str, String)> {
    let order = |figure: &&'static Figure| {
        let groups = groups(point, figure);
        let is_ranking = groups.iter().map(Vec::len).sum::<usize>() >= 2;
        let names: Vec<String> = groups.iter().map(|group| bracketed(group)).collect();
        is_ranking.then(|| (heading(figure), names.join(" < ")))
    };
    HEADLINES.iter().filter_map(order).collect()
}

fn bracketed(group: &[Standing]) -> String {
    let names: Vec<String> = group.iter().map(|(way, _)| way.variant.label()).collect();
    match names.len() {
        1 => names.concat(),
        _ => format!("[{}]", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, figures, fixture};

    #[test]
    fn orders_separate_real_differences_from_chance() {
        let run = fixture::run();
        let report = Report::new(&run);
        let orders: Vec<String> = orders(&report.points[0])
            .into_iter()
            .map(|(figure, order)| format!("{figure}: {order}"))
            .collect();
        insta::assert_snapshot!(orders.join("\n"), @"
        latency, mean: [WebSocket, long polling] < short polling
        median: [long polling, WebSocket] < short polling
        p99: WebSocket < long polling < short polling
        requests, each subscriber: WebSocket < [short polling, long polling]
        answers empty: long polling < short polling
        bytes a message: WebSocket < [short polling, long polling]
        server CPU a message: WebSocket < [short polling, long polling]
        ");
    }

    #[test]
    fn members_of_different_groups_always_differ() {
        for spread in [0.0, 0.1, 0.3, 1.0] {
            let mut run = fixture::run();
            for cell in &mut run.cells {
                let server = cell.server.as_mut().expect("the fixture's server reports its CPU");
                server.cpu_s *= 1.0 + spread * f64::from(cell.repeat);
            }
            let report = Report::new(&run);
            for figure in figures::ALL {
                let groups = groups(&report.points[0], figure);
                for (index, group) in groups.iter().enumerate() {
                    let later = groups[index + 1..].iter().flatten();
                    let pairs = later.flat_map(|b| group.iter().map(move |a| (a, b)));
                    pairs.for_each(|(a, b)| assert!(a.1.differs_from(b.1), "{}", figure.name));
                }
            }
        }
    }

    #[test]
    fn cpu_of_a_short_run_is_not_ranked() {
        let mut run = fixture::run();
        run.cells.retain(|cell| cell.repeat == 0);
        for cell in &mut run.cells {
            cell.steady_s = 1.0;
            cell.published = 6;
        }
        let report = Report::new(&run);
        assert!(groups(&report.points[0], &figures::CPU_PER_MESSAGE).is_empty());
        assert!(!report.answer().join(" ").contains("CPU time"));
        assert!(report.markdown().contains("(`server.cpu_per_message`) | sample too small |"));
    }
}
