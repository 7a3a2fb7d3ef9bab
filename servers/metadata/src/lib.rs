//! The metadata server: namespace, recipes, sizes, sessions, tokens.

pub mod namespace;
pub mod records;
pub mod store;
