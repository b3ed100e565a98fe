//! The load test: drives each way with the same schedule over the same simulated network, checks
//! every delivery, and measures.
//!
//! It knows the feed only through the wire, as any client does. What it finds goes into a
//! [`Run`](crate::run::Run), and it judges nothing: that is the report's.

mod calibration;
mod cell;
mod counters;
mod extract;
mod fleet;
mod headers;
mod kernel;
mod machine;
mod outcome;
mod plan;
mod preflight;
mod process;
mod publisher;
mod runner;
mod schedule;
mod server;
pub mod target;
mod target_subscriber;
mod verifier;

pub use cell::Phase;
pub use runner::{Campaign, Progress};
pub use server::ServerSource;
