//! poll-vs-push
pub mod load;
pub mod report;
pub mod run;
pub mod theory;
pub mod transport;
