//! `pfs-ior`: IOR's test on this file system. `mpirun -n 4 pfs-ior -c -b 16m -t 4m -s 4 -w -r -W -R -o pfs:/x`

use clap::Parser;
use mpi::traits::*;
use pfs_bench::ior::options::Options;
use pfs_bench::ior::run;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match Options::parse().checked() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("pfs-ior: {error}");
            return ExitCode::from(2);
        }
    };
    let Some(universe) = mpi::initialize() else {
        eprintln!("pfs-ior: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    match run::run(&options, &world) {
        Ok(report) if report.wrong_bytes == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pfs-ior: rank {}: {error:#}", world.rank());
            // Other ranks may wait for this one.
            world.abort(1)
        }
    }
}
