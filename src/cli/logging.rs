//! The server's log on standard error, bounded so that no client can fill a disk with it: by
//! default only lines of this program, of each kind and about each address only so many a minute,
//! and altogether at most `--log-bytes` a minute. Omitted lines are counted.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::app::client_of;

/// The default of `RUST_LOG`. Libraries warn about what clients do.
const DEFAULT_FILTER: &str = "poll_vs_push=info";
/// The field of an event that holds the address of the client that caused it.
const ADDRESS_FIELD: &str = "address";
/// Lines of one kind (one place in the code) in a window.
const LINES_PER_KIND: u32 = 500;
/// Lines about one address in a window.
const LINES_PER_ADDRESS: u32 = 50;
/// Addresses that are counted separately in one window; all others share one count.
const ADDRESSES: usize = 10_000;
const WINDOW: Duration = Duration::from_secs(60);

/// Sends events to standard error: at most `bytes_per_minute`.
pub fn init(bytes_per_minute: usize) {
    let given = EnvFilter::try_from_default_env();
    let is_given = std::env::var_os(EnvFilter::DEFAULT_ENV).is_some();
    let invalid = given.as_ref().err().filter(|_| is_given).map(ToString::to_string);
    let filter = given.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let limits = Limits::new(bytes_per_minute);
    let is_styled = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Arc::new(Writer { limits: limits.clone() }))
        // Otherwise the layer reports a failed write to standard error, and that message panics.
        .log_internal_errors(false)
        .with_ansi(is_styled)
        .with_filter(PerKindAndAddress { limits });
    tracing_subscriber::registry().with(filter).with(lines).init();
    if let Some(error) = invalid {
        warn!("RUST_LOG is ignored, {DEFAULT_FILTER} is used: {error}");
    }
}

/// How much has been logged in the present window.
#[derive(Debug, Clone)]
struct Limits {
    bytes_max: usize,
    window: Arc<Mutex<LogWindow>>,
}

#[derive(Debug)]
struct LogWindow {
    since: Instant,
    bytes: usize,
    /// By the name of the event's place in the code.
    kinds: HashMap<&'static str, u32>,
    addresses: HashMap<Option<String>, u32>,
    /// Lines left out in this window and in earlier ones, not reported yet.
    suppressed: u64,
    unreported: u64,
}

impl LogWindow {
    fn new(since: Instant, unreported: u64) -> LogWindow {
        let (kinds, addresses) = (HashMap::new(), HashMap::new());
        LogWindow { since, bytes: 0, kinds, addresses, suppressed: 0, unreported }
    }

    /// Counts a line; true if it may be logged.
    fn allow(&mut self, kind: &'static str, address: Option<String>) -> bool {
        let mut is_allowed = true;
        if address.is_some() {
            let is_known = self.addresses.contains_key(&address);
            let key = if is_known || self.addresses.len() < ADDRESSES { address } else { None };
            let lines = self.addresses.entry(key).or_default();
            *lines = lines.saturating_add(1);
            is_allowed = *lines <= LINES_PER_ADDRESS;
        }
        // A line that its address's limit suppresses does not use up its kind's.
        if is_allowed {
            let lines = self.kinds.entry(kind).or_default();
            *lines = lines.saturating_add(1);
            is_allowed = *lines <= LINES_PER_KIND;
        }
        self.suppressed += u64::from(!is_allowed);
        is_allowed
    }
}

impl Limits {
    fn new(bytes_max: usize) -> Limits {
        Limits { bytes_max, window: Arc::new(Mutex::new(LogWindow::new(Instant::now(), 0))) }
    }

    /// The window that `now` is in.
    fn window(&self, now: Instant) -> MutexGuard<'_, LogWindow> {
        let mut window = self.window.lock().expect("no panic under this lock");
        if now.saturating_duration_since(window.since) >= WINDOW {
            *window = LogWindow::new(now, window.unreported + window.suppressed);
        }
        window
    }

    /// A notice of the lines that were omitted before, if there were any, and whether a line of so
    /// many bytes fits.
    fn admit(&self, bytes: usize, now: Instant) -> (Option<String>, bool) {
        let mut window = self.window(now);
        if window.bytes + bytes > self.bytes_max {
            window.suppressed += 1;
            return (None, false);
        }
        let unreported = std::mem::take(&mut window.unreported);
        let notice = (unreported > 0)
            .then(|| format!("{unreported} lines of this log were omitted: see --log-bytes\n"));
        window.bytes += bytes + notice.as_ref().map_or(0, String::len);
        (notice, true)
    }
}

/// Suppresses lines beyond the share of their kind, or of the address that they name.
struct PerKindAndAddress {
    limits: Limits,
}

impl<S> Filter<S> for PerKindAndAddress {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut address = Address(None);
        event.record(&mut address);
        self.limits.window(Instant::now()).allow(event.metadata().name(), address.0)
    }
}

/// Finds the address that an event names.
struct Address(Option<String>);

impl Visit for Address {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == ADDRESS_FIELD {
            self.0 = Some(client_in(format!("{value:?}")));
        }
    }
}

/// The client that an address belongs to, as for the server's limits: for IPv6 its /64 network.
fn client_in(address: String) -> String {
    let parsed: Option<IpAddr> = address.parse().ok();
    parsed.map_or(address, |address| client_of(address).to_string())
}

/// Standard error, until the window's bytes are used up.
#[derive(Debug)]
struct Writer {
    limits: Limits,
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'a Writer;

    fn make_writer(&'a self) -> &'a Writer {
        self
    }
}

impl Write for &Writer {
    /// One line, as tracing-subscriber writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (notice, fits) = self.limits.admit(line.len(), Instant::now());
        let mut out = io::stderr().lock();
        if let Some(notice) = notice {
            out.write_all(notice.as_bytes())?;
        }
        if fits {
            out.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_each_address_has_its_share_of_a_window() {
        let limits = Limits::new(usize::MAX);
        let start = Instant::now();
        let allowed = |kind, address: Option<&str>, at| {
            let allow = |_: &u32| limits.window(at).allow(kind, address.map(str::to_owned));
            (0..10_000).filter(allow).count() as u32
        };
        assert_eq!(allowed("one", Some("192.0.2.1"), start), LINES_PER_ADDRESS);
        assert_eq!(allowed("one", Some("192.0.2.2"), start), LINES_PER_ADDRESS);
        assert_eq!(allowed("one", None, start), LINES_PER_KIND - 2 * LINES_PER_ADDRESS);
        assert_eq!(allowed("two", None, start), LINES_PER_KIND);
        assert_eq!(allowed("one", Some("192.0.2.1"), start + WINDOW), LINES_PER_ADDRESS);
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_one_count() {
        let network = |address: &str| client_in(address.to_owned());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
        assert_eq!(network("no address"), "no address");
    }

    #[test]
    fn bytes_of_a_window_are_bounded_and_missing_lines_are_counted_in_the_next() {
        let limits = Limits::new(1_000);
        let start = Instant::now();
        let written = (0..50).filter(|_| limits.admit(100, start).1).count();
        assert_eq!(written, 10);
        let (notice, fits) = limits.admit(100, start + WINDOW);
        assert!(fits && notice.expect("a notice").starts_with("40 lines"));
        assert_eq!(limits.admit(100, start + WINDOW), (None, true));
    }

    #[test]
    fn addresses_beyond_the_table_share_one_count() {
        let mut window = LogWindow::new(Instant::now(), 0);
        let allowed = (0..20_000).filter(|it| window.allow("kind", Some(it.to_string()))).count();
        assert!(allowed as u32 <= LINES_PER_KIND);
        assert!(window.addresses.len() <= ADDRESSES + 1);
    }
}
