//! The counters of a server, from its `/metrics`.

use anyhow::Context as _;

use super::process::Usage;
use crate::text::one_line;
use crate::variant::Transport;

/// Largest accepted counter: larger values are not exact in an `f64`.
const COUNTER_MAX: f64 = 9e15;

/// The known counters of a server at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scrape {
    pub usage: Option<Usage>,
    /// Requests of the transport's subscribers.
    pub requests: Option<u64>,
    /// Connections now open.
    pub connections: Option<u64>,
}

impl Scrape {
    pub(super) fn parse(text: &str, transport: Transport) -> anyhow::Result<Scrape> {
        let value = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let line = line.with_context(|| format!("/metrics lacks {name}"))?;
            let value = line.trim().parse().ok();
            value
                .filter(|value| (0.0..COUNTER_MAX).contains(value))
                .with_context(|| format!("/metrics: {name} is '{}', not a count", one_line(line)))
        };
        let requests = format!("poll_vs_push_requests_total{{transport=\"{transport}\"}}");
        let usage = Usage {
            cpu_s: value("process_cpu_seconds_total")?,
            resident_bytes: value("process_resident_memory_bytes")? as u64,
        };
        let requests = Some(value(&requests)? as u64);
        let connections = Some(value("poll_vs_push_open_connections")? as u64);
        Ok(Scrape { usage: Some(usage), requests, connections })
    }

    /// The counters of this server and another; a sum is known if both are.
    pub(super) fn plus(self, other: Scrape) -> Scrape {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Scrape {
            usage: self.usage.zip(other.usage).map(|(own, other)| Usage {
                cpu_s: own.cpu_s + other.cpu_s,
                resident_bytes: own.resident_bytes + other.resident_bytes,
            }),
            requests: sum(self.requests, other.requests),
            connections: sum(self.connections, other.connections),
        }
    }

    /// # Errors
    /// If a counter has decreased.
    pub(super) fn check_rises_from(&self, last: &Scrape) -> anyhow::Result<()> {
        let cpu_s = |scrape: &Scrape| scrape.usage.map_or(0.0, |usage| usage.cpu_s);
        let requests = |scrape: &Scrape| scrape.requests.unwrap_or(0) as f64;
        let counters = [
            ("process_cpu_seconds_total", cpu_s(last), cpu_s(self)),
            ("poll_vs_push_requests_total", requests(last), requests(self)),
        ];
        for (name, then, now) in counters {
            anyhow::ensure!(
                now >= then,
                "/metrics: {name} fell from {then} to {now}; was the server restarted? Name the \
                 servers behind a load balancer with --servers"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(cpu: &str, requests: &str) -> anyhow::Result<Scrape> {
        let text = format!(
            "process_cpu_seconds_total {cpu}\nprocess_resident_memory_bytes 5\n\
             poll_vs_push_requests_total{{transport=\"sse\"}} {requests}\n\
             poll_vs_push_open_connections 1\n"
        );
        Scrape::parse(&text, Transport::Sse)
    }

    #[test]
    fn counters_must_be_finite_and_not_decrease() {
        let first = scrape("1.5", "7").expect("good counters");
        assert_eq!(first.requests, Some(7));
        for wrong in ["NaN", "inf", "-inf", "+Inf", "-1", "1e300", "", "\x1b[2J"] {
            let error = scrape(wrong, "7").expect_err(wrong).to_string();
            assert!(error.contains("process_cpu_seconds_total is"), "{error}");
            assert!(!error.contains('\x1b'), "{error}");
            assert!(scrape("1", wrong).is_err(), "{wrong}");
        }
        let fallen = scrape("1.5", "6").expect("good counters");
        let error = fallen.check_rises_from(&first).expect_err("it fell").to_string();
        assert!(error.contains("fell from 7 to 6"), "{error}");
        assert!(first.check_rises_from(&fallen).is_ok());
    }
}
