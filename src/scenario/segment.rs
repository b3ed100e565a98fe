//! Segments: shares of a scenario that several load generators carry out at the same time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Scenario, Workload};

/// Largest number of segments.
const SEGMENTS_MAX: u32 = 1_000;

/// One share of a scenario: the topics whose number, modulo the number of segments, is the
/// segment's, with their publications and subscribers. The topics of all segments together are
/// those of the scenario. As text `2/4`: the second of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// From 1 to `of`.
    pub number: u32,
    /// Number of segments, at least 2.
    pub of: u32,
}

impl Segment {
    /// Whether the topic with this number, counted from 0, belongs to the segment.
    pub fn owns(self, topic: u32) -> bool {
        topic % self.of == self.number - 1
    }

    /// Checks that every workload has a topic for each segment.
    ///
    /// # Errors
    /// Names the flags that help.
    pub fn check_topics(self, scenario: &Scenario) -> Result<(), String> {
        let points = scenario.points();
        let topics = points.iter().map(|point| point.workload.topics).min().unwrap_or(0);
        if topics >= self.of {
            return Ok(());
        }
        Err(format!(
            "--segment {self}: each segment needs a topic of its own, and the workload has \
             {topics}; use fewer segments or more --topics"
        ))
    }

    /// Number of the workload's subscribers that belong to the segment.
    pub fn subscribers(self, workload: &Workload) -> u32 {
        let own = (0..workload.topics).filter(|topic| self.owns(*topic));
        own.map(|topic| workload.subscribers_of(topic)).sum()
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Segment, String> {
        let malformed = || "must be a number and a total, such as 2/4".to_owned();
        let (number, of) = text.split_once('/').ok_or_else(malformed)?;
        let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parse = |part: &str| part.parse().ok().filter(|_| is_plain(part)).ok_or_else(malformed);
        let (number, of): (u32, u32) = (parse(number)?, parse(of)?);
        if !(2..=SEGMENTS_MAX).contains(&of) {
            return Err(format!("the total must be between 2 and {SEGMENTS_MAX}"));
        }
        if !(1..=of).contains(&number) {
            return Err(format!("the number must be between 1 and the total, {of}"));
        }
        Ok(Segment { number, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_number_and_a_total() {
        assert_eq!("2/4".parse(), Ok(Segment { number: 2, of: 4 }));
        assert_eq!(Segment { number: 2, of: 4 }.to_string(), "2/4");
        for (wrong, message) in [
            ("2", "such as 2/4"),
            ("2/4/1", "such as 2/4"),
            ("+2/4", "such as 2/4"),
            ("/4", "such as 2/4"),
            ("1/1", "the total must be between 2 and 1000"),
            ("1/5000", "the total must be between 2 and 1000"),
            ("0/4", "the number must be between 1 and the total, 4"),
            ("5/4", "the number must be between 1 and the total, 4"),
        ] {
            let error = Segment::from_str(wrong).expect_err(wrong);
            assert!(error.contains(message), "{wrong}: {error}");
        }
    }

    #[test]
    fn segments_together_are_the_whole_workload() {
        for (subscribers, topics) in [(10, 4), (1_003, 97), (5, 5)] {
            let workload = Workload { subscribers, topics, ..Workload::default() };
            for of in 2..=4 {
                let segments = (1..=of).map(|number| Segment { number, of });
                let count: u32 = segments.clone().map(|part| part.subscribers(&workload)).sum();
                assert_eq!(count, subscribers);
                for topic in 0..topics {
                    assert_eq!(segments.clone().filter(|part| part.owns(topic)).count(), 1);
                }
            }
        }
    }
}
