//! What is left to others when somebody is shut out: what must be durable, what file servers must be told.
//!
//! What one function brings about is handed out together, so that a job of a thousand clients that dies at once costs a
//! file server one message and not a thousand.

use pfs_core::ids::{ClientId, FileId, ServerId, Stamp};
use pfs_core::session::coordinator::Victim;
use std::collections::BTreeMap;

/// Somebody whose end is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Burial {
    pub(crate) victim: Victim,
    /// A group's members.
    pub(crate) members: Vec<ClientId>,
    /// Files that it may have written, with sizes that it has not told.
    pub(crate) written: Vec<FileId>,
}

/// Something to be done, tried until it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Make it durable that they are shut out.
    Record(Vec<Burial>),
    /// Have a file server refuse them.
    Fence { server: ServerId, victims: Vec<Victim> },
    /// Have a file server drain a client's write.
    Drain { server: ServerId, stamp: Stamp, sequence: u64 },
    /// Their records are of no use any more.
    Forget(Vec<Victim>),
}

/// What one function has brought about.
#[derive(Debug, Default)]
pub(super) struct Errands {
    records: Vec<Burial>,
    fences: BTreeMap<ServerId, Vec<Victim>>,
    drains: Vec<Errand>,
    forgotten: Vec<Victim>,
}

impl Errands {
    pub(super) fn record(&mut self, burial: Burial) {
        self.records.push(burial);
    }

    pub(super) fn fence(&mut self, server: ServerId, victim: Victim) {
        self.fences.entry(server).or_default().push(victim);
    }

    pub(super) fn drain(&mut self, server: ServerId, stamp: Stamp, sequence: u64) {
        self.drains.push(Errand::Drain { server, stamp, sequence });
    }

    pub(super) fn forget(&mut self, victim: Victim) {
        self.forgotten.push(victim);
    }

    /// Everything so far, in an order in which it may be begun.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Errand> + use<> {
        let Errands { records, fences, drains, forgotten } = std::mem::take(self);
        let records = (!records.is_empty()).then_some(Errand::Record(records));
        let fences = fences.into_iter().map(|(server, victims)| Errand::Fence { server, victims });
        let forgotten = (!forgotten.is_empty()).then_some(Errand::Forget(forgotten));
        records.into_iter().chain(fences).chain(drains).chain(forgotten)
    }
}
