//! Measures one cell: one transport under one workload, or under the rising load of a ramp, once.

use super::plan::{CellPhase, CellPlan};
use super::server::{ServerRequirements, ServerSource};
use super::step::{self, MeasuredSteps};
use crate::client::clock::sleep_until;
use crate::run::Cell;
use crate::scenario::Workload;
use crate::text::causes;
use crate::variant::Extra;

/// What was measured of a cell.
#[derive(Debug)]
pub struct MeasuredCell {
    /// One for each step.
    pub cells: Vec<Cell>,
    /// The workload of the step that failed, and why.
    pub failed: Option<(Workload, anyhow::Error)>,
    /// The server's version.
    pub version: String,
}

/// Why a cell has no result.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The server cannot be started or reached, or is not supported.
    #[error("{}", causes(.0))]
    NoServer(anyhow::Error),
    /// The server exited, a subscriber or the publisher failed, or a phase timed out.
    #[error("{}", causes(.0))]
    Failed(anyhow::Error),
}

impl CellPlan {
    /// Measures the cell.
    ///
    /// # Errors
    /// If the server is unavailable, or nothing could be measured.
    pub async fn measure(
        &self,
        source: &ServerSource,
        on_phase: &(dyn Fn(CellPhase) + Sync),
    ) -> Result<MeasuredCell, CellError> {
        if let Some(times) = self.times() {
            on_phase(CellPhase::Waiting);
            times.check_begin().map_err(CellError::Failed)?;
            sleep_until(times.begin).await;
        }
        let requirements = ServerRequirements {
            subscribers: self
                .steps()
                .iter()
                .map(|step| step.workload.subscribers)
                .max()
                .unwrap_or(0),
            on_disk: self.on_disk,
            tls: self.variant.has(Extra::Tls),
            link: self.workload.packet_link_parameters(),
            seed: self.seed,
        };
        let mut server = source.open(requirements).await.map_err(CellError::NoServer)?;
        let version = server.version.clone();
        let transport = self.variant.transport;
        let before = match server.is_child() {
            true => None,
            false => server.scrape(transport).await.map_err(CellError::NoServer)?.connections,
        };
        let result = step::measure(self, &mut server, on_phase).await;
        if let Some(before) = before {
            server.wait_until_disconnected(before, transport).await;
        }
        server.close().await;
        let MeasuredSteps { cells, failed } = result.map_err(CellError::Failed)?;
        match failed {
            Some((_, error)) if cells.is_empty() => Err(CellError::Failed(error)),
            failed => Ok(MeasuredCell { cells, failed, version }),
        }
    }
}
