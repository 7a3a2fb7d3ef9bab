//! Jobs that are not one run of `pfs-mpi.sbatch` by itself: a program that is not changed, servers that several jobs
//! share, a burst buffer.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::jobs::{Batch, Job, quoted};
use crate::mpi::Mpi;
use crate::step::Step;

const COMPILE_LIMIT: Duration = Duration::from_secs(120);
/// A user who is not root.
const NOBODY: u32 = 65_534;
const UNMODIFIED: &str = include_str!("unmodified.c");

/// Jobs that have ended, and whether each has done what it is for.
pub type Ended = Vec<(Job, Result<()>)>;

/// Submits jobs and waits until they have ended.
type Scenario = fn(&Batch<'_>) -> Result<Ended>;

/// Name and work of each.
pub const SCENARIOS: [(&str, Scenario); 3] = [
    ("a program that is not changed", unmodified),
    ("servers that jobs share", service),
    ("a burst buffer", burst_buffer),
];

/// A C program under the library, which writes and reads together, and whose file is copied out.
fn unmodified(batch: &Batch<'_>) -> Result<Ended> {
    let (source, program) = (batch.slurm.directory().join("unmodified.c"), batch.slurm.directory().join("unmodified"));
    fs::write(&source, UNMODIFIED)?;
    let mut compiler = Command::new(Mpi::Open.compiler());
    compiler.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(&source);
    Step::new("mpicc", compiler, COMPILE_LIMIT).run()?;
    let job = batch.submit("c-program", "pfs-mpi.sbatch", |command| {
        command.env("PFS_PRELOAD", batch.programs.library).env("PFS_STAGE_OUT", "pfs:/numbers");
        (options(&["--nodes=2", "--ntasks-per-node=2"]), vec![program.into(), "pfs:/numbers".into()])
    })?;
    let result = batch.wait_for_end(&job).and_then(|()| {
        completed(batch, &job)?;
        let numbers = fs::read(job.folder.join("numbers")).context("reading what it wrote")?;
        let expected: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
        ensure!(numbers == expected, "its file is not what it wrote ({} bytes)", numbers.len());
        Ok(())
    });
    Ok(vec![(job, result)])
}

/// One job serves, a second one writes, a third one reads what the second one wrote.
fn service(batch: &Batch<'_>) -> Result<Ended> {
    let file = batch.slurm.directory().join("pfs.service");
    let server = batch.submit("service", "pfs-service.sbatch", |_| {
        (options(&["--nodes=2", "--time=10"]), vec![file.clone().into()])
    })?;
    let join = |name: &str, program: &str, stage_out: &str| {
        batch.submit(name, "pfs-mpi.sbatch", |command| {
            command.env("PFS_SERVICE", &file).env("PFS_STAGE_OUT", stage_out);
            (options(&["--nodes=2", "--ntasks-per-node=1"]), ["bash", "-c", program].map(OsString::from).into())
        })
    };
    let writer = join("writer", &batch.write_result(), "")?;
    let wrote = batch.wait_for_end(&writer).and_then(|()| completed(batch, &writer));
    let reader = join("reader", "true", "pfs:/result")?;
    let read = batch.wait_for_end(&reader).and_then(|()| {
        completed(batch, &reader)?;
        batch.check_copy(&reader.folder.join("result"))
    });
    let served = batch.ended(&server).and_then(|ended| {
        ensure!(!ended, "it ended by itself");
        batch.slurm.answer("scancel", &["--batch", "--signal=TERM", &server.id])?;
        batch.wait_for_end(&server)?;
        completed(batch, &server)?;
        ensure!(!file.exists() && !file.with_extension("service.secret").exists(), "its file is still there");
        Ok(())
    });
    Ok(vec![(writer, wrote), (reader, read), (server, served)])
}

/// Slurm makes a file system before the job runs, fills it, and saves what is wanted when the job is over.
fn burst_buffer(batch: &Batch<'_>) -> Result<Ended> {
    let (script, result) = (batch.slurm.directory().join("bb.sbatch"), batch.slurm.directory().join("bb-result"));
    let text = format!(
        "#!/bin/bash\n\
         #BB_LUA pfs file_servers=2\n\
         #BB_LUA pfs stage_in source={} destination=pfs:/input\n\
         #BB_LUA pfs stage_out source=pfs:/result destination={}\n\
         set -e\n\
         env | grep ^PFS_\n\
         pfs={}\n\
         \"$pfs\" cp --quiet pfs:/input copy\n\
         \"$pfs\" cp --quiet copy pfs:/result\n",
        batch.input.display(),
        result.display(),
        quoted(batch.programs.pfs)
    );
    fs::write(&script, text)?;
    let name = script.to_string_lossy().into_owned();
    let folder = batch.slurm.directory().join("burst-buffer");
    let job = batch.submit("burst-buffer", &name, |_| {
        // Slurm gives root no burst buffer. The folder is made by now.
        let somebody = rustix::process::geteuid().is_root() && chown(&folder, Some(NOBODY), Some(NOBODY)).is_ok();
        let as_somebody: &[&str] = if somebody { &["--uid=65534", "--gid=65534"] } else { &[] };
        (options(&[&["--nodes=1"], as_somebody].concat()), Vec::new())
    })?;
    let folder = batch.slurm.burst_buffers().join(format!("job-{}", job.id));
    let ended = batch.wait_for_end(&job).and_then(|()| {
        completed(batch, &job)?;
        // The script ends before what it made is saved, and that before the file system goes.
        batch.wait(&job, "to lose its buffer", || Ok(!folder.exists()))?;
        batch.check_copy(&result)
    });
    let ended = ended.map_err(|error| anyhow!("{error:#}\n{}", batch.slurm.logs()));
    Ok(vec![(job, ended)])
}

fn options(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

fn completed(batch: &Batch<'_>, job: &Job) -> Result<()> {
    let state = batch.field(job, "JobState")?;
    ensure!(state == "COMPLETED", "it ended as {state} ({})", batch.field(job, "ExitCode")?);
    Ok(())
}
