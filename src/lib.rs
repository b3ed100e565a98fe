//! poll-vs-push
pub mod feed;
pub mod load;
pub mod message;
pub mod run;
pub mod transport;
