//! Benchmarks: the library part of `pfs-ior`. The criterion benches are in `benches/`.

pub mod ior;
