//! The metadata server: namespace, recipes, sizes, sessions, tokens.
//!
//! * [`store`]: the transactional key–value store, and the byte maps of its keys;
//! * [`namespace`]: every durable change, each with the conditions that it rests on, done exactly once;
//! * `tokens`: one task that owns the coordinator of sessions and tokens, the connections and the open handles;
//! * `file_servers`: which store is which server, who is up, where new files go;
//! * `upkeep`: shutting out, truncations, removals and size reports, each resumed after a restart;
//! * `service`: the gRPC calls;
//! * `activity`, `metrics`, `web`: what happens now, for people and for those who watch machines.
//!
//! [`start`] puts them together.

mod activity;
mod background;
mod clock;
mod cluster;
mod config;
mod counters;
mod data_clients;
mod file_servers;
mod metrics;
pub mod namespace;
pub mod records;
mod server;
mod service;
mod sessions;
pub mod store;
mod tokens;
mod upkeep;
mod web;

pub use config::Config;
pub use server::start;
