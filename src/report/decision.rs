//! The recommendation that a run supports, and the rankings behind it.
//!
//! Every statement of the report that one transport needs less than another comes from
//! [`PointResults::ranking`], here and under "Which differences are real". The values at which the
//! recommendation changes are extrapolated with this run's costs by [`crate::advise`].

use crate::advise::{
    self, Alternative, Candidate, Choice, Cost, CostSource, Costs, Estimate, Margin, Need,
};
use crate::run::{Cell, Run};
use crate::scenario::Workload;
use crate::statistics::{Ranking, Summary};
use crate::theory::short_poll;
use crate::units::significant;
use crate::variant::{Transport, Variant};

use super::figures::{self, Figure};
use super::prose::{list, range};
use super::{PointResults, Report, VariantResult};

/// Share of the acceptable age by which measured latency may exceed it: the processing time of the
/// machine.
const OWN_TIME_SHARE: f64 = 0.05;

/// A recommendation from the figures measured at one point.
pub struct Decision {
    /// The workload of the point. The acceptable age is what short polling at its interval reaches.
    pub need: Need,
    pub choice: Choice,
    /// Absent if the costs do not reproduce the choice, or are unknown.
    model: Option<Model>,
}

/// Costs of the transports of a run, for workloads that were not measured.
pub struct Model {
    pub need: Need,
    pub costs: Costs,
    /// True if the run cannot provide the costs of every transport.
    has_reference: bool,
    /// The recommended transport and its cost relative to the lowest, which the run does not
    /// separate at the measured point.
    recommended: Option<(Transport, f64)>,
}

impl Decision {
    /// `None` if fewer than two transports have results.
    pub fn of(report: &Report, point: &PointResults) -> Option<Decision> {
        let plain =
            || point.valid_results().filter(|result| result.variant == result.variant.transport);
        let has_cpu = plain().all(|result| result.summary(&figures::CPU_PER_MESSAGE).is_some());
        let (cost, figure) = match has_cpu {
            true => (Cost::Cpu, &figures::CPU_PER_MESSAGE),
            false => (Cost::Bytes, &figures::BYTES_PER_MESSAGE),
        };
        let need = need(report.run, point.workload, cost);
        let ranking = point.ranking(figure);
        let lowest = ranking.groups.first();
        let is_tied = |variant: Variant| {
            lowest.is_some_and(|group| group.iter().any(|(result, _)| result.variant == variant))
        };
        let candidate = |result: &VariantResult| {
            Some(Candidate {
                transport: result.variant.transport,
                cost: result.summary(figure)?.value,
                bytes: result.summary(&figures::BYTES_PER_MESSAGE)?.value,
                is_tied: is_tied(result.variant),
            })
        };
        if plain().filter_map(candidate).count() < 2 {
            return None;
        }
        let fast = plain().filter(|result| is_fast(result, need.staleness_s));
        let choice = Choice::among(cost, fast.filter_map(candidate).collect())?;
        let model =
            Model::of(report.run, need).and_then(|model| model.with_recommendation_of(&choice));
        Some(Decision { need, choice, model })
    }

    /// Extrapolates the recommendation; absent if the costs do not reproduce it.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// The values at which the recommendation changes, and other conditions that change it.
    pub fn changes(&self) -> (Vec<Margin>, Vec<Alternative>) {
        let Some(model) = &self.model else { return Default::default() };
        let (present, choose) = (Some(self.choice.transport), |need: &Need| model.choose(need));
        let margins = advise::margins(&self.need, present, choose);
        (margins, advise::alternatives(&self.need, present, choose))
    }
}

/// The need that the workload stands for, over the network that was measured.
pub fn need(run: &Run, workload: &Workload, cost: Cost) -> Need {
    let cells: Vec<&Cell> = run.cells.iter().filter(|cell| cell.workload == *workload).collect();
    let network = super::network(&cells);
    let workload = &network.with_round_trip(workload);
    let cycle = short_poll(workload);
    Need {
        subscribers: workload.subscribers,
        topics: workload.topics,
        rate: workload.rate,
        staleness_s: network.publisher_rtt_s / 2.0 + cycle.one_way_s + cycle.gap_s,
        rtt_s: workload.rtt.as_secs_f64(),
        poll_interval_s: None,
        message_bytes: workload.message_bytes,
        headers: workload.headers,
        is_tls: run.server.is_tls,
        browser_only: false,
        two_way: false,
        cost,
    }
}

/// Whether 99 % of the messages arrive in time, or the mean if the sample supports no percentile.
fn is_fast(result: &VariantResult, staleness_s: f64) -> bool {
    let latency = result.summary(&figures::LATENCY_P99).or(result.summary(&figures::LATENCY_MEAN));
    latency.is_some_and(|latency| latency.value <= staleness_s * (1.0 + OWN_TIME_SHARE))
}

impl Model {
    /// The costs of `run` and the first workload that it measured. `None` for fewer than two
    /// transports, or if the server is another one.
    pub fn of_run(run: &Run) -> Option<Model> {
        let workload = &run.cells.first()?.workload;
        Model::of(run, need(run, workload, Cost::Cpu))
    }

    fn of(run: &Run, need: Need) -> Option<Model> {
        let mut costs = Costs::from_run(run);
        let is_measured =
            |transport: Transport| run.cells.iter().any(|cell| cell.variant == transport);
        costs.transports.retain(|transport, _| is_measured(*transport));
        let has_reference =
            costs.transports.values().any(|result| result.origin == CostSource::Reference);
        let is_known = costs.transports.len() >= 2 && run.server.is_child;
        is_known.then_some(Model { need, costs, has_reference, recommended: None })
    }

    /// The source of the costs that the model uses.
    pub fn source(&self) -> &'static str {
        match self.has_reference {
            false => "this run's costs",
            true => "costs of the built-in reference, where this run is too short",
        }
    }

    /// The estimate of each measured transport for `need`.
    pub fn estimates(&self, need: &Need) -> Vec<Estimate> {
        advise::estimates(need, &self.costs)
    }

    /// The model with the recommendation of the measurement; `None` if the model recommends another
    /// transport.
    fn with_recommendation_of(self, choice: &Choice) -> Option<Model> {
        let candidates = advise::candidates(&self.need, &self.costs);
        let cheapest = candidates.iter().map(|c| c.cost).fold(f64::INFINITY, f64::min);
        let own = candidates.iter().find(|c| c.transport == choice.transport)?;
        let recommended = Some((choice.transport, own.cost / cheapest));
        let model = Model { recommended, ..self };
        (model.choose(&model.need)?.transport == choice.transport).then_some(model)
    }

    /// The recommendation for another need. The transport recommended by the measurement counts as
    /// tied while it costs no more, relative to the cheapest, than at the measured point.
    pub fn choose(&self, need: &Need) -> Option<Choice> {
        let mut candidates = advise::candidates(need, &self.costs);
        let cheapest = candidates.iter().map(|c| c.cost).fold(f64::INFINITY, f64::min);
        if let Some((transport, ratio)) = self.recommended {
            for candidate in candidates.iter_mut().filter(|c| c.transport == transport) {
                candidate.is_tied = candidate.cost <= cheapest * ratio * (1.0 + 1e-9);
            }
        }
        Choice::among(need.cost, candidates)
    }
}

/// How the recommended transport compares in the figures that decide, one sentence for each.
pub fn reasons(point: &PointResults, decision: &Decision) -> Vec<String> {
    let third = match decision.need.cost {
        Cost::Cpu => (&figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
        _ => (&figures::REQUESTS_PER_SUBSCRIBER, "Requests per second per subscriber"),
    };
    let first = match decision.need.cost {
        Cost::Cpu => (&figures::CPU_PER_MESSAGE, "Server CPU time per delivered message"),
        _ => (&figures::BYTES_PER_MESSAGE, "Bytes per delivered message"),
    };
    let latency = (&figures::LATENCY_MEAN, "Mean latency");
    let recommended = decision.choice.transport.into();
    let reason = |(figure, label)| reason(point, figure, label, recommended);
    [first, latency, third].into_iter().filter_map(reason).collect()
}

/// `Mean latency: 20.8 ms. Higher: long polling 30 ms (1.44 times).`
fn reason(
    point: &PointResults,
    figure: &Figure,
    label: &str,
    recommended: Variant,
) -> Option<String> {
    let own = point.result(recommended)?.summary(figure)?.value;
    let Ranking { groups, unplaced } = point.ranking(figure);
    let is_own = |(result, _): &(&VariantResult, Summary)| result.variant == recommended;
    let place = groups.iter().position(|group| group.iter().any(is_own));
    let others = |what: &str, group: &[&(&VariantResult, Summary)], has_ratio: bool| {
        let show = |(result, summary): &(&VariantResult, Summary)| {
            let value = figure.unit.show(summary.value);
            let ratio = match has_ratio && own > 0.0 {
                true => format!(" ({} times)", significant(summary.value / own)),
                false => String::new(),
            };
            format!("{} {value}{ratio}", result.variant.label())
        };
        let names = group.iter().filter(|member| !is_own(member)).map(|member| show(member));
        let names = list(names);
        (!names.is_empty()).then(|| format!("{what}: {names}."))
    };
    let at = |range: std::ops::Range<usize>| -> Vec<&(&VariantResult, Summary)> {
        groups[range].iter().flatten().collect()
    };
    let parts = match place {
        Some(place) => [
            others("Lower", &at(0..place), true),
            others("No difference established", &at(place..place + 1), false),
            others("Higher", &at(place + 1..groups.len()), true),
            others("Too uncertain to place", &unplaced.iter().collect::<Vec<_>>(), false),
        ],
        None => {
            let all = groups.iter().flatten().chain(&unplaced).collect::<Vec<_>>();
            [others("Too uncertain to place among the others", &all, false), None, None, None]
        }
    };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let own = figure.unit.show(own);
    Some(format!("{label}: {own}. {}", parts.join(" ")).trim_end().to_owned())
}

/// Figure and order, as far as the run establishes it: `WebSocket 20 ms < [A 30 ms, B 31 ms]`.
/// Figures that fewer than two transports have are left out.
pub fn orders(point: &PointResults) -> Vec<(&'static str, String)> {
    let order = |figure: &&'static Figure| {
        let Ranking { groups, unplaced } = point.ranking(figure);
        let is_ranking = groups.iter().map(Vec::len).sum::<usize>() + unplaced.len() >= 2;
        let bracketed = |group: &Vec<(&VariantResult, Summary)>| {
            let names: Vec<String> =
                group.iter().map(|(result, _)| result.variant.label()).collect();
            let values = (group.first()?.1.value, group.last()?.1.value);
            let values = range(figure.unit, values.0, values.1);
            Some(match names.len() {
                1 => format!("{} {values}", names.concat()),
                _ => format!("[{}] {values}", names.join(", ")),
            })
        };
        let mut text = groups.iter().filter_map(bracketed).collect::<Vec<_>>().join(" < ");
        if let Some(unplaced) = bracketed(&unplaced) {
            text.push_str(&format!("; too uncertain to place: {unplaced}"));
        }
        is_ranking.then(|| (figure.heading(), text))
    };
    figures::HEADLINES.iter().filter_map(order).collect()
}

/// How to read [`orders`].
pub const KEY: &str = "Smallest first. Each member of a group differs from each member of the \
                       next. Inside brackets no order is established.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::variant::Waiting;

    fn decision(run: &Run) -> Decision {
        let report = Report::new(run);
        Decision::of(&report, &report.points[0]).expect("three transports have results")
    }

    #[test]
    fn orders_separate_differences_from_chance() {
        let run = fixture::run();
        let report = Report::new(&run);
        let orders: Vec<String> = orders(&report.points[0])
            .into_iter()
            .map(|(figure, order)| format!("{figure}: {order}"))
            .collect();
        insta::assert_snapshot!(orders.join("\n"), @"
        mean latency: [WebSocket, long polling] 20.4 ms to 21.1 ms < short polling 526 ms
        median latency: [long polling, WebSocket] 20.4 ms < short polling 531 ms
        p99 latency: WebSocket 20.6 ms < long polling 52.5 ms < short polling 1.05 s
        requests per subscriber: WebSocket 0/s < [short polling, long polling] 0.962/s to 1.12/s
        empty responses: long polling 0 % < short polling 37.2 %
        bytes per message: WebSocket 288 B < [short polling, long polling] 604 B to 639 B
        server CPU per message: WebSocket 93.2 µs < [short polling, long polling] 360 µs to 385 µs
        ");
    }

    #[test]
    fn the_recommendation_is_in_the_lowest_group_whatever_the_spread() {
        for spread in [0.0, 0.05, 0.1, 0.3, 1.0] {
            let mut run = fixture::run();
            for cell in &mut run.cells {
                let server = cell.server.as_mut().expect("the fixture's server reports its CPU");
                server.cpu_s *= 1.0 + spread * f64::from(cell.repeat);
            }
            let decision = decision(&run);
            let report = Report::new(&run);
            let ranking = report.points[0].ranking(match decision.need.cost {
                Cost::Cpu => &figures::CPU_PER_MESSAGE,
                _ => &figures::BYTES_PER_MESSAGE,
            });
            let lowest = ranking.groups.first().expect("something is placed");
            let close = advise::TOO_CLOSE * lowest[0].1.value;
            for transport in &decision.choice.close {
                let result = report.points[0].result(*transport).expect("it was measured");
                let is_lowest = lowest.iter().any(|(other, _)| other.variant == result.variant);
                let value = result.summary(&figures::CPU_PER_MESSAGE).expect("resolved").value;
                assert!(is_lowest || value <= close, "{spread}: {transport}");
            }
            let model = decision.model().expect("the costs reproduce the choice");
            let again = model.choose(&decision.need).expect("push is fast enough");
            assert_eq!(again.transport, decision.choice.transport, "{spread}");
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
        assert!(cpu.contains("; too uncertain to place: short polling"), "{cpu}");
        let answer = report.answer().join(" ");
        assert!(answer.contains("Too uncertain to place: short polling"), "{answer}");
    }

    #[test]
    fn cpu_of_a_short_run_neither_ranks_nor_decides() {
        let mut run = fixture::run();
        run.cells.retain(|cell| cell.repeat == 0);
        for cell in &mut run.cells {
            cell.steady_s = 1.0;
            cell.published = 6;
        }
        let report = Report::new(&run);
        assert!(report.points[0].ranking(&figures::CPU_PER_MESSAGE).groups.is_empty());
        assert!(!report.answer().join(" ").contains("CPU time"));
        assert_eq!(decision(&run).need.cost, Cost::Bytes);
        assert!(report.markdown().contains("(`server.cpu_per_message`) | sample too small |"));
    }

    #[test]
    fn the_acceptable_age_decides_between_polling_and_push() {
        let run = fixture::sweep();
        let model = Model::of_run(&run).expect("three transports have costs");
        for cost in [Cost::Cpu, Cost::Bytes] {
            let at =
                |rate, staleness_s| model.choose(&Need { cost, rate, staleness_s, ..model.need });
            assert_eq!(at(1.0, 0.01), None, "nothing is faster than a transit");
            let waiting = at(0.1, 0.1).map(|choice| choice.transport.waiting());
            assert_eq!(waiting, Some(Waiting::PerConnection));
        }
        let bytes = Need { cost: Cost::Bytes, rate: 10.0, staleness_s: 600.0, ..model.need };
        let choice = model.choose(&bytes).expect("all are fast enough");
        assert_eq!(choice.close, [Transport::ShortPolling]);
    }
}
