//! The real `pfs` binary, with real servers as background processes.
//!
//! Every command is bounded in time, and every cluster is stopped and removed when its test ends, however it ends.

mod activity;
mod clients;
mod failures;
mod files;
mod harness;
mod lifecycle;
mod nodes;
mod run;
mod scrub;
