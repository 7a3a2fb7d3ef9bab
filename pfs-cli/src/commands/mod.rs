//! The subcommands, one file each: flags → config → run.

pub mod bench;
mod client_stat;
pub mod cp;
pub mod df;
mod entry;
pub mod layout;
pub mod ls;
pub mod man;
pub mod mkdir;
pub mod mv;
pub mod node;
pub mod rm;
pub mod run;
pub mod scrub;
pub mod server;
pub mod start;
pub mod stat;
pub mod status;
pub mod stop;
pub mod tokens;
pub mod top;
pub mod wait;
