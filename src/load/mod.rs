//! The load test: runs every transport with the same schedule over the same simulated network,
//! verifies every delivery, and measures.
//!
//! It uses the feed only over the network, as any client does. The results are stored in a
//! [`Run`](crate::run::Run); the report evaluates them.

mod calibration;
mod cell;
mod headers;
mod kernel;
mod machine;
mod measurements;
mod message_selector;
mod monitor;
mod plan;
mod preflight;
mod process;
mod publisher;
mod runner;
mod schedule;
mod scrape;
mod server;
mod step;
mod subscribers;
pub mod target;
mod target_subscriber;
mod timetable;
mod verifier;

pub use machine::{machine, tool};
pub use plan::CellPhase;
pub use runner::{LoadTest, Progress, SegmentStart};
pub use server::ServerSource;
pub use target_subscriber::Subscriber as TargetSubscriber;
