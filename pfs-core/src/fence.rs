//! A file server's admission: who may touch an object now, and when a refusal has become a barrier.
//!
//! Invariants:
//! * a refusal is for ever: what [`Fences`] refuse they refuse after every later [`Fences::merge`], except that a later boot
//!   is served from the merge on that names it;
//! * an operation touches an object only inside a chunk, between [`Admission::enter_chunk`] and
//!   [`Admission::leave_chunk`], and waits for nobody but the local disk there;
//! * an operation that a fence, a drain or a removal names enters no further chunk;
//! * a [`Ticket`] is done when the operations it names are out of their last chunk. Once done it stays done;
//! * an operation that was refused before it ended ends in that refusal, whatever it did until then.
//!
//! So "done" means: nothing older of those stamps can read or write an object any more. It depends on the local disk
//! and never on a client, a clock or the network.
//!
//! Fences are durable at their sender and at the receiver. Drains are not: a request that was under way when
//! the server ended has gone with its connection.

pub mod lease;

use crate::ids::{Boot, ClientId, FileId, GroupId, Holder, Stamp};
use std::collections::{BTreeMap, BTreeSet};

/// How many deleted files are remembered. Forgetting one is safe: no object of it is left, and none is made
/// for a file that the metadata server does not vouch for. Remembering saves the question.
pub const DELETED_FILES_MAX: usize = 65_536;

/// Why an operation may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token was granted before the last restart of the metadata server that this server knows of.
    #[error("{stamp} is of an earlier start of the metadata server than {floor}; ask for the token again")]
    EarlierBoot {
        /// What the request carried.
        stamp: Stamp,
        /// The earliest boot that is served.
        floor: Boot,
    },
    /// The token was granted by a start of the metadata server that this server has not heard of.
    #[error(
        "{stamp} is of a later start of the metadata server than {known}, the one this file server knows; try again"
    )]
    LaterBoot {
        /// What the request carried.
        stamp: Stamp,
        /// The boot that is served.
        known: Boot,
    },
    /// The file server's lease had run out while the operation was under way.
    #[error("the file server was cut off from the metadata server during the operation of {stamp}; try again")]
    Lapsed {
        /// What the request carried.
        stamp: Stamp,
    },
    /// The client was given up.
    #[error("{stamp} is of a client that was given up and fenced; connect again as a new client")]
    FencedClient {
        /// What the request carried.
        stamp: Stamp,
    },
    /// The group was given up as a whole.
    #[error("{stamp} is of a group that was given up and fenced; open the file again")]
    FencedGroup {
        /// What the request carried.
        stamp: Stamp,
    },
    /// The client itself declared the operation over.
    #[error("operation {sequence} of {stamp} was drained by its client and can not be applied any more")]
    Drained {
        /// What the request carried.
        stamp: Stamp,
        /// The operation.
        sequence: u64,
    },
    /// The file was deleted.
    #[error("{0} was deleted")]
    Deleted(FileId),
}

/// Who is refused, as a value that only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fences {
    /// Stamps of boots before this one are refused; nothing: all boots are served.
    pub boot_floor: Option<Boot>,
    /// Dead clients at or above the floor.
    pub incarnations: BTreeSet<ClientId>,
    /// Groups that are refused as a whole.
    pub groups: BTreeSet<GroupId>,
    /// Every client with a number below this one is dead unless `live_below_floor` lists it.
    pub incarnation_floor: u64,
    /// Clients below the floor that live.
    pub live_below_floor: BTreeSet<ClientId>,
}

impl Fences {
    /// Whether a client is dead.
    pub fn refuses_client(&self, client: ClientId) -> bool {
        self.incarnations.contains(&client)
            || (client.get() < self.incarnation_floor && !self.live_below_floor.contains(&client))
    }

    /// Whether a stamp is refused, and why. A stamp of a later boot than the floor is refused too, until that boot is heard
    /// of: of the stamps that are served at any time all are of one boot, so no write of an earlier one can be applied after
    /// one of a later.
    pub fn verdict(&self, stamp: Stamp) -> Option<Refused> {
        let later = || self.boot_floor.filter(|floor| stamp.boot > *floor);
        self.lasting_verdict(stamp).or_else(|| later().map(|known| Refused::LaterBoot { stamp, known }))
    }

    /// Whether a stamp is refused for ever, and why.
    pub fn lasting_verdict(&self, stamp: Stamp) -> Option<Refused> {
        if let Some(floor) = self.boot_floor.filter(|floor| stamp.boot < *floor) {
            return Some(Refused::EarlierBoot { stamp, floor });
        }
        if self.refuses_client(stamp.incarnation) {
            return Some(Refused::FencedClient { stamp });
        }
        match stamp.holder {
            Holder::Client(holder) if self.refuses_client(holder) => Some(Refused::FencedClient { stamp }),
            Holder::Group(group) if self.groups.contains(&group) => Some(Refused::FencedGroup { stamp }),
            _ => None,
        }
    }

    /// Takes over what another value refuses: afterwards a stamp is refused for ever exactly if one of the two refused it. The
    /// order in which values arrive does not matter, so a late one does no harm.
    pub fn merge(&mut self, other: &Fences) {
        let floor = self.incarnation_floor.max(other.incarnation_floor);
        let live = self.live_below_floor.union(&other.live_below_floor).copied();
        let live = live.filter(|&c| c.get() < floor && !self.refuses_client(c) && !other.refuses_client(c));
        let dead = self.incarnations.union(&other.incarnations).copied();
        (self.live_below_floor, self.incarnations) =
            (live.collect(), dead.filter(|client| client.get() >= floor).collect());
        self.incarnation_floor = floor;
        self.boot_floor = self.boot_floor.max(other.boot_floor);
        self.groups.extend(&other.groups);
    }
}

/// A running operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(u64);

/// Names the operations that were inside a chunk when they were refused. Ask [`Admission::is_done`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a refusal is a barrier only when its ticket is done"]
pub struct Ticket {
    inside: Vec<OperationId>,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    stamp: Stamp,
    sequence: Option<u64>,
    file: FileId,
    refused: Option<Refused>,
    in_chunk: bool,
}

impl Operation {
    fn drained_by(&self, stamp: Stamp, up_to: u64) -> Option<Refused> {
        let sequence = self.sequence.filter(|sequence| self.stamp == stamp && *sequence <= up_to)?;
        Some(Refused::Drained { stamp, sequence })
    }
}

/// Decides which operations may touch objects.
///
/// An operation is `begin`, then any number of (`enter_chunk`, `leave_chunk`), then `end`, in this order;
/// anything else is a mistake of the caller and panics.
#[derive(Debug, Default)]
pub struct Admission {
    fences: Fences,
    deleted: BTreeSet<FileId>,
    drained: BTreeMap<Stamp, u64>,
    running: BTreeMap<OperationId, Operation>,
    operations: u64,
}

impl Admission {
    /// An admission that starts with what is refused already.
    pub fn new(fences: Fences) -> Self {
        let fences = if crate::mutant!(FencesForgotten) { Fences::default() } else { fences };
        Admission { fences, ..Self::default() }
    }

    /// What is refused now.
    pub fn fences(&self) -> &Fences {
        &self.fences
    }

    /// Operations between `begin` and `end`.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Lets an operation on a file in, or refuses it. `sequence` names it in [`Admission::drain`]; an operation without
    /// one changes nothing and returns no bytes, and can not be drained.
    pub fn begin(&mut self, stamp: Stamp, sequence: Option<u64>, file: FileId) -> Result<OperationId, Refused> {
        let operation = Operation { stamp, sequence, file, refused: None, in_chunk: false };
        if let Some(refused) = self.verdict(&operation) {
            return Err(refused);
        }
        self.operations += 1;
        let id = OperationId(self.operations);
        self.running.insert(id, operation);
        Ok(id)
    }

    /// To be called before each single access to an object.
    pub fn enter_chunk(&mut self, id: OperationId) -> Result<(), Refused> {
        let operation = self.operation(id);
        assert!(!operation.in_chunk, "an operation has one chunk at a time");
        if let Some(refused) = operation.refused
            && !crate::mutant!(ChunksUnchecked)
        {
            return Err(refused);
        }
        operation.in_chunk = true;
        Ok(())
    }

    /// To be called when the access is over, however it went.
    pub fn leave_chunk(&mut self, id: OperationId) {
        let operation = self.operation(id);
        assert!(operation.in_chunk, "only an operation in a chunk can leave it");
        operation.in_chunk = false;
    }

    /// The operation is over. An error takes its success back: it was refused while it ran.
    pub fn end(&mut self, id: OperationId) -> Result<(), Refused> {
        let operation = self.running.remove(&id).expect("an operation that has begun and not ended");
        assert!(!operation.in_chunk, "an operation leaves its chunk before it ends");
        operation.refused.map_or(Ok(()), Err)
    }

    /// Refuses more stamps, running operations of them included.
    pub fn fence(&mut self, fences: &Fences) -> Ticket {
        self.fences.merge(fences);
        self.drained.retain(|stamp, _| self.fences.lasting_verdict(*stamp).is_none());
        if crate::mutant!(FenceAnsweredTooEarly) {
            return Ticket::default();
        }
        self.abort(|operation| fences.lasting_verdict(operation.stamp))
    }

    /// The server's lease has run out, or it has a new one after that: refuses all operations that run. Whoever waits for a
    /// server that does not answer may rely on it (rule 16).
    pub fn lapse(&mut self) -> Ticket {
        self.abort(|operation| Some(Refused::Lapsed { stamp: operation.stamp }))
    }

    /// Refuses the operations of one stamp up to a sequence, whether they run or have yet to arrive.
    pub fn drain(&mut self, stamp: Stamp, sequence: u64) -> Ticket {
        if crate::mutant!(DrainForgotten) {
            return Ticket::default();
        }
        // A stamp of a boot that is not heard of yet will be served: its drain must be there before.
        if self.fences.lasting_verdict(stamp).is_none() {
            let up_to = self.drained.entry(stamp).or_default();
            *up_to = sequence.max(*up_to);
        }
        self.abort(|operation| operation.drained_by(stamp, sequence))
    }

    /// Refuses a deleted file's operations, whether they run or have yet to arrive.
    pub fn remove_file(&mut self, file: FileId) -> Ticket {
        self.deleted.insert(file);
        if self.deleted.len() > DELETED_FILES_MAX {
            self.deleted.pop_first();
        }
        self.abort(|operation| (operation.file == file).then_some(Refused::Deleted(file)))
    }

    /// Whether a deletion of this file is remembered.
    pub fn is_deleted(&self, file: FileId) -> bool {
        self.deleted.contains(&file)
    }

    /// Whether nothing that the ticket's refusal names can touch an object any more.
    pub fn is_done(&self, ticket: &Ticket) -> bool {
        ticket.inside.iter().all(|id| self.running.get(id).is_none_or(|operation| !operation.in_chunk))
    }

    fn verdict(&self, operation: &Operation) -> Option<Refused> {
        let drained = || operation.drained_by(operation.stamp, *self.drained.get(&operation.stamp)?);
        let deleted = || self.deleted.contains(&operation.file).then_some(Refused::Deleted(operation.file));
        self.fences.verdict(operation.stamp).or_else(drained).or_else(deleted)
    }

    fn abort(&mut self, refuses: impl Fn(&Operation) -> Option<Refused>) -> Ticket {
        let mut inside = Vec::new();
        for (&id, operation) in &mut self.running {
            let Some(refused) = refuses(operation) else { continue };
            operation.refused.get_or_insert(refused);
            if operation.in_chunk {
                inside.push(id);
            }
        }
        Ticket { inside }
    }

    fn operation(&mut self, id: OperationId) -> &mut Operation {
        self.running.get_mut(&id).expect("an operation that has begun and not ended")
    }
}

#[cfg(test)]
mod tests;
