//! A case: what a group of ranks does to one file, as a description that every rank makes for itself out of the same seed.

use super::kind::{Kind, Start};
use super::memory::Representation;
use super::shape::Shape;
use pfs_mpiio::Whence;
use std::fmt;

/// One file's life.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Hints at open.
    pub hints: Vec<(&'static str, String)>,
    /// Whether it begins in atomic mode.
    pub atomic: bool,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// One thing that all ranks do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Every rank sets its view.
    View(Vec<ViewOf>),
    /// Every rank reads, or every rank writes.
    Access {
        /// By which calls.
        kind: Kind,
        /// Whether it writes.
        writes: bool,
        /// What each rank does.
        parts: Vec<Part>,
    },
    /// `sync`, a barrier, and `sync`.
    Sync,
    /// `set_size`.
    SetSize(u64),
    /// `set_atomicity`.
    Atomic(bool),
    /// `preallocate`.
    Preallocate(u64),
    /// Every rank seeks.
    Seek(Vec<(i64, Whence)>),
    /// `seek_shared`.
    SeekShared(i64, Whence),
}

impl Step {
    /// Whether it uses the shared file pointer.
    pub fn is_shared(&self) -> bool {
        match self {
            Step::Access { kind, .. } => kind.start() == Start::Shared,
            Step::SeekShared(..) => true,
            _ => false,
        }
    }
}

/// A rank's view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewOf {
    /// In bytes.
    pub displacement: u64,
    /// The same on all ranks.
    pub etype: Shape,
    /// What the rank sees.
    pub filetype: Shape,
    /// How values are stored; the same on all ranks.
    pub representation: Representation,
}

/// A rank's part of an access.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// In etypes, for ways with an offset.
    pub offset: u64,
    /// The type of the buffer.
    pub memory: Shape,
    /// Values in the buffer.
    pub count: usize,
}

impl Part {
    /// No bytes.
    pub fn empty() -> Part {
        Part { offset: 0, memory: Shape::BYTE, count: 0 }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hints: Vec<String> = self.hints.iter().map(|(key, value)| format!("{key}={value}")).collect();
        writeln!(f, "  hints: {}; {}", hints.join(" "), if self.atomic { "atomic" } else { "not atomic" })?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "  {number}: {step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::View(views) => {
                let form = views.first().map_or("", |view| view.representation.name());
                write!(f, "set_view, {form}")?;
                (0..).zip(views).try_for_each(|(rank, view): (u32, _)| {
                    let ViewOf { displacement, etype, filetype, .. } = view;
                    write!(f, "\n      rank {rank}: displacement {displacement}, etype {etype}, filetype {filetype}")
                })
            }
            Step::Access { kind, writes, parts } => {
                write!(f, "{}_{kind}", if *writes { "write" } else { "read" })?;
                (0..).zip(parts).try_for_each(|(rank, part): (u32, _)| {
                    write!(f, "\n      rank {rank}: offset {}, {} of {}", part.offset, part.count, part.memory)
                })
            }
            Step::Sync => f.write_str("sync, barrier, sync"),
            Step::SetSize(bytes) => write!(f, "set_size {bytes}"),
            Step::Atomic(on) => write!(f, "set_atomicity {on}"),
            Step::Preallocate(bytes) => write!(f, "preallocate {bytes}"),
            Step::Seek(seeks) => write!(f, "seek {seeks:?}"),
            Step::SeekShared(way, whence) => write!(f, "seek_shared {way} {whence:?}"),
        }
    }
}
