//! One thread that makes many waiting commits durable with one flush of the disk.
//!
//! Invariants: batches are applied in the order in which they were submitted; every batch gets exactly one answer,
//! and a batch that was applied gets it only after its group is durable. A batch whose condition does not hold is
//! left out of its group and answered with it, so that whoever tries again sees the change that came first.

use super::{Batch, CommitError, StoreError};
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most batches of one group: bounds the time that the first of them waits for the others.
const GROUP_BATCHES_MAX: usize = 1024;

/// A batch that waits, and who waits for it.
struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<(), CommitError>>,
}

/// An engine that can apply several batches in one durable transaction.
pub(super) trait Engine: Send + 'static {
    /// Applies the batches in order. Returns when they are durable, with one result each; an error means that
    /// none of them may be taken for done.
    fn apply(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), CommitError>>, StoreError>;
}

/// The queue in front of an engine. Ending it lets the waiting batches finish.
pub(super) struct GroupCommit {
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl GroupCommit {
    /// Starts the thread.
    pub(super) fn start(engine: impl Engine) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new().name("pfs-commit".into()).spawn(move || run(engine, &waiting))?;
        Ok(GroupCommit { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a batch. Its place in the order is fixed when this returns.
    pub(super) fn submit(&self, batch: Batch) -> oneshot::Receiver<Result<(), CommitError>> {
        let (answer, receiver) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // A closed queue drops the sender, which the receiver sees as `Closed`.
            let _ = queue.send(Waiting { batch, answer });
        }
        receiver
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the commit thread ended in a panic");
        }
    }
}

fn run(mut engine: impl Engine, waiting: &mpsc::Receiver<Waiting>) {
    while let Ok(first) = waiting.recv() {
        // Whoever is about to submit, and waits for this core, does so now: with each more of a group there is one commit less.
        std::thread::yield_now();
        let (mut batches, mut answers) = (vec![first.batch], vec![first.answer]);
        while batches.len() < GROUP_BATCHES_MAX
            && let Ok(next) = waiting.try_recv()
        {
            batches.push(next.batch);
            answers.push(next.answer);
        }
        match engine.apply(&batches) {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    let _ = answer.send(result);
                }
            }
            Err(error) => {
                tracing::error!(%error, batches = batches.len(), "a group of commits failed");
                for answer in answers {
                    let _ = answer.send(Err(error.clone().into()));
                }
            }
        }
    }
}
