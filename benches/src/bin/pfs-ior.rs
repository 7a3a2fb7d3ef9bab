//! `pfs-ior`: IOR's test on this file system. `mpirun -n 4 pfs-ior -c -b 16m -t 4m -s 4 -w -r -W -R -o pfs:/x`

use mpi::traits::*;
use pfs_bench::ior::{options, run};
use pfs_bench::settings::Asked;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = pfs_bench::memory::without_huge_pages() {
        eprintln!("pfs-ior: pages of memory keep the size that the system gives them: {error}");
    }
    let Some(universe) = mpi::initialize() else {
        eprintln!("pfs-ior: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    let is_root = world.rank() == 0;
    let refused = |error: String| {
        if is_root {
            eprintln!("pfs-ior ERROR: {error}");
        }
        ExitCode::from(2)
    };
    let mut line = match options::parse(std::env::args_os().skip(1)) {
        Ok((_, Asked::Help)) => {
            if is_root {
                print!("{}", options::help());
            }
            return ExitCode::SUCCESS;
        }
        Ok((_, Asked::Version)) => {
            if is_root {
                println!("pfs-ior {}", env!("CARGO_PKG_VERSION"));
            }
            return ExitCode::SUCCESS;
        }
        Ok((line, Asked::Run)) => line,
        Err(error) => return refused(error),
    };
    let (tests, warnings) = match run::tests(&mut line, &world) {
        Ok(tests) => tests,
        Err(error) => return refused(error),
    };
    if is_root {
        warnings.iter().for_each(|warning| eprintln!("WARNING: {warning}"));
    }
    if !warnings.is_empty() && tests.iter().any(|test| test.warnings_as_errors > 0) {
        return refused("warnings are errors".to_owned());
    }
    let command: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    match run::run(&tests, &line, &world, &command.join(" ")) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(errors) => ExitCode::from(u8::try_from(errors).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("pfs-ior ERROR: task {}: {error:#}", world.rank());
            // Other ranks may wait for this one.
            world.abort(1)
        }
    }
}
