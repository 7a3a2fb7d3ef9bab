//! Access modes of an open file.

use crate::error::{Error, ErrorClass};
use pfs_client::Access;
use std::fmt;
use std::ops::BitOr;

/// How a file is opened: exactly one of [`RDONLY`](Self::RDONLY), [`WRONLY`](Self::WRONLY) and
/// [`RDWR`](Self::RDWR), joined with others by `|`. The numbers are those of Open MPI and MPICH.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccessMode(u32);

impl AccessMode {
    /// Make the file if it does not exist.
    pub const CREATE: AccessMode = AccessMode(1);
    /// Read only.
    pub const RDONLY: AccessMode = AccessMode(2);
    /// Write only.
    pub const WRONLY: AccessMode = AccessMode(4);
    /// Read and write.
    pub const RDWR: AccessMode = AccessMode(8);
    /// Remove the file when it is closed.
    pub const DELETE_ON_CLOSE: AccessMode = AccessMode(16);
    /// The caller promises that nobody else opens the file meanwhile.
    pub const UNIQUE_OPEN: AccessMode = AccessMode(32);
    /// With [`CREATE`](Self::CREATE): an error if the file exists. Without it nothing is made, and this says nothing.
    pub const EXCL: AccessMode = AccessMode(64);

    /// All file pointers start at the end of the file. Setting a view puts them to its start, as always.
    pub const APPEND: AccessMode = AccessMode(128);
    /// Only the shared file pointer is used, and it only goes on.
    pub const SEQUENTIAL: AccessMode = AccessMode(256);

    const NAMES: [(AccessMode, &str); 9] = [
        (Self::CREATE, "MPI_MODE_CREATE"),
        (Self::RDONLY, "MPI_MODE_RDONLY"),
        (Self::WRONLY, "MPI_MODE_WRONLY"),
        (Self::RDWR, "MPI_MODE_RDWR"),
        (Self::DELETE_ON_CLOSE, "MPI_MODE_DELETE_ON_CLOSE"),
        (Self::UNIQUE_OPEN, "MPI_MODE_UNIQUE_OPEN"),
        (Self::EXCL, "MPI_MODE_EXCL"),
        (Self::APPEND, "MPI_MODE_APPEND"),
        (Self::SEQUENTIAL, "MPI_MODE_SEQUENTIAL"),
    ];

    /// Whether all of `other`'s flags are set.
    pub fn contains(self, other: AccessMode) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of a number, as Open MPI and MPICH have them. An error of class `Amode` if it has others.
    pub fn from_bits(bits: u32) -> Result<AccessMode, Error> {
        let known = Self::NAMES.iter().fold(0, |known, (flag, _)| known | flag.0);
        match bits & !known {
            0 => Ok(AccessMode(bits)),
            other => {
                Err(Error::new(ErrorClass::Amode, format!("the access mode {bits} has unknown flags: {other:#x}")))
            }
        }
    }

    /// The flags as a number.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether bytes can be read.
    pub fn can_read(self) -> bool {
        !self.contains(Self::WRONLY)
    }

    /// Whether bytes can be written.
    pub fn can_write(self) -> bool {
        !self.contains(Self::RDONLY)
    }

    /// What the servers are asked for. Refuses modes that exclude each other (MPI-4.1, 14.2.1).
    pub(crate) fn access(self) -> Result<Access, Error> {
        let refused = |why: &str| Err(Error::new(ErrorClass::Amode, format!("the access mode {self} {why}")));
        let access = match (self.contains(Self::RDONLY), self.contains(Self::WRONLY), self.contains(Self::RDWR)) {
            (true, false, false) => Access::Read,
            (false, true, false) => Access::Write,
            (false, false, true) => Access::ReadWrite,
            _ => return refused("must have exactly one of MPI_MODE_RDONLY, MPI_MODE_WRONLY and MPI_MODE_RDWR"),
        };
        let makes = self.contains(Self::CREATE) || self.contains(Self::EXCL);
        if makes && self.contains(Self::RDONLY) {
            return refused("can not make a file that is only read");
        }
        if self.contains(Self::SEQUENTIAL) && self.contains(Self::RDWR) {
            return refused("can not both read and write a file that is sequential");
        }
        Ok(access)
    }
}

impl BitOr for AccessMode {
    type Output = AccessMode;

    fn bitor(self, other: AccessMode) -> AccessMode {
        AccessMode(self.0 | other.0)
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| *name).collect();
        f.write_str(&names.join("|"))
    }
}

impl fmt::Debug for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_exclude_each_other_are_refused() {
        let class = |mode: AccessMode| mode.access().err().map(|error| error.class());
        assert_eq!(class(AccessMode::RDONLY), None);
        assert_eq!(class(AccessMode::CREATE | AccessMode::EXCL | AccessMode::WRONLY), None);
        assert_eq!(class(AccessMode::EXCL | AccessMode::RDWR), None);
        assert_eq!(class(AccessMode::RDONLY | AccessMode::SEQUENTIAL | AccessMode::APPEND), None);
        for wrong in [
            AccessMode::CREATE,
            AccessMode::RDONLY | AccessMode::RDWR,
            AccessMode::RDONLY | AccessMode::CREATE,
            AccessMode::EXCL | AccessMode::RDONLY,
            AccessMode::RDONLY | AccessMode::WRONLY | AccessMode::RDWR,
            AccessMode::CREATE | AccessMode::RDWR | AccessMode::SEQUENTIAL,
            AccessMode::APPEND | AccessMode::SEQUENTIAL | AccessMode::UNIQUE_OPEN,
        ] {
            assert_eq!(class(wrong), Some(ErrorClass::Amode), "{wrong}");
        }
    }

    #[test]
    fn a_number_has_known_flags_only() {
        let all = AccessMode::NAMES.iter().fold(0, |all, (flag, _)| all | flag.bits());
        assert_eq!(AccessMode::from_bits(all).unwrap().bits(), 511);
        assert_eq!(AccessMode::from_bits(512).unwrap_err().class(), ErrorClass::Amode);
    }

    #[test]
    fn a_mode_is_shown_by_its_names() {
        assert_eq!((AccessMode::RDWR | AccessMode::CREATE).to_string(), "MPI_MODE_CREATE|MPI_MODE_RDWR");
    }
}
