//! Bounds the memory of replies, for each client and for all of them, and the time for which a client may leave replies
//! unread.
//!
//! A share is held from before a reply is made until the transport has sent its last byte. Invariants:
//! * the replies in memory have at most the server's bytes, those of one client at most its part of them: a client that
//!   does not read its replies stops its own reads, and no others';
//! * a reply that its client has not taken within [`Limits::unread_for_max`] ends the client's connection, and gives its
//!   share back with it.

use crate::metered::{Budget, Share};
use parking_lot::Mutex;
use pfs_core::ids::ClientId;
use pfs_server_runtime::Peer;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How much memory, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of all replies.
    pub bytes_max: u32,
    /// Most bytes of one client's replies.
    pub client_bytes_max: u32,
    /// How long a reply may stay unread.
    pub unread_for_max: Duration,
}

/// The replies in memory.
#[derive(Clone, Debug)]
pub struct Replies {
    limits: Limits,
    all: Budget,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Clients with replies, and some that had.
    clients: BTreeMap<ClientId, Weak<Semaphore>>,
    replies_begun: u64,
    unsent: BTreeMap<u64, (Instant, Peer)>,
}

/// The memory of one reply; dropping it gives it back.
#[derive(Debug)]
pub struct ReplyShare {
    inside: Arc<Mutex<Inside>>,
    number: u64,
    _all: Share,
    _own: OwnedSemaphorePermit,
}

impl Drop for ReplyShare {
    fn drop(&mut self) {
        self.inside.lock().unsent.remove(&self.number);
    }
}

/// Above so many known clients those are forgotten that have no replies.
const CLIENTS_KEPT: usize = 256;

impl Replies {
    /// No replies yet.
    pub fn new(limits: Limits) -> Self {
        let client_bytes_max = limits.client_bytes_max.min(limits.bytes_max);
        let limits = Limits { client_bytes_max, ..limits };
        Replies { limits, all: Budget::new(limits.bytes_max), inside: Arc::default() }
    }

    /// Waits for the memory of a reply of so many bytes, or as much as a client may have if that is less.
    pub async fn claim(&self, client: ClientId, peer: &Peer, bytes: u64) -> ReplyShare {
        let bytes = self.bounded(bytes);
        let own = self.inside.lock().client(client, self.limits.client_bytes_max);
        let own = own.acquire_many_owned(bytes).await.expect("a client's part is never closed");
        let all = self.all.claim(bytes.into()).await;
        self.begin(peer, all, own)
    }

    /// The same if it takes no waiting.
    pub fn try_claim(&self, client: ClientId, peer: &Peer, bytes: u64) -> Option<ReplyShare> {
        let bytes = self.bounded(bytes);
        let own = self.inside.lock().client(client, self.limits.client_bytes_max);
        let own = own.try_acquire_many_owned(bytes).ok()?;
        Some(self.begin(peer, self.all.try_claim(bytes.into())?, own))
    }

    /// Bytes of the replies in memory.
    pub fn used_bytes(&self) -> u64 {
        self.all.used_bytes()
    }

    fn bounded(&self, bytes: u64) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.limits.client_bytes_max)
    }

    fn begin(&self, peer: &Peer, all: Share, own: OwnedSemaphorePermit) -> ReplyShare {
        let mut inside = self.inside.lock();
        inside.replies_begun += 1;
        let number = inside.replies_begun;
        inside.unsent.insert(number, (Instant::now(), peer.clone()));
        ReplyShare { inside: self.inside.clone(), number, _all: all, _own: own }
    }

    /// Cuts the connections of clients that do not read, for as long as it is polled.
    pub async fn cut_who_do_not_read(&self) {
        loop {
            tokio::time::sleep(self.limits.unread_for_max / 4).await;
            let now = Instant::now();
            let stale: Vec<Peer> = {
                let inside = self.inside.lock();
                let old = |(begun, _): &&(Instant, Peer)| now - *begun > self.limits.unread_for_max;
                inside.unsent.values().take_while(old).map(|(_, peer)| peer.clone()).collect()
            };
            for peer in stale {
                tracing::warn!(
                    ?peer,
                    "a client has not read a reply for {:?}; its connection is cut",
                    self.limits.unread_for_max
                );
                peer.cut();
            }
        }
    }
}

#[cfg(test)]
impl Replies {
    /// Bytes that nobody holds.
    pub fn free_bytes(&self) -> usize {
        self.all.free_bytes()
    }
}

impl Inside {
    fn client(&mut self, client: ClientId, bytes_max: u32) -> Arc<Semaphore> {
        if let Some(known) = self.clients.get(&client).and_then(Weak::upgrade) {
            return known;
        }
        if self.clients.len() >= CLIENTS_KEPT {
            self.clients.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(bytes_max as usize));
        self.clients.insert(client, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::task::Poll;
    use tokio::io::AsyncReadExt;

    pub fn replies(bytes_max: u32, client_bytes_max: u32) -> Replies {
        Replies::new(Limits { bytes_max, client_bytes_max, unread_for_max: Duration::from_secs(20) })
    }

    pub fn client(number: u64) -> ClientId {
        ClientId::new(number).unwrap()
    }

    /// A peer that is gone already.
    pub async fn peer() -> Peer {
        Peer::of_a_test().await.0
    }

    async fn waits(future: impl Future) -> bool {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_client_has_its_part_and_no_more() {
        let (replies, peer) = (replies(100, 40), peer().await);
        let first = replies.claim(client(1), &peer, 30).await;
        assert!(waits(replies.claim(client(1), &peer, 20)).await, "10 bytes are left to this client");
        assert!(replies.try_claim(client(1), &peer, 20).is_none());
        let second = replies.claim(client(2), &peer, 1 << 40).await;
        assert_eq!(replies.free_bytes(), 30, "more than its part is its part");
        assert!(waits(replies.claim(client(3), &peer, 40)).await, "30 bytes are left to all");
        drop((first, second));
        assert!(replies.try_claim(client(1), &peer, 40).is_some());
        assert_eq!(replies.free_bytes(), 100);
        assert!(replies.inside.lock().unsent.is_empty());
    }

    #[tokio::test]
    async fn clients_without_replies_are_forgotten() {
        let (replies, peer) = (replies(100, 40), peer().await);
        for number in 1..10 * CLIENTS_KEPT as u64 {
            drop(replies.claim(client(number), &peer, 1).await);
        }
        assert!(replies.inside.lock().clients.len() <= CLIENTS_KEPT);
    }

    /// Whoever reads in time stays connected.
    #[tokio::test]
    async fn who_does_not_read_is_cut() {
        let (reads, mut reading) = Peer::of_a_test().await;
        let (stalls, mut stalled) = Peer::of_a_test().await;
        tokio::time::pause();
        let replies = replies(100, 100);
        let unread = replies.claim(client(1), &stalls, 10).await;
        let cutting = tokio::spawn({
            let replies = replies.clone();
            async move { replies.cut_who_do_not_read().await }
        });
        for _ in 0..10 {
            drop(replies.claim(client(2), &reads, 10).await);
            tokio::time::advance(Duration::from_secs(4)).await;
            tokio::task::yield_now().await;
        }
        assert!(matches!(stalled.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(waits(reading.read(&mut [0])).await);
        drop(unread);
        cutting.abort();
    }
}
