//! A cluster of this machine, or of nodes around it: one directory with its settings, secret, stores, logs and running servers.
//!
//! ```text
//! D/cluster.json      settings that outlive a restart; marks D as a cluster's directory
//! D/secret            the cluster's secret, readable by its owner only
//! D/env               the connection file: `. D/env` in a shell
//! D/metadata/         store of the metadata server
//! D/file-0/ …         stores of the file servers, unless they are on other disks
//! D/log/NAME.log      what each server says
//! D/run/NAME.pid      process of each running server, as JSON
//! D/run/NAME.ready    address of each server that is ready
//! D/run/NAME.input    input of a launcher, which runs file servers on nodes
//! D/run/lock          held while a start or a stop is at work
//! ```
//!
//! Invariants: a store that the settings list was empty when it was listed, so everything in it is this
//! cluster's. A process is signalled only after it was recognised as the one that was started.

pub mod abandoned;
pub mod directory;
pub mod ending;
pub mod file_options;
pub mod formation;
pub mod launch;
pub mod node_servers;
pub mod nodes;
pub mod process;
pub mod settings;
