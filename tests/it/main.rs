//! The one integration-test crate: a module for each subject.

mod feed;
mod socketio;
mod sse;
mod theory;
