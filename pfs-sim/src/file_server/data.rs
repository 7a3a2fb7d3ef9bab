//! Data requests: admitted, done chunk by chunk, answered or refused.

use super::{CHUNK_BYTES, Running, Then, server_of};
use crate::client::{AnswerBody, DataAnswer, DataBody, DataRequest};
use crate::invariants::Invariant;
use crate::model::FILE_BYTES;
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, World};
use pfs_core::extent::Extent;
use pfs_core::fence::Refused;
use pfs_core::ids::{Holder, Stamp};
use pfs_core::session::coordinator::Victim;

impl World {
    /// A request has arrived.
    pub fn server_data(&mut self, server: usize, instance: u64, request: DataRequest) {
        let state = &self.servers[server];
        if state.instance != instance || state.started.is_none() {
            // Its connection has broken; the client is told, or finds out.
            if self.rng.chance(500) {
                let DataRequest { client, life, number, .. } = request;
                self.answer(server, client, life, number, AnswerBody::Broken);
            }
            return;
        }
        self.look_at_lease(server);
        let now_ms = self.clock(Node::Server(server));
        let Some(started) = self.servers[server].started.as_mut() else { return };
        let DataRequest { client, life, number, stamp, sequence, .. } = request;
        if let DataBody::Drain = request.body {
            let ticket = started.admission.drain(stamp, sequence);
            let then = Then::Drained { stamp, sequence, client: Some((client, life)) };
            started.waiting.push((vec![ticket], then));
            return self.look_at_tickets(server, true);
        }
        if !started.lease.lasts_at(now_ms) {
            self.reach(Transition::RefusedNoLease);
            return self.answer(server, client, life, number, AnswerBody::NoLease);
        }
        if let DataBody::Commit = request.body {
            return self.commit(server, request);
        }
        let id = match started.admission.begin(stamp, Some(sequence), crate::metadata::file_id(request.file)) {
            Ok(id) => id,
            Err(refused) => {
                self.count_refused(refused);
                return self.answer(server, client, life, number, AnswerBody::Refused(refused));
            }
        };
        started.last += 1;
        let operation = started.last;
        started.running.insert(operation, Running { id, request, done: 0, inside: false, read: Vec::new() });
        self.reach(Transition::Admitted);
        let wait = self.rng.between(5, 60);
        self.after(wait, Event::ServerChunk { server, instance, operation });
    }

    fn commit(&mut self, server: usize, request: DataRequest) {
        let servers = self.servers.len();
        let state = &mut self.servers[server];
        let Some(started) = &mut state.started else { return };
        let DataRequest { client, life, number, file, .. } = request;
        for at in (0..FILE_BYTES).filter(|at| server_of(*at, servers) == server) {
            state.synced[file][at as usize] = started.contents[file][at as usize];
        }
        self.answer(server, client, life, number, AnswerBody::Done { read: Vec::new() });
    }

    /// An operation enters its next chunk, or leaves the one it is in.
    pub fn server_chunk(&mut self, server: usize, instance: u64, operation: u64) {
        if self.servers[server].instance != instance {
            return;
        }
        let wait = match self.rng.below(1000) {
            0..4 => self.hung_for(server),
            4..44 => self.rng.between(MS, 30 * MS),
            _ => self.rng.between(10, 150),
        };
        let Some(started) = self.started(server) else { return };
        let Some(running) = started.running.get(&operation) else { return };
        if running.inside {
            self.leave_chunk(server, operation);
            let Some(started) = self.started(server) else { return };
            let Some(running) = started.running.get(&operation) else { return };
            if running.done >= running.request.len() {
                return self.end_operation(server, operation, None);
            }
            return self.after(wait, Event::ServerChunk { server, instance, operation });
        }
        self.look_at_lease(server);
        let Some(started) = self.started(server) else { return };
        let Some(running) = started.running.get_mut(&operation) else { return };
        if running.done >= running.request.len() {
            return self.end_operation(server, operation, None);
        }
        match started.admission.enter_chunk(running.id) {
            Ok(()) => {
                running.inside = true;
                self.after(wait, Event::ServerChunk { server, instance, operation });
            }
            Err(refused) => self.end_operation(server, operation, Some(refused)),
        }
    }

    /// The disk hangs for this long, and not beyond the lease: rule 16 takes for granted that what a file server has begun
    /// does not reach its disk long after that.
    fn hung_for(&mut self, server: usize) -> u64 {
        let wait = self.rng.between(100 * MS, 950 * MS);
        let until_ms = self.clock(Node::Server(server)) + wait / MS;
        let lasts = self.started(server).is_some_and(|started| started.lease.lasts_at(until_ms + 10));
        if lasts { wait } else { MS }
    }

    /// A file server stands still, and its disk does not: what is in a chunk is done.
    pub fn land_chunks(&mut self, server: usize) {
        let Some(started) = self.started(server) else { return };
        let inside = started.running.iter().filter(|(_, running)| running.inside).map(|(operation, _)| *operation);
        for operation in inside.collect::<Vec<_>>() {
            self.leave_chunk(server, operation);
        }
    }

    fn leave_chunk(&mut self, server: usize, operation: u64) {
        self.check_landing(server, operation);
        let Some(started) = self.started(server) else { return };
        let Some(running) = started.running.get_mut(&operation) else { return };
        let file = running.request.file;
        let stamp = running.request.stamp;
        let mut landed: Vec<Extent> = Vec::new();
        let mut left = CHUNK_BYTES;
        let mut skip = running.done;
        for (range, bytes) in running.request.pieces() {
            let length = range.len() as usize;
            if skip >= length {
                skip -= length;
                continue;
            }
            let take = left.min(length - skip);
            let from = range.start() as usize + skip;
            match bytes {
                Some(bytes) => {
                    started.contents[file][from..from + take].copy_from_slice(&bytes[skip..skip + take]);
                    landed.extend(Extent::new(from as u64, (from + take) as u64));
                }
                None => running.read.extend_from_slice(&started.contents[file][from..from + take]),
            }
            running.done += take;
            left -= take;
            skip = 0;
            if left == 0 {
                break;
            }
        }
        running.inside = false;
        started.admission.leave_chunk(running.id);
        landed.into_iter().for_each(|range| self.check_landed(server, stamp, file, range));
        self.look_at_tickets(server, false);
    }

    fn end_operation(&mut self, server: usize, operation: u64, refused: Option<Refused>) {
        let Some(started) = self.started(server) else { return };
        let Some(Running { id, request, read, .. }) = started.running.remove(&operation) else { return };
        let ended = started.admission.end(id);
        let body = match refused.map_or(ended, Err) {
            Ok(()) => AnswerBody::Done { read },
            Err(refused) => {
                self.count_refused(refused);
                AnswerBody::Refused(refused)
            }
        };
        self.answer(server, request.client, request.life, request.number, body);
    }

    /// A chunk of a write is about to reach the disk: nobody may have been told that it can not.
    fn check_landing(&mut self, server: usize, operation: u64) {
        let Some(started) = &self.servers[server].started else { return };
        let Some(running) = started.running.get(&operation) else { return };
        if !matches!(running.request.body, DataBody::Write(_)) {
            return;
        }
        let (stamp, sequence) = (running.request.stamp, running.request.sequence);
        let fenced = started.confirmed.verdict(stamp).filter(|r| !matches!(r, Refused::LaterBoot { .. }));
        let drained = started.drained.get(&stamp).is_some_and(|up_to| sequence <= *up_to);
        let now_ms = self.clock(Node::Server(server));
        let freed = self.meta.freed.contains(&Victim::Client(stamp.incarnation))
            || matches!(stamp.holder, Holder::Group(group) if self.meta.freed.contains(&Victim::Group(group)));
        let serves = started.lease.lasts_at(now_ms);
        let text = match (fenced, drained) {
            (Some(refused), _) => format!("S{} wrote although it had confirmed: {refused}", server + 1),
            (None, true) => format!("S{} wrote operation {sequence} of {stamp} after its drain", server + 1),
            (None, false) if freed && serves => {
                format!("S{} wrote for {stamp} after its tokens were freed", server + 1)
            }
            _ => return,
        };
        self.violate(Invariant::NoWriteAfterItsFence, text);
    }

    /// Bytes of a write have reached the disk: nobody else may have a token there.
    fn check_landed(&mut self, server: usize, stamp: Stamp, file: usize, range: Extent) {
        let now_ms = self.clock(Node::Server(server));
        // A chunk may outlast the lease; what it writes then nobody can read here.
        if self.started(server).is_some_and(|started| started.lease.lasts_at(now_ms)) {
            self.no_write_under_anothers_token(stamp, file, range);
        }
    }

    fn count_refused(&mut self, refused: Refused) {
        self.reach(match refused {
            Refused::EarlierBoot { .. } => Transition::RefusedEarlierBoot,
            Refused::LaterBoot { .. } => Transition::RefusedLaterBoot,
            Refused::Lapsed { .. } => Transition::RefusedLapsed,
            Refused::FencedClient { .. } => Transition::RefusedFencedClient,
            Refused::FencedGroup { .. } => Transition::RefusedFencedGroup,
            Refused::Drained { .. } => Transition::RefusedDrained,
            Refused::Deleted(_) => return,
        });
    }

    pub(super) fn answer(&mut self, server: usize, client: usize, life: u64, number: u64, body: AnswerBody) {
        let instance = self.servers[server].instance;
        if !matches!(body, AnswerBody::Drained { .. }) {
            let text = match &body {
                AnswerBody::Done { .. } => "it is done".to_owned(),
                AnswerBody::Refused(refused) => refused.to_string(),
                other => format!("{other:?}"),
            };
            self.note(|| format!("S{} answers C{}: {text}", server + 1, client + 1));
        }
        let answer = Box::new(DataAnswer { number, instance, body });
        if self.mischief() {
            // It is lost; what became of the request is not known.
            return;
        }
        self.send(Node::Server(server), Node::Client(client), Event::Answer { client, life, answer });
    }
}
