//! The link between subscribers and server: its kind and its properties.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BadValue, Workload, between, within};
use crate::packet_link::{LinkParameters, Loss, PACKET_BYTES_MAX, SUBSCRIBERS_MAX};
use crate::units::{as_given, show_duration, thousands};

/// The kind of the link between subscribers and server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// A delay in the load test, above TCP: no loss, no limit of bandwidth.
    #[default]
    InProcess,
    /// A network of packets, below TCP (Linux).
    Packets,
}

impl Link {
    pub(super) fn is_in_process(&self) -> bool {
        *self == Link::InProcess
    }
}

/// Default size of the queue before a limited direction, bytes: 64 packets.
pub(super) const QUEUE_BYTES: u32 = 96_000;
/// Largest bandwidth, kbit/s.
const BANDWIDTH_MAX: u32 = 10_000_000;

pub(super) fn is_default_queue(bytes: &u32) -> bool {
    *bytes == QUEUE_BYTES
}

/// Checks the keys of the link.
pub(super) fn check(workload: &Workload) -> Result<(), BadValue> {
    within("jitter", workload.jitter, Duration::ZERO, Duration::from_secs(10))?;
    let loss = workload.loss;
    if !(0.0..100.0).contains(&loss) {
        let rule = "must be at least 0 and below 100 (percent of the packets in each direction)";
        return Err(BadValue { key: "loss", value: as_given(loss), rule: rule.to_owned() });
    }
    within("loss_burst", workload.loss_burst, Duration::ZERO, Duration::from_secs(10))?;
    for (key, kbit) in [
        ("bandwidth_down_kbit", workload.bandwidth_down_kbit),
        ("bandwidth_up_kbit", workload.bandwidth_up_kbit),
    ] {
        if let Some(kbit) = kbit {
            between(key, kbit, 1, BANDWIDTH_MAX)?;
        }
    }
    if workload.queue_bytes < PACKET_BYTES_MAX {
        let rule =
            format!("must be at least a packet, {} bytes", thousands(PACKET_BYTES_MAX.into()));
        return Err(BadValue { key: "queue_bytes", value: workload.queue_bytes.to_string(), rule });
    }
    match workload.link {
        Link::Packets if workload.subscribers > SUBSCRIBERS_MAX => {
            let rule = format!(
                "must be at most {} with a link of packets, on which each has an address of its own",
                thousands(SUBSCRIBERS_MAX.into())
            );
            let value = workload.subscribers.to_string();
            Err(BadValue { key: "subscribers", value, rule })
        }
        Link::Packets => Ok(()),
        Link::InProcess => without_packets(workload),
    }
}

/// The in-process link has a round trip and nothing else.
fn without_packets(workload: &Workload) -> Result<(), BadValue> {
    let base = Workload::default();
    let kbit = |value: Option<u32>| value.map(|kbit| kbit.to_string());
    let differing = [
        ("jitter", (workload.jitter != base.jitter).then(|| show_duration(workload.jitter))),
        ("loss", (workload.loss != base.loss).then(|| as_given(workload.loss))),
        ("bandwidth_down_kbit", kbit(workload.bandwidth_down_kbit)),
        ("bandwidth_up_kbit", kbit(workload.bandwidth_up_kbit)),
    ];
    let wrong = differing.into_iter().find_map(|(key, value)| Some((key, value?)));
    wrong.map_or(Ok(()), |(key, value)| {
        let rule = "needs link = packets (--link packets)".to_owned();
        Err(BadValue { key, value, rule })
    })
}

impl Workload {
    /// The parameters of the packet link; absent for another link.
    pub fn packet_link_parameters(&self) -> Option<LinkParameters> {
        let bit_s = |kbit: Option<u32>| kbit.map(|kbit| 1_000 * u64::from(kbit));
        (self.link == Link::Packets).then(|| LinkParameters {
            one_way: self.rtt / 2,
            jitter: self.jitter,
            loss: self.packet_loss(),
            down_bit_s: bit_s(self.bandwidth_down_kbit),
            up_bit_s: bit_s(self.bandwidth_up_kbit),
            queue_bytes: self.queue_bytes.into(),
        })
    }

    /// Whether the link loses or queues packets.
    pub fn has_network(&self) -> bool {
        let limits = [self.bandwidth_down_kbit, self.bandwidth_up_kbit];
        self.is_lossy() || limits.into_iter().any(|limit| limit.is_some())
    }

    /// Whether the link drops segments that TCP has to retransmit.
    pub fn is_lossy(&self) -> bool {
        self.loss > 0.0
    }

    /// The losses of a packet link.
    pub fn packet_loss(&self) -> Loss {
        Loss { share: self.loss / 100.0, burst: self.loss_burst }
    }

    /// Mean round trip, jitter included.
    pub fn mean_rtt(&self) -> Duration {
        self.rtt + self.jitter
    }
}
