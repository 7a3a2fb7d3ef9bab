//! One client for all files of a process.
//!
//! It is made at the first open of a metadata server's file, and ends when the last file closes or at
//! [`finalize`], whichever is first.

use crate::drive::drive;
use crate::error::Error;
use crate::operation::Outstanding;
use crate::queue;
use pfs_client::ClientConfig;
use pfs_client::blocking::Client;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A client is shared by files with the same metadata servers and the same secret.
type Key = (Vec<String>, PathBuf);

static SESSIONS: Mutex<Vec<(Key, Weak<Session>)>> = Mutex::new(Vec::new());

/// The process's client, kept alive by every file that uses it.
#[derive(Clone)]
pub(crate) struct SharedClient(Arc<Session>);

struct Session(Client);

impl Drop for Session {
    fn drop(&mut self) {
        // A session that can not say goodbye ends by its lease; nothing of a closed file is lost by that.
        let _ = self.0.shutdown();
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
