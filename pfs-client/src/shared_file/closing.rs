//! When a file may be closed.
//!
//! The last close of a holder frees its tokens at the metadata server, without revokes and acks. A write that is still
//! running, or of unknown outcome, would reach its server after somebody else was granted its range (rule 7). So the last
//! descriptor leaves only when the file is out of use, and the metadata server is told after that. Nothing has to wait once
//! the session, or the group, is over: fences end what is under way then.

use super::{Inner, SharedFile};
use std::pin::pin;

impl Inner {
    fn is_in_use(&self) -> bool {
        (self.tokens.is_in_use() || self.undrained > 0) && self.ended.is_none()
    }
}

impl SharedFile {
    /// A descriptor goes. The last one stays while the file is in use, and is told so by `false`. With it the blocks go, so
    /// what is dirty must have been written back.
    pub(crate) fn try_leave(&self) -> bool {
        let mut inner = self.inner.lock();
        if inner.users == 1 && inner.is_in_use() {
            inner.is_leaving = true;
            return false;
        }
        inner.users -= 1;
        if inner.users == 0 {
            self.home.cache.close(self.key());
        }
        true
    }

    /// The same for one that can wait.
    pub(crate) async fn leave(&self) {
        self.out_of_use(|| self.try_leave()).await;
    }

    /// Waits until no write of this client is running or in doubt.
    pub(crate) async fn until_unused(&self) {
        let is_unused = || {
            let mut inner = self.inner.lock();
            inner.is_leaving |= inner.is_in_use();
            !inner.is_in_use()
        };
        self.out_of_use(is_unused).await;
    }

    async fn out_of_use(&self, done: impl Fn() -> bool) {
        loop {
            let mut unused = pin!(self.unused.notified());
            unused.as_mut().enable();
            if done() {
                return;
            }
            unused.await;
        }
    }

    /// Whoever waits for that looks again.
    pub(super) fn tell_unused(&self, inner: &Inner) {
        if inner.is_leaving && !inner.is_in_use() {
            self.unused.notify_waiters();
        }
    }

    /// A request has failed, and what it wrote may still be applied.
    pub(crate) fn begin_drain(&self) {
        self.inner.lock().undrained += 1;
    }

    /// That can not be any more.
    pub(crate) fn end_drain(&self) {
        let mut inner = self.inner.lock();
        inner.undrained -= 1;
        self.tell_unused(&inner);
    }
}
