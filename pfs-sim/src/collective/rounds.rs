//! One round of a collective: pinned or asked for, granted, transferred, left.

use super::{FILE, MpiMessage, Part, Rank, mode_of};
use crate::client::What;
use crate::metadata::{ClientMessage, file_id};
use crate::transitions::Transition;
use crate::world::World;
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, Holder, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::holder::OperationId;
use pfs_core::token::message::{Acquire, AcquireSet, FileSize, Grant, Mode, SetId, SetPart};

impl World {
    /// Lets go of whatever the rank has pinned.
    pub(super) fn leave_round(&mut self, client: usize, collective: u64) {
        let (group, own) = (self.group_file(client), self.own_file(client));
        let atomic = self.plan.atomic;
        let Some(process) = self.process(client) else { return };
        let Some(rank) = process.ranks.get_mut(&collective) else { return };
        let file = if atomic { own } else { group };
        let set = rank.set.take();
        if let (Some(set), None) = (set, rank.operation)
            && let Some(at) = own
        {
            let last = &mut process.last_request;
            process.files[at].tokens.abandon_set(set, || crate::client::Process::next_request(last));
        }
        let Some(rank) = process.ranks.get_mut(&collective) else { return };
        if let Some(number) = rank.access {
            let Some(access) = process.accesses.get_mut(&number) else {
                rank.operation = None;
                return;
            };
            if !rank.done {
                // It ends by itself.
                access.collective = None;
                (rank.access, rank.operation) = (None, None);
                return;
            }
            process.accesses.remove(&number);
            rank.access = None;
        }
        if let (Some(operation), Some(at)) = (rank.operation.take(), file) {
            process.end(at, operation);
        }
    }

    pub(super) fn enter(&mut self, client: usize, collective: u64, round: u64) {
        if self.collectives.group.as_ref().is_none_or(|group| group.broken) {
            // A rank that has heard of the loss begins nothing more with the others, and they hear of it, too.
            return self.abort_rank(client, collective);
        }
        let Some(state) = self.collectives.running.get(&collective) else { return };
        let (atomic, range) = (state.atomic, state.parts[client].range);
        let mode = mode_of(&state.parts[client]);
        let Some(process) = self.process(client) else { return };
        if let Some(rank) = process.ranks.get(&collective)
            && rank.access.is_some_and(|number| process.accesses.contains_key(&number))
            && !rank.done
        {
            self.rank(client, collective).expect("just seen").again = Some(round);
            return;
        }
        // What was transferred in an earlier round, or has failed, is not written again: others may have written since.
        let done = self.rank(client, collective).is_some_and(|rank| rank.done);
        let next = self.rank(client, collective).and_then(|rank| rank.next_set.take());
        let set = next.filter(|(of, _)| *of == round).map(|(_, set)| set);
        self.leave_round(client, collective);
        let group = self.collectives.group.as_ref().and_then(|group| group.id);
        let Some(process) = self.process(client) else { return };
        process.ranks.insert(collective, Rank { group, round, done, set, ..Rank::default() });
        if atomic {
            return;
        }
        let at = self.group_file(client);
        let Some(process) = self.process(client) else { return };
        let operation = at.and_then(|at| process.files[at].tokens.try_begin(mode, &[range]));
        process.ranks.get_mut(&collective).expect("just made").operation = operation;
        self.mpi(0, MpiMessage::Pinned { collective, round, well: operation.is_some() });
    }

    pub(super) fn pinned(&mut self, collective: u64, round: u64, well: bool) {
        let size = self.plan.group;
        let Some(state) = self.collectives.running.get_mut(&collective).filter(|state| state.round == round) else {
            return;
        };
        state.pinned += 1;
        state.refused |= !well;
        if state.pinned < size {
            return;
        }
        if !state.refused {
            return self.broadcast(MpiMessage::Go { collective, round });
        }
        (1..size).for_each(|rank| self.mpi(rank, MpiMessage::LetGo { collective, round }));
        // At once: the grant could be here before a message to itself.
        self.leave_round(0, collective);
        self.ask_for_group(collective, round);
    }

    fn ask_for_group(&mut self, collective: u64, round: u64) {
        let Some(group) = self.collectives.group.as_ref().and_then(|group| group.id) else { return };
        let Some(state) = self.collectives.running.get(&collective) else { return };
        let required: Vec<RangePattern> = state.parts.iter().map(|part| RangePattern::from(part.range)).collect();
        let mode = state.parts.iter().map(mode_of).max().expect("a group has members");
        let desired = (round % 2 == 1).then_some(Extent::ALL);
        let Some(process) = self.process(0) else { return };
        let request = crate::client::Process::next_request(&mut process.last_request);
        let holder = Holder::Group(group);
        let acquire = Acquire { request, holder, file: file_id(FILE), mode, required, desired, collective: true };
        process.collective_requests.insert(request, (collective, round));
        process.session.send(ClientMessage::Acquire(acquire));
    }

    pub(super) fn ask_for_set(&mut self, collective: u64, round: u64) {
        let ids: Vec<Option<ClientId>> = self.clients[..self.plan.group].iter().map(|client| client.id()).collect();
        let Some(state) = self.collectives.running.get(&collective) else { return };
        let part = |(part, id): (&Part, &Option<ClientId>)| {
            let required = vec![RangePattern::from(part.range)];
            id.map(|id| SetPart { holder: Holder::Client(id), required })
        };
        let Some(parts) = state.parts.iter().zip(&ids).map(part).collect::<Option<Vec<_>>>() else { return };
        let mode = state.parts.iter().map(mode_of).max().expect("a group has members");
        let Some(process) = self.process(0) else { return };
        let request: RequestId = crate::client::Process::next_request(&mut process.last_request);
        process.collective_requests.insert(request, (collective, round));
        let set = SetId { client: process.id, request };
        process.session.send(ClientMessage::AcquireSet(AcquireSet { request, file: file_id(FILE), mode, parts }));
        self.broadcast(MpiMessage::Set { collective, round, set });
    }

    pub(super) fn go(&mut self, client: usize, collective: u64, round: u64) {
        let Some(rank) = self.rank(client, collective).filter(|rank| rank.round == round) else { return };
        if let (Some(operation), None) = (rank.operation, rank.access) {
            let at = self.group_file(client);
            self.transfer(client, collective, at, operation);
        }
    }

    pub(super) fn let_go(&mut self, client: usize, collective: u64, round: u64) {
        if self.rank(client, collective).is_some_and(|rank| rank.round == round) {
            self.leave_round(client, collective);
        }
    }

    /// Rank 0 has the group's grant: it installs it at once, since a revoke may be right behind.
    pub(crate) fn collective_granted(
        &mut self,
        client: usize,
        collective: u64,
        round: u64,
        grant: Grant,
        size: FileSize,
    ) {
        for rank in 1..self.plan.group {
            self.mpi(rank, MpiMessage::Granted { collective, round, grant: grant.clone(), size });
        }
        self.install(client, collective, round, &grant, size);
    }

    pub(super) fn install(&mut self, client: usize, collective: u64, round: u64, grant: &Grant, size: FileSize) {
        let Some(group) = (match grant.holder {
            Holder::Group(group) => Some(group),
            Holder::Client(_) => None,
        }) else {
            return;
        };
        let part = self.collectives.running.get(&collective).map(|state| state.parts[client].clone());
        let wanted = self.rank(client, collective).is_some_and(|rank| rank.round == round && rank.operation.is_none());
        self.holders_changed = true;
        let Some(process) = self.process(client) else { return };
        let Some(at) = process.find(Holder::Group(group), grant.file) else { return };
        let tokens = &mut process.files[at].tokens;
        if grant.boot == tokens.boot() {
            tokens.learn_size(size);
        }
        let part = part.filter(|_| wanted);
        let mode = part.as_ref().map_or(Mode::Shared, mode_of);
        let ranges = part.iter().map(|part| part.range).collect();
        let installed = tokens.install(grant, mode, ranges);
        process.files[at].collective_seen = grant.sequence;
        match installed {
            Err(_) => {
                self.reach(Transition::StaleInstall);
                self.mpi(0, MpiMessage::Stale { collective, round });
            }
            Ok(Some(operation)) => {
                self.reach(Transition::Installed);
                self.rank(client, collective).expect("just seen").operation = Some(operation);
                self.transfer(client, collective, Some(at), operation);
            }
            Ok(None) if wanted => self.mpi(0, MpiMessage::Stale { collective, round }),
            Ok(None) => {}
        }
    }

    /// Claims the parts of sets that have arrived. False: there was none.
    pub(crate) fn claim_sets(&mut self, client: usize) -> bool {
        let Some(at) = self.own_file(client) else { return false };
        let Some(process) = self.process(client) else { return false };
        let waiting = process.ranks.iter().filter(|(_, rank)| rank.operation.is_none());
        let waiting: Vec<(u64, SetId)> = waiting.filter_map(|(number, rank)| Some((*number, rank.set?))).collect();
        for (collective, set) in waiting {
            let Some(process) = self.process(client) else { return false };
            match process.files[at].tokens.claim_set(set) {
                Some(operation) => {
                    process.ranks.get_mut(&collective).expect("just seen").operation = Some(operation);
                    self.reach(Transition::SetClaimed);
                    self.transfer(client, collective, Some(at), operation);
                    return true;
                }
                None => self.reach(Transition::SetEarly),
            }
        }
        false
    }

    fn transfer(&mut self, client: usize, collective: u64, at: Option<usize>, operation: OperationId) {
        let (Some(at), Some(state)) = (at, self.collectives.running.get(&collective)) else { return };
        let Part { range, write } = state.parts[client].clone();
        let began = state.began;
        if self.rank(client, collective).is_some_and(|rank| rank.done) {
            return self.mpi(0, MpiMessage::Done { collective, rank: client });
        }
        let what = match write {
            Some((write, values)) => What::Write { write, values },
            None => What::Read { began, out: vec![0; range.len() as usize] },
        };
        let number = self.begin_collective_access(client, collective, at, operation, range, what);
        if let Some(rank) = self.rank(client, collective) {
            rank.access = Some(number);
        }
    }

    /// A rank's transfer is over. One that failed has its pin no more.
    pub(crate) fn rank_done(&mut self, client: usize, collective: u64, well: bool) {
        let Some(rank) = self.rank(client, collective) else { return };
        rank.done = true;
        if !well {
            (rank.access, rank.operation) = (None, None);
        }
        if let Some(round) = rank.again.take() {
            self.enter(client, collective, round);
        } else {
            self.mpi(0, MpiMessage::Done { collective, rank: client });
        }
    }

    pub(super) fn counted(&mut self, collective: u64, rank: usize) {
        let size = self.plan.group;
        let Some(state) = self.collectives.running.get_mut(&collective) else { return };
        state.done.insert(rank);
        if state.done.len() == size {
            self.collectives.running.remove(&collective);
            self.note(|| format!("collective {collective} ends"));
            self.broadcast(MpiMessage::End { collective });
        }
    }

    pub(super) fn end_rank(&mut self, client: usize, collective: u64) {
        self.leave_round(client, collective);
        if let Some(process) = self.process(client) {
            process.ranks.remove(&collective);
        }
    }

    /// Rank 0's request was refused.
    pub(crate) fn collective_refused(&mut self, collective: u64) {
        if let Some(group) = self.collectives.group.as_mut() {
            group.broken = true;
        }
        for rank in 0..self.plan.group {
            self.abort_rank(rank, collective);
        }
    }

    /// The metadata server was restarted: what was asked for a collective is lost.
    pub(crate) fn ranks_resumed(&mut self, client: usize) {
        let Some(process) = self.process(client) else { return };
        // Rank 0 may have begun a round, and asked for it, that its own rank has not heard of yet.
        let asked = std::mem::take(&mut process.collective_requests);
        for (collective, round) in asked.into_values() {
            self.mpi(0, MpiMessage::Stale { collective, round });
        }
        let Some(process) = self.process(client) else { return };
        let stuck = process.ranks.iter().filter(|(_, rank)| rank.operation.is_none());
        let stuck: Vec<(u64, u64)> = stuck.map(|(collective, rank)| (*collective, rank.round)).collect();
        for (collective, round) in stuck {
            self.mpi(0, MpiMessage::Stale { collective, round });
        }
    }
}
