//! Self-checking cases that a group of ranks runs on a file system: what MPI-IO promises, case by case.

mod access;
mod atomic;
mod datareps;
mod datatypes;
mod errors;
mod exchange;
mod files;
mod hints;
mod large;
mod modes;
mod requests;
mod shared;
mod split;
mod start;
mod views;

pub use large::large;

use crate::agree;
use anyhow::{Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, Error, ErrorClass, File, Info};
use std::time::{Duration, Instant};

/// No error may take longer than this to reach all ranks.
pub const ERROR_TIME_MAX: Duration = Duration::from_secs(20);

/// What every case has.
pub struct Context<'a> {
    /// All ranks.
    pub world: &'a SimpleCommunicator,
    /// Files of the cases have names that start with this.
    pub prefix: &'a str,
}

/// A case: an error if something is not as promised, on the rank that finds it.
pub type Case = fn(&Context) -> Result<()>;

/// All cases with their names, in the order in which they run.
pub fn all() -> Vec<(&'static str, Case)> {
    [
        datatypes::CASES,
        views::CASES,
        access::CASES,
        exchange::CASES,
        requests::CASES,
        split::CASES,
        start::CASES,
        atomic::CASES,
        shared::CASES,
        modes::CASES,
        datareps::CASES,
        files::CASES,
        hints::CASES,
        errors::CASES,
    ]
    .concat()
}

impl Context<'_> {
    /// This rank's number.
    pub fn rank(&self) -> u64 {
        self.world.rank().unsigned_abs().into()
    }

    /// Number of ranks.
    pub fn ranks(&self) -> u64 {
        self.world.size().unsigned_abs().into()
    }

    /// A file name of this case.
    pub fn name(&self, case: &str) -> String {
        format!("{}{case}", self.prefix)
    }

    /// A new file with a stripe unit of 64 KiB.
    fn create(&self, case: &str, hints: &Info) -> Result<File> {
        let hints = hints.clone().with("striping_unit", 64 << 10);
        let amode = AccessMode::CREATE | AccessMode::EXCL | AccessMode::RDWR;
        Ok(File::open(self.world, &self.name(case), amode, &hints)?)
    }

    /// Checks that a call failed with the same error on all ranks, of this class and soon. Collective.
    pub fn same_error<T>(&self, class: ErrorClass, call: impl FnOnce() -> Result<T, Error>) -> Result<()> {
        let start = Instant::now();
        let error = call().err();
        let elapsed = start.elapsed();
        let text = error.as_ref().map_or_else(|| "no error".to_owned(), Error::to_string);
        let first = agree::from_rank_0(self.world, text.clone());
        ensure!(error.as_ref().map(Error::class) == Some(class), "{text:?} instead of {class}");
        ensure!(text == first, "{text:?} here and {first:?} on rank 0");
        ensure!(elapsed < ERROR_TIME_MAX, "{text:?} took {elapsed:?}");
        Ok(())
    }
}

/// Checks that two buffers are equal and says where they are not.
fn check_bytes(actual: &[u8], expected: &[u8]) -> Result<()> {
    ensure!(actual.len() == expected.len(), "{} bytes instead of {}", actual.len(), expected.len());
    let wrong = actual.iter().zip(expected).position(|(a, e)| a != e);
    match wrong {
        None => Ok(()),
        Some(at) => Err(anyhow::anyhow!("byte {at} is {} instead of {}", actual[at], expected[at])),
    }
}
