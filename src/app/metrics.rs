//! Counters and gauges of the server, in the text format of Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::addresses::AddressPermit;
use crate::usage;
use crate::variant::Transport;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

/// Counters and gauges of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    transports: Vec<TransportMetrics>,
    /// TCP connections now open, upgraded ones included.
    pub open_connections: Gauge,
    /// Messages stored.
    pub published: Counter,
    /// Topics that exist, as of the last scrape.
    pub topics: Gauge,
    refused: Family<ReasonLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Why a client was refused: the limit that it exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Connections,
    ConnectionsPerAddress,
    Waiters,
    Subscriptions,
    TopicName,
    Topics,
    MessageBytes,
    HeaderBytes,
    Sessions,
    SessionsPerAddress,
    PublishRate,
    SlowHead,
    SlowBody,
    SlowReader,
    Idle,
    Host,
    Origin,
    Token,
    WaitersPerAddress,
    SubscriptionsPerAddress,
    HeldBytes,
    TopicsPerAddress,
}

impl Refusal {
    const ALL: [Refusal; 22] = [
        Refusal::Connections,
        Refusal::ConnectionsPerAddress,
        Refusal::Waiters,
        Refusal::Subscriptions,
        Refusal::TopicName,
        Refusal::Topics,
        Refusal::MessageBytes,
        Refusal::HeaderBytes,
        Refusal::Sessions,
        Refusal::SessionsPerAddress,
        Refusal::PublishRate,
        Refusal::SlowHead,
        Refusal::SlowBody,
        Refusal::SlowReader,
        Refusal::Idle,
        Refusal::Host,
        Refusal::Origin,
        Refusal::Token,
        Refusal::WaitersPerAddress,
        Refusal::SubscriptionsPerAddress,
        Refusal::HeldBytes,
        Refusal::TopicsPerAddress,
    ];

    fn label(self) -> ReasonLabel {
        let reason = match self {
            Refusal::Connections => "connections",
            Refusal::ConnectionsPerAddress => "connections-per-address",
            Refusal::Waiters => "waiters",
            Refusal::Subscriptions => "subscriptions",
            Refusal::TopicName => "topic-name",
            Refusal::Topics => "topics",
            Refusal::MessageBytes => "message-bytes",
            Refusal::HeaderBytes => "header-bytes",
            Refusal::Sessions => "sessions",
            Refusal::SessionsPerAddress => "sessions-per-address",
            Refusal::PublishRate => "publish-rate",
            Refusal::SlowHead => "slow-head",
            Refusal::SlowBody => "slow-body",
            Refusal::SlowReader => "slow-reader",
            Refusal::Idle => "idle",
            Refusal::Host => "host",
            Refusal::Origin => "origin",
            Refusal::Token => "token",
            Refusal::WaitersPerAddress => "waiters-per-address",
            Refusal::SubscriptionsPerAddress => "subscriptions-per-address",
            Refusal::HeldBytes => "held-bytes",
            Refusal::TopicsPerAddress => "topics-per-address",
        };
        ReasonLabel { reason }
    }
}

/// Counters of one transport.
#[derive(Debug, Clone)]
pub struct TransportMetrics {
    /// HTTP requests, upgrades included, whatever the response.
    pub requests: Counter,
    /// Responses without a message.
    pub empty_answers: Counter,
    /// Messages sent, once for each subscriber.
    pub deliveries: Counter,
    /// Open subscriptions: WebSockets, streams, long polls that wait.
    pub waiting: Gauge,
}

impl TransportMetrics {
    /// Counts a subscriber until the guard is dropped; `None` if `limit` is reached.
    pub(super) fn admit(
        &self,
        limit: usize,
        address_permit: Option<AddressPermit>,
    ) -> Option<SubscriberGuard> {
        let before = self.waiting.inc();
        let held =
            SubscriberGuard { waiting: self.waiting.clone(), _address_permit: address_permit };
        (before < limit as i64).then_some(held)
    }
}

/// A subscriber that is counted until this is dropped.
#[derive(Debug)]
pub struct SubscriberGuard {
    waiting: Gauge,
    /// Its share of the limit of its address.
    _address_permit: Option<AddressPermit>,
}

impl Drop for SubscriberGuard {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(ProcessUsage));
        let registry = root.sub_registry_with_prefix("poll_vs_push");
        let requests = Family::<TransportLabel, Counter>::default();
        let empty_answers = Family::<TransportLabel, Counter>::default();
        let deliveries = Family::<TransportLabel, Counter>::default();
        let waiting = Family::<TransportLabel, Gauge>::default();
        registry.register("requests", "HTTP requests of subscribers", requests.clone());
        registry.register("empty_answers", "Responses without a message", empty_answers.clone());
        registry.register(
            "deliveries",
            "Messages sent, once for each subscriber",
            deliveries.clone(),
        );
        registry.register("waiting", "Open subscriptions and waiting polls", waiting.clone());
        let open_connections = Gauge::default();
        registry.register("open_connections", "TCP connections now open", open_connections.clone());
        let published = Counter::default();
        registry.register("published", "Messages stored", published.clone());
        let topics = Gauge::default();
        registry.register("topics", "Topics that exist now", topics.clone());
        let refused = Family::<ReasonLabel, Counter>::default();
        registry.register(
            "refused",
            "Clients refused, by the limit that they exceeded",
            refused.clone(),
        );
        for refusal in Refusal::ALL {
            // Exported from the start, at zero, so that dashboards and alerts find it.
            drop(refused.get_or_create(&refusal.label()));
        }
        let of = |transport: Transport| {
            let label = TransportLabel { transport: transport.name() };
            TransportMetrics {
                requests: requests.get_or_create_owned(&label),
                empty_answers: empty_answers.get_or_create_owned(&label),
                deliveries: deliveries.get_or_create_owned(&label),
                waiting: waiting.get_or_create_owned(&label),
            }
        };
        let transports = Transport::ALL.map(of).to_vec();
        Metrics { registry: root, transports, open_connections, published, topics, refused }
    }

    /// The counters of `transport`.
    pub fn of(&self, transport: Transport) -> &TransportMetrics {
        &self.transports[transport as usize]
    }

    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        self.refused.get_or_create(&refusal.label()).inc();
    }

    /// How many clients were refused for that reason.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refused.get_or_create(&refusal.label()).get()
    }

    /// The exposition text, with the process's usage as of now.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a String takes all text");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// CPU and memory of the process, read at each scrape, under the names that Prometheus client
/// libraries use.
#[derive(Debug)]
struct ProcessUsage;

impl Collector for ProcessUsage {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let cpu = ConstCounter::new(usage::cpu_seconds());
        let help = "CPU time used, user and system";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            prometheus_client::metrics::MetricType::Counter,
        )?)?;
        if let Some(bytes) = usage::resident_bytes() {
            let memory = ConstGauge::new(bytes as i64);
            memory.encode(encoder.encode_descriptor(
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                prometheus_client::metrics::MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}
