//! Snapshots of all counters, and waiting while the server and the subscribers are monitored.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::machine::MachineCpu;
use super::scrape::Scrape;
use super::server::ServerUnderTest;
use super::subscribers::Subscribers;
use crate::client::clock::sleep_until;
use crate::client::{Meter, MeterCounts};
use crate::packet_link::Snapshot;
use crate::usage;
use crate::variant::Transport;

/// Time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// All counters at one instant.
pub(super) struct Counters {
    pub at: Instant,
    pub counts: MeterCounts,
    pub scrape: Scrape,
    /// Of this process, without the packet link's.
    pub own_cpu_s: f64,
    /// `None` without a packet link.
    pub link: Option<Snapshot>,
    /// `None` if the system does not report it.
    pub machine: Option<MachineCpu>,
}

impl Counters {
    pub async fn now(
        server: &mut ServerUnderTest,
        transport: Transport,
        meter: &Meter,
    ) -> anyhow::Result<Counters> {
        let (at, counts, link) = (Instant::now(), meter.counts(), server.link_snapshot());
        let link_cpu_s = link.as_ref().map_or(0.0, |link| link.cpu_s);
        let own_cpu_s = usage::cpu_seconds() - link_cpu_s;
        let machine = MachineCpu::now();
        let scrape = server.scrape(transport).await?;
        Ok(Counters { at, counts, scrape, own_cpu_s, link, machine })
    }

    /// CPU seconds that the packet link used since `earlier`; 0 without one.
    pub fn link_cpu_since(&self, earlier: &Counters) -> f64 {
        let cpu_s = |moment: &Counters| moment.link.as_ref().map_or(0.0, |link| link.cpu_s);
        cpu_s(self) - cpu_s(earlier)
    }

    /// CPU seconds that the server used since `earlier`. `None` if they are unknown, or if a child
    /// process of the server has ended, whose CPU time is then no longer included.
    pub fn cpu_since(&self, earlier: &Counters) -> Option<f64> {
        let (now, then) = (self.scrape.usage?, earlier.scrape.usage?);
        (now.cpu_s >= then.cpu_s).then_some(now.cpu_s - then.cpu_s)
    }
}

/// Waits for events while monitoring the server and the subscribers: every wait fails if one of
/// them fails.
pub(super) struct Monitor<'a> {
    pub server: &'a mut ServerUnderTest,
    pub subscribers: Subscribers,
}

impl Monitor<'_> {
    /// Waits for `work`.
    ///
    /// # Errors
    /// If the server exits or a subscriber fails first.
    pub async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => Ok(done),
            how = self.server.ended() => bail!(how),
            error = self.subscribers.failure() => {
                // If the server exits, its subscribers fail as well: report the server.
                let ended = tokio::time::timeout(CHECK_INTERVAL * 20, self.server.ended()).await;
                match ended {
                    Ok(how) => bail!(how),
                    Err(_) => Err(anyhow::Error::new(error).context("a subscriber failed")),
                }
            }
        }
    }

    /// Restarts the server. Returns when the shutdown was requested and when the server listened
    /// again.
    pub async fn restart(&mut self) -> anyhow::Result<[Instant; 2]> {
        let down_at = Instant::now();
        tokio::select! {
            restarted = self.server.restart() => restarted?,
            error = self.subscribers.failure() => {
                return Err(anyhow::Error::new(error).context("a subscriber failed to reconnect"));
            }
        }
        Ok([down_at, Instant::now()])
    }

    pub async fn sleep_until(&mut self, instant: Instant) -> anyhow::Result<()> {
        self.alongside(sleep_until(instant)).await
    }

    /// Waits for `done`.
    ///
    /// # Errors
    /// At the deadline, or if the server or a subscriber fails.
    pub async fn until(
        &mut self,
        done: impl Fn(&Monitor) -> bool,
        deadline: Instant,
        what: &str,
    ) -> anyhow::Result<()> {
        if !self.wait(done, deadline).await? {
            bail!("timed out waiting until all {what}");
        }
        Ok(())
    }

    /// Waits for `done`. Returns `false` at the deadline.
    pub async fn wait(
        &mut self,
        done: impl Fn(&Monitor) -> bool,
        deadline: Instant,
    ) -> anyhow::Result<bool> {
        while !done(self) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.sleep_until(Instant::now() + CHECK_INTERVAL).await?;
        }
        Ok(true)
    }

    /// Stops sending requests, and reads the server's counter of requests at `instant`, when those
    /// of other load generators have ended as well.
    pub async fn stop_requests_at(
        &mut self,
        meter: &Meter,
        transport: Transport,
        instant: Instant,
    ) -> anyhow::Result<Option<u64>> {
        meter.stop_requests.cancel();
        self.sleep_until(instant).await?;
        Ok(self.server.scrape(transport).await?.requests)
    }

    /// Stops sending requests, and waits up to `wait_max` until the server has counted those in
    /// flight, if it counts requests. Returns the counts of client and server for the whole cell.
    pub async fn stop_and_count_requests(
        &mut self,
        meter: &Meter,
        transport: Transport,
        before: &Counters,
        wait_max: Duration,
    ) -> anyhow::Result<(u64, Option<u64>)> {
        meter.stop_requests.cancel();
        let deadline = Instant::now() + wait_max;
        loop {
            let now = self.server.scrape(transport).await?.requests;
            let counted = now.zip(before.scrape.requests).map(|(now, then)| now - then);
            let sent = meter.requests.load(Relaxed);
            // The server may have counted a retried request twice.
            let allowed = sent..=sent + meter.repeated.load(Relaxed);
            if counted.is_none_or(|counted| allowed.contains(&counted)) || Instant::now() > deadline
            {
                return Ok((sent, counted));
            }
            self.sleep_until(Instant::now() + CHECK_INTERVAL).await?;
        }
    }
}
