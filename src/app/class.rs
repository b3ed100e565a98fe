//! A classroom (`serve --class`): one publisher for all devices, the teacher's settings, and a
//! histogram of the delays that the devices report.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use warp::http::StatusCode;

use super::{ApiError, App};
use crate::measure::Histogram;
use crate::message::TopicName;
use crate::variant::Transport;

/// A device or team without a report for this time has left.
const LEFT_AFTER: Duration = Duration::from_secs(10);
/// Devices and teams at the same time.
const DEVICES_MAX: usize = 1_000;
const TEAMS_MAX: usize = 100;
/// Delays of one transport in one report.
const DELAYS_MAX: usize = 500;
/// Longest name of a device and of a team, bytes.
const NAME_BYTES_MAX: usize = 32;
/// Upper bounds of the histogram's bars, milliseconds; the last bar has none.
pub const BOUNDS_MS: [u64; 12] =
    [5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// What the teacher sets for all devices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Messages per second in the topic of each team, 0 to 20.
    pub rate: f64,
    /// 100 to 10,000.
    pub poll_interval_ms: u64,
    /// Of the link that the pages simulate, 0 to 2,000.
    pub round_trip_ms: u64,
}

impl Settings {
    fn check(self) -> Result<Settings, ApiError> {
        let bad = |text: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        if self.rate != 0.0 && !(0.001..=20.0).contains(&self.rate) {
            return bad("rate: must be 0, or between 0.001 and 20 messages per second");
        }
        if !(100..=10_000).contains(&self.poll_interval_ms) {
            return bad("poll_interval_ms: must be between 100 and 10,000");
        }
        if self.round_trip_ms > 2_000 {
            return bad("round_trip_ms: must be between 0 and 2,000");
        }
        Ok(self)
    }
}

/// The report that a device sends every few seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceReport {
    /// A random name that the page chose.
    pub device: String,
    pub team: String,
    /// Delays since the last report, milliseconds.
    pub delays_ms: BTreeMap<Transport, Vec<f64>>,
}

/// What the teacher's page shows.
#[derive(Debug, Serialize)]
pub struct Overview {
    pub settings: Settings,
    pub devices: usize,
    pub teams: Vec<String>,
    pub bounds_ms: &'static [u64],
    pub delays: BTreeMap<Transport, Delays>,
}

/// The delays of one transport, over all devices since the last reset.
#[derive(Debug, Serialize)]
pub struct Delays {
    pub count: u64,
    pub median_ms: f64,
    pub p99_ms: f64,
    /// Messages up to each bound, and beyond the last one.
    pub bars: Vec<u64>,
}

impl Delays {
    fn of(histogram: &Histogram) -> Delays {
        let us = |ms: u64| ms * 1_000;
        let lows = std::iter::once(0).chain(BOUNDS_MS.map(|bound| us(bound) + 1));
        let highs = BOUNDS_MS.into_iter().map(us).chain([Histogram::MAX_US]);
        let inner = &histogram.0;
        let ms = |share| inner.value_at_quantile(share) as f64 / 1e3;
        Delays {
            count: inner.len(),
            median_ms: ms(0.5),
            p99_ms: ms(0.99),
            bars: lows.zip(highs).map(|(low, high)| inner.count_between(low, high)).collect(),
        }
    }
}

/// The classroom of a server.
#[derive(Debug)]
pub struct Class {
    key: String,
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    devices: HashMap<String, Instant>,
    teams: BTreeMap<String, Instant>,
    delays: BTreeMap<Transport, Histogram>,
}

impl Class {
    /// An empty classroom with a random key for its teacher.
    pub fn new() -> Class {
        let settings = Settings { rate: 0.5, poll_interval_ms: 2_000, round_trip_ms: 100 };
        Class {
            key: format!("{:032x}", rand::random::<u128>()),
            changed: Notify::new(),
            state: Mutex::new(State {
                settings,
                devices: HashMap::new(),
                teams: BTreeMap::new(),
                delays: BTreeMap::new(),
            }),
        }
    }

    /// The key that the teacher's page sends with each change.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Takes a device's report. Returns the settings.
    ///
    /// # Errors
    /// If a name is not valid, or there are too many devices, teams or delays.
    pub fn report(&self, report: &DeviceReport) -> Result<Settings, ApiError> {
        topic(&report.team)?;
        check_name("device", &report.device)?;
        let mut state = self.state();
        state.remove_departed();
        let now = Instant::now();
        let is_full = |known: bool, count, max| !known && count >= max;
        let State { devices, teams, .. } = &*state;
        if is_full(devices.contains_key(&report.device), devices.len(), DEVICES_MAX)
            || is_full(teams.contains_key(&report.team), teams.len(), TEAMS_MAX)
        {
            let text = format!(
                "the class is full: it may have {DEVICES_MAX} devices and {TEAMS_MAX} teams"
            );
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        if report.delays_ms.values().any(|delays| delays.len() > DELAYS_MAX) {
            let text = format!("delays_ms: at most {DELAYS_MAX} of each transport");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
        }
        state.devices.insert(report.device.clone(), now);
        if state.teams.insert(report.team.clone(), now).is_none() {
            self.changed.notify_waiters();
        }
        for (transport, delays) in &report.delays_ms {
            let histogram = state.delays.entry(*transport).or_default();
            for delay in delays.iter().filter(|delay| **delay >= 0.0) {
                histogram.record((delay * 1e3) as u64);
            }
        }
        Ok(state.settings)
    }

    /// Changes the settings of all devices and clears the histogram.
    ///
    /// # Errors
    /// If `key` is not the teacher's, or a value is out of range.
    pub fn set(&self, key: &str, settings: Settings) -> Result<(), ApiError> {
        // Compares digests, so that the duration does not reveal the key.
        if Sha256::digest(key) != Sha256::digest(&self.key) {
            let text = "key: must be the one in the address that the server printed";
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        let settings = settings.check()?;
        let mut state = self.state();
        state.settings = settings;
        state.delays.clear();
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The state of the class.
    pub fn overview(&self) -> Overview {
        let mut state = self.state();
        state.remove_departed();
        Overview {
            settings: state.settings,
            devices: state.devices.len(),
            teams: state.teams.keys().cloned().collect(),
            bounds_ms: &BOUNDS_MS,
            delays: state
                .delays
                .iter()
                .map(|(transport, it)| (*transport, Delays::of(it)))
                .collect(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// The rate, and the topics of the teams that are present.
    fn plan(&self) -> (f64, Vec<TopicName>) {
        let mut state = self.state();
        state.remove_departed();
        let topics = state.teams.keys().filter_map(|team| topic(team).ok()).collect();
        (state.settings.rate, topics)
    }

    /// Publishes at random instants to the topics of all teams, for as long as it is polled.
    pub async fn publish(&self, app: &App) {
        for number in 1_u64.. {
            let changed = self.changed.notified();
            let (rate, topics) = self.plan();
            let gap = match rate > 0.0 && !topics.is_empty() {
                true => Duration::from_secs_f64(-(1.0 - rand::random::<f64>()).ln() / rate),
                false => LEFT_AFTER,
            };
            // The gaps are exponential, so that a change may begin a new one at any time.
            if tokio::time::timeout(gap, changed).await.is_ok() || rate == 0.0 {
                continue;
            }
            let text = format!(r#"{{"sender":"class","text":"message {number}"}}"#);
            for topic in topics {
                if let Err(error) = app.publish(&topic, text.as_bytes()).await {
                    tracing::warn!(%error, %topic, "cannot publish to the class");
                }
            }
        }
    }
}

impl Default for Class {
    fn default() -> Self {
        Class::new()
    }
}

impl State {
    fn remove_departed(&mut self) {
        let is_here = |seen: &Instant| seen.elapsed() < LEFT_AFTER;
        self.devices.retain(|_, seen| is_here(seen));
        self.teams.retain(|_, seen| is_here(seen));
    }
}

/// The topic of a team.
fn topic(team: &str) -> Result<TopicName, ApiError> {
    check_name("team", team)?;
    Ok(format!("class-{team}").parse()?)
}

fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain && (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let text = format!("{field}: must be 1 to {NAME_BYTES_MAX} letters, digits, '_' or '-'");
    Err(ApiError::new(StatusCode::BAD_REQUEST, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(device: &str, team: &str, delays: &[f64]) -> DeviceReport {
        let delays_ms = BTreeMap::from([(Transport::WebSocket, delays.to_vec())]);
        DeviceReport { device: device.to_owned(), team: team.to_owned(), delays_ms }
    }

    #[test]
    fn delays_of_all_devices_are_in_one_histogram_until_the_settings_change() {
        let class = Class::new();
        class.report(&report("a", "red", &[3.0, 15.0, f64::NAN, -1.0])).expect("valid");
        class.report(&report("b", "blue", &[70_000.0])).expect("valid");
        let overview = class.overview();
        assert_eq!((overview.devices, overview.teams.len()), (2, 2));
        let delays = &overview.delays[&Transport::WebSocket];
        let bars = [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!((delays.count, delays.bars.as_slice()), (3, &bars[..]));
        let settings = Settings { rate: 2.0, poll_interval_ms: 500, round_trip_ms: 0 };
        class.set(class.key(), settings).expect("the teacher may");
        assert_eq!(class.report(&report("a", "red", &[])).expect("valid"), settings);
        assert_eq!(class.overview().delays.get(&Transport::WebSocket).map(|it| it.count), Some(0));
    }

    #[test]
    fn invalid_reports_settings_and_keys_are_refused() {
        let class = Class::new();
        for (device, team) in [("", "a"), ("a", ""), ("a", "a b"), ("a/b", "a"), ("a", ".")] {
            let error = class.report(&report(device, team, &[])).expect_err("refused");
            assert_eq!(error.status, StatusCode::BAD_REQUEST, "{device} {team}");
        }
        assert!(class.report(&report("a", "a", &[1.0; DELAYS_MAX + 1])).is_err());
        let good = class.overview().settings;
        let status = |key: &str, settings| class.set(key, settings).expect_err("refused").status;
        assert_eq!(status("wrong", good), StatusCode::FORBIDDEN);
        for bad in [
            Settings { rate: f64::NAN, ..good },
            Settings { rate: 21.0, ..good },
            // The time to the next message would be longer than a Duration.
            Settings { rate: 1e-300, ..good },
            Settings { rate: -0.1, ..good },
            Settings { poll_interval_ms: 99, ..good },
            Settings { round_trip_ms: 2_001, ..good },
        ] {
            assert_eq!(status(class.key(), bad), StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_teams_is_bounded() {
        let class = Class::new();
        for number in 0..TEAMS_MAX {
            class.report(&report("a", &number.to_string(), &[])).expect("there is room");
        }
        let error = class.report(&report("a", "more", &[])).expect_err("full");
        assert_eq!(error.status, StatusCode::SERVICE_UNAVAILABLE);
        class.report(&report("a", "0", &[])).expect("known teams stay");
    }
}
