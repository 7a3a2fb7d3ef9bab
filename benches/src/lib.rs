//! Benchmarks: the library parts of `pfs-ior` and of the figures of tokens. The criterion benches are in `benches/`.

pub mod ior;
pub mod tokens;
