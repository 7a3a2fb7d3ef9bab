//! The file servers: which store is which server, who is up, with how much space, and where files go.
//!
//! Invariants:
//! * a server's name and id are bound to one store for ever, durably, at its first registration;
//! * a server that has once shown its id is never replaced by an empty store of its name;
//! * a server is up only when it has registered in this start of the metadata server.
//!
//! What a server has been told to refuse, and when it has surely stopped to serve, is the coordinator's to know.

mod placement;
mod registration;

pub(crate) use placement::Placement;
pub(crate) use registration::RegistrationError;

use crate::clock::boottime_ms;
use crate::namespace::{Namespace, NamespaceError};
use crate::records::{self, FileServer};
use crate::store::{StoreError, for_each, keys};
use parking_lot::Mutex;
use pfs_core::ids::{Instance, ServerId};
use pfs_proto::metadata::{Heartbeat, RegisterFileServer, ServerAddress, SpaceReport};
use registration::{MarkLabelled, Register};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A file server, as it is known now.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) id: ServerId,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) instance: u64,
    labelled: bool,
    /// When it was last heard in this start; nothing before its registration.
    last_heard_ms: Option<u64>,
    pub(crate) space: SpaceReport,
}

impl Server {
    fn new(id: ServerId, record: &FileServer) -> Self {
        Server {
            id,
            name: record.name.clone(),
            address: record.address.clone(),
            instance: record.instance,
            labelled: record.labelled,
            last_heard_ms: None,
            space: SpaceReport::default(),
        }
    }

    /// Milliseconds since its last sign of life in this start.
    pub(crate) fn silent_ms(&self, now_ms: u64) -> Option<u64> {
        self.last_heard_ms.map(|heard| now_ms.saturating_sub(heard))
    }
}

/// All file servers of the cluster.
pub(crate) struct FileServers {
    namespace: Arc<Namespace>,
    cluster_id: String,
    lease_ms: u64,
    table: Mutex<BTreeMap<ServerId, Server>>,
}

impl FileServers {
    /// Reads the servers that the store knows; none of them counts as up before it registers.
    pub(crate) async fn open(namespace: Arc<Namespace>, cluster_id: String, lease_ms: u64) -> Result<Self, StoreError> {
        let mut table = BTreeMap::new();
        for_each(&**namespace.store(), keys::servers(), |key, value| {
            let id = keys::key_number(&key).and_then(|number| u32::try_from(number).ok()).and_then(ServerId::new);
            let id = id.ok_or_else(|| records::damaged(&key, "the key has no server"))?;
            table.insert(id, Server::new(id, &records::decode(&key, &value)?));
            Ok(())
        })
        .await?;
        Ok(FileServers { namespace, cluster_id, lease_ms, table: Mutex::new(table) })
    }

    /// A server's first contact after a start. `new_id` is for a store that has none.
    pub(crate) async fn register(
        &self,
        request: RegisterFileServer,
        new_id: ServerId,
    ) -> Result<ServerId, NamespaceError> {
        let register = Register { request: &request, cluster_id: &self.cluster_id, new_id };
        let (id, record) = registration::registered(&self.namespace.run(None, &register).await?)?;
        let mut server = Server::new(id, &record);
        server.last_heard_ms = Some(boottime_ms());
        server.space = request.space;
        tracing::info!(server = %id, name = server.name, address = server.address, "file server registered");
        self.table.lock().insert(id, server);
        Ok(id)
    }

    /// A server's sign of life. Returns whether its registration is known.
    pub(crate) async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<bool, NamespaceError> {
        let Heartbeat { server, instance, space, .. } = *heartbeat;
        let labelled = {
            let mut table = self.table.lock();
            match table.get_mut(&server) {
                Some(known) if known.instance == instance.get() && known.last_heard_ms.is_some() => {
                    known.last_heard_ms = Some(boottime_ms());
                    known.space = space;
                    known.labelled
                }
                _ => return Ok(false),
            }
        };
        if !labelled {
            self.mark_labelled(server).await?;
        }
        Ok(true)
    }

    /// A server that speaks of itself by its id has it in its label; before it makes an object this is durable.
    pub(crate) async fn mark_labelled(&self, server: ServerId) -> Result<(), NamespaceError> {
        if self.table.lock().get(&server).is_some_and(|known| known.labelled) {
            return Ok(());
        }
        self.namespace.run(None, &MarkLabelled { server }).await?;
        if let Some(known) = self.table.lock().get_mut(&server) {
            known.labelled = true;
        }
        Ok(())
    }

    /// All servers that registered once, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Server> {
        self.table.lock().values().cloned().collect()
    }

    /// A server.
    pub(crate) fn get(&self, server: ServerId) -> Option<Server> {
        self.table.lock().get(&server).cloned()
    }

    /// Whether a server's last sign of life is recent.
    pub(crate) fn is_live(&self, server: &Server) -> bool {
        server.silent_ms(boottime_ms()).is_some_and(|silent| silent <= self.lease_ms)
    }

    /// Servers that are up, in the order of their ids.
    pub(crate) fn live(&self) -> Vec<Server> {
        self.all().into_iter().filter(|server| self.is_live(server)).collect()
    }

    /// Where those servers are that clients want to know of.
    pub(crate) fn addresses(&self, wanted: impl Fn(ServerId) -> bool) -> Vec<ServerAddress> {
        let address = |server: Server| {
            let live = self.is_live(&server);
            let instance = Instance::new(server.instance)?;
            Some(ServerAddress { server: server.id, address: server.address, instance, live })
        };
        self.all().into_iter().filter(|server| wanted(server.id)).filter_map(address).collect()
    }
}
