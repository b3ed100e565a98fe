//! The schedule: all publications of a cell, generated in advance from the seed. Every transport
//! uses the same schedule. Latency is measured from the planned instants, so that a late publisher
//! increases the measured latency instead of hiding it (no coordinated omission).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::message::TopicName;
use crate::scenario::{Process, Workload};

/// One planned publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// Since the start of the warm-up.
    pub at: Duration,
    pub topic: u32,
    /// Number within the topic: 0, 1, 2, ...
    pub number: u32,
}

/// All publications of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Ordered by time.
    pub publications: Vec<Publication>,
    /// For each topic, the times of its publications.
    pub by_topic: Vec<Vec<Duration>>,
}

impl Schedule {
    /// Generates the schedule for warm-up, steady state and restart of `workload`.
    #[cfg(test)]
    pub fn plan(workload: &Workload, seed: u64) -> Schedule {
        Schedule::of_topics(workload, seed, |_| true)
    }

    /// Generates the schedule for warm-up, steady state and restart of `workload`, without the
    /// publications to topics that `owns` does not select.
    pub fn of_topics(workload: &Workload, seed: u64, owns: impl Fn(u32) -> bool) -> Schedule {
        let end = workload.publishing();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let by_topic: Vec<Vec<Duration>> = (0..workload.topics)
            .map(|topic| {
                // Drawn in any case, so that every topic has the same publications.
                let all = arrivals(workload.process, workload.rate, end, &mut random);
                if owns(topic) { all } else { Vec::new() }
            })
            .collect();
        let mut publications = Vec::new();
        for (topic, instants) in (0..).zip(&by_topic) {
            let publication =
                |(number, at): (u32, &Duration)| Publication { at: *at, topic, number };
            publications.extend((0..).zip(instants).map(publication));
        }
        publications.sort_by_key(|publication| publication.at);
        Schedule { publications, by_topic }
    }
}

/// The times of publication of one topic before `end`.
fn arrivals(process: Process, rate: f64, end: Duration, random: &mut ChaCha8Rng) -> Vec<Duration> {
    let mut instants = Vec::new();
    // A random phase, so that the topics do not publish in lockstep.
    let mut at = match process {
        Process::Poisson => 0.0,
        Process::Periodic => (random.random::<f64>() - 1.0) / rate,
    };
    loop {
        at += match process {
            // 1 - u is never 0, so its logarithm is finite.
            Process::Poisson => -(1.0 - random.random::<f64>()).ln() / rate,
            Process::Periodic => 1.0 / rate,
        };
        if at >= end.as_secs_f64() {
            return instants;
        }
        instants.push(Duration::from_secs_f64(at));
    }
}

/// The topics and texts of the messages of a schedule.
///
/// A text is the message's number and a random nonce in base64, padded with dots. A server
/// therefore cannot deliver a message that it did not receive, and a changed message is detected.
#[derive(Debug)]
pub struct MessageTexts {
    pub topics: Vec<TopicName>,
    /// By topic and number. Not derived from the seed, which the server may know.
    nonces: Vec<Vec<u64>>,
    bytes: usize,
}

/// Bytes of a text before the padding: base64 of number and nonce.
const TAG_BYTES: usize = 16;

impl MessageTexts {
    /// The messages of `schedule`, with texts of `bytes` bytes, at least 16.
    pub fn new(schedule: &Schedule, topics: Vec<TopicName>, bytes: u32) -> MessageTexts {
        let draw = |instants: &Vec<Duration>| instants.iter().map(|_| rand::random()).collect();
        let nonces = schedule.by_topic.iter().map(draw).collect();
        MessageTexts { topics, nonces, bytes: bytes as usize }
    }

    /// Number of messages published to the topic.
    pub fn count(&self, topic: u32) -> usize {
        self.nonces[topic as usize].len()
    }

    /// The text of a message.
    pub fn text(&self, topic: u32, number: u32) -> String {
        let nonce = self.nonces[topic as usize][number as usize];
        let mut tag = [0; 12];
        tag[..4].copy_from_slice(&number.to_be_bytes());
        tag[4..].copy_from_slice(&nonce.to_be_bytes());
        format!("{:.<width$}", BASE64.encode(tag), width = self.bytes)
    }

    /// The number of the message with this text in the topic; `None` if there is none.
    pub fn number(&self, topic: u32, text: &str) -> Option<u32> {
        let (tag, padding) = text.split_at_checked(TAG_BYTES)?;
        let is_whole = text.len() == self.bytes && padding.bytes().all(|byte| byte == b'.');
        let tag = BASE64.decode(tag).ok().filter(|_| is_whole)?;
        let (number, nonce) = tag.split_first_chunk::<4>()?;
        let number = u32::from_be_bytes(*number);
        let nonce = u64::from_be_bytes(nonce.try_into().ok()?);
        let planned = self.nonces.get(topic as usize)?.get(number as usize)?;
        (*planned == nonce).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Segment;

    fn workload(process: Process, rate: f64) -> Workload {
        let duration = Duration::from_secs(1_000);
        Workload { process, rate, topics: 20, duration, ..Workload::default() }
    }

    #[test]
    fn same_seed_gives_the_same_schedule() {
        let workload = workload(Process::Poisson, 0.5);
        assert_eq!(Schedule::plan(&workload, 7), Schedule::plan(&workload, 7));
        assert_ne!(Schedule::plan(&workload, 7), Schedule::plan(&workload, 8));
    }

    #[test]
    fn schedules_of_all_segments_together_are_the_whole() {
        for process in [Process::Poisson, Process::Periodic] {
            let workload = workload(process, 0.5);
            let whole = Schedule::plan(&workload, 7);
            let mut union = Vec::new();
            for number in 1..=3 {
                let segment = Segment { number, of: 3 };
                let part = Schedule::of_topics(&workload, 7, |topic| segment.owns(topic));
                assert!(part.publications.iter().all(|one| segment.owns(one.topic)));
                union.extend(part.publications);
            }
            union.sort_by_key(|publication| publication.at);
            assert_eq!(union, whole.publications);
        }
    }

    #[test]
    fn poisson_gaps_have_mean_and_deviation_one_over_rate() {
        let schedule = Schedule::plan(&workload(Process::Poisson, 2.0), 1);
        let gaps: Vec<f64> = schedule
            .by_topic
            .iter()
            .flat_map(|instants| instants.windows(2))
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{}", variance.sqrt());
    }

    #[test]
    fn periodic_topics_have_equal_gaps_and_different_phases() {
        let schedule = Schedule::plan(&workload(Process::Periodic, 2.0), 1);
        for instants in &schedule.by_topic {
            assert!(instants[0] < Duration::from_millis(500));
            for pair in instants.windows(2) {
                assert!((pair[1] - pair[0]).abs_diff(Duration::from_millis(500)).as_micros() < 2);
            }
        }
        assert_ne!(schedule.by_topic[0][0], schedule.by_topic[1][0]);
    }

    #[test]
    fn text_has_the_requested_size_and_matches_only_its_topic() {
        let ms = Duration::from_millis;
        let schedule =
            Schedule { publications: Vec::new(), by_topic: vec![vec![ms(0), ms(1)], vec![ms(0)]] };
        let topics = ["a", "b"].map(|name| name.parse().expect("a good name")).to_vec();
        for bytes in [16, 100, 60_000] {
            let messages = MessageTexts::new(&schedule, topics.clone(), bytes);
            let text = messages.text(0, 1);
            assert_eq!(text.len(), bytes as usize);
            assert_eq!(messages.number(0, &text), Some(1));
            assert_eq!(messages.number(1, &text), None, "published to another topic");
            let again = MessageTexts::new(&schedule, topics.clone(), bytes);
            assert_eq!(again.number(0, &text), None, "nonces are random");
            for changed in [format!("{text}."), text.replace('.', " ") + "x", "A".repeat(16)] {
                assert_eq!(messages.number(0, &changed), None, "{changed}");
            }
        }
        let messages = MessageTexts::new(&schedule, topics, 16);
        for foreign in ["", "hello", "é".repeat(9).as_str()] {
            assert_eq!(messages.number(0, foreign), None);
        }
    }
}
