//! `pfs`: starts and stops clusters, runs their servers, and copies, lists and explains their files.
//!
//! Every subcommand is one file under `commands`, in the shape flags → config → run. Answers for people and for
//! programs go to standard output, everything else to standard error. The exit status is 0 for success, 1 for a
//! failure that was reported in one line, 2 for a wrong command line.

mod cli;
mod cluster;
mod commands;
mod connection;
mod failure;
mod names;
mod output;
mod signals;
mod sizes;
mod transfer;

use clap::Parser;
use std::process::ExitCode;

/// Reused buffers and a quick allocator keep page faults out of the data path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
