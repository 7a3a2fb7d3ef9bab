//! Rounds: everybody does the same job in turn, and each time what it took is written down.
//!
//! Invariants: within a round all contenders run, one after the other and nothing beside them; every other round goes in the
//! opposite order, so that nobody always comes first; the first round is not counted. What a case needs beforehand (a file
//! that is full, or empty) is done outside of what is timed.

use anyhow::{Context, Result};
use serde::Serialize;
use std::time::Instant;

use crate::contenders::Contender;
use crate::usage::Usage;
use crate::work::{Job, Material};

/// One job and who does it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How the figures call it.
    pub name: &'static str,
    /// What is done.
    pub job: Job,
    /// Whether the file is empty before, so that all its pages are new.
    pub fresh: bool,
    /// Names of the contenders.
    pub contenders: &'static [&'static str],
}

/// What one run took.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The case's name.
    pub case: &'static str,
    /// Counted from 1.
    pub round: u32,
    /// Who ran.
    pub contender: &'static str,
    /// Operations: calls, blocks or pieces.
    pub operations: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Time on the wall.
    pub wall_s: f64,
    /// CPU time of this process.
    pub client_cpu_s: f64,
    /// CPU time of all servers together.
    pub server_cpu_s: f64,
    /// Minor page faults of this process.
    pub client_faults: u64,
    /// Minor page faults of all servers together.
    pub server_faults: u64,
}

impl Sample {
    /// CPU time of both sides.
    pub fn cpu_s(&self) -> f64 {
        self.client_cpu_s + self.server_cpu_s
    }

    /// How often a GiB was moved.
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / f64::from(1u32 << 30)
    }
}

/// Runs a case for so many rounds and one before. `progress` is told each round.
pub fn run(
    case: &Case,
    contenders: &mut [Box<dyn Contender>],
    material: &Material,
    rounds: u32,
    progress: impl FnMut(u32),
) -> Result<Vec<Sample>> {
    in_turns(case, contenders, material, rounds, progress, |round, contender| once(case, round, contender, material))
}

/// Has each contender of a case take its turn in each round, and in one before that is not counted.
pub(crate) fn in_turns<S>(
    case: &Case,
    contenders: &mut [Box<dyn Contender>],
    material: &Material,
    rounds: u32,
    mut progress: impl FnMut(u32),
    once: impl Fn(u32, &mut dyn Contender) -> Result<S>,
) -> Result<Vec<S>> {
    let mut part: Vec<&mut Box<dyn Contender>> =
        contenders.iter_mut().filter(|contender| case.contenders.contains(&contender.name())).collect();
    for contender in &mut part {
        prepare(case, contender.as_mut(), material)?;
    }
    let mut samples = Vec::new();
    for round in 0..=rounds {
        progress(round);
        for contender in &mut part {
            let sample = once(round, contender.as_mut())
                .with_context(|| format!("{} of {}, round {round}", case.name, contender.name()))?;
            samples.extend((round > 0).then_some(sample));
        }
        part.reverse();
    }
    Ok(samples)
}

/// Gives the file the pages that the job expects.
pub(crate) fn prepare(case: &Case, contender: &mut dyn Contender, material: &Material) -> Result<()> {
    contender.empty()?;
    match case.job {
        _ if case.fresh => Ok(()),
        Job::Write { call_bytes } | Job::Read { call_bytes } => contender.run(Job::Write { call_bytes }, material),
        Job::WriteBlocks { .. } | Job::ReadBlocks { .. } => contender.run(Job::WriteBlocks { depth: 16 }, material),
        Job::WriteLists | Job::ReadLists => contender.run(Job::WriteLists, material),
    }
}

fn once(case: &Case, round: u32, contender: &mut dyn Contender, material: &Material) -> Result<Sample> {
    if case.fresh {
        contender.empty()?;
    }
    let servers = contender.servers().to_vec();
    let before = (Usage::own()?, Usage::of_all(&servers)?);
    let started = Instant::now();
    contender.run(case.job, material)?;
    let wall = started.elapsed();
    let (client, server) = (Usage::own()? - before.0, Usage::of_all(&servers)? - before.1);
    contender.check(case.job, material)?;
    let (operations, bytes) = material.extent_of(case.job);
    Ok(Sample {
        case: case.name,
        round,
        contender: contender.name(),
        operations,
        bytes,
        wall_s: wall.as_secs_f64(),
        client_cpu_s: client.cpu.as_secs_f64(),
        server_cpu_s: server.cpu.as_secs_f64(),
        client_faults: client.faults,
        server_faults: server.faults,
    })
}
