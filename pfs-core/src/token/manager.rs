//! The token manager of one metadata server: all files, clients and groups.
//!
//! # How to drive it
//! * Tell it who there is: [`add_client`](TokenManager::add_client), [`add_group`](TokenManager::add_group),
//!   [`open`](TokenManager::open), [`close`](TokenManager::close), [`remove_client`](TokenManager::remove_client).
//! * Pass on what clients say: `handle_acquire`, `handle_acquire_set`, `handle_ack`, `handle_cancel`, `handle_release`.
//! * After a restart begin [in grace](TokenManager::in_grace): requests wait, and clients
//!   [re-assert](TokenManager::reassert) what they had, until [`end_grace`](TokenManager::end_grace).
//! * After each of these, call [`poll_action`](TokenManager::poll_action) until it returns nothing, and do what it says
//!   in that order. Messages to one client must arrive in the order they were returned.
//!
//! It has no clock and never waits: a request that can not be granted yet is answered by a later action. Whoever
//! removes a dead client must have made sure that it can not write any more.

mod numbers;
mod registry;

use super::file::FileTokens;
use super::message::{Ack, Acquire, AcquireSet, Grant, Mode, Reassertion, Refusal, Release, Revoke, SetPart};
use crate::extent::Extent;
use crate::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId};
pub(super) use registry::Shared;
use std::collections::{BTreeMap, BTreeSet};

/// What the manager wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerAction {
    /// Send a grant.
    Grant {
        /// The client that asked; of a set, the holder of the part.
        to: ClientId,
        /// The message.
        grant: Grant,
    },
    /// Send a revoke.
    Revoke {
        /// A member of the holder.
        to: ClientId,
        /// The message.
        revoke: Revoke,
    },
    /// Tell a client that its request is not granted.
    Refused {
        /// The client that asked.
        to: ClientId,
        /// Its request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// The metadata server's own request was granted: nobody else has the range now.
    ManagerGranted {
        /// As given to [`TokenManager::acquire_for_manager`].
        operation: u64,
        /// The file.
        file: FileId,
    },
}

/// What the manager has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests received; a collective's is one.
    pub requests: u64,
    /// Requests granted.
    pub grants: u64,
    /// Revokes decided, each counted once whatever the number of members.
    pub revokes: u64,
    /// Acks received.
    pub acks: u64,
    /// Requests refused.
    pub refusals: u64,
    /// Ranges in the tables now.
    pub live_ranges: u64,
    /// Requests waiting now.
    pub waiting: u64,
}

/// One line of a file's token table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// The bytes.
    pub range: Extent,
    /// How they are held.
    pub mode: Mode,
    /// By whom.
    pub holders: Vec<Holder>,
    /// Whether a revoke of one of them is under way.
    pub revoking: bool,
}

/// All tokens of one metadata server.
#[derive(Debug)]
pub struct TokenManager {
    files: BTreeMap<FileId, FileTokens>,
    shared: Shared,
}

impl TokenManager {
    /// A manager without files, for this start of the metadata server.
    pub fn new(boot: Boot) -> Self {
        TokenManager { files: BTreeMap::new(), shared: Shared::new(boot, false) }
    }

    /// A manager that grants nothing but what clients [re-assert](Self::reassert), until the grace ends.
    pub fn in_grace(boot: Boot) -> Self {
        TokenManager { files: BTreeMap::new(), shared: Shared::new(boot, true) }
    }

    /// Everybody who could hold something from an earlier boot has said so: requests that waited are looked at.
    pub fn end_grace(&mut self) {
        self.shared.end_grace();
        for (file, tokens) in &mut self.files {
            tokens.end_grace(*file, &mut self.shared);
        }
    }

    /// A client says what it held when the last boot ended. All clients that may still come were
    /// [added](Self::add_client) before. Of a group every member says what it knows of: the group has
    /// what any of them says.
    pub fn reassert(&mut self, from: ClientId, reassertion: &Reassertion) -> Result<(), Refusal> {
        let Reassertion { holder, members, file, opens, ranges, .. } = reassertion;
        let (holder, file) = (*holder, *file);
        let not_open = Refusal::NotOpen { client: from, holder, file };
        if let Holder::Group(group) = holder
            && members.contains(&from)
        {
            self.shared.take_over_group(group, members);
        }
        if !self.shared.is_member(from, holder) {
            return Err(not_open);
        }
        let (closed, open): (Vec<OpenId>, Vec<OpenId>) = opens.iter().partition(|open| self.shared.was_closed(**open));
        for open in open {
            self.open(holder, file, open);
        }
        match self.files.get_mut(&file).filter(|tokens| tokens.is_open(holder)) {
            Some(tokens) => tokens.reassert(file, holder, ranges),
            // Another member has closed it in this boot, and this one did not know.
            None if !closed.is_empty() => Ok(()),
            None => Err(not_open),
        }
    }

    /// The groups of a client.
    pub fn groups_of(&self, client: ClientId) -> Vec<GroupId> {
        self.shared.groups_of(client).collect()
    }

    /// A group is shut out as a whole, and can not write any more: its tokens are free.
    pub fn remove_group(&mut self, group: GroupId) {
        for file in self.shared.forget_group(group) {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.drop_holder(file, Holder::Group(group), &mut self.shared);
            }
            self.forget_idle(file);
        }
    }

    /// A client has a session.
    pub fn add_client(&mut self, client: ClientId) {
        self.shared.add_client(client);
    }

    /// A client is gone and can not write any more: it shut down, or it was fenced. Its own tokens are free; a group
    /// that loses a member goes on with the others, and without any is forgotten.
    pub fn remove_client(&mut self, client: ClientId) {
        let (own, groups) = self.shared.remove_client(client);
        for file in own {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.drop_client(file, client, &mut self.shared);
                tokens.drop_holder(file, Holder::Client(client), &mut self.shared);
            }
            self.forget_idle(file);
        }
        for (group, files) in groups {
            for file in files {
                if let Some(tokens) = self.files.get_mut(&file) {
                    tokens.drop_client(file, client, &mut self.shared);
                }
            }
            if self.shared.members(Holder::Group(group)).is_empty() {
                self.remove_group(group);
            }
        }
    }

    /// These clients opened a file together. A member that has lost its session meanwhile is not taken in.
    pub fn add_group(&mut self, group: GroupId, members: Vec<ClientId>) {
        self.shared.add_group(group, members);
    }

    /// A holder has opened a file.
    pub fn open(&mut self, holder: Holder, file: FileId, open: OpenId) {
        if let Some(files) = self.shared.files_mut(holder) {
            files.insert(file);
            self.files.entry(file).or_default().open(holder, open);
        }
    }

    /// A holder has closed a file; the last close frees its tokens. A group without files is forgotten.
    pub fn close(&mut self, holder: Holder, file: FileId, open: OpenId) {
        self.shared.note_closed(open);
        let Some(tokens) = self.files.get_mut(&file) else { return };
        if tokens.close(file, holder, open, &mut self.shared) {
            self.forget_idle(file);
            let Some(files) = self.shared.files_mut(holder) else { return };
            files.remove(&file);
            if let (true, Holder::Group(group)) = (files.is_empty(), holder) {
                self.shared.forget_group(group);
            }
        }
    }

    /// A client asks for tokens. Answered by a grant or a refusal, now or later.
    pub fn handle_acquire(&mut self, from: ClientId, acquire: Acquire) {
        self.shared.counters.requests += 1;
        let Acquire { request, holder, file, .. } = acquire;
        let tokens = self.files.get_mut(&file).filter(|tokens| tokens.is_open(holder));
        let admitted = self.shared.admit(from, request);
        match (admitted, tokens) {
            (Ok(()), Some(tokens)) if self.shared.is_member(from, holder) => {
                tokens.counters.requests += 1;
                tokens.acquire(file, from, acquire, &mut self.shared);
            }
            (Ok(()), _) => self.shared.refuse(from, request, Refusal::NotOpen { client: from, holder, file }),
            (Err(refusal), _) => self.shared.refuse(from, request, refusal),
        }
    }

    /// A client has opened a file for a holder that is nobody but itself: it gets all of the file with the answer to that, so that it
    /// needs no request before its first access and knows the size. Nothing, and the number is not used, if somebody else has the
    /// file open, if any of it is awaited, or if the holder has something of it already: then it asks when it has to, as always.
    pub fn grant_with_open(
        &mut self,
        to: ClientId,
        request: RequestId,
        holder: Holder,
        file: FileId,
        mode: Mode,
    ) -> Option<Grant> {
        if self.shared.in_grace || self.shared.members(holder) != [to] {
            return None;
        }
        let tokens = self.files.get_mut(&file).filter(|tokens| tokens.is_fresh_for(holder))?;
        self.shared.admit(to, request).ok()?;
        self.shared.counters.requests += 1;
        tokens.counters.requests += 1;
        Some(tokens.grant_all(file, holder, mode, request, &mut self.shared))
    }

    /// A client asks for tokens for several clients, itself among them or not. Each gets its grant on its own stream, all
    /// in one decision, or the client that asks gets a refusal.
    pub fn handle_acquire_set(&mut self, from: ClientId, set: AcquireSet) {
        self.shared.counters.requests += 1;
        let admitted = self.shared.admit(from, set.request).and_then(|()| self.check_holders(from, &set));
        match (admitted, self.files.get_mut(&set.file)) {
            (Ok(()), Some(tokens)) => {
                tokens.counters.requests += 1;
                tokens.acquire_set(set.file, from, &set, &mut self.shared);
            }
            (Ok(()), None) => self.shared.refuse(from, set.request, Refusal::Empty),
            (Err(refusal), _) => self.shared.refuse(from, set.request, refusal),
        }
    }

    /// Whether a client may ask for all the holders of a set.
    fn check_holders(&self, from: ClientId, set: &AcquireSet) -> Result<(), Refusal> {
        let together = self.shared.companions(from, set.file);
        let tokens = self.files.get(&set.file);
        for SetPart { holder, .. } in &set.parts {
            let holder = *holder;
            match holder {
                Holder::Client(client) if client == from || together.contains(&client) => {}
                _ => return Err(Refusal::NotTogether { client: from, holder }),
            }
            // In the grace some may not have said yet that they have it open; it is looked at when all have.
            if !self.shared.in_grace && !tokens.is_some_and(|tokens| tokens.is_open(holder)) {
                return Err(Refusal::NotOpen { client: from, holder, file: set.file });
            }
        }
        Ok(())
    }

    /// A client does not want a request any more. If it waits, it is refused; if it was granted, nothing happens.
    pub fn handle_cancel(&mut self, from: ClientId, request: RequestId) {
        for file in self.shared.files_of(from) {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.cancel(file, from, request, &mut self.shared);
            }
        }
    }

    /// A member of a holder has given up what a revoke asked for.
    pub fn handle_ack(&mut self, from: ClientId, ack: &Ack) {
        if let Some(tokens) = self.files.get_mut(&ack.file) {
            tokens.ack(ack.file, from, ack, &mut self.shared);
        }
    }

    /// A client gives ranges back unasked.
    pub fn handle_release(&mut self, from: ClientId, release: &Release) {
        if self.shared.is_member(from, release.holder)
            && let Some(tokens) = self.files.get_mut(&release.file)
        {
            tokens.release(release.file, release, &mut self.shared);
        }
    }

    /// The metadata server itself needs a range that nobody else has, to truncate or delete. Answered by
    /// [`ManagerAction::ManagerGranted`]; ended by [`release_for_manager`](Self::release_for_manager).
    pub fn acquire_for_manager(&mut self, operation: u64, file: FileId, range: Extent) {
        self.files.entry(file).or_default().acquire_for_manager(file, operation, range, &mut self.shared);
    }

    /// Ends the metadata server's own request, granted or not.
    pub fn release_for_manager(&mut self, operation: u64, file: FileId) {
        if let Some(tokens) = self.files.get_mut(&file) {
            tokens.release_for_manager(file, operation, &mut self.shared);
        }
        self.forget_idle(file);
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<ManagerAction> {
        self.shared.actions.pop_front()
    }

    /// Counts over all files since the start.
    pub fn counters(&self) -> Counters {
        let live_ranges = self.files.values().map(|tokens| tokens.table().len() as u64).sum();
        let waiting = self.files.values().map(FileTokens::waiting_len).sum();
        Counters { live_ranges, waiting, ..self.shared.counters }
    }

    /// Counts of one file since somebody has it open.
    pub fn file_counters(&self, file: FileId) -> Counters {
        self.files.get(&file).map_or_else(Counters::default, |tokens| Counters {
            live_ranges: tokens.table().len() as u64,
            waiting: tokens.waiting_len(),
            ..tokens.counters
        })
    }

    /// Who has which bytes of a file, in order.
    pub fn tokens(&self, file: FileId) -> Vec<TokenRange> {
        let Some(tokens) = self.files.get(&file) else { return Vec::new() };
        let line = |(range, claim): (Extent, &super::table::Claim)| TokenRange {
            range,
            mode: claim.mode(),
            holders: claim.holders().to_vec(),
            revoking: claim.holders().iter().any(|holder| tokens.is_revoking(range, *holder)),
        };
        tokens.table().iter().map(line).collect()
    }

    /// The number of ranges that a holder has of a file.
    pub fn ranges_of(&self, file: FileId, holder: Holder) -> u64 {
        self.files.get(&file).map_or(0, |tokens| tokens.table().count_of(holder))
    }

    /// The clients that may have written to a file and not reported its size: members of all holders that were granted
    /// exclusive ranges since they opened it.
    pub fn exclusive_clients(&self, file: FileId) -> Vec<ClientId> {
        let Some(tokens) = self.files.get(&file) else { return Vec::new() };
        let clients: BTreeSet<ClientId> = tokens.writers().flat_map(|holder| self.shared.members(holder)).collect();
        clients.into_iter().collect()
    }

    /// The clients that make up a holder.
    pub fn members(&self, holder: Holder) -> Vec<ClientId> {
        self.shared.members(holder)
    }

    /// For tests: panics if an invariant of the protocol does not hold.
    pub fn assert_invariants(&self) {
        if !self.shared.in_grace {
            self.files.iter().for_each(|(file, tokens)| tokens.assert_invariants(*file));
        }
    }

    fn forget_idle(&mut self, file: FileId) {
        if self.files.get(&file).is_some_and(FileTokens::is_idle) {
            self.files.remove(&file);
        }
    }
}
