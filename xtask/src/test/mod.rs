//! `test`: everything needed, then every part, then a table.
//!
//! Invariants: a part that fails does not keep the others from running; every launched program has a time limit; the
//! exit status is 0 only if everything that was asked for ran and passed.

mod capi;
mod findings;
mod foreign;
mod ior;
mod page;
mod protocol;
mod random;
mod suite;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::interrupt;
use crate::setup::{self, Need};

use findings::{Row, failures, table};
use suite::Suite;

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Install what the other parts need
    Setup,
    /// Tests of all packages without MPI, and all examples in the documentation
    Unit,
    /// The token protocol in a simulated world, and deliberate mistakes that it must find
    Sim,
    /// The token protocol's model in every state of two small worlds
    Model,
    /// Rank programs under Open MPI, on 2, 3 and 4 ranks, against real servers
    Mpi,
    /// Random cases of MPI-IO on 1 to 6 ranks, compared with a plain file
    Mpiio,
    /// The programs of `mpi` built for MPICH, on 2 ranks
    Mpich,
    /// Programs in C, Fortran and Python that are not changed, file formats by HDF5 and PnetCDF, an installation
    Capi,
    /// pfs-ior under mpirun, with its own checks on
    Ior,
    /// Every method of the file server, called by a gRPC client in Python
    Foreign,
    /// Real servers and clients killed, stopped and cut off under load; a store whose power is lost at every step
    Faults,
    /// The page in a headless browser, and the live view in a terminal
    Page,
    /// The batch script in a real Slurm, to every ending of a job
    Slurm,
    /// The demo, small
    Demo,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Setup => "setup",
            Part::Unit => "unit",
            Part::Sim => "sim",
            Part::Model => "model",
            Part::Mpi => "mpi",
            Part::Mpiio => "mpiio",
            Part::Mpich => "mpich",
            Part::Capi => "capi",
            Part::Ior => "ior",
            Part::Foreign => "foreign",
            Part::Faults => "faults",
            Part::Page => "page",
            Part::Slurm => "slurm",
            Part::Demo => "demo",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Part::Setup => &Need::ALL,
            Part::Sim | Part::Model => &[],
            Part::Unit | Part::Mpi | Part::Mpiio | Part::Ior | Part::Demo => &[Need::OpenMpi],
            Part::Mpich => &[Need::OpenMpi, Need::Mpich],
            Part::Capi => &[Need::OpenMpi, Need::Mpich, Need::Fortran, Need::Formats, Need::Mpi4py, Need::Installed],
            Part::Foreign => &[Need::OpenMpi, Need::Grpcio],
            Part::Faults => &[Need::OpenMpi, Need::Namespaces],
            Part::Page => &[Need::OpenMpi, Need::Browser],
            Part::Slurm => &[Need::OpenMpi, Need::Slurm],
        }
    }

    /// Whether it runs test programs, and not only the others.
    fn uses_tests(self) -> bool {
        !matches!(self, Part::Capi | Part::Ior | Part::Foreign | Part::Page | Part::Slurm | Part::Demo)
    }

    /// Whether it runs something that is built for MPICH.
    fn uses_mpich(self) -> bool {
        matches!(self, Part::Mpich | Part::Capi)
    }

    /// Whether it runs something that is built once for all parts.
    fn uses_build(self) -> bool {
        !matches!(self, Part::Setup | Part::Sim | Part::Model)
    }
}

/// Run the tests; without PART, all of them
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Flags {
    /// What to run
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
    /// Show the output of what passed, too
    #[arg(short, long)]
    verbose: bool,
}

impl Flags {
    /// Whether everything is asked for.
    pub fn asks_for_all(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts to run, each once, in the order they are run in.
    fn parts(&self) -> Vec<Part> {
        let mut parts = if self.parts.is_empty() { Part::value_variants().to_vec() } else { self.parts.clone() };
        parts.sort();
        parts.dedup();
        parts
    }
}

/// Schedules of the simulator in `test`.
const SCHEDULES: u64 = 20_000;
/// Rounds of faults in `test`.
const FAULT_ROUNDS: u32 = 20;
/// Recordings of a store in `test`.
const POWER_SEEDS: u64 = 10;

/// Random cases of MPI-IO in `test`.
pub const RANDOM_CASES: u64 = 2100;

/// How much to do.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Counts for the tests, by environment variable.
    pub counts: Vec<(&'static str, String)>,
    /// Schedules of the simulator.
    pub schedules: u64,
    /// Rounds of faults on real processes.
    pub fault_rounds: u32,
    /// Recordings of a store whose power is lost.
    pub power_seeds: u64,
    /// Random cases of MPI-IO.
    pub random_cases: u64,
    /// How many times the usual time limits.
    pub time_factor: u32,
}

/// Runs the parts that were asked for.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let effort = Effort {
        counts: Vec::new(),
        schedules: SCHEDULES,
        fault_rounds: FAULT_ROUNDS,
        power_seeds: POWER_SEEDS,
        random_cases: RANDOM_CASES,
        time_factor: 1,
    };
    run_with(flags, effort)
}

/// Runs the parts that were asked for with other counts.
pub fn run_with(flags: &Flags, effort: Effort) -> Result<ExitCode> {
    let parts = flags.parts();
    let needs: Vec<Need> = parts.iter().flat_map(|part| part.needs()).copied().collect();
    let mut rows = vec![Row::of("setup", |_| setup::run(&needs))];
    let mut suite = Suite::new(flags.verbose, effort);
    if parts.iter().any(|part| part.uses_build()) {
        rows.push(Row::of("build", |_| suite.build(&parts)));
    }
    for part in parts.into_iter().filter(|part| *part != Part::Setup) {
        rows.push(Row::of(part.name(), |findings| interrupt::check().and_then(|()| suite.run(part, findings))));
    }
    println!("{}\n{}", failures(&rows), table(&rows));
    Ok(if rows.iter().all(Row::passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
