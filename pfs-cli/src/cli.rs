//! The command line: what subcommands there are, and the flags that all of them share.

use crate::commands;
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use clap::{CommandFactory, Parser, Subcommand};
use pfs_server_runtime::{LogFormat, init_logging};
use std::env;

const AFTER_HELP: &str = "\
Names:
  pfs:/path              a file of the cluster that PFS_METADATA names
  pfs://host:port/path   a file of the cluster with that metadata server
  /path                  the same as pfs:/path where only a file of the cluster makes sense

Sizes are bytes, or a number with K, M, G or T (powers of 1,024): 65536, 64K, 64KiB, 4MiB.

Exit status: 0 success, 1 failure, 2 wrong command line, 130 interrupted.";

/// A parallel file system that a job can carry with it.
#[derive(Debug, Parser)]
#[command(name = "pfs", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one server in the foreground until SIGTERM or SIGINT
    #[command(subcommand)]
    Server(commands::server::Flags),
    Start(commands::start::Flags),
    Stop(commands::stop::Flags),
    Run(commands::run::Flags),
    Status(commands::status::Flags),
    Df(commands::df::Flags),
    Ls(commands::ls::Flags),
    Stat(commands::stat::Flags),
    Mkdir(commands::mkdir::Flags),
    Mv(commands::mv::Flags),
    Rm(commands::rm::Flags),
    Cp(commands::cp::Flags),
    Layout(commands::layout::Flags),
    Scrub(commands::scrub::Flags),
    Tokens(commands::tokens::Flags),
    Top(commands::top::Flags),
    Wait(commands::wait::Flags),
    #[command(subcommand)]
    Bench(commands::bench::Flags),
    Man(commands::man::Flags),
}

impl Cli {
    /// Carries the command out.
    pub fn run(self) -> Outcome {
        let connection = self.connection;
        if !matches!(self.command, Command::Server(_)) {
            log_if_wished()?;
        }
        match self.command {
            Command::Server(flags) => commands::server::run(flags, &connection),
            Command::Start(flags) => commands::start::run(flags, &connection),
            Command::Stop(flags) => commands::stop::run(flags),
            Command::Run(flags) => commands::run::run(flags, &connection),
            Command::Status(flags) => commands::status::run(flags, &connection),
            Command::Df(flags) => commands::df::run(flags, &connection),
            Command::Ls(flags) => commands::ls::run(flags, &connection),
            Command::Stat(flags) => commands::stat::run(flags, &connection),
            Command::Mkdir(flags) => commands::mkdir::run(flags, &connection),
            Command::Mv(flags) => commands::mv::run(flags, &connection),
            Command::Rm(flags) => commands::rm::run(flags, &connection),
            Command::Cp(flags) => commands::cp::run(flags, &connection),
            Command::Layout(flags) => commands::layout::run(flags, &connection),
            Command::Scrub(flags) => commands::scrub::run(flags, &connection),
            Command::Tokens(flags) => commands::tokens::run(flags, &connection),
            Command::Wait(flags) => commands::wait::run(flags),
            Command::Top(flags) => commands::top::run(flags, &connection),
            Command::Bench(flags) => commands::bench::run(flags, &connection),
            Command::Man(flags) => commands::man::run(flags, Cli::command()),
        }
    }
}

/// Commands say what they have to say themselves; the library's log is for those who set `RUST_LOG`.
fn log_if_wished() -> Outcome {
    if env::var_os("RUST_LOG").is_none_or(|filter| filter.is_empty()) {
        return Ok(());
    }
    init_logging("off", LogFormat::Text)
        .map_err(|error| Failure::cannot("start logging", error.as_ref()).next("correct RUST_LOG"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
