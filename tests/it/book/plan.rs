//! Plans on paper: what the advice needs for many subscribers.

use poll_vs_push::advise::{Advice, Cost, Costs, Estimate, Need, advise};
use poll_vs_push::scenario::Headers;
use poll_vs_push::units::{Unit, significant, thousands};
use poll_vs_push::variant::{Transport, Waiting};

/// Cores and connections of the servers of a plan.
const CORES_PER_SERVER: f64 = 16.0;
const CONNECTIONS_PER_SERVER: f64 = 100_000.0;
/// Time over which clients come back after all servers have failed, seconds.
const STORM_S: f64 = 60.0;

/// The name of a row, and its cell for each transport.
type TableRow = (String, Vec<Option<String>>);

/// The workload of the plan for this many subscribers.
fn need(subscribers: u32) -> Need {
    Need {
        subscribers,
        topics: 1_000,
        rate: 0.1,
        staleness_s: 5.0,
        rtt_s: 0.04,
        poll_interval_s: None,
        message_bytes: 100,
        headers: Headers::Minimal,
        is_tls: false,
        browser_only: false,
        two_way: false,
        cost: Cost::Cpu,
    }
}

/// The rows for `1,000,000 subscribers`.
pub fn rows(subscribers: &str, transports: &[&str]) -> Vec<TableRow> {
    let count = subscribers.strip_suffix(" subscribers").expect("a number of subscribers");
    let count = count.replace(',', "").parse().expect("a number of subscribers");
    let costs = Costs::reference();
    let advice = advise(&need(count), &costs);
    let plan = Plan { advice, costs, transports };
    plan.rows()
}

struct Plan<'a> {
    advice: Advice,
    costs: Costs,
    transports: &'a [&'a str],
}

impl Plan<'_> {
    fn rows(&self) -> Vec<TableRow> {
        let per_second = |value: f64| thousands(value.round() as i64);
        let bits = |bytes_s: f64| format!("{}bit/s", prefixed(8.0 * bytes_s));
        vec![
            self.row("requests per second", |plan| per_second(plan.requests_s)),
            self.row("deliveries and heartbeats per second", |plan| per_second(plan.messages_s)),
            self.row("cores busy", |plan| significant(plan.cpu_cores_busy)),
            self.row("cores to plan, 70 % busy", |plan| thousands(plan.cores as i64)),
            self.row("memory of the servers", |plan| Unit::Bytes.show(plan.memory_bytes)),
            self.row("open connections, file descriptors", |plan| match plan.transport.waiting() {
                Waiting::InClient => format!("up to {}", thousands(i64::from(plan.connections))),
                _ => thousands(i64::from(plan.connections)),
            }),
            self.row("bandwidth to subscribers", |plan| bits(plan.bytes_down_s)),
            self.row("bandwidth from subscribers", |plan| bits(plan.bytes_up_s)),
            self.row("servers of 16 cores with 100,000 connections each", |plan| {
                let by_cores = plan.cores / CORES_PER_SERVER;
                let by_connections = f64::from(plan.connections) / CONNECTIONS_PER_SERVER;
                thousands(by_cores.max(by_connections).ceil() as i64)
            }),
            self.row("all reconnect, spread over one minute: connections per second", |plan| {
                per_second(f64::from(plan.connections) / STORM_S)
            }),
            self.row("... cores for that, without TLS", |plan| {
                let each_s = self.costs.publish_cpu_us / 1e6;
                significant(f64::from(plan.connections) / STORM_S * each_s)
            }),
            self.row("CPU: beyond the measurement by", |plan| {
                let events_s = plan.requests_s.max(plan.messages_s);
                self.factor(plan.transport, events_s, |costs| costs.events_s_max)
            }),
            self.row("memory: beyond the measurement by", |plan| {
                let subscribers = f64::from(plan.connections);
                self.factor(plan.transport, subscribers, |costs| f64::from(costs.subscribers_max))
            }),
        ]
    }

    fn row(&self, name: &str, text: impl Fn(&Estimate) -> String) -> TableRow {
        let cell = |name: &&str| {
            let transport: Transport = name.parse().expect("a transport");
            self.advice.estimate(transport).map(&text)
        };
        (name.to_owned(), self.transports.iter().map(cell).collect())
    }

    /// How far `asked` lies beyond what was measured.
    fn factor(
        &self,
        transport: Transport,
        asked: f64,
        measured: impl Fn(&poll_vs_push::advise::TransportCosts) -> f64,
    ) -> String {
        let costs = self.costs.transports.get(&transport).expect("it has an estimate");
        format!("\u{d7}{}", thousands((asked / measured(costs)).ceil() as i64))
    }
}

/// A number with a decimal prefix: `12.3 G`.
fn prefixed(value: f64) -> String {
    let (divisor, prefix) = match value {
        value if value >= 1e9 => (1e9, "G"),
        value if value >= 1e6 => (1e6, "M"),
        _ => (1e3, "k"),
    };
    format!("{} {prefix}", significant(value / divisor))
}
