//! poll-vs-push
pub mod cli;
pub mod feed;
pub mod load;
pub mod message;
pub mod run;
pub mod server;
pub mod transport;
pub mod usage;
pub mod web;
pub mod wire;
