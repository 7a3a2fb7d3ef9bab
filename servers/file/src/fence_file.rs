//! The fences, kept on disk: what was refused before a restart is refused after it.
//!
//! Invariant: a fence is answered after the file that has it is durable.

use anyhow::Context;
use parking_lot::Mutex;
use pfs_core::fence::Fences;
use pfs_core::ids::{Boot, ClientId, GroupId};
use pfs_server_runtime::write_durably;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FENCE_FILE: &str = "fences.json";

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// 0: none.
    boot_floor: u64,
    incarnations: Vec<u64>,
    groups: Vec<u64>,
    incarnation_floor: u64,
    live_below_floor: Vec<u64>,
}

/// The fences on disk.
#[derive(Debug)]
pub struct FenceFile {
    path: PathBuf,
    durable: Mutex<Fences>,
}

impl FenceFile {
    /// Reads the fences of a store; a new one has none.
    pub fn load(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FENCE_FILE);
        let stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let fences = from_stored(stored).with_context(|| format!("{} is damaged: it has an id 0", path.display()))?;
        Ok(FenceFile { path, durable: Mutex::new(fences) })
    }

    /// What is durable.
    pub fn fences(&self) -> Fences {
        self.durable.lock().clone()
    }

    /// Makes these fences durable, on top of what is durable already.
    pub fn add(&self, fences: &Fences) -> anyhow::Result<()> {
        let mut durable = self.durable.lock();
        let mut merged = durable.clone();
        merged.merge(fences);
        if merged != *durable {
            write_durably(&self.path, &serde_json::to_vec(&to_stored(&merged))?)?;
            *durable = merged;
        }
        Ok(())
    }
}

fn to_stored(fences: &Fences) -> Stored {
    Stored {
        boot_floor: fences.boot_floor.map_or(0, Boot::get),
        incarnations: fences.incarnations.iter().map(|id| id.get()).collect(),
        groups: fences.groups.iter().map(|id| id.get()).collect(),
        incarnation_floor: fences.incarnation_floor,
        live_below_floor: fences.live_below_floor.iter().map(|id| id.get()).collect(),
    }
}

fn from_stored(stored: Stored) -> Option<Fences> {
    let clients = |numbers: Vec<u64>| numbers.into_iter().map(ClientId::new).collect::<Option<BTreeSet<_>>>();
    Some(Fences {
        boot_floor: Boot::new(stored.boot_floor),
        incarnations: clients(stored.incarnations)?,
        groups: stored.groups.into_iter().map(GroupId::new).collect::<Option<_>>()?,
        incarnation_floor: stored.incarnation_floor,
        live_below_floor: clients(stored.live_below_floor)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_outlive_a_restart_and_grow() {
        let directory = tempfile::tempdir().unwrap();
        let client = |number| ClientId::new(number).unwrap();
        let file = FenceFile::load(directory.path()).unwrap();
        assert_eq!(file.fences(), Fences::default());
        file.add(&Fences::default()).unwrap();
        assert!(!directory.path().join(FENCE_FILE).exists(), "nothing new, nothing written");
        let first = Fences {
            boot_floor: Boot::new(3),
            incarnations: [client(12)].into(),
            groups: [GroupId::new(9).unwrap()].into(),
            incarnation_floor: 5,
            live_below_floor: [client(2)].into(),
        };
        file.add(&first).unwrap();
        file.add(&Fences { incarnations: [client(13)].into(), ..Fences::default() }).unwrap();
        let again = FenceFile::load(directory.path()).unwrap().fences();
        assert_eq!(again, Fences { incarnations: [client(12), client(13)].into(), ..first });
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for damaged in
            ["", "{}", r#"{"boot_floor":1,"incarnations":[0],"groups":[],"incarnation_floor":0,"live_below_floor":[]}"#]
        {
            fs::write(directory.path().join(FENCE_FILE), damaged).unwrap();
            let error = FenceFile::load(directory.path()).unwrap_err();
            assert!(error.to_string().contains(FENCE_FILE), "{error}");
        }
    }
}
