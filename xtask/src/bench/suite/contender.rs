//! Who takes part.

use super::workload::Program;
use crate::mpi::Mpi;

/// A way to do the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// This file system by MPI-IO, under Open MPI, its stores in memory.
    Pfs,
    /// The same under MPICH.
    PfsMpich,
    /// Its client library, each rank by itself.
    PfsClient,
    /// By MPI-IO, without the clients' cache.
    PfsNoCache,
    /// By MPI-IO, its stores on a disk.
    PfsDisk,
    /// Open MPI's own MPI-IO on a local file system in memory.
    OpenMemory,
    /// The same on a disk.
    OpenDisk,
    /// MPICH's own MPI-IO on a local file system in memory.
    MpichMemory,
    /// The same on a disk.
    MpichDisk,
    /// GlusterFS, four bricks in memory, mounted by FUSE; Open MPI's own MPI-IO on it.
    Gluster,
    /// A program on plain sockets that does the same work: a server for each rank, checksums and stored files included.
    RawTcp,
    /// The same for pieces of a shared file, after two reductions over all ranks each: the least that a collective call does.
    RawReductions,
    /// No file system: what the disk's syncs allow if each makes a name of every rank durable.
    DiskSyncs,
}

impl Contender {
    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Pfs => "pfs",
            Contender::PfsMpich => "pfs MPICH",
            Contender::PfsClient => "pfs client",
            Contender::PfsNoCache => "pfs no cache",
            Contender::PfsDisk => "pfs disk",
            Contender::OpenMemory => "Open MPI memory",
            Contender::OpenDisk => "Open MPI disk",
            Contender::MpichMemory => "MPICH memory",
            Contender::MpichDisk => "MPICH disk",
            Contender::Gluster => "Gluster",
            Contender::RawTcp => "raw TCP",
            Contender::RawReductions => "raw TCP with reductions",
            Contender::DiskSyncs => "disk syncs × ranks",
        }
    }

    /// Whether it is this file system, which must not fail.
    pub fn is_ours(self) -> bool {
        self.name().starts_with("pfs")
    }

    /// Under which MPI it runs.
    pub fn mpi(self) -> Mpi {
        match self {
            Contender::PfsMpich | Contender::MpichMemory | Contender::MpichDisk => Mpi::Mpich,
            _ => Mpi::Open,
        }
    }

    /// The interface that the programs take. Names have no calls in MPI-IO but open and delete: POSIX there.
    pub fn api(self, program: Program) -> &'static str {
        match self {
            Contender::Pfs | Contender::PfsMpich | Contender::PfsNoCache | Contender::PfsDisk => "PFS",
            Contender::PfsClient => "PFSCLIENT",
            Contender::RawTcp => "RAWTCP",
            Contender::RawReductions => "RAWTCPSHARED",
            _ if program == Program::Mdtest => "POSIX",
            _ => "MPIIO",
        }
    }
}
