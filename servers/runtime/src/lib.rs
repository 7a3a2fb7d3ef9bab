//! What both servers share: serving with the project's transport settings, the check of the cluster secret, shutdown,
//! logging, metrics, the lock of a store directory, durable small files.

mod connections;
mod directory_lock;
mod durable;
mod logging;
pub mod metrics;
mod ready;
mod running;
mod serve;
mod signal;
pub mod web;

pub use connections::{ConnectionEpoch, Connections, Peer};
pub use directory_lock::{DirectoryLock, LOCK_FILE};
pub use durable::{sync_directory, write_durably};
pub use logging::{LogFormat, init_logging};
pub use ready::{Ready, read_ready_file, write_ready_file};
pub use running::{RunningServer, STOP_GRACE};
pub use serve::{Services, bind, serve};
pub use signal::{run_until_signal, shutdown_signal};
/// Tells the parts of a server that it is to end; made by the server and given to [`serve`].
pub use tokio_util::sync::CancellationToken;
