//! The one integration-test crate: a module for each subject.

mod access;
mod advise;
mod browser;
mod child;
mod cli;
mod compare;
mod conformance;
mod faults;
mod feed;
mod hostile;
mod http;
mod kill;
mod limits;
mod measure;
mod page;
mod polling;
mod scenarios;
mod socketio;
mod sse;
mod store;
mod support;
mod targets;
mod theory;
mod tidy;
mod websocket;
mod wire;
