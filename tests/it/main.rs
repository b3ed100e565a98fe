//! The one integration-test crate: a module for each subject.

mod feed;
mod scenarios;
mod sse;
mod targets;
mod theory;
