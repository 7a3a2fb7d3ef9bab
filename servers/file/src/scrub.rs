//! The scrub: compares what is stored with its checksums, object by object, and tells what is damaged.
//!
//! Invariants:
//! * the disk is read in threads of its own, at most [`STEP_BYTES_MAX`] at a time, so clients' requests come in between;
//! * no more bytes than wished are read in a second, and what was missed is not caught up with;
//! * who goes away ends its scrub: the step under way is the last one;
//! * replies wait for whoever reads them, so the memory of a scrub is bounded by its list of objects.
//!
//! A scrub holds no token. A block that is written meanwhile is compared before or after, never in between, which is the
//! store's promise. An object that is removed meanwhile is no damage.

use crate::server::FileServer;
use crate::store::{Damage, ObjectStore, StoreError};
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::ObjectId;
use pfs_proto::data::{ObjectExtent, Scrub};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::v1;
use pfs_server_runtime::CancellationToken;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Most bytes that are read at once.
const STEP_BYTES_MAX: u64 = 1 << 20;
/// Steps in a second, at the least, when the bytes of a second are bounded.
const STEPS_PER_SECOND: u64 = 10;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Replies that may wait for their reader.
const REPLIES_AHEAD: usize = 4;
/// Most entries of damage in one reply.
const DAMAGE_PER_REPLY_MAX: usize = 256;

/// What a scrub tells, as it goes on.
pub type Replies = mpsc::Receiver<Result<v1::ScrubReply, Status>>;

/// Begins a scrub, which ends by itself, with `stop`, or when nobody takes its replies any more.
pub fn begin(server: Arc<FileServer>, scrub: Scrub, stop: CancellationToken) -> Replies {
    let (replies, receiver) = mpsc::channel(REPLIES_AHEAD);
    let out = replies.clone();
    let run = Run { server, pace: Pace::new(scrub.bytes_per_second), replies, reply: v1::ScrubReply::default() };
    tokio::spawn(async move {
        let outcome = tokio::select! {
            () = out.closed() => return,
            () = stop.cancelled() => {
                let text = "the file server is being stopped; scrub again when it is back";
                Err(ErrorDetail::new(ErrorCode::Unavailable, text))
            }
            outcome = run.all(scrub.objects) => outcome,
        };
        if let Err(error) = outcome {
            // Fails only if nobody is left to be told.
            let _gone = out.send(Err(error.into())).await;
        }
    });
    receiver
}

/// A scrub under way.
struct Run {
    server: Arc<FileServer>,
    pace: Pace,
    replies: mpsc::Sender<Result<v1::ScrubReply, Status>>,
    /// The next reply.
    reply: v1::ScrubReply,
}

impl Run {
    async fn all(mut self, objects: Vec<ObjectId>) -> Result<(), ErrorDetail> {
        let mut objects = match objects.as_slice() {
            [] => self.on_disk(|store| store.list()).await?.map_err(ErrorDetail::from)?,
            _ => objects,
        };
        objects.sort_unstable();
        objects.dedup();
        self.reply.objects_total = objects.len() as u64;
        tracing::info!(objects = objects.len(), "scrubbing");
        let mut told = Instant::now();
        for object in objects {
            let mut at = 0;
            while let Some(next) = self.step(object, at).await? {
                at = next;
                if told.elapsed() >= TELL_EVERY {
                    self.tell().await;
                    told = Instant::now();
                }
            }
            self.reply.objects_done += 1;
        }
        self.tell().await;
        tracing::info!(objects = self.reply.objects_done, bytes = self.reply.bytes_done, "scrubbed");
        Ok(())
    }

    /// Compares some blocks from `at`; the block to go on with, or nothing at the object's end.
    async fn step(&mut self, object: ObjectId, at: u64) -> Result<Option<u64>, ErrorDetail> {
        self.pace.wait().await;
        let blocks = at..at + self.pace.step_blocks;
        let step = self.on_disk(move |store| compare(store, object, blocks)).await?;
        self.pace.count(step.bytes);
        self.reply.bytes_done += step.bytes;
        for damage in step.damage {
            tracing::error!(%object, extent = ?damage.extent, problem = damage.problem, "stored bytes are damaged");
            let Damage { extent, problem } = damage;
            self.reply.damage.push(v1::Damage { object: Some(object.into()), extent: Some(extent.into()), problem });
            if self.reply.damage.len() >= DAMAGE_PER_REPLY_MAX {
                self.tell().await;
            }
        }
        Ok(step.next)
    }

    /// Sends how far it is, and what was found since the last time.
    async fn tell(&mut self) {
        let damage = std::mem::take(&mut self.reply.damage);
        // Who is not there any more ends the scrub elsewhere.
        let _gone = self.replies.send(Ok(v1::ScrubReply { damage, ..self.reply.clone() })).await;
    }

    /// Runs something that blocks.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn ObjectStore) -> T + Send + 'static,
    ) -> Result<T, ErrorDetail> {
        let server = self.server.clone();
        tokio::task::spawn_blocking(move || work(&*server.store))
            .await
            .map_err(|error| ErrorDetail::new(ErrorCode::Internal, format!("the scrub broke off: {error}")))
    }
}

/// What was found in some blocks.
#[derive(Debug, Default)]
struct Step {
    bytes: u64,
    damage: Vec<Damage>,
    next: Option<u64>,
}

fn compare(store: &dyn ObjectStore, object: ObjectId, blocks: Range<u64>) -> Step {
    let start = blocks.start * BLOCK_BYTES;
    let unreadable = |error: StoreError, end: u64| Damage {
        extent: ObjectExtent::new(ObjectOffset(start), end - start).expect("blocks of an object that is there"),
        problem: error.to_string(),
    };
    let length = match store.stat(object) {
        Ok(Some(status)) => status.length,
        Ok(None) => return Step::default(),
        Err(error) => return Step { damage: vec![unreadable(error, start + BLOCK_BYTES)], ..Step::default() },
    };
    let end = length.min(blocks.end * BLOCK_BYTES).max(start);
    let next = (length > end).then_some(blocks.end);
    // The last step goes on to where checksums end: an object may have been cut.
    let blocks = if next.is_some() { blocks } else { blocks.start..u64::MAX };
    let damage = match store.verify(object, blocks) {
        Ok(damage) => damage,
        Err(StoreError::Missing { .. }) => Vec::new(),
        Err(error) => vec![unreadable(error, end.max(start + BLOCK_BYTES))],
    };
    Step { bytes: end - start, damage, next }
}

/// Bounds the bytes of a second.
struct Pace {
    bytes_per_second: u64,
    step_blocks: u64,
    /// When the next step may begin.
    next: Instant,
}

impl Pace {
    /// 0: no bound.
    fn new(bytes_per_second: u64) -> Self {
        let step_bytes = match bytes_per_second {
            0 => STEP_BYTES_MAX,
            bytes => (bytes / STEPS_PER_SECOND).clamp(BLOCK_BYTES, STEP_BYTES_MAX),
        };
        Pace { bytes_per_second, step_blocks: step_bytes / BLOCK_BYTES, next: Instant::now() }
    }

    async fn wait(&self) {
        sleep_until(self.next).await;
    }

    /// The step that began just now has read so many bytes.
    fn count(&mut self, bytes: u64) {
        if self.bytes_per_second > 0 {
            let seconds = bytes as f64 / self.bytes_per_second as f64;
            self.next = self.next.max(Instant::now()) + Duration::from_secs_f64(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Virtual time: a second's bytes take a second, whatever the steps are.
    #[tokio::test(start_paused = true)]
    async fn no_more_bytes_are_read_in_a_second_than_wished() {
        for rate in [1, 4096, 100_000, 50 << 20, 1 << 40] {
            let begun = Instant::now();
            let mut pace = Pace::new(rate);
            let mut bytes = 0;
            for _ in 0..50 {
                pace.wait().await;
                bytes += pace.step_blocks * BLOCK_BYTES;
                pace.count(pace.step_blocks * BLOCK_BYTES);
            }
            pace.wait().await;
            let seconds = begun.elapsed().as_secs_f64();
            let expected = bytes as f64 / rate as f64;
            assert!((expected..expected * 1.01 + 0.1).contains(&seconds), "{rate}: {seconds} for {expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_was_lost_is_not_caught_up_with() {
        let mut pace = Pace::new(10 << 20);
        pace.count(1 << 20);
        tokio::time::sleep(Duration::from_secs(100)).await;
        pace.wait().await;
        let begun = Instant::now();
        pace.count(1 << 20);
        pace.wait().await;
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert_eq!(Pace::new(0).step_blocks, 256);
    }
}
