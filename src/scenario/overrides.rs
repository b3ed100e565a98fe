//! What a case, or a flag of the command line, changes of a workload: every key, each optional.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Headers, Link, Process, Workload, friendly};
use crate::units::parse_duration;
use crate::variant::Pacing;

/// Parts of a workload that a case, or a flag of the command line, sets anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Subscribers, each with a connection of its own
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u32>,
    /// Topics the subscribers are spread over
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<u32>,
    /// Messages per second and topic
    #[arg(long, value_name = "PER_SECOND")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How publications are spaced
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_bytes: Option<u32>,
    /// Short polling: time between polls
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<Duration>,
    /// Adaptive short polling: longest time between polls
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub poll_interval_max: Option<Duration>,
    /// Short polling: what the interval is counted from
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_pacing: Option<Pacing>,
    /// Long polling: how long a request may be held
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub long_poll_hold: Option<Duration>,
    /// HTTP/2: subscribers that share a connection
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_connection: Option<u32>,
    /// Round trip of the link
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Duration>,
    /// What carries bytes between subscribers and server
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Packet link: each packet is held up to this much longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Packet link: percent of the packets lost in each direction
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Packet link: mean number of packets lost in a row; 1 for independent losses
    #[arg(long, value_name = "PACKETS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_burst: Option<u32>,
    /// Packet link: bandwidth to each subscriber, thousand bits per second
    #[arg(long, value_name = "KBIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_down_kbit: Option<u32>,
    /// Packet link: bandwidth from each subscriber, thousand bits per second
    #[arg(long, value_name = "KBIT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_up_kbit: Option<u32>,
    /// Packet link: bytes that wait for a limited direction, at most
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u32>,
    /// Which request headers the subscribers send
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Time with all subscribers connected and nothing published
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Time in which messages flow and nothing counts yet
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// The steady state: the time that counts
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Restart the server after the steady state, and let messages flow this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub restart: Option<Duration>,
}

impl Overrides {
    /// Sets in `workload` whatever is given here.
    pub fn apply(&self, workload: &mut Workload) {
        fn set<T: Copy>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        set(&mut workload.subscribers, self.subscribers);
        set(&mut workload.topics, self.topics);
        set(&mut workload.rate, self.rate);
        set(&mut workload.process, self.process);
        set(&mut workload.message_bytes, self.message_bytes);
        set(&mut workload.poll_interval, self.poll_interval);
        set(&mut workload.poll_interval_max, self.poll_interval_max);
        set(&mut workload.poll_pacing, self.poll_pacing);
        set(&mut workload.long_poll_hold, self.long_poll_hold);
        set(&mut workload.streams_per_connection, self.streams_per_connection);
        set(&mut workload.rtt, self.rtt);
        set(&mut workload.link, self.link);
        set(&mut workload.jitter, self.jitter);
        set(&mut workload.loss, self.loss);
        set(&mut workload.loss_burst, self.loss_burst);
        set(&mut workload.bandwidth_down_kbit, self.bandwidth_down_kbit.map(Some));
        set(&mut workload.bandwidth_up_kbit, self.bandwidth_up_kbit.map(Some));
        set(&mut workload.queue_bytes, self.queue_bytes);
        set(&mut workload.headers, self.headers);
        set(&mut workload.idle, self.idle);
        set(&mut workload.warm_up, self.warm_up);
        set(&mut workload.duration, self.duration);
        set(&mut workload.restart, self.restart);
    }

    /// Whether the value of this key is given here.
    pub fn sets(&self, key: &str) -> bool {
        serde_json::to_value(self).is_ok_and(|values| values.get(key).is_some())
    }

    /// These, except where `stronger` has a value.
    pub fn overridden_by(&self, stronger: &Overrides) -> Overrides {
        Overrides {
            subscribers: stronger.subscribers.or(self.subscribers),
            topics: stronger.topics.or(self.topics),
            rate: stronger.rate.or(self.rate),
            process: stronger.process.or(self.process),
            message_bytes: stronger.message_bytes.or(self.message_bytes),
            poll_interval: stronger.poll_interval.or(self.poll_interval),
            poll_interval_max: stronger.poll_interval_max.or(self.poll_interval_max),
            poll_pacing: stronger.poll_pacing.or(self.poll_pacing),
            long_poll_hold: stronger.long_poll_hold.or(self.long_poll_hold),
            streams_per_connection: stronger.streams_per_connection.or(self.streams_per_connection),
            rtt: stronger.rtt.or(self.rtt),
            link: stronger.link.or(self.link),
            jitter: stronger.jitter.or(self.jitter),
            loss: stronger.loss.or(self.loss),
            loss_burst: stronger.loss_burst.or(self.loss_burst),
            bandwidth_down_kbit: stronger.bandwidth_down_kbit.or(self.bandwidth_down_kbit),
            bandwidth_up_kbit: stronger.bandwidth_up_kbit.or(self.bandwidth_up_kbit),
            queue_bytes: stronger.queue_bytes.or(self.queue_bytes),
            headers: stronger.headers.or(self.headers),
            idle: stronger.idle.or(self.idle),
            warm_up: stronger.warm_up.or(self.warm_up),
            duration: stronger.duration.or(self.duration),
            restart: stronger.restart.or(self.restart),
        }
    }
}
