//! What of a disk is durable, what is not, and what a loss of power may leave.
//!
//! Invariant: what survives if nothing else does is in `names` and in each file's `durable`; everything since is in what
//! is called unsynced, in order.

use super::SimDisk;
use super::change::Change;
use super::file::PlatterFile;
use super::tree::{FileNumber, Node, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What survives of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// Some, by chance: of one file hardly anything, of another nearly all.
    Some,
}

/// How much of one file survives, in eighths.
const SHARES: [usize; 5] = [0, 1, 4, 7, 8];

/// Decides what survives.
pub(in crate::store) struct Chance<'a> {
    survivors: Survivors,
    choose: &'a mut dyn FnMut(usize) -> usize,
    share: usize,
}

impl<'a> Chance<'a> {
    /// `choose` gives a number below the one that it is given.
    pub(in crate::store) fn new(survivors: Survivors, choose: &'a mut dyn FnMut(usize) -> usize) -> Self {
        Chance { survivors, choose, share: 0 }
    }

    /// A file, a directory or an object has its own share.
    pub(in crate::store) fn next_share(&mut self) {
        self.share = match self.survivors {
            Survivors::Nothing => 0,
            Survivors::Everything => 8,
            Survivors::Some => SHARES[(self.choose)(SHARES.len())],
        };
    }

    pub(in crate::store) fn survives(&mut self) -> bool {
        match self.share {
            0 => false,
            8 => true,
            share => (self.choose)(8) < share,
        }
    }

    /// How many of `count` steps that build on each other survive.
    pub(super) fn steps(&mut self, count: usize) -> usize {
        match self.survives() {
            false => 0,
            true if self.share == 8 => count,
            true => (self.choose)(count + 1),
        }
    }

    /// A number up to this one, which is what it is if everything survives.
    pub(super) fn up_to(&mut self, count: u64) -> u64 {
        if self.share == 8 {
            return count;
        }
        (self.choose)(usize::try_from(count + 1).unwrap_or(usize::MAX)) as u64
    }
}

/// A disk after the first changes of a [`Recording`](super::Recording).
#[derive(Clone, Debug)]
pub struct Platter {
    time: u64,
    names: BTreeMap<PathBuf, Node>,
    /// By directory.
    unsynced_names: BTreeMap<PathBuf, Vec<Change>>,
    files: BTreeMap<FileNumber, PlatterFile>,
}

impl Platter {
    pub(super) fn of(tree: Tree) -> Self {
        let (names, files) = tree.into_parts();
        let files = files.into_iter().map(|(number, contents)| (number, PlatterFile::of(contents))).collect();
        Platter { time: 0, names, unsynced_names: BTreeMap::new(), files }
    }

    /// Goes on to the next change of the recording.
    pub fn apply(&mut self, change: &Change) {
        self.time += 1;
        let time = self.time;
        match change {
            Change::Write { file, offset, bytes } => self.file(*file).write(time, *offset, bytes),
            Change::Punch { file, offset, length } => self.file(*file).punch(time, *offset, *length),
            Change::SetLength { file, length } => self.file(*file).set_length(time, *length),
            Change::Allocate { .. } => {}
            Change::Sync { file } => self.file(*file).sync(),
            Change::SyncDirectory { directory } => {
                let changes = self.unsynced_names.remove(directory).unwrap_or_default();
                changes.iter().for_each(|change| rename(&mut self.names, change));
            }
            Change::Create { path, file } => {
                self.files.insert(*file, PlatterFile::default());
                self.name(path, change);
            }
            Change::Unlink { path } | Change::MakeDirectory { path } | Change::Rename { to: path, .. } => {
                self.name(path, change);
            }
        }
    }

    /// A disk as a loss of power now may leave it. `choose` gives a number below the one that it is given.
    pub fn after_power_loss(&self, survivors: Survivors, choose: &mut dyn FnMut(usize) -> usize) -> SimDisk {
        let mut chance = Chance::new(survivors, choose);
        let mut names = self.names.clone();
        for changes in self.unsynced_names.values() {
            chance.next_share();
            surviving(changes, &mut chance).for_each(|change| rename(&mut names, change));
        }
        let inside = |names: &BTreeMap<PathBuf, Node>, path: &Path| {
            path.ancestors().skip(1).all(|above| names.get(above) == Some(&Node::Directory))
        };
        let names = names.iter().filter(|(path, _)| inside(&names, path)).map(|(path, node)| (path.clone(), *node));
        let files = self.files.iter().map(|(number, file)| {
            chance.next_share();
            (*number, file.after_power_loss(&mut chance))
        });
        SimDisk::of(Tree::new(names.collect(), files.collect()))
    }

    fn file(&mut self, file: FileNumber) -> &mut PlatterFile {
        self.files.get_mut(&file).expect("a recording opens files that it has made")
    }

    fn name(&mut self, path: &Path, change: &Change) {
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.unsynced_names.entry(directory).or_default().push(change.clone());
    }
}

/// Of the changes of one name the first ones, of different names any.
fn surviving<'a>(changes: &'a [Change], chance: &mut Chance<'_>) -> impl Iterator<Item = &'a Change> {
    let mut lost: BTreeSet<&Path> = BTreeSet::new();
    let mut surviving = Vec::new();
    for change in changes {
        let paths = match change {
            Change::Create { path, .. } | Change::Unlink { path } | Change::MakeDirectory { path } => [path, path],
            Change::Rename { from, to } => [from, to],
            _ => continue,
        };
        if paths.iter().any(|path| lost.contains(path.as_path())) || !chance.survives() {
            lost.extend(paths.map(PathBuf::as_path));
        } else {
            surviving.push(change);
        }
    }
    surviving.into_iter()
}

fn rename(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change {
        Change::Create { path, file } => drop(names.insert(path.clone(), Node::File(*file))),
        Change::MakeDirectory { path } => drop(names.insert(path.clone(), Node::Directory)),
        Change::Unlink { path } => drop(names.remove(path)),
        Change::Rename { from, to } => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        _ => {}
    }
}
