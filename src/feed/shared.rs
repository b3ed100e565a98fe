//! Results of reads, shared by the subscribers at the same position, which are most subscribers of
//! a topic: their messages are read and encoded once.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;

use super::log::ReadLimit;
use crate::message::{Offset, ReadResult};
use crate::variant::Transport;

/// Number of reads that a topic remembers: transports read with different limits.
const READS: usize = 4;
/// Limit of the bytes of messages in a remembered read. Larger results are for subscribers that
/// catch up, each from its own position.
const READ_BYTES: usize = 8 << 10;

/// The result of a read, with its encoding for each transport, which is created on first use. A
/// clone shares both.
#[derive(Debug, Clone)]
pub struct SharedRead(Arc<Read>);

#[derive(Debug)]
struct Read {
    result: ReadResult,
    encoded: [OnceLock<Bytes>; Transport::ALL.len()],
}

impl Deref for SharedRead {
    type Target = ReadResult;

    fn deref(&self) -> &ReadResult {
        &self.0.result
    }
}

impl From<ReadResult> for SharedRead {
    fn from(result: ReadResult) -> SharedRead {
        SharedRead(Arc::new(Read { result, encoded: Default::default() }))
    }
}

impl SharedRead {
    /// The encoding of the result, created by `encode` once for all subscribers of the transport
    /// `kind`. `encode` must depend on the result alone.
    pub fn encoded(&self, kind: Transport, encode: impl FnOnce(&ReadResult) -> Bytes) -> Bytes {
        self.0.encoded[kind as usize].get_or_init(|| encode(&self.0.result)).clone()
    }
}

/// The newest reads of a topic.
#[derive(Debug, Default)]
pub(super) struct RecentReads {
    reads: Mutex<Vec<Recent>>,
}

#[derive(Debug)]
struct Recent {
    /// The topic's head when it was read. A read with the same head returns the same result.
    head: Offset,
    after: Offset,
    limit: ReadLimit,
    read: SharedRead,
}

impl RecentReads {
    /// The remembered result of a read after `after`, if the topic has not changed since.
    pub fn find(&self, head: Offset, after: Offset, limit: ReadLimit) -> Option<SharedRead> {
        let reads = self.lock();
        let is_same = |it: &&Recent| it.after == after && it.head == head && it.limit == limit;
        reads.iter().find(is_same).map(|recent| recent.read.clone())
    }

    /// Makes `result` shareable, and remembers it if other subscribers may need it.
    pub fn share(
        &self,
        head: Offset,
        after: Offset,
        limit: ReadLimit,
        result: ReadResult,
    ) -> SharedRead {
        let bytes: usize = result.messages.iter().map(Bytes::len).sum();
        let is_remembered = result.gap == 0 && !result.reset && bytes <= READ_BYTES;
        let read = SharedRead::from(result);
        if is_remembered {
            let mut reads = self.lock();
            if reads.len() >= READS {
                reads.remove(0);
            }
            reads.push(Recent { head, after, limit, read: read.clone() });
        }
        read
    }

    /// Drops all remembered reads.
    pub fn clear(&self) {
        let reads = std::mem::take(&mut *self.lock());
        drop(reads);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recent>> {
        self.reads.lock().expect("no panic under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Cursor, Epoch};

    fn result(bytes: usize, gap: u64) -> ReadResult {
        let cursor = Cursor { epoch: Epoch(1), offset: 7 };
        ReadResult { cursor, messages: vec![vec![b'x'; bytes].into()], gap, reset: false }
    }

    #[test]
    fn subscribers_at_the_same_position_share_a_read_and_its_encodings() {
        let (reads, limit) = (RecentReads::default(), ReadLimit::from(10));
        let first = reads.share(7, 6, limit, result(10, 0));
        let second = reads.find(7, 6, limit).expect("it is remembered");
        let text = Bytes::from_static(b"once");
        assert_eq!(first.encoded(Transport::Sse, |_| text.clone()), text);
        assert_eq!(second.encoded(Transport::Sse, |_| unreachable!("it is encoded")), text);
        assert_eq!(second.encoded(Transport::Ndjson, |_| Bytes::new()), Bytes::new());
        for (head, after, limit) in [(8, 6, limit), (7, 5, limit), (7, 6, ReadLimit::from(9))] {
            assert!(reads.find(head, after, limit).is_none());
        }
        reads.clear();
        assert!(reads.find(7, 6, limit).is_none());
    }

    #[test]
    fn large_reads_and_gaps_are_not_remembered_and_old_reads_are_forgotten() {
        let (reads, limit) = (RecentReads::default(), ReadLimit::from(10));
        reads.share(7, 6, limit, result(READ_BYTES + 1, 0));
        assert!(reads.find(7, 6, limit).is_none());
        reads.share(7, 6, limit, result(1, 1));
        assert!(reads.find(7, 6, limit).is_none());
        for head in 10..100 {
            reads.share(head, 6, limit, result(1, 0));
        }
        assert!(reads.find(99, 6, limit).is_some());
        assert_eq!(reads.lock().len(), READS);
    }
}
