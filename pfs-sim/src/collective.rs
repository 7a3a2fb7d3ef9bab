//! Collective accesses: the part of the library that talks between ranks, in small.
//!
//! Rank 0 leads. Without atomic mode each rank tries to pin its part of what the group holds; if one can not, all let go and
//! rank 0 asks once for the group and passes the grant on. In atomic mode rank 0 asks for a set, and each rank claims its
//! part. The pins stay until all ranks have said how it went. A restart of the metadata server on the way begins it again.

mod rounds;

use crate::metadata::{Call, file_id};
use crate::model::{FILE_BYTES, WriteId};
use crate::plan::MS;
use crate::world::{Event, World};
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, GroupId, Holder, OpenId};
use pfs_core::token::holder::OperationId;
use pfs_core::token::message::{FileSize, Grant, Mode, SetId};
use std::collections::{BTreeMap, BTreeSet};

/// The file that groups open.
const FILE: usize = 1;

/// What ranks say to each other.
#[derive(Clone, Debug)]
pub enum MpiMessage {
    /// The file is open for the group.
    Opened { group: GroupId, open: OpenId, members: Vec<ClientId>, size: FileSize },
    /// All ranks are there: a round begins.
    Enter { collective: u64, round: u64 },
    /// To rank 0: whether the part could be pinned.
    Pinned { collective: u64, round: u64, well: bool },
    /// Everybody has pinned.
    Go { collective: u64, round: u64 },
    /// Somebody could not.
    LetGo { collective: u64, round: u64 },
    /// Rank 0 was granted everything.
    Granted { collective: u64, round: u64, grant: Grant, size: FileSize },
    /// Rank 0 has asked for a set.
    Set { collective: u64, round: u64, set: SetId },
    /// To rank 0: the round is of no use any more.
    Stale { collective: u64, round: u64 },
    /// To rank 0: the transfer is over.
    Done { collective: u64, rank: usize },
    /// All transfers are over.
    End { collective: u64 },
}

/// A collective at one rank.
#[derive(Debug, Default)]
pub(crate) struct Rank {
    group: Option<GroupId>,
    round: u64,
    operation: Option<OperationId>,
    access: Option<u64>,
    set: Option<SetId>,
    /// The transfer was done, in this round or an earlier one.
    done: bool,
    /// The round in which the transfer that runs was overtaken.
    again: Option<u64>,
    /// The set of that round, and the round.
    next_set: Option<(u64, SetId)>,
}

/// One part of a collective.
#[derive(Clone, Debug)]
struct Part {
    range: Extent,
    write: Option<(WriteId, Vec<u8>)>,
}

/// What all ranks know of a collective, and what rank 0 counts.
#[derive(Debug)]
struct Collective {
    parts: Vec<Part>,
    atomic: bool,
    began: u64,
    round: u64,
    pinned: usize,
    refused: bool,
    done: BTreeSet<usize>,
}

#[derive(Debug)]
struct Group {
    /// Clients and their lives, by rank.
    lives: Vec<u64>,
    id: Option<GroupId>,
    broken: bool,
}

/// All collectives, and the group that does them.
#[derive(Debug, Default)]
pub struct Collectives {
    running: BTreeMap<u64, Collective>,
    last: u64,
    group: Option<Group>,
    /// When the last message to each rank arrives.
    last_message: BTreeMap<usize, u64>,
}

impl Collectives {
    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether a rank has one to do.
    pub fn involve(&self, client: usize) -> bool {
        self.group.as_ref().is_some_and(|group| client < group.lives.len()) && !self.is_empty()
    }
}

impl World {
    /// Rank 0 begins something: the group, if there is none, or a collective.
    pub(crate) fn do_together(&mut self) {
        let size = self.plan.group;
        let ids: Vec<ClientId> = self.clients[..size].iter().filter_map(|client| client.id()).collect();
        let lives: Vec<u64> = self.clients[..size].iter().map(|client| client.life).collect();
        if ids.len() < size || !self.collectives.is_empty() {
            return;
        }
        let usable = self.collectives.group.as_ref().is_some_and(|group| !group.broken && group.lives == lives);
        if !usable {
            self.collectives.group = Some(Group { lives, id: None, broken: false });
            let now = self.now;
            if let Some(process) = self.process(0) {
                process.call(Call::OpenTogether { file: FILE, members: ids }, now);
            }
            return;
        }
        let Some(group) = self.collectives.group.as_ref().and_then(|group| group.id) else { return };
        // MPI's rules: a rank has no access of its own under way where a collective goes.
        let ready = (0..size).all(|rank| {
            let holder = Holder::Group(group);
            self.process(rank).is_some_and(|process| {
                let at = process.find(holder, file_id(FILE));
                let own = process.find(Holder::Client(process.id), file_id(FILE));
                at.is_some_and(|at| !process.accesses.values().any(|access| access.file == at)) && own.is_some()
            })
        });
        if ready {
            self.begin_collective(size);
        }
    }

    fn begin_collective(&mut self, size: usize) {
        let write = self.rng.chance(700);
        let atomic = self.plan.atomic;
        let now = self.now;
        let region = FILE_BYTES / size as u64;
        let mut parts = Vec::new();
        for rank in 0..size {
            let (first, space) = match atomic {
                true => (rank as u64 * region, region),
                false => (rank as u64 * crate::client::REGION_BYTES, crate::client::REGION_BYTES),
            };
            let start = first + self.rng.below(space / 2);
            let range = Extent::new(start, start + self.rng.between(1, space / 2)).expect("not empty");
            let write = write && self.model.has_values(FILE, range);
            let writer = self.process(rank).expect("it is there").writer;
            let write = write.then(|| self.model.begin_write(FILE, range, writer, now));
            parts.push(Part { range, write });
        }
        self.collectives.last += 1;
        let collective = self.collectives.last;
        self.note(|| {
            format!("collective {collective} begins, {:?}", parts.iter().map(|p| p.range).collect::<Vec<_>>())
        });
        let done = BTreeSet::new();
        let state = Collective { parts, atomic, began: now, round: 0, pinned: 0, refused: false, done };
        self.collectives.running.insert(collective, state);
        self.begin_round(collective);
    }

    fn begin_round(&mut self, collective: u64) {
        let Some(state) = self.collectives.running.get_mut(&collective) else { return };
        state.round += 1;
        (state.pinned, state.refused) = (0, false);
        let (round, atomic) = (state.round, state.atomic);
        state.done.clear();
        self.broadcast(MpiMessage::Enter { collective, round });
        if atomic {
            self.ask_for_set(collective, round);
        }
    }

    fn mpi(&mut self, rank: usize, message: MpiMessage) {
        // To the process that was in the group, not to one that came after it.
        let Some(life) = self.collectives.group.as_ref().and_then(|group| group.lives.get(rank).copied()) else {
            return;
        };
        let mut delay = self.rng.between(20, 300) + if self.rng.chance(30) { self.rng.between(1, 60) * MS } else { 0 };
        if matches!(message, MpiMessage::Granted { .. })
            && let Some(restarted) = self.plan.restart_soon_after(self.now)
            && self.rng.chance(700)
        {
            // A rank that is busy for so long that the grant is of an earlier start when it looks.
            delay = restarted - self.now + self.rng.between(300, 1800) * MS;
        }
        self.note(|| format!("C{} will be told in {delay} us: {message:?}", rank + 1));
        // MPI keeps messages in order.
        let at = self.collectives.last_message.get(&rank).map_or(0, |last| last + 1).max(self.now + delay);
        self.collectives.last_message.insert(rank, at);
        self.at(at, Event::Mpi { client: rank, life, message: Box::new(message) });
    }

    fn broadcast(&mut self, message: MpiMessage) {
        for rank in 0..self.plan.group {
            self.mpi(rank, message.clone());
        }
    }

    /// A rank gets a message.
    pub fn client_mpi(&mut self, client: usize, life: u64, message: MpiMessage) {
        if self.clients[client].life != life || self.process(client).is_none() {
            return;
        }
        match message {
            MpiMessage::Opened { group, open, members, size } => {
                self.opened(client, Holder::Group(group), FILE, open, members, size);
            }
            MpiMessage::Enter { collective, round } => self.enter(client, collective, round),
            MpiMessage::Pinned { collective, round, well } => self.pinned(collective, round, well),
            MpiMessage::Go { collective, round } => self.go(client, collective, round),
            MpiMessage::LetGo { collective, round } => self.let_go(client, collective, round),
            MpiMessage::Granted { collective, round, grant, size } => {
                self.install(client, collective, round, &grant, size);
            }
            MpiMessage::Set { collective, round, set } => {
                let rank = self.rank(client, collective);
                if let Some(rank) = rank.filter(|rank| rank.round == round || rank.again == Some(round)) {
                    match rank.round == round {
                        true => rank.set = Some(set),
                        false => rank.next_set = Some((round, set)),
                    }
                } else if let Some(at) = self.own_file(client)
                    && let Some(process) = self.process(client)
                {
                    let last = &mut process.last_request;
                    let next = || crate::client::Process::next_request(last);
                    process.files[at].tokens.abandon_set(set, next);
                }
            }
            MpiMessage::Stale { collective, round } => {
                if self.collectives.running.get(&collective).is_some_and(|state| state.round == round) {
                    self.begin_round(collective);
                }
            }
            MpiMessage::Done { collective, rank } => self.counted(collective, rank),
            MpiMessage::End { collective } => self.end_rank(client, collective),
        }
        self.client_settle(client);
    }

    fn rank(&mut self, client: usize, collective: u64) -> Option<&mut Rank> {
        self.process(client)?.ranks.get_mut(&collective)
    }

    fn group_file(&mut self, client: usize) -> Option<usize> {
        let group = self.collectives.group.as_ref()?.id?;
        self.process(client)?.find(Holder::Group(group), file_id(FILE))
    }

    fn own_file(&mut self, client: usize) -> Option<usize> {
        let process = self.process(client)?;
        process.find(Holder::Client(process.id), file_id(FILE))
    }

    // ---- The group

    /// Rank 0 has opened the file for all.
    pub(crate) fn group_opened(
        &mut self,
        client: usize,
        group: GroupId,
        _file: usize,
        open: OpenId,
        members: Vec<ClientId>,
        size: FileSize,
    ) {
        let ids: Vec<Option<ClientId>> = self.clients[..self.plan.group].iter().map(|client| client.id()).collect();
        let same = ids.iter().flatten().eq(members.iter());
        if let Some(state) = self.collectives.group.as_mut().filter(|state| same && !state.broken) {
            state.id = Some(group);
            self.opened(client, Holder::Group(group), FILE, open, members.clone(), size);
            self.broadcast(MpiMessage::Opened { group, open, members, size });
        }
    }

    /// The group could not be made.
    pub(crate) fn group_failed(&mut self) {
        self.collectives.group = None;
    }

    /// A member of a group is gone, or the group itself: what it does together ends in an error.
    pub(crate) fn rank_lost(&mut self, client: usize, group: GroupId, member: Option<ClientId>) {
        if let Some(member) = member
            && let Some(process) = self.process(client)
        {
            let last = &mut process.last_request;
            for open in &mut process.files {
                open.tokens.abandon_sets_of(member, || crate::client::Process::next_request(last));
            }
        }
        if let Some(state) = self.collectives.group.as_mut().filter(|state| state.id == Some(group)) {
            state.broken = true;
        }
        let Some(process) = self.process(client) else { return };
        let of_group = process.ranks.iter().filter(|(_, rank)| rank.group == Some(group));
        let ranks: Vec<u64> = of_group.map(|(collective, _)| *collective).collect();
        ranks.into_iter().for_each(|collective| self.abort_rank(client, collective));
    }

    /// A rank's process is gone. When it was the last one, there is nobody to end what they did together.
    pub(crate) fn rank_gone(&mut self, client: usize) {
        let Some(group) = self.collectives.group.as_mut() else { return };
        if client >= group.lives.len() {
            return;
        }
        group.broken = true;
        let lives = group.lives.clone();
        let left = lives.iter().zip(&self.clients).any(|(life, client)| client.life == *life && client.id().is_some());
        if !left {
            let writes = self.collectives.running.values().flat_map(|state| &state.parts);
            let writes: Vec<WriteId> = writes.filter_map(|part| part.write.as_ref().map(|(write, _)| *write)).collect();
            self.collectives.running.clear();
            writes.into_iter().for_each(|write| self.model.doubt(write));
        }
    }

    fn abort_rank(&mut self, client: usize, collective: u64) {
        if let Some(state) = self.collectives.running.remove(&collective) {
            self.note(|| format!("collective {collective} ends in an error"));
            for (write, _) in state.parts.iter().filter_map(|part| part.write.as_ref()) {
                self.model.doubt(*write);
            }
        }
        self.leave_round(client, collective);
        let Some(process) = self.process(client) else { return };
        process.ranks.remove(&collective);
        process.collective_requests.retain(|_, (of, _)| *of != collective);
    }
}

fn mode_of(part: &Part) -> Mode {
    if part.write.is_some() { Mode::Exclusive } else { Mode::Shared }
}
