//! `pfs-mdtest`: mdtest's metadata test on this file system. `mpirun -n 4 pfs-mdtest -n 1000 -d pfs:/test`

use mpi::traits::*;
use pfs_bench::mdtest::{options, run};
use pfs_bench::settings::Asked;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = pfs_bench::memory::without_huge_pages() {
        eprintln!("pfs-mdtest: pages of memory keep the size that the system gives them: {error}");
    }
    let Some(universe) = mpi::initialize() else {
        eprintln!("pfs-mdtest: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    let is_root = world.rank() == 0;
    let ranks = u64::from(world.size().unsigned_abs());
    let parsed = options::parse(std::env::args_os().skip(1));
    let params = match parsed.and_then(|(params, asked)| match asked {
        Asked::Run => params.checked(ranks).map(Ok),
        asked => Ok(Err(asked)),
    }) {
        Ok(Ok(params)) => params,
        Ok(Err(asked)) => {
            if is_root {
                match asked {
                    Asked::Version => println!("pfs-mdtest {}", env!("CARGO_PKG_VERSION")),
                    _ => print!("{}", options::help()),
                }
            }
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            if is_root {
                eprintln!("pfs-mdtest ERROR: {error}");
            }
            return ExitCode::from(2);
        }
    };
    let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    match run::run(&params, &world, &command) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pfs-mdtest ERROR: task {}: {error:#}", world.rank());
            // Other ranks may wait for this one.
            world.abort(1)
        }
    }
}
