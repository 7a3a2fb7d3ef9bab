//! `bench`: measurements that start what they need, and keep their figures in the source tree.

mod collective;
mod datapath;
mod hosts;
mod interposition;
mod keep;
mod single_threaded;
mod suite;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Measure, and keep the figures: without a subcommand the suite
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Flags {
    #[command(subcommand)]
    measurement: Option<Measurement>,
    #[command(flatten)]
    suite: suite::Flags,
}

/// Measurements of a part
#[derive(Debug, Clone, Subcommand)]
enum Measurement {
    Datapath(datapath::Flags),
    Collective(collective::Flags),
    Interposition(interposition::Flags),
    Hosts(hosts::Flags),
}

/// Runs the measurement.
pub fn run(flags: &Flags) -> Result<()> {
    match &flags.measurement {
        None => suite::run(&flags.suite),
        Some(Measurement::Datapath(flags)) => datapath::run(flags),
        Some(Measurement::Collective(flags)) => collective::run(flags),
        Some(Measurement::Interposition(flags)) => interposition::run(flags),
        Some(Measurement::Hosts(flags)) => hosts::run(flags),
    }
}
