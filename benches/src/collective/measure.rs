//! Runs the rounds of a group.

use super::access::Opened;
use super::groups::Group;
use anyhow::Result;
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{Phase, Times};
use std::time::Instant;

/// Which way the bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the servers.
    Write,
    /// From the servers.
    Read,
}

impl Way {
    /// Both, in the order in which they are measured.
    pub const ALL: [Way; 2] = [Way::Write, Way::Read];

    /// Its name in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Way::Write => "write",
            Way::Read => "read",
        }
    }
}

/// One measured access of all ranks.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Which group's.
    pub group: &'static str,
    /// Whose.
    pub contender: &'static str,
    /// Which way.
    pub way: Way,
    /// In which round, from 0.
    pub round: u32,
    /// From a barrier to the next one, on rank 0.
    pub seconds: f64,
    /// Bytes of all ranks.
    pub bytes: u64,
}

/// How much of the time of all ranks in collective accesses went to waiting for tokens.
#[derive(Clone, Copy, Debug)]
pub struct TokenWait {
    /// Which group's.
    pub group: &'static str,
    /// Whose.
    pub contender: &'static str,
    /// Which way.
    pub way: Way,
    /// A part of 1.
    pub share: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Each access.
    pub samples: Vec<Sample>,
    /// Of each contender and way.
    pub waits: Vec<TokenWait>,
}

/// Measures a group. Collective; the samples are rank 0's.
pub fn group(world: &SimpleCommunicator, group: &Group, prefix: &str, rounds: u32, bytes: u64) -> Result<Measured> {
    let open = |(at, contender)| Opened::new(world, &format!("{prefix}{}-{at}", group.name), contender, bytes);
    let mut opened = group.contenders.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?;
    let Measured { mut samples, mut waits } = Measured::default();
    for way in Way::ALL {
        let mut before = Vec::new();
        // The first round makes files and connections, and does not count.
        for round in 0..=rounds {
            if round == 1 {
                before = opened.iter().map(Opened::times).collect();
            }
            let order: Vec<usize> = match round % 2 {
                0 => (0..opened.len()).collect(),
                _ => (0..opened.len()).rev().collect(),
            };
            for at in order {
                let seconds = time(world, &mut opened[at], way)?;
                if let Some(round) = round.checked_sub(1) {
                    let bytes = opened[at].bytes() * u64::try_from(world.size())?;
                    let contender = group.contenders[at].name;
                    samples.push(Sample { group: group.name, contender, way, round, seconds, bytes });
                }
            }
        }
        for ((opened, before), contender) in opened.iter().zip(&before).zip(group.contenders) {
            let share = token_wait(world, way, before, &opened.times());
            waits.push(TokenWait { group: group.name, contender: contender.name, way, share });
        }
    }
    opened.into_iter().try_for_each(Opened::close)?;
    Ok(Measured { samples, waits })
}

/// The share between two moments, of all ranks together. Collective.
fn token_wait(world: &SimpleCommunicator, way: Way, before: &Times, after: &Times) -> f64 {
    let whole = match way {
        Way::Write => Phase::Write,
        Way::Read => Phase::Read,
    };
    let own = [Phase::TokenWait, whole].map(|phase| (after.time(phase) - before.time(phase)).as_secs_f64());
    let mut all = [0.0; 2];
    world.all_reduce_into(&own[..], &mut all[..], SystemOperation::sum());
    if all[1] > 0.0 { all[0] / all[1] } else { 0.0 }
}

fn time(world: &SimpleCommunicator, opened: &mut Opened, way: Way) -> Result<f64> {
    world.barrier();
    let since = Instant::now();
    match way {
        Way::Write => opened.write()?,
        Way::Read => opened.read()?,
    }
    world.barrier();
    Ok(since.elapsed().as_secs_f64())
}
