//! The access link of one subscriber: delays, losses and queues of its packets, without any I/O.

use std::time::Duration;

use rand::RngExt;

use super::PathCounts;

/// The properties of every subscriber's access link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkParameters {
    /// Smallest delay in each direction.
    pub one_way: Duration,
    /// Largest additional delay of a packet, uniformly distributed; packets of a subscriber stay in
    /// order.
    pub jitter: Duration,
    pub loss: Loss,
    /// Bits per second to the subscriber; `None` means unlimited.
    pub down_bit_s: Option<u64>,
    /// Bits per second from the subscriber.
    pub up_bit_s: Option<u64>,
    /// Size of the queue before a limited direction, bytes; a packet that does not fit is dropped.
    pub queue_bytes: u64,
}

/// The losses of a link, the same in each direction.
///
/// Losses in bursts follow Gilbert's model in continuous time: the path alternates between a good
/// state and a bad one, in which every packet is lost, and stays in each for an exponential time.
/// Counted in packets instead, a burst would last for minutes on a connection that only retransmits
/// one segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Share of the time in the bad state, and so of the packets, 0 to 1.
    pub share: f64,
    /// Mean time in the bad state; zero means independent losses.
    pub burst: Duration,
}

impl Loss {
    /// Chance that a packet is lost whose predecessor on the path, `time` before it, was lost.
    pub fn repeated(&self, time: Duration) -> f64 {
        self.share + (1.0 - self.share) * self.memory(time)
    }

    /// Correlation of two packets of a path that are `time` apart: 1 in the same instant, then
    /// decaying to 0.
    fn memory(&self, time: Duration) -> f64 {
        if self.burst.is_zero() || self.share >= 1.0 {
            return 0.0;
        }
        (-time.as_secs_f64() / self.memory_s()).exp()
    }

    /// The time in which the correlation decays to 1/e, seconds; 0 for independent losses.
    pub fn memory_s(&self) -> f64 {
        // The rates of leaving the two states are 1 / burst and share / (1 - share) / burst.
        self.burst.as_secs_f64() * (1.0 - self.share)
    }

    /// Whether a packet is lost at `now`; `last` is the instant of the one before, and whether that
    /// was lost.
    fn draw(
        &self,
        last: Option<(Duration, bool)>,
        now: Duration,
        random: &mut impl rand::Rng,
    ) -> bool {
        let chance = match last {
            None => self.share,
            Some((at, true)) => self.repeated(now.saturating_sub(at)),
            Some((at, false)) => self.share * (1.0 - self.memory(now.saturating_sub(at))),
        };
        random.random::<f64>() < chance
    }
}

/// The result for one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketOutcome {
    /// It arrives at that instant.
    Arrives(Duration),
    Lost,
    /// The queue was full.
    Overflows,
}

/// One direction of one subscriber's access link. Instants are times since the link was started.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// When the last packet was sent, and whether it was lost.
    last: Option<(Duration, bool)>,
    /// When the last packet has been sent completely, at the rate of the link.
    sent_at: Duration,
    /// When the last packet arrives; the next one does not overtake it.
    arrives_at: Duration,
}

impl Path {
    /// Processes a packet of `bytes` at `now`, and counts it.
    pub fn pass(
        &mut self,
        parameters: &LinkParameters,
        bit_s: Option<u64>,
        now: Duration,
        bytes: usize,
        counts: &mut PathCounts,
        random: &mut impl rand::Rng,
    ) -> PacketOutcome {
        counts.packets += 1;
        let mut sent_at = now;
        if let Some(bit_s) = bit_s {
            let time_of = |bytes: f64| Duration::from_secs_f64(bytes * 8.0 / bit_s as f64);
            let waiting = self.sent_at.saturating_sub(now);
            if waiting + time_of(bytes as f64) > time_of(parameters.queue_bytes as f64) {
                counts.overflowed += 1;
                return PacketOutcome::Overflows;
            }
            sent_at = now + waiting + time_of(bytes as f64);
            self.sent_at = sent_at;
        }
        let is_lost = parameters.loss.draw(self.last, sent_at, random);
        self.last = Some((sent_at, is_lost));
        if is_lost {
            counts.lost += 1;
            return PacketOutcome::Lost;
        }
        let held = match parameters.jitter.is_zero() {
            true => parameters.one_way,
            false => parameters.one_way + parameters.jitter.mul_f64(random.random()),
        };
        self.arrives_at = self.arrives_at.max(sent_at + held);
        PacketOutcome::Arrives(self.arrives_at)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn parameters() -> LinkParameters {
        LinkParameters {
            one_way: 20 * MS,
            jitter: Duration::ZERO,
            loss: Loss { share: 0.0, burst: Duration::ZERO },
            down_bit_s: None,
            up_bit_s: None,
            queue_bytes: 15_000,
        }
    }

    fn random() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(7)
    }

    #[test]
    fn losses_are_as_frequent_as_the_share_within_binomial_bounds() {
        const PACKETS: u32 = 200_000;
        for (share, burst) in [(0.01, 0), (0.05, 0), (0.01, 4), (0.05, 8), (1.0, 3)] {
            let burst = burst * MS;
            let parameters = LinkParameters { loss: Loss { share, burst }, ..parameters() };
            let (mut path, mut counts, mut random) =
                (Path::default(), PathCounts::default(), random());
            let (mut lost_again, mut was_lost) = (0u32, false);
            for number in 0..PACKETS {
                let now = number * MS;
                let outcome = path.pass(&parameters, None, now, 100, &mut counts, &mut random);
                let is_lost = outcome == PacketOutcome::Lost;
                lost_again += u32::from(is_lost && was_lost);
                was_lost = is_lost;
            }
            // Correlated losses have the variance of fewer independent ones.
            let widening = 1.0 + 2.0 * burst.as_millis() as f64;
            let deviation = (f64::from(PACKETS) * share * (1.0 - share) * widening).sqrt();
            let difference = (counts.lost as f64 - f64::from(PACKETS) * share).abs();
            assert!(difference <= 4.5 * deviation, "{share} {burst:?}: {counts:?}");
            let again = f64::from(lost_again) / counts.lost as f64;
            let expected = parameters.loss.repeated(MS);
            assert!((again - expected).abs() < 0.1, "{again} of the lost are followed by a loss");
            assert_eq!(counts.packets, u64::from(PACKETS));
        }
    }

    #[test]
    fn a_burst_ends_with_time_however_few_packets_are_sent() {
        let loss = Loss { share: 0.02, burst: 50 * MS };
        assert_eq!(loss.repeated(Duration::ZERO), 1.0);
        assert!((0.8..0.85).contains(&loss.repeated(10 * MS)), "{}", loss.repeated(10 * MS));
        assert!(loss.repeated(500 * MS) < 0.021);
        let independent = Loss { burst: Duration::ZERO, ..loss };
        assert_eq!(independent.repeated(Duration::ZERO), 0.02);
    }

    #[test]
    fn a_limited_rate_delays_and_a_full_queue_drops() {
        let (parameters, mut counts, mut random) = (parameters(), PathCounts::default(), random());
        let mut path = Path::default();
        // 12 Mbit/s: 1,500 bytes take a millisecond, and ten packets fit into the queue.
        let mut pass =
            || path.pass(&parameters, Some(12_000_000), MS, 1_500, &mut counts, &mut random);
        for number in 1..=10 {
            assert_eq!(pass(), PacketOutcome::Arrives(MS + number * MS + 20 * MS));
        }
        assert_eq!(pass(), PacketOutcome::Overflows);
        assert_eq!(counts, PathCounts { packets: 11, lost: 0, overflowed: 1 });
    }

    #[test]
    fn jitter_delays_within_its_bounds_and_keeps_the_order() {
        let parameters = LinkParameters { jitter: 10 * MS, ..parameters() };
        let (mut path, mut counts, mut random) = (Path::default(), PathCounts::default(), random());
        let mut last = Duration::ZERO;
        for number in 0..1_000u32 {
            let now = number * Duration::from_micros(300);
            let PacketOutcome::Arrives(at) =
                path.pass(&parameters, None, now, 100, &mut counts, &mut random)
            else {
                panic!("nothing is lost")
            };
            assert!(at >= last && at >= now + 20 * MS && at <= now + 30 * MS);
            last = at;
        }
    }
}
