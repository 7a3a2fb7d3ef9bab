//! Programs that are not changed, with the `MPI_File_*` library: in C, Fortran and Python, under Open MPI and MPICH.
//!
//! Invariants: every program runs twice, with MPI's own implementation on local files and with ours, and what it says and
//! leaves is compared; that it was ours is seen in what the servers have.

mod compare;
mod differences;
mod formats;
mod fortran;
mod functions;
mod installed;
mod job;
mod mpi4py;
mod observed;

use std::path::Path;

use anyhow::Result;

use super::findings::Findings;
use crate::capi;
use crate::cluster::Cluster;
use crate::interrupt;
use crate::mpi::Mpi;
use crate::workspace::Built;

use job::Ground;

const FILE_SERVERS: u32 = 3;
/// Where the servers' stores are: what is tested is not a disk.
const MEMORY: &str = "/dev/shm";
/// The programs' sources.
const SOURCES: &str = "pfs-mpiio/capi/tests";

/// Both MPIs with the ranks that their programs run on: waiting ranks of MPICH keep their cores busy.
const GROUPS: [(Mpi, u32); 2] = [(Mpi::Open, 3), (Mpi::Mpich, 2)];

/// Runs all of them against one cluster. What was built for MPICH is its library.
pub fn run(built: &Built, mpich: &Built, findings: &mut Findings) -> Result<()> {
    let cluster = Cluster::start_in(Path::new(MEMORY), built.program("pfs")?, FILE_SERVERS)?;
    let ground = |(mpi, ranks)| {
        let library = capi::tested(if mpi == Mpi::Open { built } else { mpich })?;
        Ground::new(mpi, ranks, library.to_path_buf(), &cluster)
    };
    let grounds = GROUPS.into_iter().map(ground).collect::<Result<Vec<_>>>()?;
    for ground in &grounds {
        functions::run(ground, findings)?;
        interrupt::check()?;
        fortran::run(ground, findings)?;
        interrupt::check()?;
        mpi4py::run(ground, findings)?;
        interrupt::check()?;
        if ground.mpi == Mpi::Open {
            formats::run(ground, findings)?;
        }
    }
    installed::run(built, &grounds, findings)?;
    cluster.stop()
}
