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
}

impl Kind {
    /// All of them.
    pub const ALL: &[Kind] = &[Kind::At, Kind::AtAll, Kind::Here, Kind::HereAll];

    /// Where its accesses begin.
    pub fn start(self) -> Start {
        match self {
            Kind::At | Kind::AtAll => Start::Given,
            Kind::Here | Kind::HereAll => Start::Own,
        }
    }

    /// Whether all ranks make it together.
    pub fn is_collective(self) -> bool {
        match self {
            Kind::At | Kind::Here => false,
            Kind::AtAll | Kind::HereAll => true,
        }
    }

    /// The way for each rank alone that does the same.
    pub fn alone(self) -> Kind {
        match self {
            Kind::At | Kind::AtAll => Kind::At,
            Kind::Here | Kind::HereAll => Kind::Here,
        }
    }

    /// Writes by it.
    pub fn write(self, file: &File, offset: u64, memory: &Memory<'_>) -> Result<Status, Error> {
        match self {
            Kind::At => file.write_at(offset, memory),
            Kind::AtAll => file.write_at_all(offset, memory),
            Kind::Here => file.write(memory),
            Kind::HereAll => file.write_all(memory),
        }
    }

    /// Reads by it.
    pub fn read(self, file: &File, offset: u64, memory: &mut Memory<'_>) -> Result<Status, Error> {
        match self {
            Kind::At => file.read_at(offset, memory),
            Kind::AtAll => file.read_at_all(offset, memory),
            Kind::Here => file.read(memory),
            Kind::HereAll => file.read_all(memory),
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
        })
    }
}
