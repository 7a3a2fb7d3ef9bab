//! Reports of sizes and slots on their way to the disk.
//!
//! Invariants: a report is visible to [`SizeWriter::pending`] from the moment it is recorded until it is durable; reports
//! about one file are written by one task, so that any number of them at once costs one commit; what is waiting is
//! bounded by the number of files, not of reports.

use super::backoff::Backoff;
use crate::namespace::{Namespace, NamespaceError, Report};
use parking_lot::Mutex;
use pfs_core::ids::FileId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Files that are written at once.
const FILES_AT_ONCE: usize = 256;

type Answer = oneshot::Sender<Result<(), NamespaceError>>;

#[derive(Default)]
struct Waiting {
    report: Report,
    answers: Vec<Answer>,
}

#[derive(Default)]
struct Pending {
    /// Not yet taken up.
    waiting: BTreeMap<FileId, Waiting>,
    /// In a commit now.
    writing: BTreeMap<FileId, Report>,
}

/// Collects reports; [`SizeWriter::run`] writes them.
#[derive(Default)]
pub(crate) struct SizeWriter {
    pending: Mutex<Pending>,
    more: Notify,
}

impl SizeWriter {
    /// Records a report; it is durable some time soon.
    pub(crate) fn record(&self, file: FileId, report: &Report) {
        self.add(file, report, None);
    }

    /// Records a report and waits until it is durable.
    pub(crate) async fn record_durably(&self, file: FileId, report: &Report) -> Result<(), NamespaceError> {
        let (answer, answered) = oneshot::channel();
        self.add(file, report, Some(answer));
        answered.await.unwrap_or(Err(NamespaceError::Store(crate::store::StoreError::Closed)))
    }

    /// What is on its way to the disk for a file.
    pub(crate) fn pending(&self, file: FileId) -> Report {
        let pending = self.pending.lock();
        let mut report = pending.writing.get(&file).cloned().unwrap_or_default();
        if let Some(waiting) = pending.waiting.get(&file) {
            report.add(&waiting.report);
        }
        report
    }

    fn add(&self, file: FileId, report: &Report, answer: Option<Answer>) {
        let mut pending = self.pending.lock();
        let waiting = pending.waiting.entry(file).or_default();
        waiting.report.add(report);
        waiting.answers.extend(answer);
        drop(pending);
        self.more.notify_one();
    }

    /// Writes what was recorded, for ever.
    pub(crate) async fn run(self: Arc<Self>, namespace: Arc<Namespace>) {
        let mut backoff = Backoff::new();
        loop {
            let taken = self.take_up();
            if taken.is_empty() {
                self.more.notified().await;
                continue;
            }
            let writes = taken.into_iter().map(|(file, waiting)| self.write(&namespace, file, waiting));
            if futures::future::join_all(writes).await.into_iter().all(|well| well) {
                backoff = Backoff::new();
            } else {
                backoff.pause().await;
            }
        }
    }

    fn take_up(&self) -> Vec<(FileId, Waiting)> {
        let mut pending = self.pending.lock();
        let mut taken = Vec::new();
        while taken.len() < FILES_AT_ONCE
            && let Some((file, waiting)) = pending.waiting.pop_first()
        {
            pending.writing.insert(file, waiting.report.clone());
            taken.push((file, waiting));
        }
        taken
    }

    /// Writes one file's report. A failed one is put back for another attempt if nobody waits for its outcome.
    async fn write(&self, namespace: &Namespace, file: FileId, waiting: Waiting) -> bool {
        let written = namespace.record(file, &waiting.report).await;
        let lost = match &written {
            Ok(()) | Err(NamespaceError::NoFile(_)) => false,
            Err(error) => {
                tracing::error!(%file, %error, "the size of a file could not be made durable");
                true
            }
        };
        let mut pending = self.pending.lock();
        pending.writing.remove(&file);
        if lost {
            pending.waiting.entry(file).or_default().report.add(&waiting.report);
        }
        drop(pending);
        for answer in waiting.answers {
            // Whoever reported may be gone.
            let _ = answer.send(written.clone());
        }
        !lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use pfs_core::token::message::FileSize;
    use pfs_proto::metadata::SlotSet;

    #[tokio::test]
    async fn a_report_shows_before_it_is_durable_and_an_absent_file_is_an_answer() {
        let writer = Arc::new(SizeWriter::default());
        let file = FileId::new(9).unwrap();
        let size = FileSize { generation: 1, bytes: 70 };
        let report = Report { size: Some(size), committed_slots: SlotSet::from_iter([2]), modified_ns: 0 };
        writer.record(file, &report);
        assert_eq!(writer.pending(file), report);

        let namespace = Arc::new(Namespace::open(Arc::new(MemoryStore::new()), 0).await.unwrap());
        let running = tokio::spawn(writer.clone().run(namespace));
        let missing = writer.record_durably(file, &report).await;
        assert!(matches!(missing, Err(NamespaceError::NoFile(_))));
        assert_eq!(writer.pending(file), Report::default());
        running.abort();
    }
}
