//! The one integration-test crate: a module for each subject.

mod cli;
mod conformance;
mod faults;
mod feed;
mod http;
mod support;
mod tidy;
mod websocket;
mod wire;
