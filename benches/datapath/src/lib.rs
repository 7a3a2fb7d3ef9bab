//! The data path beside a raw TCP program that does the same job: who is measured, on what, and what the figures say.
//!
//! `pfs-datapath` runs the comparison, `pfs-raw` is the other side's server. `cargo xtask bench datapath` starts everything.

pub mod cases;
pub mod contenders;
pub mod figures;
pub mod machine;
pub mod measure;
pub mod overlap;
pub mod profile;
pub mod raw;
pub mod report;
pub mod statistics;
pub mod store_io;
pub mod usage;
pub mod work;
