//! Whose memory the bytes of a transfer are in.
//!
//! * [`loan`] lends a caller's buffers to transfers for the time of one blocking call; all of the crate's `unsafe` is there;
//! * [`source`]: where the bytes of a write are; [`destination`]: where those of a read go.

pub(crate) mod destination;
pub(crate) mod loan;
pub(crate) mod source;
