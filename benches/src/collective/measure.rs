//! Runs the rounds of a group.

use super::access::Opened;
use super::groups::Group;
use anyhow::Result;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
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

/// Measures a group. Collective; the samples are rank 0's.
pub fn group(world: &SimpleCommunicator, group: &Group, prefix: &str, rounds: u32, bytes: u64) -> Result<Vec<Sample>> {
    let open = |(at, contender)| Opened::new(world, &format!("{prefix}{}-{at}", group.name), contender, bytes);
    let mut opened = group.contenders.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?;
    let mut samples = Vec::new();
    for way in Way::ALL {
        // The first round makes files and connections, and does not count.
        for round in 0..=rounds {
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
    }
    opened.into_iter().try_for_each(Opened::close)?;
    Ok(samples)
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
