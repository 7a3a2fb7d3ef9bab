//! Opening a session; [`driver`] keeps it, over broken connections and restarts of the metadata server.

mod calls;
mod driver;
mod wire;

use crate::access::boot_time_ms;
use crate::config::ClientConfig;
use crate::data::servers::{Patience, Servers};
use crate::error::{Error, ErrorKind};
use crate::links::Links;
use crate::metadata::Metadata;
use crate::state::{ClientState, NewSession};
use driver::Driver;
use pfs_core::session::Terms;
use pfs_core::session::client::ClientSession;
use pfs_proto::metadata::Session;
use pfs_proto::secret::AuthInterceptor;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use wire::Wire;

/// What a session is opened with.
pub(crate) struct Opening {
    pub(crate) config: ClientConfig,
    pub(crate) auth: AuthInterceptor,
    pub(crate) patience: Patience,
    /// The io thread, on which the session is opened.
    pub(crate) io: Handle,
    /// The token thread, on which the driver runs.
    pub(crate) token: Handle,
}

/// Opens a session at the first metadata server that answers.
pub(crate) async fn open(opening: Opening) -> Result<Arc<ClientState>, Error> {
    let mut failures = Vec::new();
    for address in opening.config.metadata.clone() {
        // The lease counts from before the request for it was sent.
        let asked_ms = boot_time_ms();
        match Metadata::connect(&address, &opening.auth, opening.patience.clone(), &opening.config.name).await {
            Ok((stub, session)) => return start(opening, address, stub, session, asked_ms).await,
            Err(error) if error.kind().is_passing() => failures.push(format!("{address}: {error}")),
            Err(error) => return Err(error.context(format_args!("metadata server {address}"))),
        }
    }
    let message = format!(
        "no metadata server answers ({}); check PFS_METADATA and whether the servers are running",
        failures.join("; ")
    );
    Err(Error::new(ErrorKind::Unavailable, message))
}

async fn start(
    opening: Opening,
    address: String,
    stub: crate::metadata::MetadataStub,
    session: Session,
    asked_ms: u64,
) -> Result<Arc<ClientState>, Error> {
    let Opening { config, auth, patience, io, token } = opening;
    let servers = Servers::new(auth.clone(), patience.clone(), config.in_flight_bytes_per_server_max);
    servers.learn(session.servers)?;
    let (up, outgoing) = mpsc::unbounded_channel();
    let links = Arc::new(Links::new(session.client, session.boot, up));
    let terms = Terms { lease_ms: session.lease_ms, heartbeat_ms: session.heartbeat_ms };
    let patience_ms = u64::try_from(config.session_patience.as_millis()).unwrap_or(u64::MAX / 2);
    let machine = ClientSession::new(session.client, session.boot, terms, patience_ms, asked_ms);
    let wire = Wire::new(&address, auth, Duration::from_millis(session.lease_ms))
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error))?;
    let welcome_patience = config.operation_timeout;
    let metadata = Metadata::new(stub, links.clone(), patience, config.session_patience);
    let cluster_id = session.cluster_id;
    let state = Arc::new(ClientState::from(NewSession { config, cluster_id, links, metadata, servers, io }));
    let (ready, welcome) = oneshot::channel();
    token.spawn(Driver::new(&state, address.clone(), machine, wire, outgoing, ready).run());
    match tokio::time::timeout(welcome_patience, welcome).await {
        Ok(Ok(())) => Ok(state),
        Ok(Err(_)) => Err(state.links.access.ended_error()),
        Err(_) => {
            let message =
                format!("the metadata server at {address} did not welcome the client in {welcome_patience:?}");
            Err(Error::new(ErrorKind::Unavailable, message))
        }
    }
}
