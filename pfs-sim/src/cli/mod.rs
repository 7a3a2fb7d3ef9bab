//! The commands.

mod mutants;
mod replay;
mod run;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The protocol's state machines in a seeded world of crashes, pauses and lost messages.
#[derive(Debug, Parser)]
#[command(name = "pfs-sim", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Flags),
    Replay(replay::Flags),
    Mutants(mutants::Flags),
}

/// Does what the command line asks for.
pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(flags) => run::run(&flags),
        Command::Replay(flags) => Ok(replay::run(&flags)),
        Command::Mutants(flags) => mutants::run(&flags),
    }
}
