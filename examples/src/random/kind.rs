//! The ways to read and write. A new one is a new value here, with its calls.

use super::memory::Memory;
use pfs_mpiio::{Error, File, Status};
use std::fmt;

/// Where an access begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At an offset that is given.
    Given,
    /// At the individual file pointer.
    Own,
    /// At the shared file pointer, by rank.
    Shared,
}

/// A way to read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `read_at`, `write_at`.
    At,
    /// `read_at_all`, `write_at_all`.
    AtAll,
    /// `read`, `write`.
    Here,
    /// `read_all`, `write_all`.
    HereAll,
    /// `read_shared`, `write_shared`.
    Shared,
    /// `read_ordered`, `write_ordered`.
    Ordered,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Kind] = &[Kind::At, Kind::AtAll, Kind::Here, Kind::HereAll, Kind::Shared, Kind::Ordered];

    /// Where its accesses begin.
    pub fn start(self) -> Start {
        match self {
            Kind::At | Kind::AtAll => Start::Given,
            Kind::Here | Kind::HereAll => Start::Own,
            Kind::Shared | Kind::Ordered => Start::Shared,
        }
    }

    /// Whether a read moves a file pointer by all that was asked for, even if the file ends before.
    pub fn moves_by_request(self) -> bool {
        self.start() == Start::Shared
    }

    /// Whether all ranks make it together.
    pub fn is_collective(self) -> bool {
        match self {
            Kind::At | Kind::Here | Kind::Shared => false,
            Kind::AtAll | Kind::HereAll | Kind::Ordered => true,
        }
    }

    /// The way for each rank alone that does the same.
    pub fn alone(self) -> Kind {
        match self {
            Kind::At | Kind::AtAll => Kind::At,
            Kind::Here | Kind::HereAll => Kind::Here,
            Kind::Shared | Kind::Ordered => Kind::Shared,
        }
    }

    /// Writes by it.
    pub fn write(self, file: &File, offset: u64, memory: &Memory<'_>) -> Result<Status, Error> {
        match self {
            Kind::At => file.write_at(offset, memory),
            Kind::AtAll => file.write_at_all(offset, memory),
            Kind::Here => file.write(memory),
            Kind::HereAll => file.write_all(memory),
            Kind::Shared => file.write_shared(memory),
            Kind::Ordered => file.write_ordered(memory),
        }
    }

    /// Reads by it.
    pub fn read(self, file: &File, offset: u64, memory: &mut Memory<'_>) -> Result<Status, Error> {
        match self {
            Kind::At => file.read_at(offset, memory),
            Kind::AtAll => file.read_at_all(offset, memory),
            Kind::Here => file.read(memory),
            Kind::HereAll => file.read_all(memory),
            Kind::Shared => file.read_shared(memory),
            Kind::Ordered => file.read_ordered(memory),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::At => "at",
            Kind::AtAll => "at_all",
            Kind::Here => "here",
            Kind::HereAll => "all",
            Kind::Shared => "shared",
            Kind::Ordered => "ordered",
        })
    }
}
