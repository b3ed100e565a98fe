//! The one integration-test crate: a module for each subject.

mod access;
mod child;
mod cli;
mod conformance;
mod faults;
mod feed;
mod hostile;
mod http;
mod kill;
mod limits;
mod sse;
mod store;
mod support;
mod tidy;
mod websocket;
mod wire;
