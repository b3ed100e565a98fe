//! One message feed offered over several transports, a load test that measures each of them, and a
//! report that compares them.
//!
//! # Layers
//! A module imports only from lines below its own, and no imports form a loop; a test
//! (`tests/it/tidy/layers.rs`) checks both.
//!
//! ```text
//! cli                                   one file for each command
//! capacity                              the largest load at which an objective holds
//! trace                                 the bytes of one subscriber's conversation
//! report          server                run.json -> HTML, Markdown, CSV, terminal; accept loop
//! web                                   the pages that a server shows
//! model                                 the advice as a page with controls
//! advise                                which transport suits one workload
//! load            validity              the load test; what voids or qualifies a result
//! run                                   the schema of run.json
//! theory                                closed forms
//! transport                             one file for each transport
//! app                                   state that a server's connections share
//! scenario  feed  client                scenarios in TOML; topics and stores; connections
//! packet_link                           a TUN device that delays, drops and queues packets
//! message variant measure units         messages; transports by name; histograms; units
//! statistics  tls  usage                medians and rankings; certificates; CPU time and memory
//! text  header_list  private_files     escaping of untrusted text; lists in headers; private files
//! ```
//!
//! **The lesson is in [`transport`]**: compare [`short_polling`](transport::short_polling),
//! [`long_polling`](transport::long_polling), [`sse`](transport::sse) and
//! [`websocket`](transport::websocket), and look for the line that waits. A message passes
//! these modules:
//!
//! ```text
//! publisher -> server -> feed -> transport (server half) -> transport (client half, on client)
//!           -> load (verifier) -> run.json -> report
//! ```

pub mod advise;
pub mod app;
pub mod capacity;
pub mod cli;
pub mod client;
pub mod feed;
pub mod header_list;
pub mod load;
pub mod measure;
pub mod message;
pub mod model;
pub mod packet_link;
pub mod private_files;
pub mod report;
pub mod run;
pub mod scenario;
pub mod server;
pub mod statistics;
pub mod text;
pub mod theory;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;
pub mod transport;
pub mod units;
pub mod usage;
pub mod validity;
pub mod variant;
pub mod web;

/// Error returned for TLS flags in a build without the `tls` feature.
#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "this program was built without TLS; build it with --features tls";
