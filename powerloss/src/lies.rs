//! Disks that lie, to show that the replay is not blind.
//!
//! A store that left out one of its syncs, or did it too late, would leave what a store leaves whose disk ignores it. So each
//! lie stands for a mistake in the store, and losing power must show it.

use super::replay::{Loss, replay};
use pfs_file_server::store::disk::{Call, Fault, FaultyDisk, Rule, SimDisk};
use std::ops::Range;
use std::path::Path;

/// Syncs that a disk ignores.
#[derive(Clone, Copy, Debug)]
pub struct Lie {
    /// The mistake that it stands for.
    pub mistake: &'static str,
    call: Call,
    files: fn(&Path) -> bool,
}

/// All of them.
pub const LIES: [Lie; 6] = [
    Lie { mistake: "an open mark is not durable before its region is written", call: Call::Sync, files: is_marks },
    Lie { mistake: "marks are cleared before the checksums are durable", call: Call::Sync, files: is_checksums },
    Lie { mistake: "a commit ends before the bytes are durable", call: Call::Sync, files: is_bytes },
    Lie { mistake: "the names of objects are not made durable", call: Call::SyncDirectory, files: is_bucket },
    Lie { mistake: "the directories of objects are not made durable", call: Call::SyncDirectory, files: is_store },
    Lie { mistake: "the directory of the store is not made durable", call: Call::SyncDirectory, files: is_root },
];

fn is_marks(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "marks")
}

fn is_checksums(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with("sums"))
}

fn is_bytes(path: &Path) -> bool {
    !is_marks(path) && !is_checksums(path)
}

fn is_bucket(path: &Path) -> bool {
    path.parent().is_some_and(is_store)
}

fn is_store(path: &Path) -> bool {
    path == Path::new("/store")
}

fn is_root(path: &Path) -> bool {
    path == Path::new("/")
}

/// The first loss that the lie leads to; nothing if no seed shows it.
pub fn caught(lie: Lie, mut seeds: Range<u64>) -> Option<Loss> {
    let lying = move |disk: SimDisk| {
        let disk = FaultyDisk::new(disk);
        disk.add(Rule::new(lie.call, Fault::Ignore).of(lie.files));
        disk
    };
    seeds.find_map(|seed| replay(seed, &lying).1)
}
