//! Ends a job of which a case takes too long, and tells which.

use super::case::Case;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Rank 0 waits for the others' last words before it ends the job.
const LAST_WORDS_TIME: Duration = Duration::from_secs(2);

/// Watches the cases of one rank.
pub struct Watchdog {
    cases: Sender<(String, Case)>,
    /// The step that runs.
    pub step: Arc<AtomicUsize>,
}

impl Watchdog {
    /// Begins to watch: no case may take longer than this.
    pub fn new(rank: i32, case_time_max: Duration) -> Watchdog {
        let (cases, begun) = channel::<(String, Case)>();
        let step = Arc::new(AtomicUsize::new(0));
        let of_case = step.clone();
        thread::spawn(move || {
            let Ok(mut current) = begun.recv() else { return };
            let limit = if rank == 0 { case_time_max + LAST_WORDS_TIME } else { case_time_max };
            loop {
                match begun.recv_timeout(limit) {
                    Ok(next) => current = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("rank {rank} hangs in step {}", of_case.load(Ordering::Relaxed));
                        if rank == 0 {
                            eprintln!("FAILED: {}: it hangs\n{}", current.0, current.1);
                            std::process::abort();
                        }
                    }
                }
            }
        });
        Watchdog { cases, step }
    }

    /// Another case begins, with a name that says how to run it again.
    pub fn begin(&self, name: String, case: &Case) {
        // Nobody listens any more only when the job is being ended.
        let _ = self.cases.send((name, case.clone()));
    }
}
