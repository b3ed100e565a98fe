//! The one integration-test crate: a module for each subject.

mod child;
mod feed;
mod kill;
mod sse;
mod store;
