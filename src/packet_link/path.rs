//! What happens to a packet on its way: the access link of one subscriber, without any I/O.

use std::time::Duration;

use rand::RngExt;

use super::PathCounts;

/// The properties of every subscriber's access link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Least delay in each direction.
    pub one_way: Duration,
    /// Each packet is held up to this much longer, uniformly; packets of a subscriber stay in
    /// order.
    pub jitter: Duration,
    pub loss: Loss,
    /// Bits per second to the subscriber; `None` is without limit.
    pub down_bit_s: Option<u64>,
    /// Bits per second from the subscriber.
    pub up_bit_s: Option<u64>,
    /// Bytes that wait before a limited direction, at most; a packet that does not fit is dropped.
    pub queue_bytes: u64,
}

/// Which packets are lost, in each direction alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Share of the packets, 0 to 1.
    pub share: f64,
    /// Mean number of packets lost in a row (Gilbert's model, in whose bad state every packet is
    /// lost); 1 or less means independent losses.
    pub burst_packets: f64,
}

impl Loss {
    /// Whether the next packet is lost; `was_lost` says so of the one before, if there was one.
    fn draw(&self, was_lost: Option<bool>, random: &mut impl rand::Rng) -> bool {
        if self.share <= 0.0 {
            return false;
        }
        let chance = match was_lost {
            _ if self.burst_packets <= 1.0 => self.share,
            None => self.share,
            Some(true) => 1.0 - 1.0 / self.burst_packets,
            // Which makes the bad state as frequent as the share demands.
            Some(false) => self.share / (1.0 - self.share) / self.burst_packets,
        };
        random.random::<f64>() < chance
    }
}

/// What becomes of a packet.
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
    was_lost: Option<bool>,
    /// When the last packet has been sent completely, at the rate of the link.
    sent_at: Duration,
    /// When the last packet arrives; the next one does not overtake it.
    arrives_at: Duration,
}

impl Path {
    /// Takes a packet of `bytes` at `now`, and counts it.
    pub fn pass(
        &mut self,
        profile: &Profile,
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
            if waiting + time_of(bytes as f64) > time_of(profile.queue_bytes as f64) {
                counts.overflowed += 1;
                return PacketOutcome::Overflows;
            }
            sent_at = now + waiting + time_of(bytes as f64);
            self.sent_at = sent_at;
        }
        let is_lost = profile.loss.draw(self.was_lost, random);
        self.was_lost = Some(is_lost);
        if is_lost {
            counts.lost += 1;
            return PacketOutcome::Lost;
        }
        let held = match profile.jitter.is_zero() {
            true => profile.one_way,
            false => profile.one_way + profile.jitter.mul_f64(random.random()),
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

    fn profile() -> Profile {
        Profile {
            one_way: 20 * MS,
            jitter: Duration::ZERO,
            loss: Loss { share: 0.0, burst_packets: 1.0 },
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
        const PACKETS: u64 = 200_000;
        for (share, burst_packets) in [(0.01, 1.0), (0.05, 1.0), (0.01, 4.0), (0.05, 8.0)] {
            let profile = Profile { loss: Loss { share, burst_packets }, ..profile() };
            let (mut path, mut counts, mut random) =
                (Path::default(), PathCounts::default(), random());
            let (mut bursts, mut was_lost) = (0u64, false);
            for _ in 0..PACKETS {
                let fate = path.pass(&profile, None, MS, 100, &mut counts, &mut random);
                let is_lost = fate == PacketOutcome::Lost;
                bursts += u64::from(is_lost && !was_lost);
                was_lost = is_lost;
            }
            // Losses in bursts of a mean length b vary as if there were some 2b times fewer.
            let widening = if burst_packets > 1.0 { 2.0 * burst_packets } else { 1.0 };
            let deviation = (PACKETS as f64 * share * (1.0 - share) * widening).sqrt();
            let difference = (counts.lost as f64 - PACKETS as f64 * share).abs();
            assert!(difference < 4.5 * deviation, "{share} {burst_packets}: {counts:?}");
            let length = counts.lost as f64 / bursts as f64;
            let expected = burst_packets.max(1.0 / (1.0 - share));
            assert!((length / expected - 1.0).abs() < 0.15, "{length} packets a burst");
            assert_eq!(counts.packets, PACKETS);
        }
    }

    #[test]
    fn a_limited_rate_delays_and_a_full_queue_drops() {
        let (profile, mut counts, mut random) = (profile(), PathCounts::default(), random());
        let mut path = Path::default();
        // 12 Mbit/s: 1,500 bytes take a millisecond, and ten packets fit into the queue.
        let mut pass =
            || path.pass(&profile, Some(12_000_000), MS, 1_500, &mut counts, &mut random);
        for number in 1..=10 {
            assert_eq!(pass(), PacketOutcome::Arrives(MS + number * MS + 20 * MS));
        }
        assert_eq!(pass(), PacketOutcome::Overflows);
        assert_eq!(counts, PathCounts { packets: 11, lost: 0, overflowed: 1 });
    }

    #[test]
    fn jitter_delays_within_its_bounds_and_keeps_the_order() {
        let profile = Profile { jitter: 10 * MS, ..profile() };
        let (mut path, mut counts, mut random) = (Path::default(), PathCounts::default(), random());
        let mut last = Duration::ZERO;
        for number in 0..1_000u32 {
            let now = number * Duration::from_micros(300);
            let PacketOutcome::Arrives(at) =
                path.pass(&profile, None, now, 100, &mut counts, &mut random)
            else {
                panic!("nothing is lost")
            };
            assert!(at >= last && at >= now + 20 * MS && at <= now + 30 * MS);
            last = at;
        }
    }
}
