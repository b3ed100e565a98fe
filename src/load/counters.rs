//! Counters at an instant, and waiting with an eye on what must not end meanwhile.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::fleet::Fleet;
use super::machine::MachineCpu;
use super::server::{Scrape, ServerUnderTest};
use crate::client::clock::sleep_until;
use crate::client::{Meter, Tally};
use crate::packet_link::Snapshot;
use crate::usage;
use crate::variant::Transport;

/// Time between two looks at a counter that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// All counters at one instant.
pub(super) struct Moment {
    pub at: Instant,
    pub tally: Tally,
    pub scrape: Scrape,
    /// Of this process, without the packet link's.
    pub own_cpu_s: f64,
    /// Absent without a packet link.
    pub link: Option<Snapshot>,
    /// Absent where the system does not tell.
    pub machine: Option<MachineCpu>,
}

impl Moment {
    pub async fn now(
        server: &mut ServerUnderTest,
        transport: Transport,
        meter: &Meter,
    ) -> anyhow::Result<Moment> {
        let (at, tally, link) = (Instant::now(), meter.tally(), server.link_snapshot());
        let link_cpu_s = link.as_ref().map_or(0.0, |link| link.cpu_s);
        let own_cpu_s = usage::cpu_seconds() - link_cpu_s;
        let machine = MachineCpu::now();
        let scrape = server.scrape(transport).await?;
        Ok(Moment { at, tally, scrape, own_cpu_s, link, machine })
    }

    /// CPU seconds that the packet link used since `earlier`; 0 without one.
    pub fn link_cpu_since(&self, earlier: &Moment) -> f64 {
        let cpu_s = |moment: &Moment| moment.link.as_ref().map_or(0.0, |link| link.cpu_s);
        cpu_s(self) - cpu_s(earlier)
    }

    /// CPU seconds that the server used since `earlier`; absent if nobody tells, or if a process of
    /// the server has ended and took its count with it.
    pub fn cpu_since(&self, earlier: &Moment) -> Option<f64> {
        let (now, then) = (self.scrape.usage?, earlier.scrape.usage?);
        (now.cpu_s >= then.cpu_s).then_some(now.cpu_s - then.cpu_s)
    }
}

/// Server and fleet, watched while something else is waited for: if one of them fails, so does the
/// wait.
pub(super) struct Watch<'a> {
    pub server: &'a mut ServerUnderTest,
    pub fleet: Fleet,
}

impl Watch<'_> {
    pub async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => Ok(done),
            how = self.server.ended() => bail!(how),
            error = self.fleet.failure() => {
                // A dying server takes its subscribers with it: say what came first.
                let ended = tokio::time::timeout(LOOK * 20, self.server.ended()).await;
                match ended {
                    Ok(how) => bail!(how),
                    Err(_) => Err(anyhow::Error::new(error).context("a subscriber failed")),
                }
            }
        }
    }

    /// Restarts the server; returns when it was told to stop, and when it listened again.
    pub async fn restart(&mut self) -> anyhow::Result<[Instant; 2]> {
        let told_at = Instant::now();
        tokio::select! {
            restarted = self.server.restart() => restarted?,
            error = self.fleet.failure() => {
                return Err(anyhow::Error::new(error).context("a subscriber gave up"));
            }
        }
        Ok([told_at, Instant::now()])
    }

    pub async fn sleep_until(&mut self, instant: Instant) -> anyhow::Result<()> {
        self.alongside(sleep_until(instant)).await
    }

    /// Waits for `done`, as long as there is any hope.
    pub async fn until(
        &mut self,
        done: impl Fn(&Watch) -> bool,
        deadline: Instant,
        what: &str,
    ) -> anyhow::Result<()> {
        if !self.wait(done, deadline).await? {
            bail!("gave up waiting until all {what}");
        }
        Ok(())
    }

    /// Waits for `done`, and says whether that came before the deadline.
    pub async fn wait(
        &mut self,
        done: impl Fn(&Watch) -> bool,
        deadline: Instant,
    ) -> anyhow::Result<bool> {
        while !done(self) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.sleep_until(Instant::now() + LOOK).await?;
        }
        Ok(true)
    }

    /// Lets no further request out and waits until those on their way have been counted by the
    /// server too, if it counts, for as long as `patience`. Returns what both have counted in the whole cell.
    pub async fn settle(
        &mut self,
        meter: &Meter,
        transport: Transport,
        before: &Moment,
        patience: Duration,
    ) -> anyhow::Result<(u64, Option<u64>)> {
        meter.hush.cancel();
        let deadline = Instant::now() + patience;
        loop {
            let now = self.server.scrape(transport).await?.requests;
            let counted = now.zip(before.scrape.requests).map(|(now, then)| now - then);
            let sent = meter.requests.load(Relaxed);
            // A request that was sent twice may have been counted twice.
            let allowed = sent..=sent + meter.repeated.load(Relaxed);
            if counted.is_none_or(|counted| allowed.contains(&counted)) || Instant::now() > deadline
            {
                return Ok((sent, counted));
            }
            self.sleep_until(Instant::now() + LOOK).await?;
        }
    }
}
