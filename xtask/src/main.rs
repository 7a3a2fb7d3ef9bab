//! `cargo xtask`: the commands of the README, from a bare Debian with Rust to a verified run.
//!
//! One file per subcommand. This program links neither MPI nor the project's own crates, so it builds on a machine on
//! which nothing is installed yet.

mod bench;
mod capi;
mod cluster;
mod demo;
mod faults;
mod fuzz;
mod install;
mod interrupt;
mod mpi;
mod nightly;
mod processes;
mod python;
mod setup;
mod shared_build;
mod slurm;
mod step;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set-up, demo and tests of this source tree.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing, through apt
    Setup,
    Demo(demo::Flags),
    Capi(capi::Flags),
    Install(install::Flags),
    Test(test::Flags),
    Faults(faults::Flags),
    Fuzz(fuzz::Flags),
    Bench(bench::Flags),
    Nightly(nightly::Flags),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    interrupt::install()?;
    match cli.command {
        Task::Setup => setup::run(&setup::Need::ALL).map(|()| ExitCode::SUCCESS),
        Task::Demo(flags) => demo::run(&flags).map(|()| ExitCode::SUCCESS),
        Task::Capi(flags) => capi::run(&flags).map(|()| ExitCode::SUCCESS),
        Task::Install(flags) => install::run(&flags).map(|()| ExitCode::SUCCESS),
        Task::Test(flags) => test::run(&flags),
        Task::Faults(flags) => faults::run(&flags),
        Task::Fuzz(flags) => fuzz::run(&flags),
        Task::Bench(flags) => bench::run(&flags).map(|()| ExitCode::SUCCESS),
        Task::Nightly(flags) => nightly::run(&flags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// Subcommands are put together only when they are used, so a clash of flags shows only then.
    #[test]
    fn every_subcommand_fits_together() {
        Cli::command().debug_assert();
    }
}
