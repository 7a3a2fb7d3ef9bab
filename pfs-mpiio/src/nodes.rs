//! Which ranks of a file share a node.
//!
//! MPI tells which ranks can share memory. `PFS_RANKS_PER_NODE=N` in the environment of rank 0 says instead that each N ranks
//! that follow each other are a node, named `node0`, `node1` and so on, so that one machine plays several in tests.

use crate::attribute::{self, Key};
use crate::error::{Error, ErrorClass};
use crate::group::{Group, ROOT};
use mpi::traits::*;
use pfs_core::collective::Nodes;
use std::sync::{Mutex, PoisonError};

const VARIABLE: &str = "PFS_RANKS_PER_NODE";

/// What this rank knows of its node: the lowest rank on it, and its name.
pub(crate) struct Place {
    leader: u64,
    name: String,
}

impl Place {
    /// Asks MPI, once for each communicator: it makes another one to find out. Collective.
    pub(crate) fn find<C: Communicator>(comm: &C) -> Result<Place, Error> {
        let key = key()?;
        // SAFETY: the handle is alive. It is the same on all ranks whether the communicator knows it.
        let leader = match unsafe { key.get(comm.as_raw()) }? {
            Some(leader) => leader,
            None => {
                let shared = comm.split_shared(comm.rank());
                let mut leader = comm.rank();
                shared.process_at_rank(0).broadcast_into(&mut leader);
                let leader = usize::try_from(leader).map_err(|_| Error::new(ErrorClass::Comm, "a rank is negative"))?;
                // SAFETY: as above.
                unsafe { key.set(comm.as_raw(), leader) }?;
                leader
            }
        };
        Ok(Place { leader: leader as u64, name: mpi::environment::processor_name().unwrap_or_default() })
    }
}

/// Under which key communicators know the lowest rank on this rank's node.
fn key() -> Result<Key, Error> {
    static KEY: Mutex<Option<Key>> = Mutex::new(None);
    let mut known = KEY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = *known {
        return Ok(key);
    }
    Ok(*known.insert(Key::new(attribute::forget)?))
}

/// The nodes of all ranks. Collective.
pub(crate) async fn agree(group: &Group, own: &Place) -> Result<Nodes, Error> {
    let asked = group.ask(ROOT, async { ranks_per_node().map(|ranks| ranks.to_le_bytes().to_vec()) }).await?;
    let ranks_per_node = u64::from_le_bytes(asked.try_into().unwrap_or_default());
    if ranks_per_node > 0 {
        let name = |rank: u32| format!("node{}", u64::from(rank) / ranks_per_node);
        return Ok(Nodes::new((0..group.size()).map(name)));
    }
    let name = own.name.bytes().map(u64::from);
    let all = group.all_gather_numbers(&std::iter::once(own.leader).chain(name).collect::<Vec<_>>()).await?;
    let place = |numbers: Vec<u64>| {
        let (leader, name) = numbers.split_first().map_or((0, &[][..]), |(leader, name)| (*leader, name));
        let name: Vec<u8> = name.iter().filter_map(|byte| u8::try_from(*byte).ok()).collect();
        (leader, String::from_utf8_lossy(&name).into_owned())
    };
    Ok(Nodes::by_key(all.into_iter().map(place)))
}

/// What the environment says; 0 for nothing.
fn ranks_per_node() -> Result<u64, Error> {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    match text.trim() {
        "" => Ok(0),
        number => number.parse().map_err(|_| {
            let message = format!("{VARIABLE} is {number:?}; it must be a number of ranks, or 0 for the real nodes");
            Error::new(ErrorClass::Arg, message)
        }),
    }
}
