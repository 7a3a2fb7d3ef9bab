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
///
/// The files are made twice, for half of the rounds each, the second time in the opposite order: the file that is made first is
/// slower by several per cent, whosever it is. All use the same buffer.
pub fn group(world: &SimpleCommunicator, group: &Group, prefix: &str, rounds: u32, bytes: u64) -> Result<Measured> {
    let contenders = group.contenders;
    let mut samples = Vec::new();
    let mut waited = vec![[Waited::default(); Way::ALL.len()]; contenders.len()];
    let half = rounds.div_ceil(2);
    for (rounds, is_reversed) in [(0..half, false), (half..rounds, true)] {
        let mut making: Vec<usize> = (0..contenders.len()).collect();
        if is_reversed {
            making.reverse();
        }
        let open = |at: usize| Opened::new(world, &format!("{prefix}{}-{at}", group.name), &contenders[at], bytes);
        let mut opened = making.iter().map(|&at| Ok((at, open(at)?))).collect::<Result<Vec<_>>>()?;
        opened.sort_by_key(|(at, _)| *at);
        let opened: Vec<Opened> = opened.into_iter().map(|(_, opened)| opened).collect();
        let mut buffer = vec![1; opened.iter().map(Opened::bytes).max().unwrap_or(0)];
        for (number, way) in Way::ALL.into_iter().enumerate() {
            // Makes the files' pages, connections and memory, in the order of the files, and does not count.
            for &at in &making {
                time(world, &opened[at], way, &mut buffer)?;
            }
            let before: Vec<Times> = opened.iter().map(Opened::times).collect();
            for round in rounds.clone() {
                let mut order: Vec<usize> = (0..opened.len()).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for at in order {
                    let seconds = time(world, &opened[at], way, &mut buffer)?;
                    let bytes = opened[at].bytes() as u64 * u64::try_from(world.size())?;
                    let contender = contenders[at].name;
                    samples.push(Sample { group: group.name, contender, way, round, seconds, bytes });
                }
            }
            for (at, before) in before.iter().enumerate() {
                waited[at][number].add(way, before, &opened[at].times());
            }
        }
        opened.into_iter().try_for_each(Opened::close)?;
    }
    let mut waits = Vec::new();
    for (contender, waited) in contenders.iter().zip(waited) {
        for (way, waited) in Way::ALL.into_iter().zip(waited) {
            waits.push(TokenWait { group: group.name, contender: contender.name, way, share: waited.share(world) });
        }
    }
    Ok(Measured { samples, waits })
}

/// Seconds that a rank waited for tokens, and those of all its accesses.
#[derive(Clone, Copy, Debug, Default)]
struct Waited([f64; 2]);

impl Waited {
    /// Adds what was between two moments.
    fn add(&mut self, way: Way, before: &Times, after: &Times) {
        let whole = match way {
            Way::Write => Phase::Write,
            Way::Read => Phase::Read,
        };
        for (sum, phase) in self.0.iter_mut().zip([Phase::TokenWait, whole]) {
            *sum += (after.time(phase) - before.time(phase)).as_secs_f64();
        }
    }

    /// The share of all ranks together. Collective.
    fn share(self, world: &SimpleCommunicator) -> f64 {
        let mut all = [0.0; 2];
        world.all_reduce_into(&self.0[..], &mut all[..], SystemOperation::sum());
        if all[1] > 0.0 { all[0] / all[1] } else { 0.0 }
    }
}

fn time(world: &SimpleCommunicator, opened: &Opened, way: Way, buffer: &mut [u8]) -> Result<f64> {
    world.barrier();
    let since = Instant::now();
    match way {
        Way::Write => opened.write(buffer)?,
        Way::Read => opened.read(buffer)?,
    }
    world.barrier();
    Ok(since.elapsed().as_secs_f64())
}
