//! The one integration-test crate: a module for each subject.

mod advise;
mod browser;
mod cli;
mod compare;
mod conformance;
mod faults;
mod feed;
mod frames;
mod http;
mod page;
mod scenarios;
mod socketio;
mod sse;
mod support;
mod targets;
mod theory;
mod tidy;
mod web_socket;
mod websocket;
mod wire;
