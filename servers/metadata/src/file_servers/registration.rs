//! Which store is which server.

use crate::namespace::{Change, NamespaceError, OperationKind};
use crate::records::{self, FileServer, Nothing, Registered};
use crate::store::{Key, Transaction, keys};
use pfs_core::ids::ServerId;
use pfs_proto::metadata::RegisterFileServer;
use prost::Message;

/// Why a file server may not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The store is another cluster's.
    #[error(
        "the store of {name:?} belongs to cluster {theirs}, and this is cluster {ours}; start it with its own metadata server, or on another directory"
    )]
    OtherCluster {
        /// The server's name.
        name: String,
        /// The label's cluster.
        theirs: String,
        /// This cluster.
        ours: String,
    },
    /// An empty directory has the name of a server that has objects.
    #[error(
        "the store of {name:?} is empty, but that name is {id}'s, which has stored data; start it on the directory it had before, or give a new server a new name"
    )]
    EmptyStore {
        /// The server's name.
        name: String,
        /// Its id.
        id: ServerId,
    },
    /// The label's id is not known here.
    #[error(
        "the store of {name:?} is labelled {id}, which this cluster does not know; was the metadata server's directory replaced?"
    )]
    UnknownId {
        /// The server's name.
        name: String,
        /// The label's id.
        id: ServerId,
    },
    /// The label's id has another name.
    #[error("the store is labelled {id}, which is {known:?} and not {name:?}; start it under its own name")]
    OtherName {
        /// The label's id.
        id: ServerId,
        /// The name given.
        name: String,
        /// The name that the id has.
        known: String,
    },
    /// The store is older than what was seen of it.
    #[error(
        "the store of {name:?} has been started {instance} times, but its start {known} was seen already; it is an old copy and lacks what was written since"
    )]
    OldCopy {
        /// The server's name.
        name: String,
        /// The store's counter.
        instance: u64,
        /// The largest counter seen.
        known: u64,
    },
}

/// Binds a store to a name and an id, or finds it bound.
pub(super) struct Register<'a> {
    pub(super) request: &'a RegisterFileServer,
    pub(super) cluster_id: &'a str,
    pub(super) new_id: ServerId,
}

impl Register<'_> {
    async fn bound_id(&self, transaction: &mut Transaction<'_>) -> Result<Option<ServerId>, NamespaceError> {
        let key = keys::server_name(&self.request.server_name);
        let Some(value) = transaction.get(key.clone()).await? else { return Ok(None) };
        let number = value.as_slice().try_into().map(u32::from_be_bytes).ok().and_then(ServerId::new);
        Ok(Some(number.ok_or_else(|| records::damaged(&key, "not a server's id"))?))
    }

    async fn labelled(
        &self,
        transaction: &mut Transaction<'_>,
        theirs: &str,
        id: ServerId,
    ) -> Result<FileServer, NamespaceError> {
        let name = self.request.server_name.clone();
        if theirs != self.cluster_id {
            let (theirs, ours) = (theirs.to_owned(), self.cluster_id.to_owned());
            return Err(RegistrationError::OtherCluster { name, theirs, ours }.into());
        }
        let Some(known) = read(transaction, id).await? else {
            return Err(RegistrationError::UnknownId { name, id }.into());
        };
        if known.name != name {
            return Err(RegistrationError::OtherName { id, name, known: known.name }.into());
        }
        let instance = self.request.instance.get();
        if instance < known.instance {
            return Err(RegistrationError::OldCopy { name, instance, known: known.instance }.into());
        }
        Ok(FileServer { labelled: true, ..known })
    }

    async fn unlabelled(&self, transaction: &mut Transaction<'_>) -> Result<(ServerId, FileServer), NamespaceError> {
        let name = self.request.server_name.clone();
        let Some(id) = self.bound_id(transaction).await? else {
            transaction.put(keys::server_name(&name), self.new_id.get().to_be_bytes().to_vec());
            return Ok((self.new_id, FileServer { name, ..FileServer::default() }));
        };
        match read(transaction, id).await? {
            // It was told its id before, but never showed it: it ended before it had written its label.
            Some(known) if !known.labelled => Ok((id, known)),
            _ => Err(RegistrationError::EmptyStore { name, id }.into()),
        }
    }
}

impl Change for Register<'_> {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Registered;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Registered, NamespaceError> {
        let (id, before) = match &self.request.label {
            Some(label) => (label.server, self.labelled(transaction, &label.cluster_id, label.server).await?),
            None => self.unlabelled(transaction).await?,
        };
        let after =
            FileServer { address: self.request.address.clone(), instance: self.request.instance.get(), ..before };
        transaction.put(keys::server(id), after.encode_to_vec());
        Ok(Registered { server: id.get(), record: Some(after) })
    }
}

/// What a registration bound.
pub(super) fn registered(answer: &Registered) -> Result<(ServerId, FileServer), NamespaceError> {
    let missing = || records::damaged(&Key::new(), "a registration lacks its server");
    let id = ServerId::new(answer.server).ok_or_else(missing)?;
    Ok((id, answer.record.clone().ok_or_else(missing)?))
}

/// A server has shown that its store carries its id.
pub(super) struct MarkLabelled {
    pub(super) server: ServerId,
}

impl Change for MarkLabelled {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        if let Some(known) = read(transaction, self.server).await?
            && !known.labelled
        {
            transaction.put(keys::server(self.server), FileServer { labelled: true, ..known }.encode_to_vec());
        }
        Ok(Nothing {})
    }
}

async fn read(transaction: &mut Transaction<'_>, id: ServerId) -> Result<Option<FileServer>, NamespaceError> {
    let key = keys::server(id);
    Ok(transaction.get(key.clone()).await?.map(|value| records::decode(&key, &value)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_servers::FileServers;
    use crate::namespace::Namespace;
    use crate::store::MemoryStore;
    use pfs_core::ids::Instance;
    use pfs_proto::metadata::{DataCounters, Heartbeat, Label, SpaceReport};
    use std::sync::Arc;

    const ID: ServerId = ServerId::new(1).unwrap();

    fn request(name: &str, label: Option<(&str, u32)>, instance: u64) -> RegisterFileServer {
        RegisterFileServer {
            label: label.map(|(cluster, id)| Label { cluster_id: cluster.into(), server: ServerId::new(id).unwrap() }),
            server_name: name.into(),
            address: "127.0.0.1:9".into(),
            instance: Instance::new(instance).unwrap(),
            space: SpaceReport::default(),
        }
    }

    async fn servers() -> FileServers {
        let namespace = Namespace::open(Arc::new(MemoryStore::new()), 0).await.unwrap();
        FileServers::open(Arc::new(namespace), "here".into(), 1000).await.unwrap()
    }

    async fn refused(servers: &FileServers, request: RegisterFileServer) -> RegistrationError {
        match servers.register(request, ServerId::new(9).unwrap()).await {
            Err(NamespaceError::Registration(error)) => error,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// A server that ended before it wrote its label may come again; one that showed its label may not come empty.
    #[tokio::test]
    async fn an_emptied_store_is_refused_and_an_interrupted_first_start_is_not() {
        let servers = servers().await;
        assert_eq!(servers.register(request("file-0", None, 1), ID).await.unwrap(), ID);
        let again = servers.register(request("file-0", None, 1), ServerId::new(2).unwrap()).await.unwrap();
        assert_eq!(again, ID, "it never showed its label");
        let heartbeat = |instance| Heartbeat {
            boot: pfs_core::ids::Boot::new(1).unwrap(),
            fence_version: 0,
            server: ID,
            instance: Instance::new(instance).unwrap(),
            space: SpaceReport::default(),
            counters: DataCounters::default(),
            busiest: Vec::new(),
        };
        assert!(!servers.heartbeat(&heartbeat(7)).await.unwrap(), "another start than the registered one");
        assert!(servers.heartbeat(&heartbeat(1)).await.unwrap());
        let error = refused(&servers, request("file-0", None, 1)).await;
        assert_eq!(error, RegistrationError::EmptyStore { name: "file-0".into(), id: ID });
    }

    #[tokio::test]
    async fn a_label_must_be_this_clusters_and_this_names_and_not_old() {
        let servers = servers().await;
        servers.register(request("file-0", None, 1), ID).await.unwrap();
        servers.register(request("file-0", Some(("here", 1)), 5), ID).await.unwrap();
        use RegistrationError as E;
        assert!(matches!(refused(&servers, request("file-0", Some(("there", 1)), 6)).await, E::OtherCluster { .. }));
        assert!(matches!(refused(&servers, request("file-0", Some(("here", 3)), 6)).await, E::UnknownId { .. }));
        assert!(matches!(refused(&servers, request("file-1", Some(("here", 1)), 6)).await, E::OtherName { .. }));
        assert!(matches!(refused(&servers, request("file-0", Some(("here", 1)), 4)).await, E::OldCopy { .. }));
        assert_eq!(servers.register(request("file-0", Some(("here", 1)), 5), ID).await.unwrap(), ID);
    }
}
