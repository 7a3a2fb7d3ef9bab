//! The data service's calls as they are on the wire, for those that generated code can not make without copies.

pub(crate) mod rpc;
pub(crate) mod scatter;
pub(crate) mod stream_reply;
pub(crate) mod write_body;
