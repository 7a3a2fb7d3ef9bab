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

use crate::mpi::Mpi;
use crate::workspace::{self, Built, Selection};

/// The programs of all measurements.
const PROGRAMS: [(&str, &str); 9] = [
    ("pfs-cli", "pfs"),
    ("pfs-bench", "pfs-ior"),
    ("pfs-bench", "pfs-mdtest"),
    ("pfs-bench", "pfs-collective"),
    ("pfs-bench", "pfs-plan-figures"),
    ("pfs-bench-datapath", "pfs-raw"),
    ("pfs-bench-datapath", "pfs-datapath"),
    ("pfs-bench-figures", "pfs-figures"),
    ("pfs-bench-scale", "pfs-scale"),
];

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

/// Builds the programs of all measurements in release: which features of a dependency are built depends on what is built
/// together, so each measurement's own programs alone would be another build of almost everything.
fn build() -> Result<Built> {
    eprintln!("building in release");
    workspace::build(&Selection::ReleasePrograms(&PROGRAMS), Mpi::Open)
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
