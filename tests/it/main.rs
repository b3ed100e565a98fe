//! The one integration-test crate: a module for each subject.

mod advise;
mod cli;
mod compare;
mod conformance;
mod faults;
mod feed;
mod http;
mod socketio;
mod sse;
mod support;
mod theory;
mod tidy;
mod websocket;
mod wire;
