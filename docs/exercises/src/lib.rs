//! Six small programs with one fault each. Read the chapter that the exercise belongs to, run its
//! test, find the fault, and correct it.

#[cfg_attr(feature = "solutions", path = "../solutions/batch.rs")]
pub mod batch;
#[cfg_attr(feature = "solutions", path = "../solutions/cursor.rs")]
pub mod cursor;
#[cfg_attr(feature = "solutions", path = "../solutions/jitter.rs")]
pub mod jitter;
#[cfg_attr(feature = "solutions", path = "../solutions/latency.rs")]
pub mod latency;
#[cfg_attr(feature = "solutions", path = "../solutions/queue.rs")]
pub mod queue;
#[cfg_attr(feature = "solutions", path = "../solutions/wake_up.rs")]
pub mod wake_up;
