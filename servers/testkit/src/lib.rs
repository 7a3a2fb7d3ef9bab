//! A whole cluster for tests: one metadata server and some file servers, on loopback, on directories of their own.
//!
//! * [`Cluster`] runs them in this process. It starts in milliseconds and can end any server gracefully or at once.
//! * [`ProcessCluster`] runs them as `pfs server …` child processes, which can be killed for real.
//!
//! A [`Network`] gives processes hosts of their own, whose links can be slow and can be cut. A [`Proxy`] stands between a client and a server and can be cut, stalled and healed.
//!
//! Both clusters are made by a [`ClusterBuilder`], are used from plain `#[test]` functions (they block, and must not be called
//! from inside an async runtime), keep every server's address over restarts, and leave nothing behind when dropped:
//! no process, no thread, and no directory unless the builder was given one.
//!
//! ```no_run
//! use pfs_testkit::Cluster;
//!
//! let mut cluster = Cluster::start(4)?;
//! println!("{} {}", cluster.metadata_address(), cluster.secret_file().display());
//! cluster.kill_file_server(2);
//! cluster.start_file_server(2)?;
//! cluster.stop()?;
//! # anyhow::Ok(())
//! ```

mod builder;
mod child;
mod files;
mod hosted;
mod in_process;
mod network;
mod ports;
mod processes;
mod proxy;

pub use builder::{ClusterBuilder, Host};
pub use files::ClusterFiles;
pub use in_process::Cluster;
pub use network::Network;
pub use processes::{ProcessCluster, pfs_binary};
pub use proxy::Proxy;
