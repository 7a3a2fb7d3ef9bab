//! Asking the writers of a file how far they have written.

use super::state::State;
use pfs_core::ids::{ClientId, FileId};
use pfs_proto::token::{ServerMessage, SizeQuery, SizeReport};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

struct Query {
    missing: BTreeSet<ClientId>,
    answered: oneshot::Sender<()>,
}

/// Questions that are not answered by all.
#[derive(Default)]
pub(super) struct Queries {
    queries: BTreeMap<u64, Query>,
    last: u64,
}

impl Queries {
    fn answer(&mut self, number: u64, client: ClientId) {
        let Some(query) = self.queries.get_mut(&number) else { return };
        query.missing.remove(&client);
        if query.missing.is_empty()
            && let Some(query) = self.queries.remove(&number)
        {
            // Whoever asked may be gone.
            let _ = query.answered.send(());
        }
    }

    /// A client is gone: no answer is awaited from it. What it had written without a sync is lost with it.
    pub(super) fn remove_client(&mut self, client: ClientId) {
        let asked: Vec<u64> =
            self.queries.iter().filter(|(_, query)| query.missing.contains(&client)).map(|(n, _)| *n).collect();
        for number in asked {
            self.answer(number, client);
        }
    }
}

impl State {
    /// Asks all who may have written to the file. The receiver ends when all have answered or are gone; nothing means
    /// that nobody has to be asked. In the grace after a start it is not known who has written.
    pub(crate) fn ask_sizes(&mut self, file: FileId) -> Option<oneshot::Receiver<()>> {
        // Questions that nobody waits for any more go first, so that their number is bounded by those who wait.
        self.queries.queries.retain(|_, query| !query.answered.is_closed());
        let missing: BTreeSet<ClientId> = self.coordinator.tokens().exclusive_clients(file).into_iter().collect();
        if missing.is_empty() {
            return None;
        }
        self.queries.last += 1;
        let query = self.queries.last;
        for client in &missing {
            let message = ServerMessage::SizeQuery(SizeQuery { query, file });
            self.coordinator.send(*client, message, Self::now_ms());
        }
        let (answered, receiver) = oneshot::channel();
        self.queries.queries.insert(query, Query { missing, answered });
        Some(receiver)
    }

    pub(super) fn size_report(&mut self, from: ClientId, report: SizeReport) {
        let asked = self.queries.queries.get(&report.query).is_some_and(|query| query.missing.contains(&from));
        if let (true, Some(size)) = (asked, report.size) {
            self.learn(report.file, size);
        }
        self.queries.answer(report.query, from);
    }
}
