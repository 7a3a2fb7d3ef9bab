//! What a client does over some time: write-backs, giving way to revokes, syncs.

use super::data::{DataBody, PATIENCE_US, Purpose};
use super::{OpenState, Process, World};
use crate::file_server::pieces;
use crate::metadata::Call;
use crate::plan::MS;
use crate::rng::Rng;
use crate::transitions::Transition;
use pfs_core::cache::Batch;
use pfs_core::extent::Extent;
use pfs_core::ids::RevokeId;
use pfs_core::token::holder::OperationId;
use pfs_core::token::message::Undrained;
use std::collections::BTreeMap;

/// Most bytes of one write-back.
const BATCH_BYTES: u64 = 48;
/// Attempts before dirty bytes are dropped with an error.
const ATTEMPTS_MAX: u32 = 3;
/// How long syncs try to reach a server.
const SYNC_PATIENCES_US: [u64; 4] = [20 * MS, 60 * MS, 600 * MS, PATIENCE_US];

/// Dirty bytes on their way to the servers.
pub(super) struct WriteBack {
    at: usize,
    operation: OperationId,
    batch: Option<Batch>,
    extents: Vec<Extent>,
    outstanding: usize,
    failed: bool,
}

/// A revoke whose ranges are written back.
pub(super) struct RevokeJob {
    at: usize,
    revoke: RevokeId,
    ranges: Vec<Extent>,
    downgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    WritingBack,
    Committing,
    Reporting,
}

/// A sync that is under way.
pub(super) struct Sync {
    began: u64,
    step: Step,
    /// How long it tries to reach a server.
    patience_us: u64,
    outstanding: usize,
    failed: bool,
    /// Servers and files that are not committed, with the start that has the bytes.
    left: BTreeMap<(usize, usize), u64>,
}

impl World {
    /// A revoke's ranges are closed: their dirty bytes must go out.
    pub(super) fn revoke_job(
        &mut self,
        client: usize,
        at: usize,
        revoke: RevokeId,
        ranges: Vec<Extent>,
        downgrade: bool,
    ) {
        let Some(process) = self.process(client) else { return };
        let key = process.files[at].key();
        if ranges.iter().any(|range| process.cache.has_dirty(key, *range)) {
            self.reach(Transition::WriteBackForRevoke);
        }
        if let Some(process) = self.process(client) {
            process.revoke_jobs.push(RevokeJob { at, revoke, ranges, downgrade });
        }
    }

    /// Takes one job a step further. False: none can go on.
    pub(super) fn advance_jobs(&mut self, client: usize) -> bool {
        self.advance_revokes(client)
            || self.advance_sync(client)
            || self.advance_closes(client)
            || self.relieve_cache(client)
    }

    fn advance_revokes(&mut self, client: usize) -> bool {
        let Some(process) = self.process(client) else { return false };
        for position in 0..process.revoke_jobs.len() {
            let job = &process.revoke_jobs[position];
            let (at, key) = (job.at, process.files[job.at].key());
            if let Some(range) = job.ranges.iter().copied().find(|range| process.cache.has_dirty(key, *range)) {
                if self.write_back(client, at, range) {
                    return true;
                }
                // It is dirty again while it is on its way: when that has ended.
                return false;
            }
            if job.ranges.iter().any(|range| process.cache.is_pending(key, *range)) {
                continue;
            }
            let RevokeJob { revoke, ranges, downgrade, .. } = process.revoke_jobs.remove(position);
            if !downgrade {
                ranges.iter().for_each(|range| process.cache.invalidate(key, *range));
            }
            let last = &mut process.last_request;
            process.files[at].tokens.written_back(revoke, || Process::next_request(last));
            return true;
        }
        false
    }

    /// Writes back what the cache wants to be rid of.
    fn relieve_cache(&mut self, client: usize) -> bool {
        let Some(process) = self.process(client) else { return false };
        if process.write_backs.len() > 2 {
            return false;
        }
        let Some((key, range)) = process.cache.next_write_back() else { return false };
        let Some(at) = process.find(key.holder, key.file) else { return false };
        if !process.cache.has_dirty(key, range) {
            return false;
        }
        self.reach(Transition::CacheEvicted);
        self.write_back(client, at, range)
    }

    /// Sends dirty bytes of a range to the servers.
    pub(super) fn write_back(&mut self, client: usize, at: usize, range: Extent) -> bool {
        let servers = self.servers.len();
        let now = self.now;
        let Some(process) = self.process(client) else { return false };
        let key = process.files[at].key();
        let batch = process.cache.take_dirty(key, range, BATCH_BYTES, &mut Vec::new());
        let Some(batch) = batch else { return false };
        let extents: Vec<Extent> = batch.extents().collect();
        let operation = process.files[at].tokens.begin_write_back(extents.iter().copied().collect());
        let mut requests: Vec<(usize, DataBody)> = Vec::new();
        for (extent, bytes) in batch.pieces() {
            for (server, ranges) in pieces(extent, servers) {
                let part = |range: Extent| {
                    let from = (range.start() - extent.start()) as usize;
                    (range, bytes[from..from + range.len() as usize].to_vec())
                };
                requests.push((server, DataBody::Write(ranges.into_iter().map(part).collect())));
            }
        }
        process.last_access += 1;
        let number = process.last_access;
        let outstanding = requests.len();
        let batch = Some(batch);
        process.write_backs.insert(number, WriteBack { at, operation, batch, extents, outstanding, failed: false });
        self.reach(Transition::CacheWriteBack);
        for (server, body) in requests {
            self.request(client, at, server, body, Purpose::WriteBack(number), now + PATIENCE_US);
        }
        true
    }

    pub(super) fn write_back_piece_over(&mut self, client: usize, number: u64, well: bool) {
        let Some(process) = self.process(client) else { return };
        let Some(job) = process.write_backs.get_mut(&number) else { return };
        job.outstanding -= 1;
        job.failed |= !well;
        if job.outstanding > 0 {
            return;
        }
        if !job.failed {
            return self.write_back_over(client, number, true);
        }
        let in_doubt = process.doubts.iter().any(|doubt| doubt.purpose == Purpose::WriteBack(number));
        if in_doubt {
            let (at, operation) = (job.at, job.operation);
            let last = &mut process.last_request;
            process.files[at].tokens.doubt(operation, || Process::next_request(last));
        } else {
            self.write_back_over(client, number, false);
        }
    }

    /// Its writes that were in doubt can not be applied any more: the bytes go out again.
    pub(super) fn write_back_drained(&mut self, client: usize, number: u64) {
        let Some(process) = self.process(client) else { return };
        if process.write_backs.get(&number).is_some_and(|job| job.outstanding == 0) {
            self.write_back_over(client, number, false);
        }
    }

    fn write_back_over(&mut self, client: usize, number: u64, well: bool) {
        let Some(process) = self.process(client) else { return };
        let Some(mut job) = process.write_backs.remove(&number) else { return };
        let Some(batch) = job.batch.take() else { return };
        let attempts = process.attempts.entry(job.at).or_default();
        if well {
            *attempts = 0;
            process.cache.written(batch);
        } else {
            *attempts += 1;
            if *attempts > ATTEMPTS_MAX {
                *attempts = 0;
                return self.drop_batch(client, job, batch, None);
            }
            process.cache.put_back(batch);
        }
        process.end(job.at, job.operation);
        if !well {
            self.reach(Transition::CacheWriteBackFailed);
        }
    }

    /// A server does not even answer drains: the bytes are dropped, and the metadata server is told.
    pub(super) fn write_back_given_up(&mut self, client: usize, number: u64, undrained: Vec<Undrained>) {
        let Some(process) = self.process(client) else { return };
        let Some(mut job) = process.write_backs.remove(&number) else { return };
        let Some(batch) = job.batch.take() else { return };
        self.drop_batch(client, job, batch, Some(undrained));
    }

    fn drop_batch(&mut self, client: usize, job: WriteBack, batch: Batch, undrained: Option<Vec<Undrained>>) {
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let file = process.files[job.at].file;
        let extents = job.extents;
        extents.iter().for_each(|range| self.model.dropped(file, *range, process.writer));
        process.cache.failed(batch, ());
        let last = &mut process.last_request;
        match undrained {
            None => process.end(job.at, job.operation),
            Some(undrained) => {
                let next = || Process::next_request(last);
                process.files[job.at].tokens.give_up_doubt(job.operation, undrained, next);
            }
        }
        self.reach(Transition::CacheWriteBackDropped);
        self.note(|| format!("C{} drops dirty bytes {extents:?} of file {}", client + 1, file + 1));
    }

    // ---- Sync

    /// Begins to make everything durable that was written until now.
    pub(super) fn begin_sync(&mut self, client: usize) {
        let began = self.now;
        // Of a sequence of its own, so that everything else stays as it is.
        let patience_us = Rng::new(self.plan.seed, 1000 + began).pick(&SYNC_PATIENCES_US);
        let Some(process) = self.process(client) else { return };
        if process.sync.is_none() {
            let (step, left) = (Step::WritingBack, BTreeMap::new());
            process.sync = Some(Sync { began, step, patience_us, outstanding: 0, failed: false, left });
        }
    }

    fn advance_sync(&mut self, client: usize) -> bool {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_deref_mut() else { return false };
        let Some(sync) = &mut process.sync else { return false };
        match sync.step {
            Step::WritingBack => {
                for at in (0..process.files.len()).filter(|at| process.files[*at].is_there()) {
                    let key = process.files[at].key();
                    if process.cache.has_dirty(key, Extent::ALL) {
                        // What is dirty again while it is on its way goes when that has ended.
                        return self.write_back(client, at, Extent::ALL);
                    }
                    if process.cache.is_pending(key, Extent::ALL) {
                        return false;
                    }
                }
                sync.step = Step::Committing;
                for open in process.files.iter().filter(|open| open.is_there()) {
                    sync.failed |= process.cache.take_error(open.key()).is_some();
                }
                let taken = process.unsynced.take();
                if taken.is_err() {
                    sync.failed = true;
                    self.stats.reach(Transition::SyncTellsLoss);
                }
                sync.left = taken.unwrap_or_default();
                sync.outstanding = sync.left.len();
                let until = now + sync.patience_us;
                // Under any open of the file: a commit goes with no token.
                let open = |file: usize| process.files.iter().rposition(|open| open.file == file);
                let places = sync.left.keys().map(|(server, file)| (*server, open(*file).expect("it was opened")));
                for (server, at) in places.collect::<Vec<_>>() {
                    self.request(client, at, server, DataBody::Commit, Purpose::Sync, until);
                }
                true
            }
            Step::Committing if sync.outstanding == 0 => {
                sync.step = Step::Reporting;
                process.unsynced.put_back(std::mem::take(&mut sync.left));
                let sizes: Vec<_> = process
                    .files
                    .iter()
                    // Of a close that is on its way nobody knows whether it has arrived.
                    .filter(|open| open.state != OpenState::Closed)
                    .filter_map(|open| open.tokens.written_size().map(|size| (open.file, size)))
                    .collect();
                sync.outstanding = sizes.len();
                for (file, size) in sizes {
                    process.call(Call::Synced { file, size }, now);
                }
                true
            }
            Step::Reporting if sync.outstanding == 0 => {
                let (began, failed, writer) = (sync.began, sync.failed, process.writer);
                process.sync = None;
                self.reach(if failed { Transition::SyncFailed } else { Transition::SyncDone });
                self.note(|| format!("C{}'s sync {}", client + 1, if failed { "fails" } else { "is done" }));
                if !failed {
                    (0..crate::world::FILES).for_each(|file| self.model.synced(writer, began, file));
                }
                true
            }
            _ => false,
        }
    }

    /// A commit is over: a start of a server has done it, or nobody has.
    pub(super) fn commit_over(&mut self, client: usize, by: Option<((usize, usize), u64)>) {
        if let Some(sync) = self.process(client).and_then(|process| process.sync.as_mut()) {
            sync.outstanding -= 1;
            sync.failed |= by.is_none_or(|(place, start)| sync.left.remove(&place) != Some(start));
        }
    }

    pub(super) fn size_synced(&mut self, client: usize) {
        if let Some(sync) = self.process(client).and_then(|process| process.sync.as_mut())
            && sync.step == Step::Reporting
        {
            sync.outstanding = sync.outstanding.saturating_sub(1);
        }
    }
}
