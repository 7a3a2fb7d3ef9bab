//! Benchmarks: the library parts of `pfs-ior` and of the figures of collective accesses, of planning and of tokens. The criterion benches are in
//! `benches/`.

pub mod collective;
pub mod ior;
pub mod planning;
pub mod tokens;
