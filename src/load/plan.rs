//! The plan of a cell: what is to be measured, by which transport, with which seed.

use crate::scenario::Workload;
use crate::variant::Variant;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct CellPlan {
    pub variant: Variant,
    pub case: String,
    pub workload: Workload,
    pub repeat: u32,
    /// For schedule and poll phases: the same for every transport of a repeat.
    pub seed: u64,
    /// Set before the topics' names, where a server outlives the cell.
    pub topic_prefix: String,
    /// Whether the server keeps its messages on disk: if it is to be restarted, or if this cell
    /// stands for some in which it is.
    pub on_disk: bool,
}
