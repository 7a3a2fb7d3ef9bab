//! One recording, and a loss of power at each of its boundaries.

use super::memory::{Existence, Memory, ObjectMemory};
use super::recorded::{Timeline, perform_all};
use super::steps::{FILES, Step, Steps, objects};
use crate::random::Random;
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::ObjectId;
use pfs_file_server::store::disk::{Change, Disk, Platter, SECTOR_BYTES, SimDisk, Survivors};
use pfs_file_server::store::{ObjectStore, PosixOptions, PosixStore, checksums_of};
use pfs_proto::data::ObjectExtent;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Steps of a recording, on one thread or on two.
const STEPS: usize = 48;
/// Steps after a first loss of power.
const MORE_STEPS: usize = 5;
/// Different outcomes of the same loss of power, besides that all survives and that nothing does.
const OUTCOMES: usize = 4;
/// A second loss of power follows after every so many, on average.
const SECOND_ONE_IN: u64 = 4;
/// All blocks of all objects are verified once in so many; otherwise those near bytes that were written.
const WHOLE_ONE_IN: u64 = 16;
/// Bytes that are read and judged at a time.
const WINDOW_BYTES: u64 = 32 << 10;
/// Changes that are shown of a loss.
const SHOWN: usize = 16;

/// How a store lies on a recording disk.
pub type Over<'a, D> = &'a (dyn Fn(SimDisk) -> D + Sync);

/// How much was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recordings.
    pub seeds: u64,
    /// Places in them where power was lost.
    pub boundaries: u64,
    /// Different disks that were left.
    pub losses_of_power: u64,
    /// Of those, after another one.
    pub second: u64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Counts) {
        self.seeds += other.seeds;
        self.boundaries += other.boundaries;
        self.losses_of_power += other.losses_of_power;
        self.second += other.second;
    }
}

/// Something that a loss of power has done to a store and must not.
#[derive(Clone, Debug)]
pub struct Loss {
    seed: u64,
    place: String,
    problem: String,
    last_changes: Vec<String>,
    under_way: Vec<String>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {}: {}", self.seed, self.place, self.problem)?;
        self.under_way.iter().try_for_each(|step| writeln!(f, "  under way: {step}"))?;
        writeln!(f, "  the last changes of the disk:")?;
        self.last_changes.iter().try_for_each(|change| writeln!(f, "    {change}"))
    }
}

/// Records the steps of a seed, loses power at every boundary, and tells the first loss, if there is one.
pub fn replay<D: Disk>(seed: u64, over: Over<'_, D>) -> (Counts, Option<Loss>) {
    let mut replay =
        Replay { seed, over, random: Random::new(!seed), counts: Counts { seeds: 1, ..Counts::default() } };
    let loss = replay.run().err().map(|loss| *loss);
    (replay.counts, loss)
}

struct Replay<'a, D> {
    seed: u64,
    over: Over<'a, D>,
    random: Random,
    counts: Counts,
}

type Judged<T> = Result<T, Box<Loss>>;

impl<D: Disk> Replay<'_, D> {
    fn run(&mut self) -> Judged<()> {
        let disk = SimDisk::default();
        let store = self.open(&disk).map_err(|problem| self.loss("before any loss of power", problem, &[], &[]))?;
        let generators = match self.seed % 3 {
            0 => (0..2).map(|thread| (thread, (1..=FILES).filter(|file| file % 2 == thread).collect())).collect(),
            _ => vec![(0, (1..=FILES).collect::<Vec<u64>>())],
        };
        let count = STEPS / generators.len();
        let steps = |(thread, files)| Steps::new(self.seed.wrapping_mul(2).wrapping_add(thread), files);
        let performed = perform_all(&disk, &store, generators.into_iter().map(steps).collect(), count)
            .map_err(|error| self.loss("before any loss of power", error.to_string(), &[], &[]))?;
        drop(store);
        let recording = disk.recording();
        let (changes, mut platter) = (recording.changes(), recording.start());
        let mut timeline = Timeline::new(Memory::default(), performed);
        for done in 0..=changes.len() {
            if done > 0 {
                platter.apply(&changes[done - 1]);
            }
            self.counts.boundaries += 1;
            let memory = timeline.at(done).clone();
            for outcome in 0..OUTCOMES + 2 {
                let survivors = [Survivors::Nothing, Survivors::Everything];
                let survivors = survivors.get(outcome).copied().unwrap_or(Survivors::Some);
                let place = format!("boundary {done} of {}, outcome {outcome} ({survivors:?})", changes.len());
                self.lose_power(&platter, survivors, &memory, &place)
                    .map_err(|loss| loss.with(&changes[..done], &timeline.under_way()))?;
            }
        }
        Ok(())
    }

    /// One loss of power; for some a second one.
    fn lose_power(&mut self, platter: &Platter, survivors: Survivors, memory: &Memory, place: &str) -> Judged<()> {
        let disk = self.left(platter, survivors);
        let store = self.open(&disk).map_err(|problem| self.loss(place, problem, &[], &[]))?;
        let recovered = disk.changes();
        let found = self.judge(&store, memory).map_err(|problem| self.loss(place, problem, &[], &[]))?;
        if !self.random.once_in(SECOND_ONE_IN) {
            return Ok(());
        }
        let judged = disk.changes();
        let generator = Steps::new(self.random.next(), (1..=FILES).collect());
        let performed = perform_all(&disk, &store, vec![generator], MORE_STEPS)
            .map_err(|error| self.loss(&format!("{place}, steps after it"), error.to_string(), &[], &[]))?;
        drop(store);
        let all = disk.changes();
        let mut timeline = Timeline::new(found, performed);
        let in_recovery = self.random.below(recovered as u64 + 1) as usize;
        let later = self.random.within(judged as u64..all as u64 + 1) as usize;
        self.lose_it_again(&disk, in_recovery, memory, &[], place)?;
        let memory = timeline.at(later).clone();
        self.lose_it_again(&disk, later, &memory, &timeline.under_way(), place)
    }

    fn lose_it_again(
        &mut self,
        disk: &SimDisk,
        done: usize,
        memory: &Memory,
        under_way: &[&Step],
        place: &str,
    ) -> Judged<()> {
        let recording = disk.recording();
        let changes = &recording.changes()[..done];
        let mut platter = recording.start();
        changes.iter().for_each(|change| platter.apply(change));
        self.counts.second += 1;
        let disk = self.left(&platter, Survivors::Some);
        let place = format!("{place}, and again after {done} more changes of {}", recording.changes().len());
        let store = self.open(&disk).map_err(|problem| self.loss(&place, problem, changes, under_way))?;
        let judged = self.judge(&store, memory);
        judged.map(|_| ()).map_err(|problem| self.loss(&place, problem, changes, under_way))
    }

    fn left(&mut self, platter: &Platter, survivors: Survivors) -> SimDisk {
        self.counts.losses_of_power += 1;
        platter.after_power_loss(survivors, &mut |below| self.random.below(below as u64) as usize)
    }

    fn open(&self, disk: &SimDisk) -> Result<PosixStore<D>, String> {
        // Few open files, so that some are closed and opened again.
        let open_objects_max = if self.seed.is_multiple_of(2) { 2 } else { 100 };
        let options = PosixOptions { open_objects_max };
        PosixStore::open_on((self.over)(disk.clone()), Path::new("/store"), options)
            .map_err(|error| format!("the store does not open: {error}"))
    }

    /// Compares everything in a store with what may be there, and tells what is.
    fn judge(&mut self, store: &PosixStore<D>, memory: &Memory) -> Result<Memory, String> {
        let mut found = Memory::default();
        let mut there = BTreeSet::new();
        for id in objects() {
            let expected = memory.object(id);
            let status = store.stat(id).map_err(|error| error.to_string())?;
            match (status, expected.existence()) {
                (None, Existence::Yes) => return Err(format!("{id} is gone")),
                (Some(_), Existence::No) => return Err(format!("{id} is there, and must not be")),
                (None, _) => {}
                (Some(status), _) if !expected.may_be_of(status.length) => {
                    return Err(format!("{id} has {} bytes, not {}", status.length, expected.lengths()));
                }
                (Some(status), _) => {
                    there.insert(id);
                    found.found(id, self.judge_object(store, id, status.length, &expected)?);
                }
            }
        }
        let listed: BTreeSet<ObjectId> = store.list().map_err(|error| error.to_string())?.into_iter().collect();
        if listed == there { Ok(found) } else { Err(format!("{listed:?} are listed, and {there:?} are there")) }
    }

    fn judge_object(
        &mut self,
        store: &PosixStore<D>,
        id: ObjectId,
        length: u64,
        expected: &ObjectMemory,
    ) -> Result<ObjectMemory, String> {
        let mut windows: BTreeSet<u64> =
            expected.sectors().map(|number| number * SECTOR_BYTES / WINDOW_BYTES).collect();
        windows.insert(length / WINDOW_BYTES);
        let mut sectors = Vec::new();
        for window in &windows {
            let bytes = read(store, id, window * WINDOW_BYTES)?;
            for (index, sector) in bytes.as_chunks().0.iter().enumerate() {
                let number = window * WINDOW_BYTES / SECTOR_BYTES + index as u64;
                if let Some(at) = expected.first_wrong(number, sector) {
                    let offset = number * SECTOR_BYTES + at as u64;
                    return Err(format!("byte {offset} of {id} is {}, which is neither old nor new", sector[at]));
                }
                sectors.push((number, *sector));
            }
        }
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK_BYTES);
        if self.random.once_in(WHOLE_ONE_IN) {
            verify(store, id, 0..blocks(length))?;
        } else {
            windows.iter().try_for_each(|&window| {
                verify(store, id, blocks(window * WINDOW_BYTES)..blocks((window + 1) * WINDOW_BYTES))
            })?;
        }
        Ok(ObjectMemory::found(length, sectors.into_iter().filter(|(_, sector)| *sector != [0; SECTOR_BYTES as usize])))
    }

    fn loss(&self, place: &str, problem: String, changes: &[Change], under_way: &[&Step]) -> Box<Loss> {
        let loss = Loss { seed: self.seed, place: place.into(), problem, last_changes: vec![], under_way: vec![] };
        Box::new(loss).with(changes, under_way)
    }
}

impl Loss {
    /// What is wrong.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// With what came before it, unless it is told already.
    fn with(mut self: Box<Self>, changes: &[Change], under_way: &[&Step]) -> Box<Self> {
        if self.last_changes.is_empty() {
            let from = changes.len().saturating_sub(SHOWN);
            self.last_changes = changes[from..].iter().map(|change| format!("{change:?}")).collect();
            self.under_way = under_way.iter().map(|step| format!("{step:?}")).collect();
        }
        self
    }
}

/// A window of an object, checked as a client checks it.
fn read(store: &impl ObjectStore, id: ObjectId, offset: u64) -> Result<Vec<u8>, String> {
    let extents = [ObjectExtent::new(ObjectOffset(offset), WINDOW_BYTES).expect("a small extent")];
    let mut bytes = vec![0xaa; WINDOW_BYTES as usize];
    let mut stored = Vec::new();
    store.read(id, &extents, &mut bytes, &mut stored).map_err(|error| error.to_string())?;
    let wrong = stored.iter().zip(checksums_of(&extents, &bytes)).position(|(stored, summed)| *stored != summed);
    match wrong {
        Some(block) => {
            Err(format!("block {} of {id} is not what its checksum says", offset / BLOCK_BYTES + block as u64))
        }
        None => Ok(bytes),
    }
}

fn verify(store: &impl ObjectStore, id: ObjectId, blocks: std::ops::Range<u64>) -> Result<(), String> {
    match store.verify(id, blocks).map_err(|error| error.to_string())?.first() {
        Some(damage) => Err(format!("{id} is damaged: {damage:?}")),
        None => Ok(()),
    }
}
