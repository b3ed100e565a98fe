//! Sweeps: a workload with several values of one key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Workload, rate};

/// The values of one key of the workload. TOML: `sweep = { rate = [0.1, 1, 10] }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sweep {
    Rate(#[serde(deserialize_with = "rate::list")] Vec<f64>),
    Subscribers(Vec<u32>),
    MessageBytes(Vec<u32>),
    PollInterval(#[serde(with = "friendly_list")] Vec<Duration>),
    Rtt(#[serde(with = "friendly_list")] Vec<Duration>),
    Loss(Vec<f64>),
}

impl Sweep {
    /// A copy of `workload` for each value of the sweep.
    pub(super) fn expand(&self, workload: &Workload) -> Vec<Workload> {
        fn each<T: Copy>(
            values: &[T],
            workload: &Workload,
            set: impl Fn(&mut Workload, T),
        ) -> Vec<Workload> {
            let one = |value: &T| {
                let mut workload = workload.clone();
                set(&mut workload, *value);
                workload
            };
            values.iter().map(one).collect()
        }
        match self {
            Sweep::Rate(values) => each(values, workload, |w, v| w.rate = v),
            Sweep::Subscribers(values) => each(values, workload, |w, v| w.subscribers = v),
            Sweep::MessageBytes(values) => each(values, workload, |w, v| w.message_bytes = v),
            Sweep::PollInterval(values) => each(values, workload, |w, v| w.poll_interval = v),
            Sweep::Rtt(values) => each(values, workload, |w, v| w.rtt = v),
            Sweep::Loss(values) => each(values, workload, |w, v| w.loss = v),
        }
    }
}

mod friendly_list {
    use std::time::Duration;

    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(list: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> =
            list.iter().map(|duration| crate::units::show_duration(*duration)).collect();
        texts.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: &String| {
            let duration: SignedDuration = text.parse().map_err(D::Error::custom)?;
            Duration::try_from(duration).map_err(D::Error::custom)
        };
        texts.iter().map(parse).collect()
    }
}
