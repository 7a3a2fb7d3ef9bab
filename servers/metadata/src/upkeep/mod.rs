//! Work that no caller waits for, or that outlives the one who does: each kind has one task, its own retries, and a
//! durable record to resume from.

mod backoff;
mod removals;
mod shutting_out;
mod sizes;
mod truncations;

pub(crate) use removals::{Removals, reap};
pub(crate) use shutting_out::ShuttingOut;
pub(crate) use sizes::SizeWriter;
pub(crate) use truncations::Truncations;
