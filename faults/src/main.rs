//! Real servers, clients and ranks are killed, stopped and cut off under a workload, and every byte is checked.
//!
//! `run` plays rounds: a cluster whose servers and clients each have a network namespace ([`network`]), clients that write,
//! read and sync one file at random and tell what they see ([`worker`], [`record`]), an MPI job that does the same with it
//! ([`ranks`]), faults from a seed ([`plan`], [`round`]), and then the question whether all that was seen fits one order ([`history`], [`checker`]).

mod checker;
mod history;
mod interrupt;
mod network;
mod plan;
mod process;
mod ranks;
mod round;
mod run;
mod worker;

use pfs_faults::{clock, random, record, unit};

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Faults under load, on real processes
#[derive(Debug, Parser)]
#[command(name = "pfs-faults", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Run(run::Flags),
    #[command(hide = true)]
    Worker(worker::Flags),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Run(flags) => interrupt::install().and_then(|()| run::run(&flags)),
        Task::Worker(flags) => worker::run(&flags).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error: anyhow::Error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
