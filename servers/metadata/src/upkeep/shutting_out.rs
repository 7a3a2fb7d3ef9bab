//! The end of clients that are given up, and of groups that do not give way.
//!
//! The order is the safety: it is durable, then every file server refuses them, then their tokens go on. The coordinator
//! says what comes next; here it is done, and tried until it is.
//!
//! The dead can not tell how far they wrote. So the fences ask for the lengths of the objects that they may have written,
//! and those raise the sizes before the tokens go on. A file server that has shown by a heartbeat that it has the fence
//! before it has answered is asked for lengths a few times more; its sizes come late then.

use super::backoff::Backoff;
use crate::background::Background;
use crate::data_clients::DataClients;
use crate::file_servers::FileServers;
use crate::namespace::{EndSession, FenceGroup, ForgetDead, ForgetGroup, Namespace, NamespaceError};
use crate::tokens::{Burial, Errand, Stopped, Tokens};
use parking_lot::Mutex;
use pfs_core::ids::{Boot, FileId, ObjectId, ServerId, Stamp};
use pfs_core::layout::Recipe;
use pfs_core::session::coordinator::Victim;
use pfs_core::token::message::FileSize;
use pfs_proto::data::{self, Drain, Fence};
use pfs_proto::status::ErrorDetail;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Objects whose lengths one request asks for.
const OBJECTS_AT_ONCE: usize = 16_384;
/// Victims that one request names.
const VICTIMS_AT_ONCE: usize = data::FENCES_PER_REQUEST_MAX;
/// How often a file server is asked for lengths that nobody waits for any more.
const LATE_ATTEMPTS: u32 = 5;

/// A file that somebody who is shut out may have written.
#[derive(Debug)]
struct Written {
    file: FileId,
    recipe: Recipe,
    generation: u64,
}

/// What it needs.
pub(crate) struct ShuttingOut {
    namespace: Arc<Namespace>,
    servers: Arc<FileServers>,
    data: Arc<DataClients>,
    tokens: Tokens,
    boot: Boot,
    /// What those have written who are being shut out.
    written: Mutex<BTreeMap<Victim, Arc<Vec<Written>>>>,
}

impl ShuttingOut {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        servers: Arc<FileServers>,
        data: Arc<DataClients>,
        tokens: Tokens,
        boot: Boot,
    ) -> Self {
        ShuttingOut { namespace, servers, data, tokens, boot, written: Mutex::default() }
    }

    /// Runs errands, for ever: each on its own, so that one file server that hangs holds no other up.
    pub(crate) async fn run(self: Arc<Self>, mut errands: mpsc::UnboundedReceiver<Errand>, background: Background) {
        while let Some(errand) = errands.recv().await {
            let this = self.clone();
            background.spawn(async move {
                if this.do_errand(errand).await.is_err() {
                    tracing::debug!("the server ends before somebody is shut out; the next start goes on with it");
                }
            });
        }
    }

    async fn do_errand(&self, errand: Errand) -> Result<(), Stopped> {
        match errand {
            Errand::Record(burials) => self.record(burials).await,
            Errand::Fence { server, victims } => self.fence(server, victims).await,
            Errand::Drain { server, stamp, sequence } => self.drain(server, stamp, sequence).await,
            Errand::Forget(victims) => {
                futures::future::join_all(victims.into_iter().map(|victim| self.forget(victim))).await;
                Ok(())
            }
        }
    }

    async fn record(&self, burials: Vec<Burial>) -> Result<(), Stopped> {
        futures::future::join_all(burials.iter().map(|burial| self.record_one(burial))).await;
        let victims: Vec<Victim> = burials.into_iter().map(|burial| burial.victim).collect();
        self.tokens.with(move |state| state.recorded(&victims))
    }

    async fn record_one(&self, burial: &Burial) {
        let mut backoff = Backoff::new();
        while let Err(error) = self.try_record(burial).await {
            tracing::error!(victim = ?burial.victim, %error, "an end could not be recorded; the tokens stay until it is");
            backoff.pause().await;
        }
        let mut written = Vec::new();
        for file in &burial.written {
            match self.namespace.stat_id(*file).await {
                Ok(metadata) => written.extend(metadata.recipe.map(|recipe| {
                    let generation = metadata.size.generation;
                    Written { file: *file, recipe, generation }
                })),
                Err(NamespaceError::NoFile(_)) => {}
                Err(error) => tracing::error!(%file, %error, "how far the file was written can not be asked"),
            }
        }
        if !written.is_empty() {
            self.written.lock().insert(burial.victim, Arc::new(written));
        }
    }

    async fn try_record(&self, burial: &Burial) -> Result<(), NamespaceError> {
        match burial.victim {
            Victim::Client(client) => self.namespace.run(None, &EndSession { client, dead: true }).await?,
            Victim::Group(group) => {
                self.namespace.run(None, &FenceGroup { group, members: burial.members.clone() }).await?
            }
        };
        Ok(())
    }

    async fn forget(&self, victim: Victim) {
        self.written.lock().remove(&victim);
        let forgotten = match victim {
            Victim::Client(client) => self.namespace.run(None, &ForgetDead { client }).await,
            Victim::Group(group) => self.namespace.run(None, &ForgetGroup { group }).await,
        };
        if let Err(error) = forgotten {
            tracing::warn!(?victim, %error, "a record of somebody who is shut out stays until the next start");
        }
    }

    /// Returns when a server refuses the victims, or nobody waits for that any more.
    async fn fence(&self, server: ServerId, victims: Vec<Victim>) -> Result<(), Stopped> {
        let written: Vec<Arc<Vec<Written>>> = {
            let written = self.written.lock();
            victims.iter().filter_map(|victim| written.get(victim).cloned()).collect()
        };
        let objects = objects_on(server, written.iter().flat_map(|written| written.iter()));
        let (mut backoff, mut late) = (Backoff::new(), 0);
        loop {
            let all = victims.clone();
            let wanted = self.tokens.with(move |state| state.still_to_fence(server, all))?;
            if wanted.is_empty() {
                late += 1;
                if objects.is_empty() || late > LATE_ATTEMPTS {
                    return Ok(());
                }
            }
            let Some(known) = self.servers.get(server) else { return Ok(()) };
            match self.fence_once(&known.address, &victims, &objects).await {
                Ok(lengths) => {
                    let sizes = sizes(&objects, &lengths);
                    let learn = move |state: &mut crate::tokens::State| {
                        sizes.into_iter().for_each(|(file, size)| state.learn(file, size));
                        state.fenced(server, &victims);
                    };
                    return self.tokens.with(learn);
                }
                Err(error) => tracing::warn!(%server, %error, "a file server did not take a fence; trying again"),
            }
            backoff.pause().await;
        }
    }

    async fn fence_once(
        &self,
        address: &str,
        victims: &[Victim],
        objects: &[(ObjectId, &Written)],
    ) -> Result<Vec<u64>, ErrorDetail> {
        for victims in victims.chunks(VICTIMS_AT_ONCE) {
            let mut fence = self.fence_of(Vec::new());
            for victim in victims {
                match *victim {
                    Victim::Client(client) => fence.incarnations.push(client),
                    Victim::Group(group) => fence.groups.push(group),
                }
            }
            self.data.fence(address, fence).await?;
        }
        // Lengths after the fence: nothing of theirs can make an object longer any more.
        let mut lengths = Vec::with_capacity(objects.len());
        for objects in objects.chunks(OBJECTS_AT_ONCE) {
            let fence = self.fence_of(objects.iter().map(|(object, _)| *object).collect());
            lengths.extend(self.data.fence(address, fence).await?);
        }
        Ok(lengths)
    }

    fn fence_of(&self, objects: Vec<ObjectId>) -> Fence {
        Fence { boot_floor: self.boot, incarnations: Vec::new(), groups: Vec::new(), objects }
    }

    /// Returns when a client's write can not be applied on a server any more, or nobody waits for that.
    async fn drain(&self, server: ServerId, stamp: Stamp, sequence: u64) -> Result<(), Stopped> {
        let mut backoff = Backoff::new();
        while self.tokens.with(move |state| state.still_to_drain(server, stamp))? {
            let Some(known) = self.servers.get(server) else { return Ok(()) };
            match self.data.drain(&known.address, Drain { stamp, sequence }).await {
                Ok(()) => return self.tokens.with(move |state| state.drained(server, stamp, sequence)),
                Err(error) => tracing::warn!(%server, %stamp, %error, "a write could not be drained; trying again"),
            }
            backoff.pause().await;
        }
        Ok(())
    }
}

/// The objects of files that lie on a server, each once.
fn objects_on<'a>(server: ServerId, written: impl Iterator<Item = &'a Written>) -> Vec<(ObjectId, &'a Written)> {
    let mut seen = BTreeSet::new();
    let mut objects = Vec::new();
    for written in written.filter(|written| seen.insert(written.file)) {
        for (slot, servers) in (0u32..).zip(written.recipe.slots()) {
            if servers.contains(&server) {
                objects.push((ObjectId { file: written.file, slot }, written));
            }
        }
    }
    objects
}

/// The sizes that explain the lengths of objects.
fn sizes(objects: &[(ObjectId, &Written)], lengths: &[u64]) -> Vec<(FileId, FileSize)> {
    let mut sizes: BTreeMap<FileId, FileSize> = BTreeMap::new();
    for ((object, written), length) in objects.iter().zip(lengths) {
        let bytes = written.recipe.file_bytes_for(object.slot, *length);
        let size = FileSize { generation: written.generation, bytes };
        sizes.entry(object.file).or_insert(size).learn(size);
    }
    sizes.into_iter().filter(|(_, size)| size.bytes > 0).collect()
}
