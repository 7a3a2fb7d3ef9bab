//! The data path: bytes between buffers and file servers. The token that covers them is held by the caller.

pub(crate) mod attempts;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod quick;
pub(crate) mod servers;
pub(crate) mod small;
pub(crate) mod transfer;
pub(crate) mod wire;
