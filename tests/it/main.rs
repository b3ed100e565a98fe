//! The one integration-test crate: a module for each subject.

mod advise;
mod browser;
mod cli;
mod compare;
mod conformance;
mod faults;
mod feed;
mod http;
mod page;
mod polling;
mod scenarios;
mod socketio;
mod sse;
mod support;
mod targets;
mod theory;
mod tidy;
mod websocket;
mod wire;
