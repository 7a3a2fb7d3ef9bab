//! Which calls of a disk are struck, and how.

use super::gate::Gate;
use crate::store::rules;
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Open,
    Create,
    Unlink,
    Rename,
    MakeDirectory,
    List,
    SyncDirectory,
    Write,
    Read,
    SetLength,
    Sync,
    Allocate,
    Punch,
    Status,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and has done nothing. [`Errno::INTR`] is harmless.
    Error(Errno),
    /// Half of the bytes are written or read, and it says so: harmless.
    Short,
    /// Half of the bytes are written, and then it fails.
    ErrorHalfWay(Errno),
    /// It waits at the gate and then goes on: harmless.
    Wait(Gate),
    /// A sync fails, and what it was about is lost: the bytes are again what they were at the last sync. That is what Linux
    /// may do as soon as it needs the memory; a test must not wait for it. The rule has to be there before the bytes are.
    LoseAndFail(Errno),
    /// It says that it is done, and does nothing: a disk that lies.
    Ignore,
}

/// Some calls, of some files, and what happens to them.
pub type Rule = rules::Rule<Call, Fault, Path>;

pub(super) type Rules = rules::Rules<Call, Fault, Path>;

/// What is left of a fault for the call to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Struck {
    /// Half of it.
    Some {
        /// And then fail.
        then: Option<Errno>,
    },
    LoseAndFail(Errno),
    Ignore,
}

impl Rules {
    pub(super) fn is_any_for(&self, call: Call, path: &Path) -> bool {
        self.is_any(path, |of, _| *of == call)
    }

    pub(super) fn may_lose(&self, path: &Path) -> bool {
        self.is_any(path, |_, fault| matches!(fault, Fault::LoseAndFail(_)))
    }

    /// Counts a call, waits and fails for it, and tells what else it has to do.
    pub(super) fn strike(&self, call: Call, path: &Path) -> io::Result<Option<Struck>> {
        // The lock is free again while a call waits.
        match self.next(&call, path) {
            None => Ok(None),
            Some(Fault::Error(error)) => Err(error.into()),
            Some(Fault::Short) => Ok(Some(Struck::Some { then: None })),
            Some(Fault::ErrorHalfWay(error)) => Ok(Some(Struck::Some { then: Some(error) })),
            Some(Fault::LoseAndFail(error)) => Ok(Some(Struck::LoseAndFail(error))),
            Some(Fault::Ignore) => Ok(Some(Struck::Ignore)),
            Some(Fault::Wait(gate)) => {
                gate.pass();
                Ok(None)
            }
        }
    }
}
