//! Who is measured: ours, the raw TCP program, and a plain local `pwrite`.

mod local;
mod ours;
mod raw;

pub use local::Local;
pub use ours::{Ours, Servers};
pub use raw::{RawServer, RawTcp};

use crate::work::{Job, Material};
use anyhow::Result;

/// One who can do the jobs.
pub trait Contender {
    /// How the figures call it.
    fn name(&self) -> &'static str;

    /// The processes, other than this one, that work for it.
    fn servers(&self) -> &[i32];

    /// Makes the file empty.
    fn empty(&mut self) -> Result<()>;

    /// Does a job from begin to end.
    fn run(&mut self, job: Job, material: &Material) -> Result<()>;

    /// Does a job on large operations in the background while `work` is done on this thread; returns when both are over.
    fn beside(&mut self, job: Job, material: &Material, work: &mut dyn FnMut()) -> Result<()>;

    /// Compares some of what the last job read with what was written.
    fn check(&self, job: Job, material: &Material) -> Result<()>;
}
