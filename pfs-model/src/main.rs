//! `pfs-model`: checks the model in two small worlds and prints how many states each has.

use clap::Parser;
use pfs_model::check::{Outcome, Until};
use pfs_model::world::World;
use std::process::ExitCode;

/// Check the token protocol's model in every state of two small worlds
#[derive(Debug, Parser)]
#[command(name = "pfs-model")]
struct Flags {
    /// Threads that visit states
    #[arg(long, default_value_t = 2, value_name = "N")]
    threads: usize,
}

/// Any two crashes, of one process or of two.
const THREE_CLIENTS: World<3, 1> = World { deaths: 2, restarts: 2, server_crashes: 2, crashes: 2, mistake: None };
/// One crash of each client and each server.
const TWO_SERVERS: World<2, 2> = World { deaths: 2, restarts: 1, server_crashes: 1, crashes: 5, mistake: None };

fn main() -> ExitCode {
    let Flags { threads } = Flags::parse();
    let checks: [&dyn Fn() -> Outcome; 2] =
        [&|| THREE_CLIENTS.check(Until::Done, threads, true), &|| TWO_SERVERS.check(Until::Done, threads, true)];
    let mut violations = 0;
    for check in checks {
        let outcome = check();
        println!("{outcome}");
        outcome.violations.iter().for_each(|violation| println!("{violation}"));
        violations += outcome.violations.len();
    }
    println!("{} worlds, {violations} violations", checks.len());
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
