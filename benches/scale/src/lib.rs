//! How the file system grows with servers and clients.
//!
//! * [`hosts`] measures it: servers and clients on hosts of their own (network namespaces), whose links have a known rate, so
//!   that the wire and not the one machine's processor is the limit; beside it raw TCP over the same links.
//! * [`model`] calculates it for more hosts than there are, with what was measured here, and says how well it agrees with
//!   the measured points.

pub mod hosts;
pub mod load;
pub mod model;
pub mod plot;
