//! Ctrl-C during a copy: it ends at the next block, cleans up, and closes its session, so that nobody waits for its
//! tokens. When that does not work soon, or at a second signal, the process ends at once, without its staged file.

use crate::failure::INTERRUPTED_STATUS;
use crate::signals::Signals;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a copy may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Tells a copy that the user does not want it any more.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    /// The staged file of the copy that runs now.
    staged: Mutex<Option<PathBuf>>,
}

impl Interrupt {
    /// Watches for SIGINT, SIGTERM and SIGHUP from now on.
    pub fn watch() -> io::Result<Self> {
        let interrupt = Interrupt::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals::catch()?
        };
        let watched = interrupt.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(watched.follow(signals)))?;
        Ok(interrupt)
    }

    async fn follow(self, mut signals: Signals) {
        signals.next().await;
        self.0.requested.store(true, Ordering::Relaxed);
        // Either way it has taken too long.
        let _ = tokio::time::timeout(GRACE, signals.next()).await;
        if let Some(staged) = self.staged().take() {
            let _ = fs::remove_file(staged);
        }
        eprintln!("pfs: interrupted");
        process::exit(i32::from(INTERRUPTED_STATUS));
    }

    /// Whether a signal has come.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// Names the file that must not outlive the process under this name; nothing when there is none any more.
    pub fn set_staged(&self, path: Option<&Path>) {
        *self.staged() = path.map(Path::to_owned);
    }

    fn staged(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        self.0.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
