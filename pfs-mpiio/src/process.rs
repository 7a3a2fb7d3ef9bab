//! One client for all files of a process.
//!
//! It is made at the first open of a metadata server's file, and ends when the last file closes or at
//! [`finalize`], whichever is first.

use crate::drive::drive;
use crate::error::Error;
use crate::operation::Outstanding;
use crate::queue;
use pfs_client::blocking::Client;
use pfs_client::{CacheCounters, ClientConfig};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A client is shared by files with the same metadata servers and the same secret.
type Key = (Vec<String>, PathBuf);

static SESSIONS: Mutex<Vec<(Key, Weak<Session>)>> = Mutex::new(Vec::new());

/// How many things caches count.
pub(crate) const CACHE_COUNTS: usize = 9;
pub(crate) type CacheCounts = [u64; CACHE_COUNTS];

/// What the caches of sessions that have ended did.
static ENDED: Mutex<CacheCounts> = Mutex::new([0; CACHE_COUNTS]);

/// The process's client, kept alive by every file that uses it.
#[derive(Clone)]
pub(crate) struct SharedClient(Arc<Session>);

struct Session(Client);

impl Drop for Session {
    fn drop(&mut self) {
        // A session that can not say goodbye ends by its lease; nothing of a closed file is lost by that.
        let _ = self.0.shutdown();
        let (counts, mut ended) = (cache_counts(&self.0), ended());
        *ended = sum(*ended, counts);
    }
}

impl Deref for SharedClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0.0
    }
}

/// The client for a metadata server's address, or for the environment's when the file name has none.
pub(crate) fn client(address: Option<String>) -> Result<SharedClient, Error> {
    let config = config(address)?;
    let key = (config.metadata.clone(), config.secret_file.clone());
    let mut sessions = sessions();
    sessions.retain(|(_, session)| session.strong_count() > 0);
    let known = sessions.iter().find(|(other, _)| *other == key).and_then(|(_, session)| session.upgrade());
    if let Some(session) = known {
        return Ok(SharedClient(session));
    }
    let session = Arc::new(Session(Client::connect(config)?));
    sessions.push((key, Arc::downgrade(&session)));
    Ok(SharedClient(session))
}

/// Waits for the nonblocking accesses that are under way, and ends the sessions of files that were never closed. Call it
/// before MPI ends if a file may still be open; what was not synced may be lost. Not collective, unless it waits for collectives.
pub fn finalize() -> Result<(), Error> {
    drive(async {
        queue::all_done().await;
        Outstanding::of_all_files().none().await;
    });
    let open: Vec<Arc<Session>> = sessions().drain(..).filter_map(|(_, session)| session.upgrade()).collect();
    open.iter().try_for_each(|session| session.0.shutdown().map_err(Error::from))
}

/// What a client's cache has done.
pub(crate) fn cache_counts(client: &Client) -> CacheCounts {
    client.cache_counters().events().map(|(_, count)| count)
}

/// What [`cache_counts`] counts.
pub(crate) fn cache_names() -> [&'static str; CACHE_COUNTS] {
    CacheCounters::default().events().map(|(name, _)| name)
}

/// What the caches of all clients of this process have done.
pub(crate) fn all_cache_counts() -> CacheCounts {
    let live: Vec<Arc<Session>> = sessions().iter().filter_map(|(_, session)| session.upgrade()).collect();
    let before = *ended();
    live.iter().fold(before, |all, session| sum(all, cache_counts(&session.0)))
}

fn sum(a: CacheCounts, b: CacheCounts) -> CacheCounts {
    std::array::from_fn(|at| a[at] + b[at])
}

fn ended() -> MutexGuard<'static, CacheCounts> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sessions() -> MutexGuard<'static, Vec<(Key, Weak<Session>)>> {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(address: Option<String>) -> Result<ClientConfig, Error> {
    let config = match address {
        Some(address) => ClientConfig::from_addresses(&address),
        None => ClientConfig::from_env(),
    };
    Ok(config?)
}
