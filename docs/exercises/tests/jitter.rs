//! Clients that are disconnected together do not reconnect together.

use exercises::jitter::{BASE, MAX, delay};

/// Numbers from 0 to 1 that are spread evenly: the multiples of the golden ratio, modulo 1.
fn spread(count: u32) -> impl Iterator<Item = f64> {
    (0..count).map(|index| (f64::from(index) * 0.618_033_988_749_895).fract())
}

#[test]
fn reconnections_are_spread_over_the_interval() {
    const CLIENTS: u32 = 1_000;
    for attempt in [0, 3, 10] {
        let bound = BASE.saturating_mul(1 << attempt).min(MAX);
        let mut slots = [0; 20];
        for random in spread(CLIENTS) {
            let share = delay(attempt, random).div_duration_f64(bound);
            slots[((share * 20.0) as usize).min(19)] += 1;
        }
        let fullest = slots.into_iter().max().expect("there are slots");
        assert!(
            fullest <= CLIENTS / 10,
            "attempt {attempt}: {fullest} of {CLIENTS} clients return in one twentieth of {bound:?}"
        );
    }
}

#[test]
fn the_bound_doubles_and_is_limited() {
    let longest = |attempt| spread(1_000).map(|random| delay(attempt, random)).max();
    for attempt in 0..40 {
        let bound = BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX);
        let longest = longest(attempt).expect("there are delays");
        assert!(longest <= bound && longest > bound / 2, "attempt {attempt}: {longest:?}");
    }
}
