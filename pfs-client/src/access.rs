//! Whether this client may touch data now: the client stops itself before anybody else stops it (rule 14).
//!
//! The token driver sets the end of the lease; every request to a file server and every use of a cached block asks.
//! Asking costs an atomic read and a look at the clock. Once the session is over, it stays over.

use crate::error::{Error, ErrorKind};
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Milliseconds since the machine's start, time asleep included.
pub(crate) fn boot_time_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    // Neither is ever negative; 0 would only end the lease late, so it must not be the answer to an impossible clock.
    match (seconds, nanoseconds) {
        (Ok(seconds), Ok(nanoseconds)) => seconds * 1000 + nanoseconds / 1_000_000,
        _ => u64::MAX,
    }
}

/// The right to touch data, as far as time is concerned.
#[derive(Debug)]
pub(crate) struct Access {
    /// When the lease ends; 0 while the session is suspended, and after its end.
    ends_ms: AtomicU64,
    /// Wakes those who wait for a change.
    changes: watch::Sender<()>,
    ended: OnceLock<Error>,
}

impl Access {
    /// Closed until [`open_until`](Self::open_until).
    pub(crate) fn new() -> Self {
        Access { ends_ms: AtomicU64::new(0), changes: watch::Sender::new(()), ended: OnceLock::new() }
    }

    /// Whether data may be touched at this moment.
    pub(crate) fn is_open(&self) -> bool {
        boot_time_ms() < self.ends_ms.load(Ordering::Acquire)
    }

    /// Accesses are allowed until then.
    pub(crate) fn open_until(&self, ends_ms: u64) {
        self.changes.send_if_modified(|()| {
            self.ended.get().is_none() && self.ends_ms.swap(ends_ms, Ordering::AcqRel) != ends_ms
        });
    }

    /// No access is allowed until further notice.
    pub(crate) fn suspend(&self) {
        self.open_until(0);
    }

    /// The session is over. Returns whether this is the first to say so; the first reason stays.
    pub(crate) fn end(&self, error: Error) -> bool {
        let mut first = false;
        self.changes.send_if_modified(|()| {
            first = self.ended.set(error).is_ok();
            self.ends_ms.store(0, Ordering::Release);
            true
        });
        first
    }

    /// Fails when the session is over.
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        match self.ended.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Why the session is over, or that nobody drives it any more.
    pub(crate) fn ended_error(&self) -> Error {
        let gone = || Error::new(ErrorKind::NoSession, "the client was shut down");
        self.ended.get().cloned().unwrap_or_else(gone)
    }

    /// Waits until accesses are allowed; fails when the session is over. The session ends by itself when it is not
    /// answered for its patience, so this is no wait for ever.
    pub(crate) async fn opened(&self) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        self.until(|| self.is_open()).await
    }

    /// Waits for something that changes with the session only.
    pub(crate) async fn until(&self, reached: impl Fn() -> bool) -> Result<(), Error> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            self.check_alive()?;
            if reached() {
                return Ok(());
            }
            changes.changed().await.map_err(|_| self.ended_error())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_goes_on_when_the_lease_is_there_and_fails_at_the_end() {
        let access = std::sync::Arc::new(Access::new());
        assert!(!access.is_open());
        let waiting = tokio::spawn({
            let access = access.clone();
            async move { access.opened().await }
        });
        access.open_until(boot_time_ms() + 60_000);
        waiting.await.unwrap().unwrap();
        assert!(access.is_open());
        access.suspend();
        let waiting = tokio::spawn({
            let access = access.clone();
            async move { access.opened().await }
        });
        assert!(access.end(Error::new(ErrorKind::NoSession, "first")));
        assert!(!access.end(Error::new(ErrorKind::NoSession, "second")));
        assert_eq!(waiting.await.unwrap().unwrap_err().to_string(), "first");
        access.open_until(u64::MAX);
        assert!(!access.is_open(), "an end is for ever");
    }

    #[test]
    fn a_lease_that_has_run_out_is_closed_without_being_told() {
        let access = Access::new();
        access.open_until(boot_time_ms());
        assert!(!access.is_open());
    }
}
