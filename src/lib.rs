//! poll-vs-push
pub mod advise;
pub mod cli;
pub mod load;
pub mod report;
pub mod run;
pub mod theory;
pub mod transport;
