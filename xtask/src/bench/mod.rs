//! `bench`: measurements that start what they need, and keep their figures in the source tree.

mod collective;
mod datapath;
mod interposition;
mod keep;

use anyhow::Result;
use clap::Subcommand;

/// Measure, and keep the figures
#[derive(Debug, Clone, Subcommand)]
pub enum Flags {
    Datapath(datapath::Flags),
    Collective(collective::Flags),
    Interposition(interposition::Flags),
}

/// Runs the measurement.
pub fn run(flags: &Flags) -> Result<()> {
    match flags {
        Flags::Datapath(flags) => datapath::run(flags),
        Flags::Collective(flags) => collective::run(flags),
        Flags::Interposition(flags) => interposition::run(flags),
    }
}
