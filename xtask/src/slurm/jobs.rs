//! The batch script, run to every ending of a job, and what each must leave: its output, and nothing else.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::more;
use super::system::Slurm;
use crate::step::Step;
use crate::{interrupt, processes, workspace};

/// A job's time from submission to its end; only the one that meets its time limit needs most of it.
const JOB_LIMIT: Duration = Duration::from_secs(180);
const SUBMIT_LIMIT: Duration = Duration::from_secs(60);
/// How long a job may be gone before nothing of it may be left.
const LEFT_BEHIND_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const INPUT_BYTES: usize = 6 << 20;

/// Runs a check under a name and keeps its result.
pub type Check<'a> = dyn FnMut(&str, &mut dyn FnMut() -> Result<String>) + 'a;

/// The programs that jobs need.
pub struct Programs<'a> {
    /// The `pfs` command.
    pub pfs: &'a Path,
    /// The rank program, `pfs-demo`.
    pub ranks: &'a Path,
    /// The library for programs that are not changed.
    pub library: &'a Path,
}

/// How a job ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Its program succeeds.
    Success,
    /// Its program fails.
    Failure,
    /// It is cancelled while its program runs.
    Cancel,
    /// It is put back into the queue while its program runs, and succeeds the second time.
    Requeue,
    /// Its time runs out while its program runs.
    TimeLimit,
    /// Its batch script is killed while its program runs, so that no trap runs.
    Kill,
}

impl Ending {
    /// Whether results are saved: always, unless the script was killed that does it.
    fn saves(self) -> bool {
        self != Ending::Kill
    }
}

struct Case {
    name: &'static str,
    ending: Ending,
    /// Options of sbatch.
    options: &'static [&'static str],
    /// What the batch script's environment has more.
    environment: &'static [(&'static str, &'static str)],
}

const CASES: [Case; 7] = [
    Case { name: "success, srun", ending: Ending::Success, options: &[], environment: &[] },
    Case {
        name: "success, mpirun, two file servers a node",
        ending: Ending::Success,
        options: &[],
        environment: &[
            ("PFS_LAUNCH", "mpirun.openmpi --allow-run-as-root --oversubscribe --bind-to none"),
            ("PFS_SERVERS_PER_NODE", "2"),
        ],
    },
    Case { name: "failing program", ending: Ending::Failure, options: &[], environment: &[] },
    Case { name: "scancel in the middle", ending: Ending::Cancel, options: &[], environment: &[] },
    Case { name: "requeue in the middle", ending: Ending::Requeue, options: &["--requeue"], environment: &[] },
    Case { name: "batch script killed", ending: Ending::Kill, options: &[], environment: &[] },
    // Slurm looks every 30 s and warns up to 30 s early: some 20 to 50 s after the start of the one minute. So it is
    // submitted first and looked at last.
    Case {
        name: "time limit",
        ending: Ending::TimeLimit,
        options: &["--time=1", "--signal=B:TERM@10"],
        environment: &[],
    },
];

/// Runs every case, one check each, and ends with a count of what was left behind.
pub fn run(programs: &Programs<'_>, check: &mut Check<'_>) -> Result<()> {
    let slurm = Slurm::start(programs.pfs)?;
    let batch = Batch::new(&slurm, programs)?;
    let (mut jobs, mut left_behind) = (0, 0);
    let (last, others) = CASES.split_last().context("there are cases")?;
    let slow = batch.submit_case(CASES.len(), last)?;
    for (number, case) in others.iter().enumerate() {
        interrupt::check()?;
        check(&format!("slurm job: {}", case.name), &mut || {
            let job = batch.submit_case(number, case)?;
            jobs += 1;
            batch.ended_and_left_nothing(&job, batch.see_through(&job, case), &mut left_behind)
        });
    }
    for (name, scenario) in more::SCENARIOS {
        interrupt::check()?;
        check(&format!("slurm job: {name}"), &mut || {
            let outcome = scenario(&batch)?;
            jobs += outcome.len();
            for (job, result) in outcome {
                batch.ended_and_left_nothing(&job, result, &mut left_behind)?;
            }
            Ok(String::new())
        });
    }
    check(&format!("slurm job: {}", last.name), &mut || {
        jobs += 1;
        batch.ended_and_left_nothing(&slow, batch.see_through(&slow, last), &mut left_behind)
    });
    println!("{jobs} jobs, {left_behind} left behind");
    Ok(())
}

/// A submitted job.
pub(super) struct Job {
    pub(super) id: String,
    /// The folder it was submitted in.
    pub(super) folder: PathBuf,
    /// What it prints.
    pub(super) output: PathBuf,
}

/// What submits jobs and looks at them.
pub(super) struct Batch<'a> {
    pub(super) slurm: &'a Slurm,
    pub(super) programs: &'a Programs<'a>,
    pub(super) scripts: PathBuf,
    /// Node-local storage of all nodes.
    local: PathBuf,
    pub(super) input: PathBuf,
}

impl<'a> Batch<'a> {
    fn new(slurm: &'a Slurm, programs: &'a Programs<'a>) -> Result<Self> {
        let directory = slurm.directory();
        let (local, input) = (directory.join("local"), directory.join("input"));
        fs::create_dir(&local).context("making the jobs' local folder")?;
        let program = fs::read(programs.pfs).context("reading the pfs program as input")?;
        fs::write(&input, &program[..program.len().min(INPUT_BYTES)]).context("writing the jobs' input")?;
        Ok(Self { slurm, programs, scripts: workspace::root()?.join("slurm"), local, input })
    }

    fn submit_case(&self, number: usize, case: &Case) -> Result<Job> {
        let program = self.program(case.ending);
        self.submit(&format!("job-{number}"), "pfs-mpi.sbatch", |command| {
            command.envs(case.environment.iter().copied()).env("PFS_STAGE_IN", &self.input);
            if case.ending.saves() {
                command.env("PFS_STAGE_OUT", "pfs:/result pfs:/input");
            }
            let options = [&["--nodes=2", "--ntasks-per-node=2"], case.options].concat();
            (
                options.into_iter().map(OsString::from).collect(),
                ["bash", "-c", &program, "rank"].map(OsString::from).into(),
            )
        })
    }

    /// Submits a batch script of the project, or of a test by its whole path. `set` gives it an environment, and returns
    /// options of sbatch and the script's arguments.
    pub(super) fn submit(
        &self,
        name: &str,
        script: &str,
        set: impl FnOnce(&mut Command) -> (Vec<OsString>, Vec<OsString>),
    ) -> Result<Job> {
        let folder = self.slurm.directory().join(name);
        fs::create_dir(&folder)?;
        let output = folder.join("output");
        let mut command = self.slurm.command("sbatch");
        command.current_dir(&folder).args(["--parsable", "--export=ALL", "--output"]).arg(&output);
        command.env("PFS_SAVE_SECONDS", "6");
        let (options, arguments) = set(&mut command);
        command.args(options).arg(self.scripts.join(script)).args(arguments);
        command.envs([
            ("PFS_BIN", self.programs.pfs),
            ("PFS_LOCAL_DIR", &self.local),
            ("PFS_SLURM_DIR", &self.scripts),
        ]);
        // All nodes are one host here, on which Open MPI's shared-memory transport takes them for one node.
        command.envs([("OMPI_MCA_btl", "self,tcp"), ("OMPI_MCA_btl_tcp_if_include", "lo")]);
        command.envs([("OMPI_MCA_mpi_yield_when_idle", "1")]);
        let id = Step::new("sbatch", command, SUBMIT_LIMIT).run()?.stdout.trim().to_owned();
        Ok(Job { id, folder, output })
    }

    /// What each rank runs: it writes the input, and then does what the ending needs.
    fn program(&self, ending: Ending) -> String {
        let write = self.write_result();
        match ending {
            Ending::Success => write,
            Ending::Failure => format!("{write} && exit 3"),
            Ending::Cancel | Ending::TimeLimit | Ending::Kill => format!("{write} && touch running && sleep 600"),
            Ending::Requeue => {
                format!("{write} && if [ \"${{SLURM_RESTART_COUNT:-0}}\" -eq 0 ]; then touch running; sleep 600; fi")
            }
        }
    }

    /// What each rank runs to write the input to `pfs:/result`, together with the others.
    pub(super) fn write_result(&self) -> String {
        format!("{} write --file pfs:/result --input {} --json", quoted(self.programs.ranks), quoted(&self.input))
    }

    /// What became of a job that has ended; everything it printed if that is not what was wanted.
    fn ended_and_left_nothing(&self, job: &Job, result: Result<()>, left_behind: &mut usize) -> Result<String> {
        let left = self.wait_for_nothing_left(job);
        *left_behind += left.len();
        let output = || fs::read_to_string(&job.output).unwrap_or_default();
        result.map_err(|error| anyhow!("{error:#}\njob {} printed:\n{}", job.id, output()))?;
        ensure!(left.is_empty(), "job {} left behind: {}\nit printed:\n{}", job.id, left.join("; "), output());
        Ok(String::new())
    }

    /// Does to the job what its case says, waits for its end and looks at its result.
    fn see_through(&self, job: &Job, case: &Case) -> Result<()> {
        if matches!(case.ending, Ending::Cancel | Ending::Kill | Ending::TimeLimit | Ending::Requeue) {
            self.wait(job, "to run its program", || Ok(job.folder.join("running").exists() || self.ended(job)?))?;
            ensure!(job.folder.join("running").exists(), "it ended before its program ran");
            let nothing = self.left(job).is_empty();
            // One that nobody has looked at until now may be over.
            ensure!(!nothing || self.ended(job)?, "its program runs and yet it has no server and no folder");
        }
        match case.ending {
            Ending::Cancel => drop(self.slurm.answer("scancel", &[&job.id])?),
            Ending::Kill => drop(self.slurm.answer("scancel", &["--batch", "--signal=KILL", &job.id])?),
            Ending::Requeue => drop(self.slurm.answer("scontrol", &["requeue", &job.id])?),
            Ending::Success | Ending::Failure | Ending::TimeLimit => {}
        }
        self.wait_for_end(job)?;
        self.check_result(job, case.ending)
    }

    fn check_result(&self, job: &Job, ending: Ending) -> Result<()> {
        let (state, exit) = (self.field(job, "JobState")?, self.field(job, "ExitCode")?);
        let expected: &[&str] = match ending {
            Ending::Success | Ending::Requeue => &["COMPLETED"],
            Ending::Failure | Ending::Kill => &["FAILED"],
            Ending::Cancel => &["CANCELLED"],
            // The script ends before Slurm has to end it.
            Ending::TimeLimit => &["FAILED", "TIMEOUT"],
        };
        ensure!(expected.contains(&state.as_str()), "it ended as {state} ({exit}), expected {}", expected.join(" or "));
        if ending == Ending::Failure {
            ensure!(exit == "3:0", "its program ended with 3, the job with {exit}");
        }
        if ending.saves() {
            self.check_copy(&job.folder.join("result"))?;
            self.check_copy(&job.folder.join("input"))?;
        }
        Ok(())
    }

    /// Whether a file is as the input.
    pub(super) fn check_copy(&self, copy: &Path) -> Result<()> {
        let (expected, found) = (fs::read(&self.input)?, fs::read(copy).context("reading what was copied out")?);
        let (have, want) = (found.len(), expected.len());
        ensure!(expected == found, "{} differs from its input ({have} and {want} bytes)", copy.display());
        Ok(())
    }

    pub(super) fn wait_for_end(&self, job: &Job) -> Result<()> {
        self.wait(job, "to end", || self.ended(job))
    }

    pub(super) fn ended(&self, job: &Job) -> Result<bool> {
        let state = self.field(job, "JobState")?;
        Ok(!matches!(state.as_str(), "PENDING" | "RUNNING" | "COMPLETING" | "CONFIGURING" | "STAGE_OUT"))
    }

    pub(super) fn field(&self, job: &Job, name: &str) -> Result<String> {
        let answer = self.slurm.answer("scontrol", &["--oneliner", "show", "job", &job.id])?;
        let value = answer.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Ok(value.with_context(|| format!("scontrol says no {name} of job {}: {answer}", job.id))?.to_owned())
    }

    pub(super) fn wait(&self, job: &Job, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !done()? {
            interrupt::check()?;
            if started.elapsed() > JOB_LIMIT {
                let _cancelled = self.slurm.answer("scancel", &[&job.id]);
                bail!("waited {} s for it {what}; cancelled\n{}", JOB_LIMIT.as_secs(), self.slurm.logs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// What is still there of an ended job some seconds later: processes and folders.
    fn wait_for_nothing_left(&self, job: &Job) -> Vec<String> {
        let started = Instant::now();
        loop {
            let left = self.left(job);
            if left.is_empty() || started.elapsed() > LEFT_BEHIND_LIMIT {
                return left;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Server processes and folders of a job.
    fn left(&self, job: &Job) -> Vec<String> {
        let folder = self.local.join(format!("pfs-job-{}", job.id));
        let mut left: Vec<String> = processes::naming(&folder).into_iter().map(processes::describe).collect();
        if folder.exists() {
            left.push(folder.display().to_string());
        }
        left
    }
}

/// A path as one word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
