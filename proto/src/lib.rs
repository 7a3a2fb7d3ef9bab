//! The wire format: generated messages, their checked conversions to strict types, and how peers reach and trust each other.
//!
//! * [`v1`] is generated. Its messages stay at the edge: a server or client converts them once, on receipt, with
//!   [`convert`], and works with the strict types of `pfs_core`, [`data`], [`token`] and [`metadata`] from then on.
//! * A refused message changes nothing and is answered with a status made by [`status`], which carries an error code
//!   for programs beside the text for people.
//! * [`payload`] finds a message's bytes before all of them are there.
//! * [`secret`] proves that a caller belongs to the cluster; [`transport`] holds the settings of every connection, and
//!   [`kill_switch`] ends one that keeps what it must let go.

pub mod convert;
pub mod kill_switch;
pub mod payload;
pub mod secret;
pub mod status;
pub mod transport;

pub use convert::{data, metadata, token};

/// Generated from `proto/pfs/v1/*.proto`; units and meaning of every field are documented there.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("pfs.v1");
}

/// The protobuf files as a compiled descriptor set, which servers show to callers that ask by reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The version of this protocol. Peers of different versions refuse each other at the first message.
pub const PROTOCOL_VERSION: u32 = 1;
