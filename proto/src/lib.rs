//! The wire format: generated messages and their checked conversions to core types.

/// Generated from `proto/pfs/v1/*.proto`; units and meaning of every field are documented there.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("pfs.v1");
}
