//! A client: the shell around its session, its holders and its cache, and the process that accesses files through them.

mod closing;
mod data;
mod jobs;
mod session;
pub(crate) mod work;

pub use data::{AnswerBody, DataAnswer, DataBody, DataRequest};

pub(crate) use work::REGION_BYTES;

use crate::collective::Rank;
use crate::metadata::{Call, ClientMessage, MetaRpc};
use crate::model::WriteId;
use crate::plan::{Habits, MS, Node};
use crate::world::{Event, PATIENCE_MS, TERMS, World};
use data::{Doubt, Pending};
use jobs::{RevokeJob, Sync, WriteBack};
use pfs_core::cache::{BlockCache, FileKey, FillId};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder, OpenId, RequestId};
use pfs_core::session::client::ClientSession;
use pfs_core::session::coordinator::Victim;
use pfs_core::token::holder::{OperationId, TokenHolder};
use pfs_core::token::message::Mode;
use pfs_core::unsynced::Unsynced;
use std::collections::BTreeMap;

/// Bytes of a block of the cache.
const BLOCK_BYTES: u64 = 16;
/// Bytes of a cache.
const CACHE_BYTES: u64 = 128;

/// A machine that runs one client process after the other.
pub struct Client {
    /// How it accesses files.
    pub habits: Habits,
    /// Counts its processes.
    pub life: u64,
    process: Option<Box<Process>>,
}

/// How far the close of a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenState {
    /// It is in use.
    Open,
    /// Nothing new is begun; what is under way has to end.
    Closing,
    /// It is left, and the metadata server may not know yet.
    Left,
    /// That is over.
    Closed,
}

/// A file that a process has opened.
pub(crate) struct OpenFile {
    pub(crate) holder: Holder,
    pub(crate) file: usize,
    pub(crate) tokens: TokenHolder,
    open: OpenId,
    members: Vec<ClientId>,
    cached: bool,
    /// Its group was given up.
    pub(crate) lost: bool,
    pub(crate) state: OpenState,
    /// The last collective grant that has arrived.
    pub(crate) collective_seen: u64,
}

/// What is done with bytes.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Read { began: u64, out: Vec<u8> },
    Write { write: WriteId, values: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For its token.
    Waiting,
    /// Pinned, and not begun since nothing may be accessed.
    Pinned,
    /// Requests are on their way.
    Running,
    /// A collective: done, and pinned until the end.
    Done,
    /// Failed, and what was sent may still be applied.
    Doubtful,
}

/// One access.
pub(crate) struct Access {
    pub(crate) file: usize,
    pub(crate) operation: OperationId,
    pub(crate) range: Extent,
    pub(crate) what: What,
    pub(crate) stage: Stage,
    pub(crate) outstanding: usize,
    pub(crate) failed: bool,
    pub(crate) fill: Option<FillId>,
    pub(crate) collective: Option<u64>,
}

/// One process with its session.
pub(crate) struct Process {
    pub(crate) id: ClientId,
    pub(crate) writer: usize,
    pub(crate) session: ClientSession<ClientMessage>,
    connection: Option<usize>,
    connections: u64,
    /// The start of the metadata server to which the numbers of messages belong.
    counted_boot: Boot,
    /// Messages seen since the counting began.
    seen: u64,
    /// The largest number of a message that was sent since then.
    sent: u64,
    pub(crate) files: Vec<OpenFile>,
    pub(crate) cache: BlockCache<()>,
    pub(crate) last_request: u64,
    last_call: u64,
    last_number: u64,
    last_access: u64,
    sequence: u64,
    calls: BTreeMap<u64, Asked>,
    pub(crate) accesses: BTreeMap<u64, Access>,
    data: BTreeMap<u64, Pending>,
    doubts: Vec<Doubt>,
    write_backs: BTreeMap<u64, WriteBack>,
    revoke_jobs: Vec<RevokeJob>,
    /// Servers and files: where unsynced bytes of this process are, with the start of the server that has them.
    unsynced: Unsynced<(usize, usize), u64>,
    /// Failed write-backs in a row, by open file.
    attempts: BTreeMap<usize, u32>,
    sync: Option<Sync>,
    pub(crate) ranks: BTreeMap<u64, Rank>,
    /// Requests of collectives: which, and in which round.
    pub(crate) collective_requests: BTreeMap<RequestId, (u64, u64)>,
    last_words: u32,
    timer_at: Option<u64>,
    pumping: bool,
}

/// A call that was not answered yet.
#[derive(Clone, Debug)]
struct Asked {
    call: Call,
    began: u64,
}

impl Client {
    /// A machine without a process.
    pub fn new(habits: Habits) -> Self {
        Client { habits, life: 0, process: None }
    }

    /// The connection of its process.
    pub fn connection(&self) -> Option<usize> {
        self.process.as_ref().and_then(|process| process.connection)
    }

    /// Its process's session, if there is one.
    pub fn id(&self) -> Option<ClientId> {
        self.process.as_ref().map(|process| process.id)
    }

    /// What its process holds: holder, file, boot, and the tokens.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (ClientId, &OpenFile)> {
        let files = self.process.iter().flat_map(|process| process.files.iter().map(|file| (process.id, file)));
        files.filter(|(_, file)| file.is_there())
    }

    /// Whether its process has something of a victim open and would serve a read from its cache.
    pub(crate) fn may_use_its_cache(&self, victim: Victim, now_ms: u64) -> bool {
        let concerned = |process: &Process| match victim {
            Victim::Client(client) => process.id == client,
            Victim::Group(group) => {
                process.files.iter().any(|open| open.holder == Holder::Group(group) && open.is_usable())
            }
        };
        self.process.as_ref().is_some_and(|process| concerned(process) && process.session.may_access(now_ms))
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.last_words > 2 && p.unrest().is_empty())
    }

    /// Why something is under way.
    pub fn unrest(&self, client: usize) -> String {
        let text = match &self.process {
            None => "is not there".to_owned(),
            Some(process) if process.last_words <= 2 => format!("has last things to do; {}", process.unrest()),
            Some(process) => process.unrest(),
        };
        if text.is_empty() { text } else { format!("C{} {text}", client + 1) }
    }
}

impl OpenFile {
    fn key(&self) -> FileKey {
        FileKey { holder: self.holder, file: self.id() }
    }

    pub(crate) fn id(&self) -> FileId {
        crate::metadata::file_id(self.file)
    }

    /// Whether the process has not left it.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.state, OpenState::Open | OpenState::Closing)
    }

    /// Whether a new access may begin.
    pub(crate) fn is_usable(&self) -> bool {
        self.state == OpenState::Open && !self.lost
    }
}

impl Process {
    fn unrest(&self) -> String {
        let mut texts = Vec::new();
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                texts.push(format!("{count} {what}"));
            }
        };
        say(self.accesses.len(), "accesses");
        say(self.data.len(), "data requests");
        say(self.doubts.len(), "doubts");
        say(self.write_backs.len(), "write-backs");
        say(self.revoke_jobs.len(), "revokes to write back for");
        say(usize::from(self.sync.is_some()), "sync");
        say(self.files.iter().filter(|open| open.state == OpenState::Closing).count(), "closes");
        say(self.calls.len(), "calls");
        say(self.ranks.len(), "collectives");
        texts.join(", ")
    }

    pub(crate) fn next_request(last: &mut u64) -> RequestId {
        *last += 1;
        RequestId::new(*last).expect("counts from 1")
    }

    /// Ends a pin.
    pub(crate) fn end(&mut self, file: usize, operation: OperationId) {
        let last = &mut self.last_request;
        self.files[file].tokens.end(operation, || Self::next_request(last));
    }

    /// The position of an open file.
    pub(crate) fn find(&self, holder: Holder, file: FileId) -> Option<usize> {
        self.files.iter().position(|open| open.holder == holder && open.id() == file && open.is_there())
    }

    /// Asks for a file to be opened.
    pub(crate) fn open(&mut self, file: usize, began: u64) {
        let request = Self::next_request(&mut self.last_request);
        self.call(Call::Open { file, request }, began);
    }

    pub(crate) fn call(&mut self, call: Call, began: u64) {
        self.last_call += 1;
        let number = self.last_call;
        self.calls.insert(number, Asked { call: call.clone(), began });
        self.session.send(ClientMessage::Call { number, call });
    }
}

impl World {
    /// The process of this life, if it is there.
    pub(crate) fn process(&mut self, client: usize) -> Option<&mut Process> {
        self.clients[client].process.as_deref_mut()
    }

    fn lives(&self, client: usize, life: u64) -> bool {
        self.clients[client].life == life && self.clients[client].process.is_some()
    }

    /// A process starts, and asks for a session until it has one.
    pub fn client_start(&mut self, client: usize, life: u64) {
        if self.clients[client].life != life || self.clients[client].process.is_some() {
            return;
        }
        let sent_ms = self.clock(Node::Client(client));
        let rpc = Box::new(MetaRpc::Register { client, life, sent_ms });
        self.send(Node::Client(client), Node::Meta, Event::Meta { rpc });
        self.after(600 * MS, Event::ClientStart { client, life });
    }

    /// A process has a session. The lease counts from when it asked for it.
    pub fn client_registered(&mut self, client: usize, life: u64, id: ClientId, boot: Boot, sent_ms: u64) {
        if self.clients[client].life != life || self.clients[client].process.is_some() {
            return;
        }
        let writer = client + 100 * life as usize;
        self.writers.insert(id, writer);
        let process = Process {
            id,
            writer,
            session: ClientSession::new(id, boot, TERMS, PATIENCE_MS, sent_ms),
            connection: None,
            connections: 0,
            counted_boot: boot,
            seen: 0,
            sent: 0,
            files: Vec::new(),
            cache: BlockCache::new(BLOCK_BYTES, CACHE_BYTES),
            last_request: 0,
            last_call: 0,
            last_number: 0,
            last_access: 0,
            sequence: 0,
            calls: BTreeMap::new(),
            accesses: BTreeMap::new(),
            data: BTreeMap::new(),
            doubts: Vec::new(),
            write_backs: BTreeMap::new(),
            revoke_jobs: Vec::new(),
            unsynced: Unsynced::default(),
            attempts: BTreeMap::new(),
            sync: None,
            ranks: BTreeMap::new(),
            collective_requests: BTreeMap::new(),
            last_words: 0,
            timer_at: None,
            pumping: false,
        };
        self.clients[client].process = Some(Box::new(process));
        self.note(|| format!("C{} is {id} at {boot}", client + 1));
        let now = self.now;
        if let Some(process) = self.process(client) {
            for file in 0..crate::world::FILES {
                process.open(file, now);
            }
        }
        self.client_settle(client);
        let think = self.rng.between(1, 20) * MS;
        self.after(think, Event::ClientWork { client, life });
    }

    /// A process ends at once: its machine is gone for a while.
    pub fn client_crash(&mut self, client: usize, for_us: u64) {
        if self.clients[client].process.is_some() {
            self.client_gone(client, for_us);
        }
    }

    /// Whatever a process had in memory is lost.
    pub(crate) fn client_gone(&mut self, client: usize, for_us: u64) {
        let Some(process) = self.clients[client].process.take() else { return };
        let mut open = self.model.client_lost(process.writer);
        for access in process.accesses.values() {
            if let What::Write { write, .. } = access.what {
                self.model.doubt(write);
                open.push(write);
            }
        }
        self.lost_writes.insert(process.id, open);
        if let Some(connection) = process.connection {
            self.client_vanished(connection);
        }
        self.clients[client].life += 1;
        let life = self.clients[client].life;
        self.holders_changed = true;
        self.rank_gone(client);
        self.after(for_us, Event::ClientStart { client, life });
    }

    /// Begins an independent access, or one of a collective with a pin that is there.
    pub(crate) fn begin_access(&mut self, client: usize, file: usize, range: Extent, what: What) {
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let mode = if matches!(what, What::Write { .. }) { Mode::Exclusive } else { Mode::Shared };
        let desired = match self.rng.below(3) {
            0 => None,
            1 => Some(Extent::ALL),
            _ => Some(Extent::new(0, crate::model::FILE_BYTES).expect("not empty")),
        };
        let last = &mut process.last_request;
        let next = || Process::next_request(last);
        let operation = process.files[file].tokens.begin(mode, [range].into_iter().collect(), desired, next);
        process.last_access += 1;
        let access = Access {
            file,
            operation,
            range,
            what,
            stage: Stage::Waiting,
            outstanding: 0,
            failed: false,
            fill: None,
            collective: None,
        };
        process.accesses.insert(process.last_access, access);
    }

    /// Begins the transfer of a rank's part of a collective.
    pub(crate) fn begin_collective_access(
        &mut self,
        client: usize,
        collective: u64,
        file: usize,
        operation: OperationId,
        range: Extent,
        what: What,
    ) -> u64 {
        let process = self.process(client).expect("the rank is there");
        process.last_access += 1;
        let number = process.last_access;
        let access = Access {
            file,
            operation,
            range,
            what,
            stage: Stage::Pinned,
            outstanding: 0,
            failed: false,
            fill: None,
            collective: Some(collective),
        };
        process.accesses.insert(number, access);
        self.run_access(client, number);
        number
    }
}
