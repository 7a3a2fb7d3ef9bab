//! A loss of power, as those above a store see it.

use super::{FaultyStore, Journal};
use crate::store::disk::{Chance, Survivors};
use crate::store::{ObjectStore, StoreError, checksums_of};
use pfs_core::ids::{FileId, ObjectId};
use std::collections::BTreeMap;

impl<S: ObjectStore> FaultyStore<S> {
    /// Makes of the store what a loss of power now may leave of it, and goes on as a store that was opened anew: bytes that
    /// were not committed are there or not, sector by sector; so are lengths, and files of which no object was ever
    /// committed. Truncations and removals are there. `choose` gives a number below the one that it is given.
    pub fn crash(&self, survivors: Survivors, choose: &mut dyn FnMut(usize) -> usize) -> Result<(), StoreError> {
        let _whole = self.whole.write();
        let mut chance = Chance::new(survivors, choose);
        let journals = std::mem::take(&mut *self.journals.lock());
        *self.generations.lock() = Default::default();
        let mut files: BTreeMap<FileId, Vec<ObjectId>> = BTreeMap::new();
        for object in self.inner.list()? {
            files.entry(object.file).or_default().push(object);
        }
        for (file, objects) in files {
            let journal = |object: &ObjectId| journals.get(object).map(|journal| journal.lock());
            chance.next_share();
            let may_go = objects.iter().all(|object| journal(object).is_some_and(|journal| !journal.is_named()));
            if may_go && !chance.survives() {
                self.remove(file)?;
                continue;
            }
            for object in objects {
                if let Some(journal) = journal(&object) {
                    chance.next_share();
                    self.revert(object, &journal, &mut chance)?;
                }
            }
        }
        Ok(())
    }

    fn revert(&self, object: ObjectId, journal: &Journal, chance: &mut Chance<'_>) -> Result<(), StoreError> {
        let left = journal.left(chance);
        for (extent, bytes) in &left.old {
            let checksums: Vec<_> = checksums_of(&[*extent], bytes).collect();
            self.inner.write(object, &[*extent], &[bytes], &checksums)?;
        }
        if self.inner.stat(object)?.is_some_and(|status| status.length > left.length) {
            self.cut(object, left.length)?;
        }
        self.inner.commit(object).map(drop)
    }
}
