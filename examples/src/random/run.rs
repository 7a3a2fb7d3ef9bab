//! Runs a case on the file system and compares every byte, length and pointer with the reference.
//!
//! Invariant: whatever a rank finds wrong, it goes on with the case, so that no rank waits for it; what was found first counts.

use super::case::{Case, Part, Step};
use super::kind::Kind;
use super::memory::{Made, Memory, Representation};
use super::reference::{Expected, Read, Reference, fill};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A mistake on purpose, which must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// One bit of what the last rank writes is another one
    Flip,
    /// The last rank's views begin one byte later
    Shift,
    /// The reference keeps the lowest rank's bytes where a collective write overlaps
    Order,
    /// The last rank does not take part in a collective read
    Hang,
}

/// Another way for a case, with the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// As it was made.
    AsMade,
    /// Collectives exchange bytes between ranks.
    Exchange,
    /// Collectives do not.
    Direct,
    /// Every rank by itself.
    Alone,
}

/// What all cases of a job have.
pub struct Setup<'a> {
    /// All ranks.
    pub world: &'a SimpleCommunicator,
    /// Files have names that start with this.
    pub prefix: &'a str,
    /// A mistake on purpose.
    pub plant: Option<Plant>,
    /// Whether to look at the file again after it was closed.
    pub opens_again: bool,
    /// The step that runs, for the watchdog.
    pub step: &'a AtomicUsize,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Reads and writes of this rank.
    pub accesses: u64,
    /// Bytes that were compared on this rank.
    pub compared: u64,
}

impl Path {
    /// The case by this path.
    pub fn of(self, case: &Case) -> Case {
        let mut case = case.clone();
        match self {
            Path::AsMade => {}
            Path::Exchange => case.set_collective("enable"),
            Path::Direct => case.set_collective("disable"),
            Path::Alone => case.steps.iter_mut().for_each(|step| {
                if let Step::Access { kind, .. } = step {
                    *kind = kind.alone();
                }
            }),
        }
        case
    }
}

impl Case {
    fn set_collective(&mut self, value: &str) {
        self.hints.retain(|(key, _)| !key.starts_with("romio_cb_"));
        self.hints.extend(["romio_cb_write", "romio_cb_read"].map(|key| (key, value.to_owned())));
    }

    /// Whether any of its accesses is collective.
    pub fn has_collectives(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Access { kind, .. } if kind.is_collective()))
    }
}

/// A rank's own part of a step.
struct Own<'a> {
    number: usize,
    kind: Kind,
    writes: bool,
    part: &'a Part,
    form: Representation,
    read: Option<&'a Read>,
}

struct Run<'a> {
    setup: &'a Setup<'a>,
    rank: usize,
    ranks: usize,
    file: File,
    atomic: bool,
    done: Done,
    wrong: Option<anyhow::Error>,
}

/// Runs a case. Returns the bytes of the file, the same on all ranks if nothing is wrong. Collective.
pub fn run(setup: &Setup<'_>, name: &str, case: &Case, done: &mut Done) -> Result<Vec<u8>> {
    let number = |rank: i32| usize::try_from(rank).expect("a rank");
    let (rank, ranks) = (number(setup.world.rank()), number(setup.world.size()));
    let mut reference = Reference::new(ranks, case, setup.plant == Some(Plant::Order));
    let info: Info = case.hints.iter().map(|(key, value)| (*key, value)).collect();
    let mut amode = AccessMode::CREATE | AccessMode::EXCL | AccessMode::RDWR;
    if !setup.opens_again {
        amode = amode | AccessMode::DELETE_ON_CLOSE;
    }
    let full_name = format!("{}{name}", setup.prefix);
    let file = File::open(setup.world, &full_name, amode, &info).context("open")?;
    let mut run = Run { setup, rank, ranks, file, atomic: false, done: Done::default(), wrong: None };
    if case.atomic {
        run.set_atomicity(true);
    }
    for (number, step) in case.steps.iter().enumerate() {
        setup.step.store(number, Ordering::Relaxed);
        let expected = reference.apply(number, step);
        run.step(number, step, &expected, &reference);
    }
    setup.step.store(case.steps.len(), Ordering::Relaxed);
    if !reference.is_settled() {
        run.settle();
    }
    let found = run.whole_file(reference.bytes()).context("the whole file");
    let Run { file, done: own, wrong, .. } = run;
    done.accesses += own.accesses;
    done.compared += own.compared;
    let closed = file.close().context("close");
    let again = if setup.opens_again { read_again(setup, &full_name, reference.bytes()) } else { Ok(()) };
    let found = wrong.map_or(found, Err)?;
    closed.and(again)?;
    Ok(found)
}

/// Opens the file once more, and removes it.
fn read_again(setup: &Setup<'_>, name: &str, expected: &[u8]) -> Result<()> {
    let file = File::open(setup.world, name, AccessMode::RDONLY | AccessMode::DELETE_ON_CLOSE, &Info::new())?;
    let size = file.get_size()?;
    let mut bytes = vec![0; expected.len() + 1];
    let read = file.read_at_all(0, &mut bytes[..]).map(|status| status.bytes());
    file.close()?;
    let read = usize::try_from(read?)?;
    ensure!(size == expected.len() as u64, "a size of {size} after it was closed, instead of {}", expected.len());
    check_bytes(&bytes[..read], expected, &[]).context("after it was closed")
}

impl Run<'_> {
    fn note(&mut self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            self.wrong.get_or_insert(error.context(what.to_owned()));
        }
    }

    fn step(&mut self, number: usize, step: &Step, expected: &Expected, reference: &Reference) {
        let what = format!("step {number}");
        if expected.settle {
            self.settle();
        }
        let result = match step {
            Step::View(views) => {
                let view = &views[self.rank];
                let shift = u64::from(self.is_planted(Plant::Shift));
                let (etype, filetype) = (view.etype.made(), view.filetype.made());
                let form = view.representation.name();
                self.file.set_view(view.displacement + shift, &etype, &filetype, form).map_err(Into::into)
            }
            Step::Access { kind, writes, parts } => {
                let (rank, part) = (self.rank, &parts[self.rank]);
                let (form, read) = (reference.representation(rank), expected.reads.get(rank));
                let (kind, writes) = (*kind, *writes);
                self.access(&Own { number, kind, writes, part, form, read }, expected.turns)
            }
            Step::Sync => {
                self.settle();
                Ok(())
            }
            Step::SetSize(bytes) => self.file.set_size(*bytes).map_err(Into::into),
            Step::Atomic(on) => {
                self.set_atomicity(*on);
                Ok(())
            }
            Step::Preallocate(bytes) => self.file.preallocate(*bytes).map_err(Into::into),
            Step::Seek(seeks) => {
                let (way, whence) = seeks[self.rank];
                let found = self.file.seek(way, whence);
                check_refused(found.is_err(), expected.refused[self.rank])
            }
            Step::SeekShared(way, whence) => {
                let found = self.file.seek_shared(*way, *whence);
                check_refused(found.is_err(), expected.refused[self.rank])
            }
        };
        self.note(&what, result);
        let (position, wanted) = (self.file.get_position(), expected.positions[self.rank]);
        if position != wanted {
            let error = anyhow!("the file pointer is at {position} instead of {wanted}");
            self.note(&what, Err(error));
        }
        self.setup.world.barrier();
        let shared = expected.shared.map(|wanted| (self.file.get_position_shared(), wanted));
        if let Some((found, wanted)) = shared.filter(|_| step.is_shared()) {
            let is_right = found.as_ref().is_ok_and(|position| *position == wanted);
            let error = anyhow!("the shared file pointer is at {found:?} instead of {wanted}");
            self.note(&what, if is_right { Ok(()) } else { Err(error) });
            self.setup.world.barrier();
        }
    }

    fn is_planted(&self, plant: Plant) -> bool {
        self.setup.plant == Some(plant) && self.rank + 1 == self.ranks
    }

    fn settle(&mut self) {
        let first = self.file.sync();
        self.setup.world.barrier();
        let second = self.file.sync();
        self.note("sync", first.and(second).map_err(Into::into));
    }

    fn set_atomicity(&mut self, on: bool) {
        let result = self.file.set_atomicity(on);
        self.note("set_atomicity", result.map_err(Into::into));
        self.atomic = on;
    }

    fn access(&mut self, own: &Own<'_>, turns: bool) -> Result<()> {
        if !turns {
            return self.own_access(own);
        }
        let mut result = Ok(());
        for turn in 0..self.ranks {
            if turn == self.rank {
                result = self.own_access(own);
            }
            if self.atomic || !own.writes { self.setup.world.barrier() } else { self.settle() }
        }
        result
    }

    fn own_access(&mut self, own: &Own<'_>) -> Result<()> {
        let made = Made::new(&own.part.memory);
        let mut memory = Memory::new(&made, own.part.count, 0);
        fill(&mut memory, own.number, self.rank);
        self.done.accesses += 1;
        if own.writes { self.write(own, &mut memory) } else { self.read(own, &made, memory) }
    }

    fn write(&mut self, own: &Own<'_>, memory: &mut Memory<'_>) -> Result<()> {
        let length = memory.pack(own.form).len() as u64;
        if self.is_planted(Plant::Flip) {
            memory.bytes_mut().iter_mut().for_each(|byte| *byte ^= 1);
        }
        let written = own.kind.write(&self.file, own.part.offset, memory)?.bytes();
        ensure!(written == length, "{written} bytes written instead of {length}");
        Ok(())
    }

    fn read(&mut self, own: &Own<'_>, made: &Made, mut memory: Memory<'_>) -> Result<()> {
        if own.kind.is_collective() && self.is_planted(Plant::Hang) {
            return Ok(());
        }
        let read = own.read.context("a read without an expectation")?;
        let mut untouched = Memory::new(made, own.part.count, 0);
        fill(&mut untouched, own.number, self.rank);
        let length = usize::try_from(own.kind.read(&self.file, own.part.offset, &mut memory)?.bytes())?;
        let there = read.bytes.len();
        ensure!(length == there || !read.exact, "{length} bytes read instead of {there}");
        let data = memory.pack(own.form);
        let both = length.min(there);
        check_bytes(&data[..both], &read.bytes[..both], &read.known)?;
        untouched.unpack_start(&data[..length], own.form);
        check_bytes(memory.bytes(), untouched.bytes(), &[]).context("in the buffer, outside of what was read")?;
        self.done.compared += length as u64;
        Ok(())
    }

    /// All bytes, by one rank alone and by all together.
    fn whole_file(&mut self, expected: &[u8]) -> Result<Vec<u8>> {
        let byte = u8::equivalent_datatype();
        let seen = self.file.set_view(0, &byte, &byte, "native");
        let size = self.file.get_size();
        let [mut alone, mut together] = [(); 2].map(|()| vec![0xee; expected.len() + 1]);
        // One rank reads alone, each in turn.
        let is_reader = expected.len() % self.ranks == self.rank;
        if !is_reader {
            alone.clear();
        }
        let length_alone = self.file.read_at(0, &mut alone[..]).map(|status| status.bytes());
        let length_together = self.file.read_at_all(0, &mut together[..]).map(|status| status.bytes());
        seen?;
        let (size, lengths) = (size?, [length_alone?, length_together?]);
        ensure!(size == expected.len() as u64, "a size of {size} instead of {}", expected.len());
        let wanted = [if is_reader { size } else { 0 }, size];
        ensure!(lengths == wanted, "{lengths:?} bytes read alone and together, instead of {wanted:?}");
        together.pop();
        if is_reader {
            alone.pop();
            check_bytes(&alone, &together, &[]).context("read by one rank, compared with a read by all")?;
        }
        check_bytes(&together, expected, &[]).context("read by all")?;
        self.done.compared += lengths.iter().sum::<u64>();
        Ok(together)
    }
}

fn check_refused(is_refused: bool, should_be: bool) -> Result<()> {
    ensure!(is_refused == should_be, "refused: {is_refused}, and should be: {should_be}");
    Ok(())
}

/// Compares bytes, those only that are `known` if that is not empty.
fn check_bytes(actual: &[u8], expected: &[u8], known: &[u8]) -> Result<()> {
    ensure!(actual.len() == expected.len(), "{} bytes instead of {}", actual.len(), expected.len());
    if actual == expected {
        return Ok(());
    }
    let is_known = |at: usize| known.get(at).is_none_or(|&known| known == 1);
    let wrong: Vec<usize> = (0..actual.len()).filter(|&at| actual[at] != expected[at] && is_known(at)).collect();
    match (wrong.first(), wrong.last()) {
        (Some(&first), Some(&last)) => {
            let (is, should) = (actual[first], expected[first]);
            let count = wrong.len();
            bail!("byte {first} of {} is {is} instead of {should}; {count} are wrong, the last at {last}", actual.len())
        }
        _ => Ok(()),
    }
}
