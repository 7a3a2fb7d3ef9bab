//! A store that does what another one does, but for the faults that a test asks for: equipment for tests of what lies
//! above a store, over any store.
//!
//! ```text
//! call ─► rules: waits, fails, or goes on
//!           └► journal of the object: what its bytes were when it was last made durable
//!                └► the store below
//! ```
//!
//! A [`Rule`] says which calls, about which objects, are struck and how. Whatever does not follow from the rules is the
//! other store's own doing. **A store with faults keeps all promises of [`ObjectStore`]**, and the journals are there for
//! that: a commit that has failed with [`Fault::LoseAndFail`] stays failed, and [`FaultyStore::crash`] takes nothing that
//! was promised to be durable.
//!
//! Faults of the disk below a store – sectors that a loss of power tears, syncs that lie, calls that are interrupted –
//! are not repeated here: a [`FaultyDisk`](super::disk::FaultyDisk) and a [`SimDisk`](super::disk::SimDisk) show what a
//! store makes of them. What is torn here is what that store would then show to those above it: bytes that were written
//! and not committed are there or not, sector by sector, and agree with their checksums.

mod crash;
mod journal;
#[cfg(test)]
mod tests;

use super::disk::Gate;
use super::generations::Generations;
use super::{Attempt, Damage, ObjectStatus, ObjectStore, StoreError, rules};
use journal::Journal;
use parking_lot::{Mutex, RwLock};
use pfs_core::checksum::{BLOCK_BYTES, Checksum};
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::{ObjectExtent, pieces};
use pfs_proto::metadata::SpaceReport;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A kind of call. Those about the store as a whole are never struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Making an object.
    Create,
    /// Writing. A write that may not wait and says that it has to is not counted.
    Write,
    /// Reading, with the same exception.
    Read,
    /// Taking space.
    Allocate,
    /// Making a hole.
    Punch,
    /// Comparing with checksums.
    Verify,
    /// Making durable.
    Commit,
    /// Setting the length.
    Truncate,
    /// Removing a file; it is about the file's slot 0.
    Remove,
    /// Asking for the length.
    Stat,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and has done nothing. A commit that has failed so may succeed when it is called again.
    Error(Errno),
    /// A write stops after so many of its bytes, and fails. Any other call fails and has done nothing.
    ErrorAfter(u64, Errno),
    /// A commit fails and has lost what was written since the last one: reading those bytes fails, and so does every commit
    /// until they are written again, cut off or removed. Any other call fails and has done nothing.
    LoseAndFail(Errno),
    /// It waits at the gate and then goes on: harmless. What may not wait says that it would have to.
    Wait(Gate),
    /// It takes so much longer: harmless, too.
    Delay(Duration),
}

/// Some calls, about some objects, and what happens to them.
pub type Rule = rules::Rule<Call, Fault, ObjectId>;

/// A store with faults. The store below is used through this one only.
#[derive(Debug)]
pub struct FaultyStore<S: ObjectStore> {
    inner: S,
    path: PathBuf,
    rules: rules::Rules<Call, Fault, ObjectId>,
    /// Held alone by what is about more than one object.
    whole: RwLock<()>,
    /// Each is held while its object changes.
    journals: Mutex<BTreeMap<ObjectId, Arc<Mutex<Journal>>>>,
    generations: Mutex<Generations>,
    /// Counts the truncations of the store below: a crash here ends the memory of them, and there it does not.
    truncations: AtomicU64,
}

/// Whether a call may wait for a disk or for another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Allowed,
    Never,
}

/// What is to be written.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    extents: &'a [ObjectExtent],
    parts: &'a [&'a [u8]],
    checksums: &'a [Checksum],
    /// Not only a part, after which the write fails: that brings back nothing that was lost.
    is_all: bool,
}

/// What is left of a fault for the call to do.
enum Struck {
    Nothing,
    After(u64, Errno),
    Lose(Errno),
}

impl<S: ObjectStore> FaultyStore<S> {
    /// The same as the other store, until there are rules. `path` is where errors of rules say that objects lie.
    pub fn new(inner: S, path: impl Into<PathBuf>) -> Self {
        FaultyStore {
            inner,
            path: path.into(),
            rules: rules::Rules::default(),
            whole: RwLock::default(),
            journals: Mutex::default(),
            generations: Mutex::default(),
            truncations: AtomicU64::new(0),
        }
    }

    /// From now on this rule is applied too, after those that are there: a call is struck by the first that fits.
    pub fn add(&self, rule: Rule) {
        self.rules.add(rule);
    }

    /// No more rules. What was lost stays lost.
    pub fn heal(&self) {
        self.rules.clear();
    }

    /// How many calls rules have struck.
    pub fn struck(&self) -> u64 {
        self.rules.struck()
    }

    /// Counts a call, waits and fails for it, and tells what else it has to do. No lock is held meanwhile.
    fn strike(&self, call: Call, object: ObjectId, attempt: Attempt) -> Result<Struck, StoreError> {
        self.carry_out(self.rules.next(&call, &object), object, attempt)
    }

    /// The same for calls that may not wait: false if the call has to, or if it is another fault than a plain error that
    /// may strike it.
    fn strike_now(&self, call: Call, object: ObjectId, attempt: Attempt) -> Result<bool, StoreError> {
        match self.rules.try_next(&call, &object, |fault| matches!(fault, Fault::Error(_))) {
            rules::Tried::Free => Ok(true),
            rules::Tried::Struck(fault) => self.carry_out(Some(fault), object, attempt).map(|_| true),
            rules::Tried::Later => Ok(false),
        }
    }

    fn carry_out(&self, fault: Option<Fault>, object: ObjectId, attempt: Attempt) -> Result<Struck, StoreError> {
        match fault {
            None => {}
            Some(Fault::Wait(gate)) => gate.pass(),
            Some(Fault::Delay(time)) => std::thread::sleep(time),
            Some(Fault::ErrorAfter(bytes, errno)) if matches!(attempt, Attempt::Write(_)) => {
                return Ok(Struck::After(bytes, errno));
            }
            Some(Fault::LoseAndFail(errno)) if attempt == Attempt::Commit => return Ok(Struck::Lose(errno)),
            Some(Fault::Error(errno) | Fault::ErrorAfter(_, errno) | Fault::LoseAndFail(errno)) => {
                return Err(self.failed(object, attempt, errno));
            }
        }
        Ok(Struck::Nothing)
    }

    fn failed(&self, object: ObjectId, attempt: Attempt, errno: Errno) -> StoreError {
        StoreError::of_object(object, attempt, &self.path, errno.into())
    }

    /// The journal of an object. To be called before the object changes.
    fn journal(&self, object: ObjectId) -> Result<Arc<Mutex<Journal>>, StoreError> {
        let mut journals = self.journals.lock();
        if let Some(journal) = journals.get(&object) {
            return Ok(journal.clone());
        }
        let journal = Arc::new(Mutex::new(Journal::of(self.inner.stat(object)?)));
        journals.insert(object, journal.clone());
        Ok(journal)
    }

    /// The same if it is there.
    fn known_journal(&self, object: ObjectId) -> Option<Arc<Mutex<Journal>>> {
        self.journals.lock().get(&object).cloned()
    }

    /// Writes; false if that would have to wait.
    fn write_bytes(&self, object: ObjectId, bytes: &Bytes<'_>, wait: Wait) -> Result<bool, StoreError> {
        let Bytes { extents, parts, checksums, is_all } = *bytes;
        let waits = wait == Wait::Allowed;
        let whole = if waits { Some(self.whole.read()) } else { self.whole.try_read() };
        let journal = if waits { Some(self.journal(object)?) } else { self.known_journal(object) };
        let (Some(_whole), Some(journal)) = (whole, journal) else { return Ok(false) };
        let locked = if waits { Some(journal.lock()) } else { journal.try_lock() };
        let Some(mut journal) = locked else { return Ok(false) };
        for &extent in extents {
            let Some(old) = self.bytes(object, extent, wait)? else { return Ok(false) };
            journal.note(extent, old);
        }
        let written = match wait {
            Wait::Allowed => self.inner.write(object, extents, parts, checksums).map(|()| true)?,
            Wait::Never => self.inner.write_now(object, extents, parts, checksums)?,
        };
        if written && is_all {
            journal.written(extents);
        }
        Ok(written)
    }

    /// Bytes as they are; nothing if that would have to wait.
    fn bytes(&self, object: ObjectId, extent: ObjectExtent, wait: Wait) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes = vec![0; usize::try_from(extent.length()).expect("a test's object fits the memory")];
        let read = match wait {
            Wait::Allowed => self.inner.read(object, &[extent], &mut bytes, &mut Vec::new()).map(|()| true),
            Wait::Never => self.inner.read_now(object, &[extent], &mut bytes, &mut Vec::new()),
        };
        read.map(|read| read.then_some(bytes))
    }

    /// Writes the first `count` bytes only, and fails.
    fn write_some(&self, object: ObjectId, bytes: &Bytes<'_>, count: u64, errno: Errno) -> Result<bool, StoreError> {
        let (first, rest) = split(bytes.extents, count);
        let mut payload = bytes.parts.concat();
        payload.truncate(total(&first));
        let checksums: Vec<_> = super::checksums_of(&first, &payload).collect();
        let some = Bytes { extents: &first, parts: &[&payload], checksums: &checksums, is_all: false };
        if !first.is_empty() {
            self.write_bytes(object, &some, Wait::Allowed)?;
        }
        let failed = rest.first().or(first.last()).copied().unwrap_or(bytes.extents[0]);
        Err(self.failed(object, Attempt::Write(failed), errno))
    }

    /// Fails if one of these bytes is lost; false if telling that would have to wait.
    fn check_not_lost(&self, object: ObjectId, extents: &[ObjectExtent], wait: Wait) -> Result<bool, StoreError> {
        let Some(journal) = self.known_journal(object) else { return Ok(true) };
        let locked = if wait == Wait::Allowed { Some(journal.lock()) } else { journal.try_lock() };
        let Some(locked) = locked else { return Ok(false) };
        match locked.first_lost(extents) {
            None => Ok(true),
            Some(extent) => {
                Err(StoreError::Damaged { object, path: self.path.clone(), extent, problem: LOST.to_owned() })
            }
        }
    }
}

const LOST: &str = "they were lost when they were to be made durable";

/// The extents of the first bytes, and those of the others.
fn split(extents: &[ObjectExtent], mut bytes: u64) -> (Vec<ObjectExtent>, Vec<ObjectExtent>) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for extent in extents {
        let here = bytes.min(extent.length());
        first.extend(ObjectExtent::new(extent.offset(), here));
        rest.extend(ObjectExtent::new(ObjectOffset(extent.offset().0 + here), extent.length() - here));
        bytes -= here;
    }
    (first, rest)
}

fn total(extents: &[ObjectExtent]) -> usize {
    pieces(extents).map(|piece| piece.length).sum()
}

impl<S: ObjectStore> ObjectStore for FaultyStore<S> {
    fn create(&self, object: ObjectId) -> Result<(), StoreError> {
        self.strike(Call::Create, object, Attempt::Create)?;
        let _whole = self.whole.read();
        let journal = self.journal(object)?;
        let _journal = journal.lock();
        self.inner.create(object)
    }

    fn is_at_hand(&self, object: ObjectId) -> bool {
        self.inner.is_at_hand(object)
    }

    fn write(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<(), StoreError> {
        let bytes = Bytes { extents, parts: payload, checksums, is_all: true };
        let written = match self.strike(Call::Write, object, Attempt::Write(hull(extents)))? {
            Struck::After(count, errno) => self.write_some(object, &bytes, count, errno),
            Struck::Nothing | Struck::Lose(_) => self.write_bytes(object, &bytes, Wait::Allowed),
        };
        written.map(drop)
    }

    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError> {
        self.strike(Call::Read, object, Attempt::Read(hull(extents)))?;
        self.check_not_lost(object, extents, Wait::Allowed)?;
        self.inner.read(object, extents, into, checksums)
    }

    fn write_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<bool, StoreError> {
        let bytes = Bytes { extents, parts: payload, checksums, is_all: true };
        let goes_on = self.strike_now(Call::Write, object, Attempt::Write(hull(extents)))?;
        Ok(goes_on && self.write_bytes(object, &bytes, Wait::Never)?)
    }

    fn read_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, StoreError> {
        let goes_on = self.strike_now(Call::Read, object, Attempt::Read(hull(extents)))?;
        if !goes_on || !self.check_not_lost(object, extents, Wait::Never)? {
            return Ok(false);
        }
        self.inner.read_now(object, extents, into, checksums)
    }

    fn allocate(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        self.strike(Call::Allocate, object, Attempt::Allocate(extent))?;
        self.inner.allocate(object, extent)
    }

    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        self.strike(Call::Punch, object, Attempt::Punch(extent))?;
        let _whole = self.whole.read();
        let journal = self.journal(object)?;
        let mut journal = journal.lock();
        let length = self.inner.stat(object)?.map_or(0, |status| status.length);
        let inside = ObjectExtent::new(extent.offset(), extent.end().0.min(length).saturating_sub(extent.offset().0));
        if let Some(inside) = inside
            && let Some(old) = self.bytes(object, inside, Wait::Allowed)?
        {
            journal.note(inside, old);
        }
        self.inner.punch(object, extent)?;
        journal.written(&[extent]);
        Ok(())
    }

    fn verify(&self, object: ObjectId, blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        self.strike(Call::Verify, object, Attempt::Verify)?;
        let mut damages = self.inner.verify(object, blocks.clone())?;
        let length = self.inner.stat(object)?.map_or(0, |status| status.length);
        let lost = self.known_journal(object).map(|journal| journal.lock().lost_blocks()).unwrap_or_default();
        for block in lost.into_iter().filter(|block| blocks.contains(block)) {
            let start = ObjectOffset(block * BLOCK_BYTES);
            let known = damages.iter().any(|damage| (damage.extent.offset()..damage.extent.end()).contains(&start));
            let extent = ObjectExtent::new(start, length.saturating_sub(start.0).min(BLOCK_BYTES));
            damages.extend(extent.filter(|_| !known).map(|extent| Damage { extent, problem: LOST.to_owned() }));
        }
        damages.sort_by_key(|damage| damage.extent.offset());
        Ok(damages)
    }

    fn commit(&self, object: ObjectId) -> Result<Option<u64>, StoreError> {
        let struck = self.strike(Call::Commit, object, Attempt::Commit)?;
        let _whole = self.whole.read();
        let journal = self.journal(object)?;
        let mut journal = journal.lock();
        if let Struck::Lose(errno) = struck {
            journal.lose(errno);
        }
        if let Some((start, bytes, errno)) = journal.loss() {
            let (path, source) = (self.path.clone(), errno.into());
            return Err(StoreError::Lost { object, path, start, bytes, source });
        }
        if let Struck::Lose(errno) = struck {
            return Err(self.failed(object, Attempt::Commit, errno));
        }
        let length = self.inner.commit(object)?;
        if let Some(length) = length {
            journal.durable(length);
        }
        Ok(length)
    }

    fn truncate(&self, object: ObjectId, length: u64, generation: u64) -> Result<(), StoreError> {
        self.strike(Call::Truncate, object, Attempt::Truncate(length))?;
        let _whole = self.whole.read();
        let journal = self.journal(object)?;
        let mut journal = journal.lock();
        if self.generations.lock().covers(object, generation) {
            return Ok(());
        }
        self.cut(object, length)?;
        self.generations.lock().note(object, generation);
        journal.cut(length);
        Ok(())
    }

    fn remove_file(&self, file: FileId) -> Result<u64, StoreError> {
        self.strike(Call::Remove, ObjectId { file, slot: 0 }, Attempt::Remove)?;
        let _whole = self.whole.write();
        self.remove(file)
    }

    fn stat(&self, object: ObjectId) -> Result<Option<ObjectStatus>, StoreError> {
        self.strike(Call::Stat, object, Attempt::Stat)?;
        self.inner.stat(object)
    }

    fn list(&self) -> Result<Vec<ObjectId>, StoreError> {
        self.inner.list()
    }

    fn space(&self) -> Result<SpaceReport, StoreError> {
        self.inner.space()
    }
}

impl<S: ObjectStore> FaultyStore<S> {
    /// Truncates the object of the store below.
    fn cut(&self, object: ObjectId, length: u64) -> Result<(), StoreError> {
        self.inner.truncate(object, length, self.truncations.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// To be called by whoever holds the whole.
    fn remove(&self, file: FileId) -> Result<u64, StoreError> {
        let removed = self.inner.remove_file(file)?;
        self.generations.lock().forget(file);
        self.journals.lock().retain(|object, _| object.file != file);
        Ok(removed)
    }
}

/// From the first byte of all extents to the last one.
fn hull(extents: &[ObjectExtent]) -> ObjectExtent {
    let start = extents.iter().map(|extent| extent.offset()).min().expect("a request has an extent");
    let end = extents.iter().map(|extent| extent.end()).max().expect("a request has an extent");
    ObjectExtent::new(start, end.0 - start.0).expect("the hull of some bytes")
}
