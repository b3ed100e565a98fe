//! The one integration-test crate: a module for each subject.

mod conformance;
mod faults;
mod feed;
mod http;
mod support;
mod websocket;
