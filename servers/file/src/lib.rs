//! The file server: stripes as local objects, fencing, durability.

pub mod store;
