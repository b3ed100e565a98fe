//! Which differences between transports the run establishes: every ranking of the report, its
//! notation and the sentences of the answer, comes from [`ranking`].

use super::figures::{Figure, HEADLINES};
use super::stats::Summary;
use super::terminal::heading;
use super::{Point, Way};

/// How to read [`orders`].
pub const KEY: &str = "Smallest first. Each member of a group differs from each member of the \
                       next. Inside brackets no order is established.";

/// A transport's place in a ranking.
pub type Standing<'a> = (&'a Way<'a>, &'a Summary);

/// The order of the transports in one figure, as far as the run establishes it.
pub struct Ranking<'a> {
    /// Smallest first. Each member of a group differs from each member of the groups after it; the
    /// first and the last member of a group do not differ.
    pub groups: Vec<Vec<Standing<'a>>>,
    /// Values too uncertain to belong to one group: with them, groups that differ would merge.
    pub unplaced: Vec<Standing<'a>>,
}

/// The ranking of `figure`; without groups if no transport has it.
pub fn ranking<'a>(point: &'a Point<'a>, figure: &Figure) -> Ranking<'a> {
    let mut ranked = point.ranked(figure);
    let mut unplaced = Vec::new();
    loop {
        let groups = groups(&ranked);
        let is_mixed = |group: &&Vec<Standing>| match group.as_slice() {
            [(_, first), .., (_, last)] => first.differs_from(last),
            _ => false,
        };
        let Some(mixed) = groups.iter().find(is_mixed) else {
            return Ranking { groups, unplaced };
        };
        let width = |(_, summary): &&Standing| (summary.high - summary.low) / summary.value.abs();
        let Some((widest, _)) = mixed.iter().max_by(|a, b| width(a).total_cmp(&width(b))) else {
            return Ranking { groups, unplaced };
        };
        let variant = widest.variant;
        unplaced.extend(ranked.extract_if(.., |(way, _)| way.variant == variant));
    }
}

/// `ranked`, cut wherever everything before the cut differs from everything after it.
fn groups<'a>(ranked: &[Standing<'a>]) -> Vec<Vec<Standing<'a>>> {
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
        let Ranking { groups, unplaced } = ranking(point, figure);
        let is_ranking = groups.iter().map(Vec::len).sum::<usize>() + unplaced.len() >= 2;
        let names: Vec<String> = groups.iter().map(|group| bracketed(group)).collect();
        let rest = match unplaced.as_slice() {
            [] => String::new(),
            unplaced => format!("; too uncertain to place: {}", bracketed(unplaced)),
        };
        is_ranking.then(|| (heading(figure), names.join(" < ") + &rest))
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
    use crate::variant::Transport;

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
                let Ranking { groups, .. } = ranking(&report.points[0], figure);
                for (index, group) in groups.iter().enumerate() {
                    let later = groups[index + 1..].iter().flatten();
                    let pairs = later.flat_map(|b| group.iter().map(move |a| (a, b)));
                    pairs.for_each(|(a, b)| assert!(a.1.differs_from(b.1), "{}", figure.name));
                }
            }
        }
    }

    #[test]
    fn an_uncertain_value_does_not_merge_groups_that_differ() {
        let mut run = fixture::run();
        for cell in &mut run.cells {
            let (delivered, repeat) = (cell.deliveries.in_steady as f64, f64::from(cell.repeat));
            cell.published = 10_000;
            let cost_s = match cell.variant.transport {
                Transport::WebSocket => 100e-6,
                Transport::LongPolling => 200e-6,
                _ => 150e-6 * (0.4 + 0.6 * repeat),
            };
            let server = cell.server.as_mut().expect("the fixture's server reports its CPU");
            server.cpu_s = delivered * cost_s;
        }
        let report = Report::new(&run);
        let orders = orders(&report.points[0]);
        let (_, cpu) = orders.iter().find(|(name, _)| name.contains("CPU")).expect("ranked");
        assert_eq!(cpu, "WebSocket < long polling; too uncertain to place: short polling");
        let answer = report.answer().join(" ");
        assert!(answer.contains("too uncertain to place: short polling"), "{answer}");
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
        assert!(ranking(&report.points[0], &figures::CPU_PER_MESSAGE).groups.is_empty());
        assert!(!report.answer().join(" ").contains("CPU time"));
        assert!(report.markdown().contains("(`server.cpu_per_message`) | sample too small |"));
    }
}
