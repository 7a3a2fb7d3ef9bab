//! Benchmarks: the library parts of `pfs-ior` and `pfs-mdtest`, and of the figures of collective accesses, of planning and of tokens. The
//! criterion benches are in `benches/`.

pub mod aiori;
pub mod collective;
pub mod ior;
pub mod machine;
pub mod mdtest;
pub mod memory;
pub mod planning;
pub mod ranks;
pub mod settings;
pub mod tokens;
