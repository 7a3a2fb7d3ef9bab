//! Small accesses of one server, without a task of their own: the caller asks and waits by itself.
//!
//! That is most of all small accesses, and a task would cost as much as the rest. Whatever is not as usual is left to
//! [`transfer`](super::transfer): a session that is suspended, a write of unknown outcome before, no room, an error that may
//! pass.
//!
//! Invariant: a write whose caller goes away before it is answered, or that fails so that it may still be applied, leaves its
//! token with a task that settles it, as every write does ([`Pledge`]).

use crate::config::DataPath;
use crate::data::memory::destination::Destination;
use crate::data::memory::source::Source;
use crate::data::plan::{DataRequest, plan};
use crate::data::transfer::{data_path, describe, leaves_doubt, settle};
use crate::data::wire::write_body::WriteName;
use crate::error::Error;
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use crate::token::Token;
use pfs_core::extent::Extent;
use pfs_core::ids::{ObjectId, ServerId, Stamp};
use pfs_proto::v1;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What became of an attempt.
pub(crate) enum Quick<'a> {
    Done(Result<(), Error>),
    /// To be done in the general way, and held until then.
    Not(Option<Pledge<'a>>),
}

/// A write that was sent and whose outcome is not known. Dropped, it is settled in the background.
pub(crate) struct Pledge<'a> {
    state: &'a Arc<ClientState>,
    file: &'a Arc<SharedFile>,
    token: &'a Arc<Token>,
    server: ServerId,
    write: Option<(Stamp, u64)>,
}

impl Pledge<'_> {
    /// The write can not be applied any more, or has been.
    pub(crate) fn redeem(mut self) {
        self.write = None;
    }
}

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        if let Some((stamp, sequence)) = self.write {
            self.state.servers.doubt(self.server, stamp, sequence);
            settle(self.state, self.file, self.token.clone(), self.server, vec![(stamp, sequence)]);
        }
    }
}

/// Writes `extents` under `token`, if that is one small request.
pub(crate) async fn write<'a>(
    state: &'a Arc<ClientState>,
    file: &'a Arc<SharedFile>,
    token: &'a Arc<Token>,
    extents: &[Extent],
    source: &Source,
) -> Quick<'a> {
    let Some((request, server, _room)) = one_small(state, file, extents) else { return Quick::Not(None) };
    let name = WriteName {
        stamp: file.stamp(),
        sequence: state.next_sequence(),
        object: ObjectId { file: file.id, slot: request.slot },
    };
    let pledge = Pledge { state, file, token, server, write: Some((name.stamp, name.sequence)) };
    let request = Arc::new(request);
    match state.servers.write(server, DataPath::Small, name, &request, source).await {
        Ok(instance) => {
            pledge.redeem();
            state.links.note_progress();
            file.record_uncommitted(request.slot, instance);
            Quick::Done(Ok(()))
        }
        Err(error) if leaves_doubt(error.kind()) => {
            state.servers.doubt(server, name.stamp, name.sequence);
            Quick::Not(Some(pledge))
        }
        Err(error) => {
            pledge.redeem();
            failed(error, "write", file, &request)
        }
    }
}

/// Reads `extents` to `destination`, if that is one small request.
pub(crate) async fn read<'a>(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    extents: &[Extent],
    destination: &Destination,
) -> Quick<'a> {
    let Some((request, server, _room)) = one_small(state, file, extents) else { return Quick::Not(None) };
    let message = v1::ReadRequest {
        stamp: Some(file.stamp().into()),
        sequence: state.next_sequence(),
        object: Some(ObjectId { file: file.id, slot: request.slot }.into()),
        extents: request.extents.iter().copied().map(Into::into).collect(),
        must_exist: file.is_committed(request.slot),
    };
    match state.servers.read(server, DataPath::Small, message, &request, destination).await {
        Ok(Ok(())) => {
            state.links.note_progress();
            Quick::Done(Ok(()))
        }
        // Damaged bytes are asked for again in the general way, which tells what to do when they stay so.
        Ok(Err(_)) => Quick::Not(None),
        Err(error) => failed(error, "read", file, &request),
    }
}

/// Errors that may pass are left to the general way, which tries again.
fn failed<'a>(error: Error, doing: &str, file: &SharedFile, request: &DataRequest) -> Quick<'a> {
    if error.kind().is_passing() {
        return Quick::Not(None);
    }
    file.note_failure(&error);
    Quick::Done(Err(describe(error, doing, file, request)))
}

/// The only request of an access, its server, and room for it.
fn one_small(
    state: &ClientState,
    file: &SharedFile,
    extents: &[Extent],
) -> Option<(DataRequest, ServerId, (OwnedSemaphorePermit, OwnedSemaphorePermit))> {
    let bytes: u64 = extents.iter().map(|extent| extent.len()).sum();
    if bytes > state.config.small_bytes_max as u64 || !state.links.access.is_open() || file.check_alive().is_err() {
        return None;
    }
    let mut requests = plan(&file.recipe, extents, state.config.small_bytes_max as u64);
    let request =
        requests.pop().filter(|request| requests.is_empty() && data_path(state, request) == DataPath::Small)?;
    let server = file.recipe.primary(request.slot);
    if state.servers.has_doubts(server) {
        return None;
    }
    let at_server = state.servers.try_room(server, request.bytes)?;
    let room = state.budget.clone().try_acquire_many_owned(u32::try_from(request.bytes).ok()?).ok()?;
    Some((request, server, (at_server, room)))
}
