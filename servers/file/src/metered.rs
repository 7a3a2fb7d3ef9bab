//! A budget of bytes, whatever the number of clients.
//!
//! A share of the budget for writes is held by who works with bytes in memory, and never by who waits for a client: it is
//! claimed when bytes of a payload are there to be taken from the transport (see [`Wire`](crate::wire::Wire)). What the
//! transport holds besides is bounded by the windows of its connections. For replies there is more to say, in
//! [`Replies`](crate::replies::Replies).

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// A part of a budget; dropping it gives it back.
pub type Share = OwnedSemaphorePermit;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: u32) -> Self {
        Budget { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Waits for a share of this many bytes, or of the whole budget if that is less. First come, first served.
    pub async fn claim(&self, bytes: u64) -> Share {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        self.free.clone().acquire_many_owned(bytes).await.expect("a budget is never closed")
    }

    /// A share of this many bytes, if they are free and nobody waits for them.
    pub fn try_claim(&self, bytes: u64) -> Option<Share> {
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= self.bytes)?;
        self.free.clone().try_acquire_many_owned(bytes).ok()
    }

    /// Bytes that somebody holds.
    pub fn used_bytes(&self) -> u64 {
        u64::from(self.bytes).saturating_sub(self.free.available_permits() as u64)
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.free.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[tokio::test]
    async fn a_claim_waits_for_its_share() {
        let budget = Budget::new(100);
        let first = budget.claim(80).await;
        let mut second = std::pin::pin!(budget.claim(30));
        let waits = std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "20 bytes are left");
        drop(first);
        drop(second.await);
        assert_eq!(budget.claim(1 << 40).await.num_permits(), 100, "more than all is all");
        assert_eq!(budget.free_bytes(), 100);
    }
}
