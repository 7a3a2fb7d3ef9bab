//! Shared file pointers.

use super::OperationId;
use crate::convert::{ConvertError, Result, bounded, id, nested, required};
use crate::v1;
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::ids::OpenId;
use pfs_core::pointer::{PointerChange, SharedPointer};
use v1::move_pointer_request::Change as WireChange;

/// Moves or sets the shared file pointer of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovePointer {
    /// Names the change.
    pub operation: OperationId,
    /// The open.
    pub open: OpenId,
    /// What is done.
    pub change: PointerChange,
}

impl TryFrom<v1::MovePointerRequest> for MovePointer {
    type Error = ConvertError;

    fn try_from(message: v1::MovePointerRequest) -> Result<Self> {
        let operation = nested(message.operation, "operation")?;
        let open = id(message.open_id, "open_id", OpenId::new)?;
        let position = |value, field| bounded(value, field, 0, MAX_FILE_BYTES);
        let change = match required(message.change, "change")? {
            WireChange::Advance(by) => PointerChange::Advance(position(by, "advance")?),
            WireChange::Set(to) => PointerChange::Set(position(to, "set")?),
        };
        Ok(MovePointer { operation, open, change })
    }
}

impl From<MovePointer> for v1::MovePointerRequest {
    fn from(request: MovePointer) -> Self {
        let change = match request.change {
            PointerChange::Advance(by) => WireChange::Advance(by),
            PointerChange::Set(to) => WireChange::Set(to),
        };
        let operation = Some(request.operation.into());
        v1::MovePointerRequest { operation, open_id: request.open.get(), change: Some(change) }
    }
}

/// A pointer before and after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedPointer {
    /// Where it was.
    pub before: SharedPointer,
    /// Where it is.
    pub after: SharedPointer,
}

impl TryFrom<v1::MovePointerReply> for MovedPointer {
    type Error = ConvertError;

    fn try_from(message: v1::MovePointerReply) -> Result<Self> {
        Ok(MovedPointer { before: nested(message.before, "before")?, after: nested(message.after, "after")? })
    }
}

impl From<MovedPointer> for v1::MovePointerReply {
    fn from(moved: MovedPointer) -> Self {
        v1::MovePointerReply { before: Some(moved.before.into()), after: Some(moved.after.into()) }
    }
}

impl TryFrom<v1::SharedPointer> for SharedPointer {
    type Error = ConvertError;

    fn try_from(message: v1::SharedPointer) -> Result<Self> {
        let position = bounded(message.position, "position", 0, MAX_FILE_BYTES)?;
        Ok(SharedPointer { generation: message.generation, position })
    }
}

impl From<SharedPointer> for v1::SharedPointer {
    fn from(pointer: SharedPointer) -> Self {
        v1::SharedPointer { generation: pointer.generation, position: pointer.position }
    }
}
