//! One message feed, offered in several ways; a load test that drives each way; a report that says
//! which way is for which workload, and why.
//!
//! # Layout
//! The modules in the order of the data's way:
//!
//! ```text
//! publisher -> feed -> transport (server half) -> wire -> transport (client half) -> recorder
//!           -> run.json -> report
//! ```
//!
//! - [`message`]: what travels: messages, cursors, batches, events. The one wire format.
//! - [`feed`]: topics, each a bounded log with a way to wait for the next message.
//! - [`transport`]: one file a way, both halves in it. **The lesson is here**: lay
//!   [`short_polling`](transport::short_polling), [`long_polling`](transport::long_polling) and
//!   [`websocket`](transport::websocket) side by side and look where the waiting happens.
//! - [`variant`]: the transports by name, and what a client of one may do besides.
//! - [`app`]: the state that the connections of a server share: configuration, limits, metrics.
//! - [`server`]: mounts every transport on one feed: accept loop, limits, metrics, drain.
//! - [`client`]: the subscriber's end of the network: connections, counted and delayed.
//! - [`scenario`]: what a load test asks of every transport, read from TOML.
//! - [`measure`], [`units`]: histograms and byte counts; values with their units.
//! - [`load`]: the load test: schedule, publisher, fleet, verifier.
//! - [`run`]: `run.json`, all that measuring and reporting share.
//! - [`theory`]: the closed forms that every measurement is held against.
//! - [`advise`]: which way is cheapest for one workload, from theory and measured costs.
//! - [`report`]: `run.json` in; HTML, Markdown, CSV out.
//! - [`cli`]: one file a command.
//! - `tls`, with the feature of that name: certificates, the server's and the subscriber's end.
//! - [`table`]: tables for the terminal.
//! - [`text`]: text from outside made safe to show.
//! - [`usage`]: what a process has used.

pub mod advise;
pub mod app;
pub mod cli;
pub mod client;
pub mod feed;
pub mod load;
pub mod measure;
pub mod message;
pub mod report;
pub mod run;
pub mod scenario;
pub mod server;
pub mod table;
pub mod text;
pub mod theory;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod units;
pub mod usage;
pub mod variant;
pub mod web;

/// Said to whoever asks for TLS in vain.
#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "this program was built without TLS; build it with --features tls";
