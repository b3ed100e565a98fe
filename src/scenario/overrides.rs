//! The values of a workload that a case or flags of the command line override.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Headers, Link, Process, ScenarioError, Workload, friendly, rate};
use crate::units::{number, parse_duration, parse_rate, whole_number};
use crate::variant::Pacing;

/// Values that override those of a workload; absent values leave it unchanged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Subscribers, each with a connection of its own
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u32>,
    /// Topics over which the subscribers are distributed
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<u32>,
    /// Messages of each topic: 0.5 per second, or such as 5/min, 2/h, 10/d or 1/20s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    #[serde(deserialize_with = "rate::optional", skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How publications are spaced
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", value_parser = whole_number::<u32>)]
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
    /// Long polling: timeout of a request without a message
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub long_poll_hold: Option<Duration>,
    /// HTTP/2: subscribers that share a connection
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_connection: Option<u32>,
    /// Round trip of the link
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Duration>,
    /// Kind of the link between subscribers and server
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Packet link: largest additional delay of a packet
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// Packet link: percent of the packets lost in each direction
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = number)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Packet link: mean length of a burst of losses; 0s for independent losses
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub loss_burst: Option<Duration>,
    /// Packet link: bandwidth to each subscriber, thousand bits per second
    #[arg(long, value_name = "KBIT", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_down_kbit: Option<u32>,
    /// Packet link: bandwidth from each subscriber, thousand bits per second
    #[arg(long, value_name = "KBIT", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_up_kbit: Option<u32>,
    /// Packet link: queue of each limited direction, bytes
    #[arg(long, value_name = "BYTES", value_parser = whole_number::<u32>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u32>,
    /// Request headers of the subscribers
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers>,
    /// Length of the idle phase: all subscribers connected, nothing published
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Length of the warm-up: messages are published, nothing is counted
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// Length of the steady state, the measurement
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Restart the server after the steady state, and continue to publish for this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(with = "friendly::optional", skip_serializing_if = "Option::is_none")]
    pub restart: Option<Duration>,
}

impl Overrides {
    /// `workload` with the values that are given here.
    pub fn applied_to(&self, workload: &Workload) -> Workload {
        merge(workload, self)
    }

    /// `self`, with the values of `stronger` where it has any.
    pub fn overridden_by(&self, stronger: &Overrides) -> Overrides {
        merge(self, stronger)
    }

    /// The text of an error in a scenario with these values: it names the flags. `others` are the
    /// keys that other flags can set, and whether they are given.
    pub fn explain(&self, error: &ScenarioError, others: &[(&str, bool)]) -> String {
        let ScenarioError::Value { value, .. } = error else { return error.to_string() };
        if self.sets(value.key) || others.contains(&(value.key, true)) {
            return value.of_flag();
        }
        // The value is wrong beside one that is given here.
        let flag = |(key, value): (&String, &toml::Value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("--{} {value}", key.replace('_', "-"))
        };
        let flags: Vec<String> = table(self).iter().map(flag).collect();
        match flags.is_empty() {
            true => error.to_string(),
            false => format!("with {}: {error}", flags.join(" ")),
        }
    }

    /// Whether the value of this key is given here.
    pub fn sets(&self, key: &str) -> bool {
        table(self).contains_key(key)
    }
}

/// `base` with the values of `overrides`. The fields are matched by their names in TOML, so that
/// they are listed in the structs and nowhere else. JSON is not suitable: it has no NaN, which is
/// reported later as a value out of range.
fn merge<T: Serialize + DeserializeOwned>(base: &T, overrides: &Overrides) -> T {
    let mut values = table(base);
    values.extend(table(overrides));
    values.try_into().expect("both have the same keys and types")
}

fn table(values: &impl Serialize) -> toml::Table {
    toml::Table::try_from(values).expect("keys with plain values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_replace_those_of_the_workload() {
        let given = Overrides {
            topics: Some(7),
            rate: Some(f64::NAN),
            bandwidth_up_kbit: Some(64),
            idle: Some(Duration::from_nanos(1)),
            restart: Some(Duration::MAX),
            ..Overrides::default()
        };
        let workload = given.applied_to(&Workload::default());
        assert!(workload.rate.is_nan());
        let expected = Workload {
            topics: 7,
            rate: 1.0,
            bandwidth_up_kbit: Some(64),
            idle: Duration::from_nanos(1),
            restart: Duration::MAX,
            ..Workload::default()
        };
        assert_eq!(Workload { rate: 1.0, ..workload }, expected);
        assert!(given.sets("rate") && !given.sets("subscribers"));
    }

    #[test]
    fn stronger_overrides_take_precedence() {
        let of_case = Overrides { topics: Some(1), link: Some(Link::Packets), ..default() };
        let flags = Overrides { topics: Some(2), loss: Some(1.5), ..default() };
        let expected = Overrides { link: Some(Link::Packets), ..flags.clone() };
        assert_eq!(of_case.overridden_by(&flags), expected);
    }

    fn default() -> Overrides {
        Overrides::default()
    }

    #[test]
    fn every_key_of_a_workload_can_be_overridden() {
        // Each optional key has a value that differs from its default, so that the test covers all
        // keys.
        let workload = Workload {
            link: Link::Packets,
            jitter: Duration::from_secs(1),
            loss: 1.0,
            loss_burst: Duration::from_secs(1),
            bandwidth_down_kbit: Some(1),
            bandwidth_up_kbit: Some(1),
            queue_bytes: 2_000,
            restart: Duration::from_secs(1),
            ..Workload::default()
        };
        let all: Overrides = table(&workload).try_into().expect("the same keys");
        assert_eq!(all.applied_to(&Workload::default()), workload);
        assert_eq!(table(&all).len(), table(&workload).len());
    }
}
