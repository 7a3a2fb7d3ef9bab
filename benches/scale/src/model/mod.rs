//! A model of more ranks and servers than a machine can have: what they can move, and what tokens they pass.
//!
//! * `queues` is a discrete simulation of bytes: every request of every rank goes through the rank's processor, its node's
//!   link, the server's link and the server's processors, each of which takes its time and does one thing after the other.
//! * `tokens` is no model: it runs the real manager and the real holders of `pfs-core` and counts what they say.
//! * `costs` are what both need to know, from the measurement of [`crate::hosts`].
//!
//! The check comes first: the same model, with one machine's cores for everything, has to agree with the measured points
//! that it was not made of.

mod check;
mod costs;
mod predict;
mod queues;
mod tokens;

use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::PathBuf;

pub use check::Check;
pub use costs::Costs;
pub use predict::{Machines, Prediction};
pub use tokens::{Pattern, Traffic};

/// Calculate throughput and token traffic for up to 10,000 ranks and 1,000 servers, and check the model
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Figures of `pfs-scale hosts`, which the model is made of and checked with
    #[arg(long, value_name = "DIR")]
    pub hosts: PathBuf,
    /// Where the model's figures go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Ranks of one node
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub ranks_per_node: u32,
    /// Gigabits a second of a node's link, and of a server's
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    pub gigabits: f64,
    /// Cores of a server
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub server_cores: u32,
    /// Microseconds of one way through the network
    #[arg(long, default_value_t = 2.0, value_name = "N")]
    pub latency_us: f64,
    /// MiB that each rank moves
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub mib: u32,
    /// The most ranks
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ranks: u32,
    /// The most servers
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub servers: u32,
}

/// Checks, calculates, and keeps it.
pub fn run(flags: &Flags) -> Result<()> {
    let kept = crate::hosts::read(&flags.hosts)?;
    let costs = Costs::of(&kept)?;
    let checks = check::all(&kept, &costs);
    let machines = Machines {
        ranks_per_node: flags.ranks_per_node as usize,
        link_bytes_per_s: flags.gigabits * 1e9 / 8.0,
        server_cores: flags.server_cores as usize,
        latency_s: flags.latency_us * 1e-6,
        part_bytes: u64::from(flags.mib) << 20,
    };
    let predictions = predict::all(&machines, &costs, flags.ranks as usize, flags.servers as usize);
    let traffic = tokens::all(flags.ranks as usize);
    fs::create_dir_all(&flags.out).with_context(|| format!("make {}", flags.out.display()))?;
    predict::keep(&flags.out, &machines, &costs, &checks, &predictions, &traffic)?;
    print!("{}", predict::summary(&machines, &costs, &checks, &predictions, &traffic));
    let error = check::largest_error(&checks);
    println!("{} points checked, the largest error is {:.0} %", checks.len(), error * 100.0);
    Ok(())
}
