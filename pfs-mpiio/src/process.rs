//! One client for all files of a process.
//!
//! It is made at the first open of a metadata server's file. It ends when MPI does, or at [`finalize`], whichever is first: a
//! program that opens one file after the other does not begin a session for each. One that was given up is replaced at the
//! next open.

use crate::attribute;
use crate::drive::drive;
use crate::error::Error;
use crate::node_memory;
use crate::operation::Outstanding;
use crate::queue;
use crate::threads;
use mpi::ffi::{self, MPI_Comm};
use pfs_client::blocking::Client;
use pfs_client::{CacheCounters, ClientConfig};
use std::ops::Deref;
use std::os::raw::{c_int, c_void};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A client is shared by files with the same metadata servers and the same secret.
type Key = (Vec<String>, PathBuf);

static SESSIONS: Mutex<Vec<(Key, Arc<Session>)>> = Mutex::new(Vec::new());
/// Whether the end of MPI ends the sessions.
static HOOKED: Mutex<bool> = Mutex::new(false);

/// How many things caches count.
pub(crate) const CACHE_COUNTS: usize = 9;
pub(crate) type CacheCounts = [u64; CACHE_COUNTS];

/// What the caches of sessions that have ended did.
static ENDED: Mutex<CacheCounts> = Mutex::new([0; CACHE_COUNTS]);

/// The process's client.
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
    let key = ClientConfig::cluster(address.as_deref())?;
    end_with_mpi()?;
    let mut sessions = sessions();
    sessions.retain(|(_, session)| !session.0.is_over());
    if let Some((_, session)) = sessions.iter().find(|(other, _)| *other == key) {
        return Ok(SharedClient(session.clone()));
    }
    let session = Arc::new(Session(Client::connect(config(address)?)?));
    sessions.push((key, session.clone()));
    Ok(SharedClient(session))
}

/// Has the sessions ended in order by `MPI_Finalize`, which deletes the attributes of `MPI_COMM_SELF` before anything else, the
/// last that was set first (MPI-4.1, 11.2.4). On a thread that may not call MPI it is left to a later call. The first open does
/// it; who closes files by an attribute of his own calls it before he sets that, so that there still are sessions then.
pub fn end_with_mpi() -> Result<(), Error> {
    let mut hooked = HOOKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*hooked && threads::may_call() {
        let key = attribute::Key::new(end_all)?;
        // SAFETY: this communicator is there as long as MPI.
        unsafe { key.set(ffi::RSMPI_COMM_SELF, 0) }?;
        *hooked = true;
    }
    Ok(())
}

unsafe extern "C" fn end_all(_comm: MPI_Comm, _key: c_int, _value: *mut c_void, _extra: *mut c_void) -> c_int {
    // A panic may not pass through MPI; it has told itself.
    if let Ok(Err(error)) = catch_unwind(shut_down) {
        eprintln!("pfs: a session was not ended in order: {error}");
    }
    attribute::SUCCESS
}

fn shut_down() -> Result<(), Error> {
    node_memory::forget();
    let open: Vec<Arc<Session>> = sessions().drain(..).map(|(_, session)| session).collect();
    open.iter().try_for_each(|session| session.0.shutdown().map_err(Error::from))
}

/// Waits for the nonblocking accesses that are under way, and ends the sessions of files that were never closed. Call it
/// before MPI ends if a file may still be open; what was not synced may be lost. Not collective, unless it waits for collectives.
pub fn finalize() -> Result<(), Error> {
    drive(async {
        queue::all_done().await;
        Outstanding::of_all_files().none().await;
    });
    shut_down()
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
    let live: Vec<Arc<Session>> = sessions().iter().map(|(_, session)| session.clone()).collect();
    let before = *ended();
    live.iter().fold(before, |all, session| sum(all, cache_counts(&session.0)))
}

fn sum(a: CacheCounts, b: CacheCounts) -> CacheCounts {
    std::array::from_fn(|at| a[at] + b[at])
}

fn ended() -> MutexGuard<'static, CacheCounts> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sessions() -> MutexGuard<'static, Vec<(Key, Arc<Session>)>> {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(address: Option<String>) -> Result<ClientConfig, Error> {
    let config = match address {
        Some(address) => ClientConfig::from_addresses(&address),
        None => ClientConfig::from_env(),
    };
    Ok(config?)
}
