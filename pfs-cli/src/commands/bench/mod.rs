//! `pfs bench`: measurements against a running cluster, one file each.

mod raw_client;
mod tokens;

use crate::connection::Connection;
use crate::failure::Outcome;
use clap::Subcommand;

/// Measure a running cluster
#[derive(Debug, Subcommand)]
pub enum Flags {
    /// Tokens: how many a second, what a cached one costs, how long a hand-over takes
    Tokens(tokens::Flags),
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    match flags {
        Flags::Tokens(flags) => tokens::run(&flags, connection),
    }
}
