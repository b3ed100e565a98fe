//! Kernel memory of connections, which is not part of any process's resident memory.

/// Slab memory (sockets, buffer headers, epoll items) and TCP buffers of the whole machine, bytes.
/// `None` if the system does not report them. Only differences are meaningful.
pub fn memory_bytes() -> Option<u64> {
    let slab_kb = number_after(&std::fs::read_to_string("/proc/meminfo").ok()?, "Slab:")?;
    let sockets = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"))?;
    let pages = number_after(tcp, "mem")?;
    Some(slab_kb * 1024 + pages * rustix::param::page_size() as u64)
}

/// Growth per connection between two readings, for both ends together. `None` if the memory shrank,
/// because other processes freed some.
pub fn per_connection(before: Option<u64>, after: Option<u64>, connections: u64) -> Option<u64> {
    after?.checked_sub(before?).map(|bytes| bytes / connections)
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip_while(|word| *word != key);
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_after_a_key_is_parsed() {
        let text = "TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 3";
        assert_eq!(number_after(text, "mem"), Some(3));
        assert_eq!(number_after(text, "nothing"), None);
    }

    #[test]
    fn shrinking_memory_gives_no_figure() {
        assert_eq!(per_connection(Some(10), Some(30), 2), Some(10));
        assert_eq!(per_connection(Some(30), Some(10), 2), None);
    }
}
