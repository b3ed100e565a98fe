//! The plan of a cell: variant, workload and seed.

use crate::scenario::Workload;
use crate::variant::Variant;

/// The parameters of one cell.
#[derive(Debug, Clone)]
pub struct CellPlan {
    pub variant: Variant,
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// Seed of the schedule and the polling phases, the same for all transports of a repeat.
    pub seed: u64,
    /// Prefix of the topic names.
    pub topic_prefix: String,
    /// Whether the server stores its messages on disk, as needed for a restart.
    pub on_disk: bool,
}
