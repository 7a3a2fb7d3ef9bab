//! The parts themselves: which programs each runs, with which limits and in which environment.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::findings::{Findings, TestCounts, closing_lines};
use super::{Effort, Part, capi, foreign, ior, page, protocol, random};
use crate::mpi::Mpi;
use crate::step::{Finished, Step};
use crate::workspace::{self, Built, MPI_PACKAGES, Selection, TestProgram};
use crate::{demo, interrupt, shared_build, slurm};

/// One test program's time; most take seconds.
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);
/// Documentation examples are compiled one by one.
const DOCUMENTATION_LIMIT: Duration = Duration::from_secs(1200);
const DEMO_SIZE_MIB: u64 = 48;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
const DEMO_RANKS: u32 = 4;

/// The state that parts share: what was built.
pub struct Suite {
    verbose: bool,
    effort: Effort,
    /// For Open MPI.
    built: Built,
    mpich: Built,
}

impl Suite {
    /// A suite with nothing built yet.
    pub fn new(verbose: bool, effort: Effort) -> Self {
        Self { verbose, effort, built: Built::default(), mpich: Built::default() }
    }

    /// Builds what the parts need: everything for Open MPI, or all but the tests, and for MPICH what depends on MPI. What
    /// compiles is there for them even if this fails.
    pub fn build(&mut self, parts: &[Part]) -> Result<()> {
        let tests = parts.iter().any(|part| part.uses_tests());
        let selection = if tests { Selection::Workspace } else { Selection::WorkspacePrograms };
        let (built, mut complete) = workspace::build_what_compiles(&selection, Mpi::Open)?;
        self.built = built;
        if parts.iter().any(|part| part.uses_mpich()) {
            shared_build::take()?;
            let (built, all) = workspace::build_what_compiles(&selection, Mpi::Mpich)?;
            self.mpich = built;
            complete &= all;
        }
        if !complete {
            bail!("not everything compiles, see above");
        }
        Ok(())
    }

    /// Runs one part.
    pub fn run(&self, part: Part, findings: &mut Findings) -> Result<()> {
        match part {
            Part::Setup => Ok(()),
            Part::Unit => self.unit(findings),
            Part::Sim => protocol::sim(&self.effort, self.verbose, findings),
            Part::Model => protocol::model(self.verbose, findings),
            Part::Mpi => self.ranks(&self.built, Mpi::Open, "2,3,4", findings),
            Part::Mpiio => random::run(&self.built, &self.effort, findings),
            Part::Mpich => self.ranks(&self.mpich, Mpi::Mpich, "2", findings),
            Part::Capi => capi::run(&self.built, &self.mpich, findings),
            Part::Ior => ior::run(&self.built, findings),
            Part::Foreign => foreign::run(&self.built, findings),
            Part::Faults => protocol::faults(&self.built, &self.effort, self.verbose, findings),
            Part::Page => page::run(&self.built, findings),
            Part::Slurm => {
                let library = crate::capi::put(&self.built, Mpi::Open)?;
                let programs = slurm::Programs {
                    pfs: self.built.program("pfs")?,
                    ranks: self.built.program("pfs-demo")?,
                    library: &library,
                };
                slurm::run(&programs, &mut |name, check| findings.check(name, check))
            }
            Part::Demo => self.demo(findings),
        }
    }

    fn unit(&self, findings: &mut Findings) -> Result<()> {
        for test in self.built.tests.iter().filter(|test| !links_mpi(test)) {
            interrupt::check()?;
            self.test_program(test, Mpi::Open, &[], findings);
        }
        let mut documentation = workspace::cargo("test", Mpi::Open)?;
        documentation.args(["--locked", "--quiet", "--workspace", "--doc"]);
        self.tests("examples in the documentation", documentation, DOCUMENTATION_LIMIT, findings);
        Ok(())
    }

    /// Runs the test programs of the packages that link MPI; they launch ranks themselves, in groups of these sizes.
    fn ranks(&self, built: &Built, mpi: Mpi, sizes: &str, findings: &mut Findings) -> Result<()> {
        let launcher = mpi.launcher().join(" ");
        let mut environment = vec![("PFS_MPIRUN", launcher.as_str()), ("PFS_TEST_RANKS", sizes)];
        // Their servers make thousands of small files durable. How disks do that is tested elsewhere.
        environment.extend(Path::new(MEMORY).is_dir().then_some(("TMPDIR", MEMORY)));
        for test in built.tests.iter().filter(|test| links_mpi(test)) {
            interrupt::check()?;
            self.test_program(test, mpi, &environment, findings);
        }
        Ok(())
    }

    fn test_program(&self, test: &TestProgram, mpi: Mpi, environment: &[(&str, &str)], findings: &mut Findings) {
        let mut command = Command::new(&test.executable);
        command.current_dir(&test.directory).env("CARGO_MANIFEST_DIR", &test.directory);
        command.env("MPICC", mpi.compiler()).envs(mpi.environment().iter().copied()).envs(environment.iter().copied());
        if let Ok(pfs) = self.built.program("pfs") {
            command.env("PFS_BIN", pfs);
        }
        self.tests(&format!("{} {}", test.package, test.target), command, PROGRAM_LIMIT, findings);
    }

    /// Runs a command that ends with libtest's closing lines and shows those, or everything if it fails.
    fn tests(&self, name: &str, mut command: Command, limit: Duration, findings: &mut Findings) {
        command.envs(self.effort.counts.iter().map(|(name, value)| (name, value)));
        let limit = limit.saturating_mul(self.effort.time_factor);
        let mut counts = TestCounts::default();
        findings.check(name, || {
            let finished = Step::new(name, command, limit).run_any_status()?;
            counts = TestCounts::of_output(&finished.stdout);
            if !finished.status.success() {
                bail!("{}{}", finished.status, finished.indented_output());
            }
            Ok(self.shown(&finished))
        });
        findings.count(counts);
    }

    fn shown(&self, finished: &Finished) -> String {
        if self.verbose {
            return finished.stdout.clone() + &finished.stderr;
        }
        closing_lines(&finished.stdout).collect::<Vec<_>>().join("\n")
    }

    fn demo(&self, findings: &mut Findings) -> Result<()> {
        let flags = demo::Flags { size_mib: DEMO_SIZE_MIB, ranks: DEMO_RANKS, json: false, keep: None };
        findings.check("demo", || {
            let report = demo::demonstrate(&self.built, &flags, &|line| {
                if self.verbose {
                    println!("{line}")
                }
            })?;
            Ok(report.last_line())
        });
        Ok(())
    }
}

fn links_mpi(test: &TestProgram) -> bool {
    MPI_PACKAGES.contains(&test.package.as_str())
}
