//! Benchmarks: the library parts of `pfs-ior` and of the figures of tokens and of planning. The criterion benches are in
//! `benches/`.

pub mod ior;
pub mod planning;
pub mod tokens;
