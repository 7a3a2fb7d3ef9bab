//! File servers: registration, heartbeats, vouching.

use crate::clock::boottime_ms;
use crate::namespace::NamespaceError;
use crate::server::Shared;
use crate::store::keys::Counter;
use crate::tokens::Told;
use pfs_core::ids::ServerId;
use pfs_proto::data::Drain;
use pfs_proto::metadata::{Fences, Heartbeat, HeartbeatAnswer, Label, RegisterFileServer, Registration, VouchFile};
use pfs_proto::status::{ErrorCode, status};
use std::sync::Arc;
use tonic::Status;

/// Deleted files that one answer names. The others' removals are repeated until the server has taken them, and it
/// makes no object of a file that is not vouched for.
const DELETED_FILES_MAX: usize = 10_000;

pub(super) async fn register(shared: Arc<Shared>, request: RegisterFileServer) -> Result<Registration, Status> {
    let number = shared.counters.take(Counter::Server).await.map_err(NamespaceError::from)?;
    let new_id = u32::try_from(number).ok().and_then(ServerId::new);
    let new_id = new_id.ok_or_else(|| status(ErrorCode::Internal, "there are no more numbers for file servers"))?;
    let before = request.label.as_ref().and_then(|label| shared.servers.get(label.server));
    let address = request.address.clone();
    let server = shared.servers.register(request, new_id).await?;
    if let Some(before) = before.filter(|before| before.address != address) {
        shared.data.forget(&before.address);
    }
    shared.removals.wake();
    // It is in the table already, so what is decided after this is sent to it.
    let told = shared.tokens.with(move |state| state.server_registered(server))?;
    let (fence_version, fences) = with_deleted_files(&shared, server, told).await?;
    Ok(Registration {
        label: Label { cluster_id: shared.cluster_id.clone(), server },
        boot: shared.boot,
        heartbeat_ms: shared.config.heartbeat_ms,
        lease_ms: shared.config.lease_ms,
        fences,
        fence_version,
    })
}

/// A sign of life. One that knows the fences of another start only has to register again.
pub(super) async fn heartbeat(shared: &Shared, request: Heartbeat) -> Result<HeartbeatAnswer, Status> {
    let Heartbeat { server, boot, fence_version, .. } = request;
    if boot != shared.boot || !shared.servers.heartbeat(&request).await? {
        let fences = Fences::default();
        return Ok(HeartbeatAnswer { boot: shared.boot, registered: false, fences, fence_version: 0 });
    }
    shared.activity.heard(&request, boottime_ms());
    let told = shared.tokens.with(move |state| state.server_heard(server, fence_version))?;
    let (fence_version, fences) = with_deleted_files(shared, server, told).await?;
    Ok(HeartbeatAnswer { boot: shared.boot, registered: true, fences, fence_version })
}

/// Whom a server must refuse, and which files.
async fn with_deleted_files(
    shared: &Shared,
    server: ServerId,
    Told { version, fences, drains }: Told,
) -> Result<(u64, Fences), Status> {
    let removals = shared.namespace.removals(server, DELETED_FILES_MAX).await;
    let fences = Fences {
        incarnations: fences.incarnations.into_iter().collect(),
        groups: fences.groups.into_iter().collect(),
        incarnation_floor: fences.incarnation_floor,
        live_below_floor: fences.live_below_floor.into_iter().collect(),
        deleted_files: removals.map_err(NamespaceError::from)?,
        drains: drains.into_iter().map(|(stamp, sequence)| Drain { stamp, sequence }).collect(),
    };
    Ok((version, fences))
}

/// Whether a server may make an object: the file exists, with a name or open, and the slot is this server's.
pub(super) async fn vouch(shared: &Shared, request: VouchFile) -> Result<bool, Status> {
    let VouchFile { server, object } = request;
    shared.servers.mark_labelled(server).await?;
    let recipe = match shared.namespace.stat_id(object.file).await {
        Ok(file) => file.recipe,
        Err(NamespaceError::NoFile(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let slots = recipe.as_ref().map_or(&[][..], |recipe| recipe.slots());
    Ok(slots.get(object.slot as usize).is_some_and(|servers| servers.contains(&server)))
}
