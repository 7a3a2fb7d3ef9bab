//! Collective accesses in turns: what is compared with what, how it is measured, and what the figures say.
//!
//! One job makes all accesses of a *group* one after the other in each round, every other round in the opposite order. A ratio
//! is made of two accesses of the same round, and is one of bytes a second: above 1 the first is faster. Files are
//! overwritten, never fresh, and lie apart, so that no token moves between two accesses.

pub mod access;
pub mod groups;
pub mod measure;
pub mod report;
