//! The token manager of one metadata server: all files, clients and groups.
//!
//! # How to drive it
//! * Tell it who there is: [`add_client`](TokenManager::add_client), [`add_group`](TokenManager::add_group),
//!   [`open`](TokenManager::open), [`close`](TokenManager::close), [`remove_client`](TokenManager::remove_client).
//! * Pass on what clients say: `handle_acquire`, `handle_ack`, `handle_cancel`, `handle_release`.
//! * After each of these, call [`poll_action`](TokenManager::poll_action) until it returns nothing, and do what it says
//!   in that order. Messages to one client must arrive in the order they were returned.
//!
//! It has no clock and never waits: a request that can not be granted yet is answered by a later action. Whoever
//! removes a dead client must have made sure that it can not write any more.

use super::file::FileTokens;
use super::message::{Ack, Acquire, AcquireSet, Grant, Mode, Reassertion, Refusal, Release, Revoke};
use crate::extent::Extent;
use crate::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the manager wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagerAction {
    /// Send a grant.
    Grant {
        /// The client that asked.
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

#[derive(Debug, Default)]
struct ClientState {
    /// The largest request id seen.
    last_request: u64,
    groups: BTreeSet<GroupId>,
    /// Files that the client has open as its own holder.
    files: BTreeSet<FileId>,
}

#[derive(Debug, Default)]
struct GroupState {
    members: Vec<ClientId>,
    files: BTreeSet<FileId>,
}

/// What all files share: who is who, numbers to hand out, and what is to be done.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) boot: Boot,
    pub(super) actions: VecDeque<ManagerAction>,
    pub(super) counters: Counters,
    clients: BTreeMap<ClientId, ClientState>,
    groups: BTreeMap<GroupId, GroupState>,
    last_arrival: u64,
    last_revoke: u64,
    /// After a restart: requests wait, nothing is granted or revoked.
    pub(super) in_grace: bool,
}

impl Shared {
    pub(super) fn next_arrival(&mut self) -> u64 {
        self.last_arrival += 1;
        self.last_arrival
    }

    pub(super) fn next_revoke(&mut self) -> RevokeId {
        self.last_revoke += 1;
        RevokeId::new(self.last_revoke).expect("counts from 1")
    }

    /// The clients on whose streams a holder's revokes go.
    pub(super) fn members(&self, holder: Holder) -> Vec<ClientId> {
        match holder {
            Holder::Client(client) => vec![client],
            Holder::Group(group) => self.groups.get(&group).map(|g| g.members.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn member_count(&self, holder: Holder) -> usize {
        match holder {
            Holder::Client(_) => 1,
            Holder::Group(group) => self.groups.get(&group).map_or(0, |g| g.members.len()),
        }
    }

    pub(super) fn refuse(&mut self, to: ClientId, request: RequestId, refusal: Refusal) {
        self.counters.refusals += 1;
        self.actions.push_back(ManagerAction::Refused { to, request, refusal });
    }

    /// Where it is written which files a holder has open.
    fn files_mut(&mut self, holder: Holder) -> Option<&mut BTreeSet<FileId>> {
        match holder {
            Holder::Client(client) => self.clients.get_mut(&client).map(|c| &mut c.files),
            Holder::Group(group) => self.groups.get_mut(&group).map(|g| &mut g.files),
        }
    }

    fn is_member(&self, client: ClientId, holder: Holder) -> bool {
        match holder {
            Holder::Client(owner) => owner == client,
            Holder::Group(group) => self.groups.get(&group).is_some_and(|g| g.members.contains(&client)),
        }
    }

    /// Whether a request may be looked at.
    fn admit(&mut self, from: ClientId, acquire: &Acquire, open: bool) -> Result<(), Refusal> {
        let member = self.is_member(from, acquire.holder);
        let Some(client) = self.clients.get_mut(&from) else { return Err(Refusal::NoSession(from)) };
        if acquire.request.get() <= client.last_request {
            return Err(Refusal::Repeated(acquire.request));
        }
        client.last_request = acquire.request.get();
        if !member || !open {
            return Err(Refusal::NotOpen { client: from, holder: acquire.holder, file: acquire.file });
        }
        Ok(())
    }
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
        let shared = Shared {
            boot,
            actions: VecDeque::new(),
            counters: Counters::default(),
            clients: BTreeMap::new(),
            groups: BTreeMap::new(),
            last_arrival: 0,
            last_revoke: 0,
            in_grace: false,
        };
        TokenManager { files: BTreeMap::new(), shared }
    }

    /// A manager that grants nothing but what clients [re-assert](Self::reassert), until the grace ends.
    pub fn in_grace(boot: Boot) -> Self {
        let mut manager = TokenManager::new(boot);
        manager.shared.in_grace = true;
        manager
    }

    /// Everybody who could hold something from an earlier boot has said so: requests that waited are looked at.
    pub fn end_grace(&mut self) {
        self.shared.in_grace = false;
        for (file, tokens) in &mut self.files {
            tokens.settle(*file, &mut self.shared);
        }
    }

    /// A client says what it held when the last boot ended. Of a group every member says what it knows of: the group has
    /// what any of them says.
    pub fn reassert(&mut self, from: ClientId, reassertion: &Reassertion) -> Result<(), Refusal> {
        let Reassertion { holder, members, file, opens, ranges, .. } = reassertion;
        if let Holder::Group(group) = *holder {
            if !members.contains(&from) {
                return Err(Refusal::NotOpen { client: from, holder: *holder, file: *file });
            }
            if !self.shared.groups.contains_key(&group) {
                // Members that died before the restart are nobody's any more: no ack of theirs is awaited.
                let living = members.iter().filter(|member| self.shared.clients.contains_key(member));
                self.add_group(group, living.copied().collect());
            }
            if let Some(client) = self.shared.clients.get_mut(&from) {
                client.groups.insert(group);
            }
        } else if *holder != Holder::Client(from) {
            return Err(Refusal::NotOpen { client: from, holder: *holder, file: *file });
        }
        for open in opens {
            self.open(*holder, *file, *open);
        }
        let Some(tokens) = self.files.get_mut(file).filter(|tokens| tokens.is_open(*holder)) else {
            return Err(Refusal::NotOpen { client: from, holder: *holder, file: *file });
        };
        tokens.reassert(*file, *holder, ranges)
    }

    /// The groups of a client.
    pub fn groups_of(&self, client: ClientId) -> Vec<GroupId> {
        self.shared.clients.get(&client).map(|state| state.groups.iter().copied().collect()).unwrap_or_default()
    }

    /// A group is shut out as a whole, and can not write any more: its tokens are free.
    pub fn remove_group(&mut self, group: GroupId) {
        let Some(state) = self.shared.groups.get(&group) else { return };
        for file in state.files.clone() {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.drop_holder(file, Holder::Group(group), &mut self.shared);
            }
            self.forget_idle(file);
        }
        self.forget_group(group);
    }

    /// A client asks for tokens for several holders. Each gets its grant, or the client that asks gets a refusal.
    pub fn handle_acquire_set(&mut self, from: ClientId, set: AcquireSet) {
        self.shared.counters.requests += 1;
        self.shared.refuse(from, set.request, Refusal::Empty);
    }

    /// A client has a session.
    pub fn add_client(&mut self, client: ClientId) {
        self.shared.clients.entry(client).or_default();
    }

    /// A client is gone and can not write any more: it shut down, or it was fenced. Its own tokens are free; a group
    /// that loses a member goes on with the others, and without any is forgotten.
    pub fn remove_client(&mut self, client: ClientId) {
        let Some(state) = self.shared.clients.remove(&client) else { return };
        for file in state.files {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.drop_client(file, client, &mut self.shared);
                tokens.drop_holder(file, Holder::Client(client), &mut self.shared);
            }
            self.forget_idle(file);
        }
        for group in state.groups {
            let Some(state) = self.shared.groups.get_mut(&group) else { continue };
            state.members.retain(|member| *member != client);
            let empty = state.members.is_empty();
            for file in state.files.clone() {
                if let Some(tokens) = self.files.get_mut(&file) {
                    tokens.drop_client(file, client, &mut self.shared);
                    if empty {
                        tokens.drop_holder(file, Holder::Group(group), &mut self.shared);
                    }
                }
                self.forget_idle(file);
            }
            if empty {
                self.shared.groups.remove(&group);
            }
        }
    }

    /// These clients opened a file together. All of them must have sessions.
    pub fn add_group(&mut self, group: GroupId, members: Vec<ClientId>) {
        for member in &members {
            if let Some(client) = self.shared.clients.get_mut(member) {
                client.groups.insert(group);
            }
        }
        self.shared.groups.insert(group, GroupState { members, files: BTreeSet::new() });
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
        let Some(tokens) = self.files.get_mut(&file) else { return };
        if tokens.close(file, holder, open, &mut self.shared) {
            self.forget_idle(file);
            let Some(files) = self.shared.files_mut(holder) else { return };
            files.remove(&file);
            if let (true, Holder::Group(group)) = (files.is_empty(), holder) {
                self.forget_group(group);
            }
        }
    }

    /// A client asks for tokens. Answered by a grant or a refusal, now or later.
    pub fn handle_acquire(&mut self, from: ClientId, acquire: Acquire) {
        self.shared.counters.requests += 1;
        let tokens = self.files.get_mut(&acquire.file);
        let open = tokens.as_ref().is_some_and(|tokens| tokens.is_open(acquire.holder));
        match (self.shared.admit(from, &acquire, open), tokens) {
            (Ok(()), Some(tokens)) => {
                tokens.counters.requests += 1;
                tokens.acquire(acquire.file, from, acquire, &mut self.shared);
            }
            (Ok(()), None) => unreachable!("a request for a file nobody has open was admitted"),
            (Err(refusal), _) => self.shared.refuse(from, acquire.request, refusal),
        }
    }

    /// A client does not want a request any more. If it waits, it is refused; if it was granted, nothing happens.
    pub fn handle_cancel(&mut self, from: ClientId, request: RequestId) {
        for file in self.files_of(from) {
            if let Some(tokens) = self.files.get_mut(&file) {
                tokens.cancel_request(file, from, request, &mut self.shared);
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

    fn files_of(&self, client: ClientId) -> BTreeSet<FileId> {
        let Some(state) = self.shared.clients.get(&client) else { return BTreeSet::new() };
        let groups = state.groups.iter().filter_map(|group| self.shared.groups.get(group));
        groups.flat_map(|group| group.files.iter()).chain(&state.files).copied().collect()
    }

    fn forget_idle(&mut self, file: FileId) {
        if self.files.get(&file).is_some_and(FileTokens::is_idle) {
            self.files.remove(&file);
        }
    }

    fn forget_group(&mut self, group: GroupId) {
        let Some(state) = self.shared.groups.remove(&group) else { return };
        for member in state.members {
            if let Some(client) = self.shared.clients.get_mut(&member) {
                client.groups.remove(&group);
            }
        }
    }
}
