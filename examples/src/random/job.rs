//! The cases of one job: each is run, some by two paths, and one that fails is made simpler.

use super::case::Case;
use super::generate;
use super::run::{Done, Path, Plant, Setup, run};
use super::shrink::simpler;
use super::watchdog::Watchdog;
use crate::agree;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::time::Duration;

/// Runs that may be spent on making a case simpler.
const ATTEMPTS_MAX: usize = 120;

/// What a job does.
pub struct Job<'a> {
    /// All ranks.
    pub world: &'a SimpleCommunicator,
    /// Files have names that start with this.
    pub prefix: &'a str,
    /// The same seed gives the same cases.
    pub seed: u64,
    /// The first case.
    pub first: u64,
    /// How many.
    pub cases: u64,
    /// A case that takes longer hangs.
    pub case_time_max: Duration,
    /// A mistake on purpose.
    pub plant: Option<Plant>,
}

struct Runner<'a> {
    job: &'a Job<'a>,
    watchdog: Watchdog,
    done: Done,
    files: u64,
}

/// Runs all cases of a job and returns what was done in one line. Collective.
pub fn job(job: &Job<'_>) -> Result<String> {
    let watchdog = Watchdog::new(job.world.rank(), job.case_time_max);
    let mut runner = Runner { job, watchdog, done: Done::default(), files: 0 };
    let mut twins = 0;
    for number in job.first..job.first + job.cases {
        let case = generate::case(job.seed, number, usize::try_from(job.world.size())?);
        let path = other_path(number);
        twins += u64::from(path != Path::AsMade && case.has_collectives());
        if let Err(error) = runner.compared(number, &case, path) {
            return Err(runner.report(number, &case, path, &error));
        }
    }
    let accesses = agree::total(job.world, runner.done.accesses);
    let compared = agree::total(job.world, runner.done.compared);
    let (cases, ranks) = (job.cases, job.world.size());
    Ok(format!("{cases} cases on {ranks} ranks, {twins} by two paths, {accesses} accesses, {compared} bytes compared"))
}

/// The second path of every other case.
fn other_path(number: u64) -> Path {
    match number % 6 {
        1 => Path::Exchange,
        3 => Path::Direct,
        5 => Path::Alone,
        _ => Path::AsMade,
    }
}

impl Runner<'_> {
    /// Runs a case, and by a second path if that is another one, with the same bytes in the end.
    fn compared(&mut self, number: u64, case: &Case, path: Path) -> Result<()> {
        let bytes = self.agreed(number, case)?;
        if path == Path::AsMade || !case.has_collectives() {
            return Ok(());
        }
        let others = self.agreed(number, &path.of(case)).with_context(|| format!("by {path:?}"))?;
        ensure!(bytes == others, "the file is another one by {path:?}");
        Ok(())
    }

    /// Runs a case; what is wrong on one rank is an error on all.
    fn agreed(&mut self, number: u64, case: &Case) -> Result<Vec<u8>> {
        self.watchdog.begin(self.name(number), case);
        self.files += 1;
        let (Job { world, prefix, plant, .. }, step) = (self.job, &self.watchdog.step);
        let setup = Setup { world, prefix, plant: *plant, opens_again: number.is_multiple_of(5), step };
        let own = run(&setup, &self.files.to_string(), case, &mut self.done);
        let text = own.as_ref().err().map(|error| format!("{error:#}"));
        match first_error(world, text) {
            Some(text) => bail!(text),
            None => own,
        }
    }

    fn name(&self, number: u64) -> String {
        let (seed, ranks) = (self.job.seed, self.job.world.size());
        format!(
            "seed {seed}, case {number} on {ranks} ranks (again: PFS_TEST_SEED={seed} PFS_TEST_CASE={ranks}:{number} \
             cargo xtask test mpiio)"
        )
    }

    /// Makes a failing case simpler and tells all of it. Collective.
    fn report(&mut self, number: u64, case: &Case, path: Path, error: &anyhow::Error) -> anyhow::Error {
        let (mut smallest, mut last, mut attempts) = (case.clone(), format!("{error:#}"), 0);
        'simpler: loop {
            for candidate in simpler(&smallest) {
                attempts += 1;
                if attempts > ATTEMPTS_MAX {
                    break 'simpler;
                }
                if let Err(error) = self.compared(number, &candidate, path) {
                    (smallest, last) = (candidate, format!("{error:#}"));
                    continue 'simpler;
                }
            }
            break;
        }
        anyhow!(
            "FAILED: {}\n{error:#}\nthe case:\n{case}simpler, after {attempts} runs:\n{last}\n{smallest}",
            self.name(number)
        )
    }
}

/// The error of the lowest rank that has one, on all ranks.
fn first_error(world: &SimpleCommunicator, own: Option<String>) -> Option<String> {
    let none = world.size();
    let mine = if own.is_some() { world.rank() } else { none };
    let mut lowest = none;
    world.all_reduce_into(&mine, &mut lowest, SystemOperation::min());
    if lowest == none {
        return None;
    }
    let text = agree::from_rank(world, lowest, own.unwrap_or_default());
    Some(format!("rank {lowest}: {text}"))
}
