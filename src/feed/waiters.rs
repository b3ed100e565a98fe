//! Tasks that wait for the same event, such as the next message of a topic, kept in vectors. An
//! intrusive linked list, as in `tokio::sync::Notify`, costs one more cache miss for each of the
//! thousands of tasks that a message wakes.

use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

/// Number of lists, each with its own lock, to reduce contention between threads.
const SHARDS: usize = 8;

/// All waiting tasks.
#[derive(Debug, Default)]
pub struct Waiters {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    /// Number of times that all tasks were woken. A slot is valid only in its own round.
    round: u64,
    slots: Vec<Slot>,
    /// The first free slot; free slots form a list.
    free: Option<u32>,
}

#[derive(Debug)]
enum Slot {
    Taken(Waker),
    /// The next free slot.
    Free(Option<u32>),
}

/// Where a task is registered.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    shard: u8,
    slot: u32,
    round: u64,
}

impl Waiters {
    /// Registers `waker`, or replaces the one registered as `current`, unless `is_over`. That is
    /// called under the lock, so a wake-up after it is not missed.
    pub fn register(
        &self,
        current: Option<Registration>,
        waker: &Waker,
        is_over: impl FnOnce() -> bool,
    ) -> Option<Registration> {
        // Tasks are far apart in memory, so their addresses spread over the shards.
        let number = current.map_or((waker.data() as usize >> 7) % SHARDS, |it| it.shard.into());
        let mut shard = self.lock(number);
        if is_over() {
            return None;
        }
        if let Some(current) = current
            && current.round == shard.round
        {
            if let Some(Slot::Taken(known)) = shard.slots.get_mut(current.slot as usize) {
                known.clone_from(waker);
            }
            return Some(current);
        }
        let round = shard.round;
        let taken = Slot::Taken(waker.clone());
        let slot = match shard.free {
            Some(slot) => {
                let slot_was = std::mem::replace(&mut shard.slots[slot as usize], taken);
                if let Slot::Free(next) = slot_was {
                    shard.free = next;
                }
                slot
            }
            None => {
                shard.slots.push(taken);
                u32::try_from(shard.slots.len() - 1).expect("fewer tasks than memory has room for")
            }
        };
        Some(Registration { shard: number as u8, slot, round })
    }

    /// Removes a task that no longer waits.
    pub fn remove(&self, registration: Registration) {
        let mut shard = self.lock(registration.shard.into());
        if registration.round == shard.round {
            let free = Slot::Free(shard.free.replace(registration.slot));
            let removed = std::mem::replace(&mut shard.slots[registration.slot as usize], free);
            drop(shard);
            drop(removed);
        }
    }

    /// Wakes all tasks that are registered.
    pub fn wake_all(&self) {
        for number in 0..SHARDS {
            let mut shard = self.lock(number);
            if shard.slots.is_empty() {
                continue;
            }
            shard.round += 1;
            shard.free = None;
            let mut slots = std::mem::take(&mut shard.slots);
            // A waker may run any code, so none is called under the lock.
            drop(shard);
            let count = slots.len();
            for slot in slots.drain(..) {
                if let Slot::Taken(waker) = slot {
                    waker.wake();
                }
            }
            // The room is used again by as many tasks, unless most have left.
            let mut shard = self.lock(number);
            if shard.slots.capacity() == 0 && slots.capacity() <= 4 * count {
                shard.slots = slots;
            }
        }
    }

    /// Number of slots, taken and free.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).slots.len()).sum()
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock().expect("no panic under this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn waker() -> (Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (count.clone(), count.into())
    }

    #[test]
    fn all_registered_tasks_are_woken_once() {
        let waiters = Waiters::default();
        let tasks: Vec<_> = (0..100).map(|_| waker()).collect();
        let slots: Vec<_> = tasks
            .iter()
            .map(|(_, waker)| waiters.register(None, waker, || false).expect("not over"))
            .collect();
        for (slot, (_, waker)) in slots.iter().zip(&tasks).take(10) {
            waiters.register(Some(*slot), waker, || false).expect("not over");
        }
        slots.iter().skip(90).for_each(|slot| waiters.remove(*slot));
        waiters.wake_all();
        waiters.wake_all();
        for (index, (count, _)) in tasks.iter().enumerate() {
            assert_eq!(count.0.load(SeqCst), usize::from(index < 90), "{index}");
        }
    }

    #[test]
    fn places_of_removed_tasks_are_used_again() {
        let waiters = Waiters::default();
        let (count, waker) = waker();
        for _ in 0..1000 {
            let slot = waiters.register(None, &waker, || false).expect("not over");
            waiters.remove(slot);
        }
        assert_eq!(waiters.slots(), 1);
        waiters.wake_all();
        assert_eq!(count.0.load(SeqCst), 0);
    }

    #[test]
    fn registration_of_an_earlier_round_removes_no_task() {
        let waiters = Waiters::default();
        let (count, waker) = waker();
        let old = waiters.register(None, &waker, || false).expect("not over");
        waiters.wake_all();
        let new = waiters.register(Some(old), &waker, || false).expect("not over");
        waiters.remove(old);
        waiters.wake_all();
        assert_eq!(count.0.load(SeqCst), 2);
        waiters.remove(new);
        assert!(waiters.register(None, &waker, || true).is_none());
    }
}
