//! A file server: a shell around the admission and the lease, and a disk that may lose what was not synced.
//!
//! A data request is done chunk by chunk, with time within a chunk (the disk) and between two (the client's bytes). What
//! was written lies in memory until a commit; a crash keeps or loses each byte of it, at random. Fences are on disk before they
//! are confirmed. A request that was under way to a start of the server is lost with that start, as with its connection.

mod data;

use crate::client::{AnswerBody, DataRequest};
use crate::invariants::Invariant;
use crate::metadata::{MetaRpc, server_id};
use crate::model::{FILE_BYTES, STRIPE_UNIT, WriteId};
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, FILES, TERMS, World};
use pfs_core::extent::Extent;
use pfs_core::fence::lease::ServerLease;
use pfs_core::fence::{Admission, Fences, OperationId, Ticket};
use pfs_core::ids::{Boot, Stamp};
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
