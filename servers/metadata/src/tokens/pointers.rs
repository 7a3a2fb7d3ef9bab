//! Shared file pointers of opens.
//!
//! They are in memory only. Who was told where a pointer is says it again after a restart, and no pointer is moved before
//! all have: see [`pfs_core::pointer`] for why the largest is right.

use super::opens::OpenRefused;
use super::state::State;
use crate::sessions::Done;
use pfs_core::pointer::PastTheEnd;
use pfs_proto::metadata::{MovePointer, MovedPointer, OperationId};
use pfs_proto::status::{ErrorCode, status};
use tonic::Status;

/// Why a pointer was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PointerRefused {
    #[error(transparent)]
    Open(#[from] OpenRefused),
    #[error(transparent)]
    PastTheEnd(#[from] PastTheEnd),
}

impl From<PointerRefused> for Status {
    fn from(refused: PointerRefused) -> Self {
        match refused {
            PointerRefused::Open(refused) => refused.into(),
            PointerRefused::PastTheEnd(refused) => status(ErrorCode::InvalidArgument, refused.to_string()),
        }
    }
}

impl State {
    /// Moves the pointer of an open, once for each operation.
    pub(crate) fn move_pointer(&mut self, request: MovePointer) -> Result<MovedPointer, PointerRefused> {
        let MovePointer { operation, open, change } = request;
        let OperationId { client, slot, sequence } = operation;
        match self.recall(operation)? {
            Some(Done::Moved(before)) => return Ok(before),
            Some(_) => return Err(OpenRefused::Sequence { slot, sequence, last: sequence }.into()),
            None => {}
        }
        let handle = self.handles.get(open).filter(|handle| self.handles.speaks_for(client, handle.holder));
        if handle.is_none() {
            return Err(OpenRefused::NotOpen { open, client }.into());
        }
        let before = self.handles.pointer(open);
        let moved = MovedPointer { before, after: before.after(change)? };
        self.handles.learn_pointer(open, moved.after);
        self.sessions.record(operation, Done::Moved(moved));
        Ok(moved)
    }
}
