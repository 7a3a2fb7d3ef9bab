//! `pfs-scale`: more hosts than one, measured as far as this machine goes and calculated beyond.

use anyhow::Result;
use clap::{Parser, Subcommand};
use pfs_bench_scale::{hosts, load, model};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the file system grows with servers and clients
#[derive(Debug, Parser)]
#[command(name = "pfs-scale", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Hosts(hosts::Flags),
    Model(model::Flags),
    #[command(hide = true)]
    Load(load::Flags),
}

fn main() -> ExitCode {
    let done: Result<()> = match Cli::parse().task {
        Task::Hosts(flags) => hosts::run(&flags),
        Task::Model(flags) => model::run(&flags),
        Task::Load(flags) => load::run(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
