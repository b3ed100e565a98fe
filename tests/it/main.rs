//! The one integration-test crate: a module for each subject.

mod compare;
mod feed;
mod theory;
