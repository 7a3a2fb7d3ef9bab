//! A file server: a shell around the admission and the lease, and a disk that may lose what was not synced.
//!
//! A data request is done chunk by chunk, with time within a chunk (the disk) and between two (the client's bytes). What
//! was written lies in memory until a commit; a crash keeps or loses each byte of it, at random. Fences are on disk before they
//! are confirmed. A request that was under way to a start of the server is lost with that start, as with its connection.

use crate::client::{AnswerBody, DataAnswer, DataBody, DataRequest};
use crate::invariants::Invariant;
use crate::metadata::{MetaRpc, server_id};
use crate::model::{FILE_BYTES, STRIPE_UNIT, WriteId};
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, FILES, TERMS, World};
use pfs_core::extent::Extent;
use pfs_core::fence::lease::ServerLease;
use pfs_core::fence::{Admission, Fences, OperationId, Refused, Ticket};
use pfs_core::ids::{Boot, Holder, Stamp};
use pfs_core::session::coordinator::Victim;
use pfs_core::token::message::FileSize;
use std::collections::BTreeMap;

/// Bytes that are read or written under one look at the fences.
const CHUNK_BYTES: usize = 16;

/// What the metadata server tells a file server.
#[derive(Clone, Debug)]
pub enum ServerRpc {
    /// It may serve: the answer to a registration.
    Registered { boot: Boot, version: u64, fences: Fences, sent_ms: u64, drains: Vec<(Stamp, u64)> },
    /// A heartbeat's answer.
    BeatAnswer { boot: Boot, sent_ms: u64 },
    /// Refuse them from now on.
    Fence { victim: Victim, version: u64, fences: Fences },
    /// Make sure that a write is not applied any more.
    Drain { stamp: Stamp, sequence: u64 },
    /// Cut the objects of a file.
    Truncate { operation: u64, file: usize, size: FileSize },
}

/// A request that runs.
#[derive(Debug)]
struct Running {
    id: OperationId,
    request: DataRequest,
    /// Bytes that are done.
    done: usize,
    inside: bool,
    read: Vec<u8>,
}

/// What is waited for, and what comes then.
#[derive(Debug)]
enum Then {
    Fenced { victim: Victim, version: u64, fences: Fences },
    Drained { stamp: Stamp, sequence: u64, client: Option<(usize, u64)> },
    Registered { boot: Boot, version: u64, fences: Fences, sent_ms: u64 },
    Nothing,
}

/// One start.
#[derive(Debug)]
struct Started {
    admission: Admission,
    lease: ServerLease,
    boot: Option<Boot>,
    version: u64,
    contents: Vec<Vec<u8>>,
    running: BTreeMap<u64, Running>,
    last: u64,
    waiting: Vec<(Vec<Ticket>, Then)>,
    next_beat_ms: u64,
    /// What it has confirmed: nothing that this refuses may touch the disk.
    confirmed: Fences,
    drained: BTreeMap<Stamp, u64>,
}

/// A file server with its disk.
#[derive(Debug)]
pub struct FileServer {
    number: usize,
    /// Counts its starts.
    pub instance: u64,
    fences: Fences,
    /// Synced contents of its stripes, by file; at the file's offsets.
    synced: Vec<Vec<u8>>,
    /// The last truncation of each file that was carried out.
    generations: Vec<u64>,
    started: Option<Started>,
}

/// The server that has a byte.
pub fn server_of(at: u64, servers: usize) -> usize {
    (at / STRIPE_UNIT) as usize % servers
}

impl FileServer {
    /// A server with an empty disk.
    pub fn new(number: usize) -> Self {
        let synced = vec![vec![0; FILE_BYTES as usize]; FILES];
        let generations = vec![1; FILES];
        FileServer { number, instance: 0, fences: Fences::default(), synced, generations, started: None }
    }

    /// Whether nothing runs.
    pub fn is_quiet(&self) -> bool {
        self.started.as_ref().is_some_and(|started| started.running.is_empty())
    }

    /// Why it is not quiet.
    pub fn unrest(&self) -> Option<String> {
        (!self.is_quiet()).then(|| format!("S{} has operations under way, or is down", self.number + 1))
    }

    /// Whether stamps of boots before this one are served.
    pub fn serves_before(&self, boot: Boot, now_ms: u64) -> bool {
        let floor = |started: &Started| started.admission.fences().boot_floor;
        self.started.as_ref().is_some_and(|started| started.lease.lasts_at(now_ms) && floor(started) < Some(boot))
    }

    /// Whether a request with this stamp can touch the disk, now or later under this lease.
    pub fn can_be_reached(&self, stamp: Stamp, now_ms: u64) -> bool {
        self.started.as_ref().is_some_and(|started| {
            started.lease.lasts_at(now_ms) && started.admission.fences().verdict(stamp).is_none()
        })
    }
}

impl World {
    fn started(&mut self, server: usize) -> Option<&mut Started> {
        self.servers[server].started.as_mut()
    }

    /// A file server starts: it knows its fences, and serves nobody.
    pub fn server_start(&mut self, server: usize, instance: u64) {
        if self.servers[server].instance != instance {
            return;
        }
        let state = &mut self.servers[server];
        if state.fences != Fences::default() {
            self.stats.reach(Transition::FencesRead);
        }
        state.started = Some(Started {
            admission: Admission::new(state.fences.clone()),
            lease: ServerLease::default(),
            boot: None,
            version: 0,
            contents: state.synced.clone(),
            running: BTreeMap::new(),
            last: 0,
            waiting: Vec::new(),
            next_beat_ms: 0,
            confirmed: state.fences.clone(),
            drained: BTreeMap::new(),
        });
        self.holders_changed = true;
        self.note(|| format!("S{} starts", server + 1));
        self.server_timer(server, instance);
    }

    /// A file server ends at once.
    pub fn server_crash(&mut self, server: usize, for_us: u64) {
        if self.servers[server].started.is_none() {
            return;
        }
        let loss = self.rng.pick(&[0, 300, 1000]);
        self.lose_unsynced(server, loss);
        let state = &mut self.servers[server];
        state.started = None;
        state.instance += 1;
        let instance = state.instance;
        self.holders_changed = true;
        self.end_writes_at(server);
        self.after(for_us, Event::ServerStart { server, instance });
    }

    /// Each byte that was not synced is lost `per_mille` times in a thousand. Afterwards all is synced.
    pub fn lose_unsynced(&mut self, server: usize, per_mille: u64) {
        let Some(started) = self.servers[server].started.take() else { return };
        let servers = self.servers.len();
        for file in 0..FILES {
            for at in (0..FILE_BYTES).filter(|at| server_of(*at, servers) == server) {
                let here = at as usize;
                let lost = self.rng.chance(per_mille);
                let synced = &mut self.servers[server].synced[file][here];
                if !lost {
                    *synced = started.contents[file][here];
                }
                let value = *synced;
                if let Err(text) = self.model.disk_lost(file, at, value, self.now) {
                    self.violate(Invariant::SyncedBytesAreKept, text);
                }
            }
        }
        self.servers[server].started = Some(started);
        let state = &mut self.servers[server];
        if let Some(started) = &mut state.started {
            started.contents = state.synced.clone();
        }
    }

    /// Looks at the lease, and registers or sends a heartbeat.
    pub fn server_timer(&mut self, server: usize, instance: u64) {
        if self.servers[server].instance != instance {
            return;
        }
        let now_ms = self.clock(Node::Server(server));
        self.look_at_lease(server);
        let Some(started) = self.started(server) else { return };
        let lasts = started.boot.is_some() && started.lease.lasts_at(now_ms);
        if now_ms >= started.next_beat_ms {
            started.next_beat_ms = now_ms + if lasts { TERMS.heartbeat_ms } else { 110 };
            let rpc = match started.boot {
                Some(boot) if lasts => MetaRpc::Beat { server, boot, version: started.version, sent_ms: now_ms },
                _ => MetaRpc::RegisterServer { server, sent_ms: now_ms },
            };
            self.send(Node::Server(server), Node::Meta, Event::Meta { rpc: Box::new(rpc) });
        }
        self.after(50 * MS, Event::ServerTimer { server, instance });
    }

    /// Refuses what runs if the lease has ended.
    fn look_at_lease(&mut self, server: usize) {
        let now_ms = self.clock(Node::Server(server));
        let Some(started) = self.started(server) else { return };
        if started.boot.is_some() && started.lease.must_lapse(now_ms) {
            let ticket = started.admission.lapse();
            if started.admission.is_done(&ticket) {
                started.lease.lapsed(now_ms);
            } else {
                started.waiting.push((vec![ticket], Then::Nothing));
            }
            self.holders_changed = true;
            self.reach(Transition::Lapse);
            self.note(|| format!("S{}'s lease has run out", server + 1));
        }
    }

    /// The metadata server tells something.
    pub fn server_rpc(&mut self, server: usize, rpc: ServerRpc) {
        let now_ms = self.clock(Node::Server(server));
        self.look_at_lease(server);
        let Some(started) = self.servers[server].started.as_mut() else { return };
        match rpc {
            ServerRpc::Registered { boot, version, fences, sent_ms, drains } => {
                let mut tickets = Vec::new();
                if started.lease.must_lapse(now_ms) {
                    tickets.push(started.admission.lapse());
                }
                tickets.push(started.admission.fence(&fences));
                tickets.extend(drains.iter().map(|(stamp, sequence)| started.admission.drain(*stamp, *sequence)));
                started.waiting.push((tickets, Then::Registered { boot, version, fences, sent_ms }));
            }
            ServerRpc::BeatAnswer { boot, sent_ms } => {
                let known = started.boot == Some(boot);
                if !known || !started.lease.renew(sent_ms, TERMS.lease_ms, now_ms) {
                    let rpc = Box::new(MetaRpc::RegisterServer { server, sent_ms: now_ms });
                    self.send(Node::Server(server), Node::Meta, Event::Meta { rpc });
                }
            }
            ServerRpc::Fence { victim, version, fences } => {
                let ticket = started.admission.fence(&fences);
                started.waiting.push((vec![ticket], Then::Fenced { victim, version, fences }));
            }
            ServerRpc::Drain { stamp, sequence } => {
                let ticket = started.admission.drain(stamp, sequence);
                started.waiting.push((vec![ticket], Then::Drained { stamp, sequence, client: None }));
            }
            ServerRpc::Truncate { operation, file, size } => self.truncate(server, operation, file, size),
        }
        self.holders_changed = true;
        self.look_at_tickets(server, true);
    }

    /// A request that is sent again may overtake the first one: each generation is carried out once, and none after a
    /// later one.
    fn truncate(&mut self, server: usize, operation: u64, file: usize, size: FileSize) {
        let state = &mut self.servers[server];
        if let Some(started) = &mut state.started
            && state.generations[file] < size.generation
        {
            state.generations[file] = size.generation;
            let bytes = size.bytes;
            for at in bytes.min(FILE_BYTES) as usize..FILE_BYTES as usize {
                started.contents[file][at] = 0;
                state.synced[file][at] = 0;
            }
        }
        let rpc = Box::new(MetaRpc::Truncated { server, operation });
        self.send(Node::Server(server), Node::Meta, Event::Meta { rpc });
    }

    /// Goes on with what has waited for operations to be out of their chunks.
    fn look_at_tickets(&mut self, server: usize, first: bool) {
        let Some(started) = self.started(server) else { return };
        let mut waiting = std::mem::take(&mut started.waiting);
        let is_done = |tickets: &[Ticket]| tickets.iter().all(|ticket| started.admission.is_done(ticket));
        let (done, left): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(tickets, _)| is_done(tickets));
        let waits = first && !left.is_empty();
        started.waiting = left;
        if waits {
            self.reach(Transition::BarrierWaited);
        }
        for (_, then) in done {
            self.confirmed(server, then);
        }
    }

    fn confirmed(&mut self, server: usize, then: Then) {
        let now_ms = self.clock(Node::Server(server));
        let node = Node::Server(server);
        let state = &mut self.servers[server];
        let Some(started) = &mut state.started else { return };
        match then {
            Then::Nothing => {
                if started.lease.must_lapse(now_ms) {
                    started.lease.lapsed(now_ms);
                }
            }
            Then::Fenced { victim, version, fences } => {
                state.fences.merge(&fences);
                started.confirmed.merge(&fences);
                if started.boot == fences.boot_floor {
                    started.version = started.version.max(version);
                }
                self.send(node, Node::Meta, Event::Meta { rpc: Box::new(MetaRpc::Fenced { server, victim }) });
            }
            Then::Drained { stamp, sequence, client } => {
                let up_to = started.drained.entry(stamp).or_default();
                *up_to = sequence.max(*up_to);
                self.reach(Transition::DrainAnswered);
                self.end_doubts(server, stamp, sequence);
                match client {
                    None => {
                        let rpc = Box::new(MetaRpc::Drained { server, stamp, sequence });
                        self.send(node, Node::Meta, Event::Meta { rpc });
                    }
                    Some((client, life)) => {
                        let body = AnswerBody::Drained { server, stamp, sequence };
                        self.answer(server, client, life, 0, body);
                    }
                }
            }
            Then::Registered { boot, version, fences, sent_ms } => {
                if started.boot.is_some_and(|known| known > boot) {
                    return;
                }
                state.fences.merge(&fences);
                started.confirmed.merge(&fences);
                if started.lease.must_lapse(now_ms) {
                    started.lease.lapsed(now_ms);
                }
                started.lease.begin(sent_ms, TERMS.lease_ms, now_ms);
                started.version = if started.boot == Some(boot) { started.version.max(version) } else { version };
                started.boot = Some(boot);
                let version = started.version;
                started.next_beat_ms = now_ms + TERMS.heartbeat_ms;
                self.note(|| format!("S{} is registered with {boot}, fences of version {version}", server + 1));
                let rpc = Box::new(MetaRpc::Beat { server, boot, version, sent_ms: now_ms });
                self.send(node, Node::Meta, Event::Meta { rpc });
            }
        }
        self.holders_changed = true;
    }

    // ---- Data

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
        for file in 0..FILES {
            for at in (0..FILE_BYTES).filter(|at| server_of(*at, servers) == server) {
                state.synced[file][at as usize] = started.contents[file][at as usize];
            }
        }
        let DataRequest { client, life, number, .. } = request;
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

    fn answer(&mut self, server: usize, client: usize, life: u64, number: u64, body: AnswerBody) {
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

/// The write of each doubt that is open: at which server, of which stamp, up to which number.
#[derive(Clone, Copy, Debug)]
pub struct OpenDoubt {
    /// The file server's number.
    pub server: usize,
    /// The request's stamp.
    pub stamp: Stamp,
    /// The request's number.
    pub sequence: u64,
    /// What it wrote.
    pub write: WriteId,
}

/// The bytes of a range by server, each piece within one stripe unit.
pub fn pieces(range: Extent, servers: usize) -> BTreeMap<usize, Vec<Extent>> {
    let mut by_server: BTreeMap<usize, Vec<Extent>> = BTreeMap::new();
    let mut at = range.start();
    while at < range.end() {
        let end = ((at / STRIPE_UNIT + 1) * STRIPE_UNIT).min(range.end());
        let piece = Extent::new(at, end).expect("not empty");
        by_server.entry(server_of(at, servers)).or_default().push(piece);
        at = end;
    }
    by_server
}

/// The id under which the protocol knows a server.
pub fn id_of(server: usize) -> pfs_core::ids::ServerId {
    server_id(server)
}
