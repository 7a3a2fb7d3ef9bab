//! The files below some names, and which bytes of which file an object has.

use crate::connection::{Cluster, cannot};
use crate::failure::Failure;
use crate::names::RemoteName;
use pfs_client::{EntryKind, ErrorKind, FileStatus};
use pfs_core::extent::{MAX_FILE_BYTES, ObjectOffset};
use pfs_core::ids::{FileId, ObjectId, ServerId};
use pfs_core::layout::Recipe;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a file, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FileRange {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
}

/// Files by their ids.
#[derive(Default)]
pub struct Catalogue {
    files: BTreeMap<FileId, (RemoteName, FileStatus)>,
}

impl Catalogue {
    /// The files, and everything below the directories. What is removed meanwhile is left out.
    pub fn of(cluster: &Cluster, names: &[RemoteName]) -> Result<Self, Failure> {
        let mut catalogue = Catalogue::default();
        let mut directories = Vec::new();
        for name in names {
            let status = cluster.client.stat(&name.path);
            let status = status.map_err(|error| cannot(format_args!("scrub {name}"), &error))?;
            catalogue.add(name.clone(), status, &mut directories);
        }
        while let Some(directory) = directories.pop() {
            let entries = match cluster.client.list(&directory.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| cannot(format_args!("list {directory}"), &error))?,
            };
            for entry in entries {
                catalogue.add(directory.join(&entry.name)?, entry.status, &mut directories);
            }
        }
        Ok(catalogue)
    }

    fn add(&mut self, name: RemoteName, status: FileStatus, directories: &mut Vec<RemoteName>) {
        match status.kind {
            EntryKind::Directory => directories.push(name),
            EntryKind::File => drop(self.files.insert(status.id, (name, status))),
        }
    }

    /// The objects that each server may have.
    pub fn objects(&self) -> BTreeMap<ServerId, Vec<ObjectId>> {
        let mut objects: BTreeMap<ServerId, Vec<ObjectId>> = BTreeMap::new();
        for (&file, (_, status)) in &self.files {
            for (slot, servers) in (0..).zip(status.recipe.iter().flat_map(Recipe::slots)) {
                for &server in servers {
                    objects.entry(server).or_default().push(ObjectId { file, slot });
                }
            }
        }
        objects
    }

    /// The objects that were made durable: file, slot and the server that is asked for it first.
    pub fn durable_objects(&self) -> impl Iterator<Item = (&RemoteName, &FileStatus, u32, ServerId)> {
        self.files.values().flat_map(|(name, status)| {
            let slots = status
                .recipe
                .iter()
                .flat_map(move |recipe| (0..recipe.stripe_count()).map(move |slot| (slot, recipe.primary(slot))));
            slots.filter(|(slot, _)| status.is_durable(*slot)).map(move |(slot, server)| (name, status, slot, server))
        })
    }

    /// The name of the file that an object belongs to, and where bytes of the object are in it.
    pub fn place(&self, object: ObjectId, bytes: Range<u64>) -> Option<(String, Vec<FileRange>)> {
        let (name, status) = self.files.get(&object.file)?;
        let recipe = status.recipe.as_ref().filter(|recipe| object.slot < recipe.stripe_count())?;
        Some((name.to_string(), file_ranges(recipe, object.slot, bytes)))
    }
}

/// Most ranges that are told of one damage; the last of them then reaches to its end.
const RANGES_MAX: usize = 1000;

/// Cuts a range of an object at the edges of stripe units. Neighbours are joined.
fn file_ranges(recipe: &Recipe, slot: u32, bytes: Range<u64>) -> Vec<FileRange> {
    let unit = recipe.stripe_unit();
    let mut ranges: Vec<FileRange> = Vec::new();
    let (mut at, end) = (bytes.start, bytes.end.min(MAX_FILE_BYTES));
    while at < end {
        let next = if ranges.len() < RANGES_MAX { (at - at % unit + unit).min(end) } else { end };
        let start = recipe.file_offset(slot, ObjectOffset(at)).0;
        let file_end = recipe.file_offset(slot, ObjectOffset(next - 1)).0 + 1;
        match ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = file_end,
            None => ranges.push(FileRange { start, end: file_end }),
        }
        at = next;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(count: u32) -> Recipe {
        let slots = (1..=count).map(|id| [ServerId::new(id).unwrap()].into_iter().collect()).collect();
        Recipe::new(65_536, slots).unwrap()
    }

    #[test]
    fn a_range_of_an_object_is_one_of_the_file_for_each_stripe_unit() {
        let found = file_ranges(&recipe(4), 1, 61_440..3 * 65_536 + 4096);
        let expected = [
            (126_976, 131_072),
            (5 * 65_536, 6 * 65_536),
            (9 * 65_536, 10 * 65_536),
            (13 * 65_536, 13 * 65_536 + 4096),
        ];
        assert_eq!(found, expected.map(|(start, end)| FileRange { start, end }));
    }

    #[test]
    fn one_slot_is_the_file_itself() {
        assert_eq!(file_ranges(&recipe(1), 0, 4096..1 << 20), [FileRange { start: 4096, end: 1 << 20 }]);
        assert_eq!(file_ranges(&recipe(2), 0, 0..0), []);
    }
}
