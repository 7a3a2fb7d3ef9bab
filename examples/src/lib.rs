//! Shared parts of the example rank programs.

pub mod agree;
pub mod cases;
pub mod pattern;
pub mod program;
pub mod random;
pub mod sizes;
pub mod types;
