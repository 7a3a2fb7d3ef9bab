//! Requests to file servers, their answers, and those that stay without one.

mod doubt;
mod request;

pub use request::{AnswerBody, DataAnswer, DataBody, DataRequest};

use super::{Process, Stage, What};
use crate::file_server::{OpenDoubt, pieces};
use crate::invariants::Invariant;
use crate::model::FILE_BYTES;
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, World};
use pfs_core::cache::{Read, Write, may_use_hit};
use pfs_core::extent::Extent;
use pfs_core::fence::Refused;
use pfs_core::ids::Stamp;

/// Microseconds after which an answer is not expected any more.
const TIMEOUT_US: u64 = 350 * MS;
/// Microseconds for which a request that is refused for the moment is sent again.
pub(super) const PATIENCE_US: u64 = 3500 * MS;
/// Attempts to drain before it is left to the metadata server.
const DRAINS_MAX: u32 = 7;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Access(u64),
    WriteBack(u64),
    Sync,
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) server: usize,
    /// The open file.
    pub(super) at: usize,
    pub(super) body: DataBody,
    pub(super) purpose: Purpose,
    /// When it is given up if it is refused for the moment.
    pub(super) until: u64,
    /// When it is given up; nothing: it is not on its way.
    pub(super) sent: Option<Sent>,
    /// Not to be sent before.
    pub(super) not_before: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    deadline: u64,
    stamp: Stamp,
    sequence: u64,
}

/// A write of unknown outcome.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) server: usize,
    pub(super) stamp: Stamp,
    pub(super) sequence: u64,
    pub(super) purpose: Purpose,
    tries: u32,
    next: u64,
    /// It was left to the metadata server; what this client writes there still waits for it.
    pub(super) given_up: bool,
}

impl World {
    /// Begins the transfer of a pinned access, or serves it from the cache.
    pub(crate) fn run_access(&mut self, client: usize, number: u64) {
        let servers = self.servers.len();
        let now_ms = self.clock(Node::Client(client));
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let Some(access) = process.accesses.get_mut(&number).filter(|a| a.stage == Stage::Pinned) else { return };
        let open = &process.files[access.file];
        let (key, boot, cached) = (open.key(), open.tokens.boot(), open.cached);
        let mut missing = vec![access.range];
        match &mut access.what {
            What::Write { values, .. } if cached => {
                if !may_use_hit(boot, boot, process.session.may_access(now_ms)) {
                    return;
                }
                if process.cache.write(key, boot, access.range, values) == Write::Cached {
                    self.reach(Transition::CacheWrite);
                    return self.access_over(client, number);
                }
                // Past the cache: what it has there goes first, and out of it.
                if process.cache.is_pending(key, access.range) {
                    let (at, range) = (access.file, access.range);
                    self.write_back(client, at, range);
                    return;
                }
                process.cache.invalidate(key, access.range);
            }
            What::Read { out, .. } if cached => {
                match process.cache.read(key, boot, access.range, out) {
                    Read::Hit => {
                        let after = process.files[access.file].tokens.boot();
                        if may_use_hit(boot, after, process.session.may_access(now_ms)) {
                            self.reach(Transition::CacheHit);
                            self.access_over(client, number);
                        }
                        return;
                    }
                    Read::Miss(ranges) => missing = ranges,
                }
                access.fill = process.cache.begin_fill(key, boot, access.range);
                self.stats.reach(Transition::CacheMiss);
            }
            _ => {}
        }
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let Some(access) = process.accesses.get_mut(&number) else { return };
        access.stage = Stage::Running;
        let mut requests = Vec::new();
        for range in missing {
            for (server, ranges) in pieces(range, servers) {
                let body = match &access.what {
                    What::Read { .. } => DataBody::Read(ranges),
                    What::Write { values, .. } => DataBody::Write(cut(&ranges, access.range, values)),
                };
                requests.push((server, body));
            }
        }
        access.outstanding = requests.len();
        let at = access.file;
        for (server, body) in requests {
            self.request(client, at, server, body, Purpose::Access(number), now + PATIENCE_US);
        }
    }

    /// Makes a request, which goes out as soon as it may.
    pub(super) fn request(
        &mut self,
        client: usize,
        at: usize,
        server: usize,
        body: DataBody,
        purpose: Purpose,
        until: u64,
    ) {
        let Some(process) = self.process(client) else { return };
        process.last_number += 1;
        let number = process.last_number;
        process.data.insert(number, Pending { server, at, body, purpose, until, sent: None, not_before: 0 });
        self.try_send(client, number);
    }

    fn try_send(&mut self, client: usize, number: u64) {
        let now_ms = self.clock(Node::Client(client));
        let now = self.now;
        let life = self.clients[client].life;
        let Some(process) = self.process(client) else { return };
        let allowed = process.session.may_access(now_ms);
        let Some(pending) = process.data.get_mut(&number) else { return };
        // A read could be answered before the doubtful write is applied, and stay in the cache.
        let transfers = matches!(pending.body, DataBody::Write(_) | DataBody::Read(_));
        let doubtful = transfers && process.doubts.iter().any(|doubt| doubt.server == pending.server);
        if pending.sent.is_some() || pending.not_before > now || !allowed || doubtful {
            return;
        }
        let open = &process.files[pending.at];
        let stamp = Stamp { boot: open.tokens.boot(), holder: open.holder, incarnation: process.id };
        process.sequence += 1;
        let sequence = process.sequence;
        pending.sent = Some(Sent { deadline: now + TIMEOUT_US, stamp, sequence });
        let (server, file, body) = (pending.server, open.file, pending.body.clone());
        let request = DataRequest { client, life, number, server, file, stamp, sequence, body };
        // The process may be stopped between the look at the lease and the sending.
        let gap = self.rng.below(300);
        self.after(gap, Event::DataSend { client, life, request: Box::new(request) });
    }

    /// A request leaves the client.
    pub fn data_send(&mut self, client: usize, life: u64, request: Box<DataRequest>) {
        if self.lives(client, life) {
            let server = request.server;
            self.note(|| format!("C{} sends {} to S{}", client + 1, request.text(), server + 1));
            let instance = self.servers[server].instance;
            self.send(Node::Client(client), Node::Server(server), Event::Data { server, instance, request });
        }
    }

    /// Looks after requests that wait, that are late, and that are in doubt.
    pub fn client_pump(&mut self, client: usize, life: u64) {
        if !self.lives(client, life) {
            return;
        }
        if let Some(process) = self.process(client) {
            process.pumping = false;
        }
        self.pump(client);
        self.client_settle(client);
    }

    pub(super) fn pump(&mut self, client: usize) {
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let late = |pending: &Pending| pending.sent.is_some_and(|sent| sent.deadline <= now);
        let late: Vec<u64> = process.data.iter().filter(|(_, p)| late(p)).map(|(number, _)| *number).collect();
        let unsent: Vec<u64> =
            process.data.iter().filter(|(_, p)| p.sent.is_none()).map(|(number, _)| *number).collect();
        let parked = process.accesses.iter().filter(|(_, a)| a.stage == Stage::Pinned);
        let parked: Vec<u64> = parked.map(|(number, _)| *number).collect();
        late.into_iter().for_each(|number| self.unanswered(client, number));
        self.try_drains(client);
        unsent.into_iter().for_each(|number| self.try_send(client, number));
        parked.into_iter().for_each(|number| self.run_access(client, number));
    }

    /// A request was not answered, or its connection broke.
    fn unanswered(&mut self, client: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let Some(pending) = process.data.remove(&number) else { return };
        let Some(sent) = pending.sent else { return };
        if !matches!(pending.body, DataBody::Write(_)) {
            // Whatever comes of it later is not looked at.
            return self.try_later(client, pending);
        }
        let Sent { stamp, sequence, .. } = sent;
        let (server, purpose) = (pending.server, pending.purpose);
        process.doubts.push(Doubt { server, stamp, sequence, purpose, tries: 0, next: now, given_up: false });
        self.reach(Transition::Doubt);
        self.note(|| format!("C{} does not know what became of its write {sequence} at S{}", client + 1, server + 1));
        self.piece_over(client, purpose, false);
        if let Purpose::Access(access) = purpose
            && let Some(What::Write { write, .. }) =
                self.process(client).and_then(|p| p.accesses.get(&access)).map(|a| a.what.clone())
        {
            self.open_doubts.push(OpenDoubt { server, stamp, sequence, write });
        }
    }

    /// Sends a request again after a while, or gives it up.
    fn try_later(&mut self, client: usize, pending: Pending) {
        let now = self.now;
        if now > pending.until {
            return self.piece_over(client, pending.purpose, false);
        }
        let Some(process) = self.process(client) else { return };
        process.last_number += 1;
        let pending = Pending { sent: None, not_before: now + 20 * MS, ..pending };
        process.data.insert(process.last_number, pending);
    }

    /// A file server has answered.
    pub fn client_answer(&mut self, client: usize, life: u64, answer: DataAnswer) {
        if !self.lives(client, life) {
            return;
        }
        let DataAnswer { number, instance, body } = answer;
        if let AnswerBody::Drained { server, stamp, sequence } = body {
            self.drained(client, server, stamp, sequence);
            return self.client_settle(client);
        }
        let Some(process) = self.process(client) else { return };
        match body {
            AnswerBody::Broken => self.unanswered(client, number),
            AnswerBody::Refused(refused) => {
                let Some(pending) = process.data.remove(&number) else { return };
                match refused {
                    Refused::FencedClient { .. } | Refused::FencedGroup { .. } | Refused::Deleted(_) => {
                        self.piece_over(client, pending.purpose, false);
                    }
                    _ => self.try_later(client, pending),
                }
            }
            AnswerBody::NoLease => {
                let Some(pending) = process.data.remove(&number) else { return };
                self.try_later(client, pending);
            }
            AnswerBody::Done { read } => {
                let Some(pending) = process.data.remove(&number) else { return };
                process.session.note_progress();
                self.done(client, pending, instance, &read);
            }
            AnswerBody::Drained { .. } => {}
        }
        self.client_settle(client);
    }

    fn done(&mut self, client: usize, pending: Pending, instance: u64, read: &[u8]) {
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let Pending { server, at, body, purpose, .. } = pending;
        match &body {
            DataBody::Write(pieces) => {
                let file = process.files[at].file;
                // A start of the server that is over may have lost it on the way of this answer.
                let lost = self.servers[server].instance != instance;
                pieces.iter().for_each(|(range, values)| self.model.ack(file, *range, values, lost));
                process.unsynced.note_written((server, file), instance);
            }
            DataBody::Read(ranges) => {
                let Purpose::Access(number) = purpose else { return };
                let Some(access) = process.accesses.get_mut(&number) else { return };
                let mut from = 0;
                for range in ranges {
                    let bytes = &read[from..from + range.len() as usize];
                    from += bytes.len();
                    let to = (range.start() - access.range.start()) as usize;
                    if let What::Read { out, .. } = &mut access.what {
                        out[to..to + bytes.len()].copy_from_slice(bytes);
                    }
                    if let Some(fill) = access.fill {
                        process.cache.fill(process.files[at].key(), fill, *range, bytes);
                    }
                }
            }
            DataBody::Commit => {
                let file = process.files[at].file;
                return self.commit_over(client, Some(((server, file), instance)));
            }
            DataBody::Drain => {}
        }
        self.piece_over(client, purpose, true);
    }

    fn piece_over(&mut self, client: usize, purpose: Purpose, well: bool) {
        let Some(process) = self.process(client) else { return };
        match purpose {
            Purpose::Access(number) => {
                let Some(access) = process.accesses.get_mut(&number) else { return };
                access.outstanding -= 1;
                access.failed |= !well;
                if access.outstanding == 0 {
                    self.access_over(client, number);
                }
            }
            Purpose::WriteBack(number) => self.write_back_piece_over(client, number, well),
            Purpose::Sync => self.commit_over(client, None),
        }
    }

    /// All of an access is answered or given up.
    fn access_over(&mut self, client: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let Some(access) = process.accesses.get_mut(&number) else { return };
        let at = access.file;
        if let Some(fill) = access.fill.take() {
            process.cache.end_fill(process.files[at].key(), fill);
        }
        if access.failed {
            return self.access_failed(client, number);
        }
        let file = process.files[at].file;
        let (range, operation) = (access.range, access.operation);
        match &access.what {
            What::Read { began, out } => {
                if let Err(text) = self.model.read((file, range), process.writer, out, *began, now) {
                    let text = format!("C{}: {text}", client + 1);
                    return self.violate(Invariant::ReadsAreLinearizable, text);
                }
            }
            What::Write { write, .. } => {
                process.files[at].tokens.record_write(range.end());
                if process.files[at].cached && access.stage == Stage::Running {
                    process.cache.invalidate(process.files[at].key(), range);
                }
                self.model.succeed(*write, now);
            }
        }
        self.stats.accesses += 1;
        let Some(process) = self.process(client) else { return };
        let Some(access) = process.accesses.get_mut(&number) else { return };
        if let Some(collective) = access.collective {
            access.stage = Stage::Done;
            return self.rank_done(client, collective, true);
        }
        process.accesses.remove(&number);
        process.end(at, operation);
    }

    fn access_failed(&mut self, client: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let Some(access) = process.accesses.get_mut(&number) else { return };
        let in_doubt = process.doubts.iter().any(|doubt| doubt.purpose == Purpose::Access(number));
        let (at, operation, collective) = (access.file, access.operation, access.collective.take());
        if let What::Write { write, .. } = access.what {
            self.model.doubt(write);
            // What was written reaches as far as this, for all that is known.
            process.files[at].tokens.record_write(access.range.end());
            if !in_doubt {
                self.model.end(write, now);
            }
        }
        if in_doubt {
            access.stage = Stage::Doubtful;
            let last = &mut process.last_request;
            process.files[at].tokens.doubt(operation, || Process::next_request(last));
        } else {
            process.accesses.remove(&number);
            process.end(at, operation);
        }
        if let Some(collective) = collective {
            self.rank_done(client, collective, false);
        }
    }
}

/// The bytes of these ranges out of those of a whole.
fn cut(ranges: &[Extent], whole: Extent, bytes: &[u8]) -> Vec<(Extent, Vec<u8>)> {
    let part = |range: &Extent| {
        let from = (range.start() - whole.start()) as usize;
        (*range, bytes[from..from + range.len() as usize].to_vec())
    };
    debug_assert!(whole.end() <= FILE_BYTES);
    ranges.iter().map(part).collect()
}
