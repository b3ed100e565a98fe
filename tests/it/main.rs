//! The integration-test crate, with one module per subject.

mod access_control;
mod advise;
mod answer;
mod attacks;
mod attacks_http2;
mod attacks_many;
mod attacks_sessions;
mod book;
mod browser;
mod bystander;
mod capacity;
mod child;
mod class;
mod cli;
mod client;
mod compare;
mod conformance;
mod connection_close;
mod connections;
mod corpus;
mod crafted_files;
mod descriptors;
mod engineio;
mod examples;
mod expiry;
mod faults;
mod feed;
mod flags;
mod foreign_pages;
mod frames;
mod hostile;
mod http;
mod http2;
mod http_semantics;
#[cfg(target_os = "linux")]
mod idle_memory;
mod kill;
mod limits;
mod lying_servers;
mod measure;
mod misbehaving_servers;
mod model;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod nats_kill;
mod ndjson;
mod network_loss;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod packet_link;
mod page;
mod pause;
mod polling;
mod processing_time;
mod puzzles;
mod ramp;
mod reconnect;
mod recorded;
mod relayed;
#[cfg(target_os = "linux")]
mod remote;
mod scenarios;
mod secrets;
mod segments;
mod shares;
mod silent_servers;
mod socketio;
mod sse;
mod store;
mod store_model;
mod support;
mod targets;
mod theory;
mod tidy;
#[cfg(feature = "tls")]
mod tls;
mod trace;
mod validity;
mod victim;
mod websocket;
mod websocket_client;
