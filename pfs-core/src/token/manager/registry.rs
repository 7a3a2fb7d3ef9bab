//! What all files share: who is who, numbers to hand out, and what is to be done.
//!
//! Invariants: a client is in `memberships` exactly with the groups that name it as a member; every member of
//! a group is a client that lives, and no group is without members.

use super::numbers::Numbers;
use super::{Counters, ManagerAction};
use crate::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId};
use crate::token::message::Refusal;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Default)]
struct ClientState {
    /// Ids of its requests.
    requests: Numbers,
    /// Files that the client has open as its own holder.
    files: BTreeSet<FileId>,
}

#[derive(Debug, Default)]
struct GroupState {
    members: Vec<ClientId>,
    files: BTreeSet<FileId>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::token) struct Shared {
    pub(in crate::token) boot: Boot,
    pub(in crate::token) actions: VecDeque<ManagerAction>,
    pub(in crate::token) counters: Counters,
    /// Those that live: with a session, or awaited after a restart.
    clients: BTreeMap<ClientId, ClientState>,
    groups: BTreeMap<GroupId, GroupState>,
    memberships: BTreeMap<ClientId, BTreeSet<GroupId>>,
    last_arrival: u64,
    last_revoke: u64,
    /// After a restart: requests wait, nothing is granted or revoked.
    pub(in crate::token) in_grace: bool,
    /// Opens that were closed in grace, of which a member that speaks later may not know.
    closed: BTreeSet<OpenId>,
}

impl Shared {
    pub(super) fn new(boot: Boot, in_grace: bool) -> Self {
        Shared {
            boot,
            actions: VecDeque::new(),
            counters: Counters::default(),
            clients: BTreeMap::new(),
            groups: BTreeMap::new(),
            memberships: BTreeMap::new(),
            last_arrival: 0,
            last_revoke: 0,
            in_grace,
            closed: BTreeSet::new(),
        }
    }

    pub(in crate::token) fn next_arrival(&mut self) -> u64 {
        self.last_arrival += 1;
        self.last_arrival
    }

    pub(in crate::token) fn next_revoke(&mut self) -> RevokeId {
        self.last_revoke += 1;
        RevokeId::new(self.last_revoke).expect("counts from 1")
    }

    pub(in crate::token) fn refuse(&mut self, to: ClientId, request: RequestId, refusal: Refusal) {
        self.counters.refusals += 1;
        self.actions.push_back(ManagerAction::Refused { to, request, refusal });
    }

    // ---- Holders

    /// The clients on whose streams a holder's revokes go.
    pub(in crate::token) fn members(&self, holder: Holder) -> Vec<ClientId> {
        match holder {
            Holder::Client(client) => vec![client],
            Holder::Group(group) => self.groups.get(&group).map(|g| g.members.clone()).unwrap_or_default(),
        }
    }

    pub(in crate::token) fn member_count(&self, holder: Holder) -> usize {
        match holder {
            Holder::Client(_) => 1,
            Holder::Group(group) => self.groups.get(&group).map_or(0, |g| g.members.len()),
        }
    }

    pub(super) fn is_member(&self, client: ClientId, holder: Holder) -> bool {
        match holder {
            Holder::Client(owner) => owner == client,
            Holder::Group(group) => self.memberships.get(&client).is_some_and(|groups| groups.contains(&group)),
        }
    }

    /// Where it is written which files a holder has open.
    pub(super) fn files_mut(&mut self, holder: Holder) -> Option<&mut BTreeSet<FileId>> {
        match holder {
            Holder::Client(client) => self.clients.get_mut(&client).map(|c| &mut c.files),
            Holder::Group(group) => self.groups.get_mut(&group).map(|g| &mut g.files),
        }
    }

    // ---- Clients

    pub(super) fn add_client(&mut self, client: ClientId) {
        self.clients.entry(client).or_default();
    }

    /// Takes a client out of everything. Returns the files that it had open, and its groups with theirs.
    pub(super) fn remove_client(&mut self, client: ClientId) -> (BTreeSet<FileId>, Vec<(GroupId, BTreeSet<FileId>)>) {
        let own = self.clients.remove(&client).map(|state| state.files).unwrap_or_default();
        let mut groups = Vec::new();
        for group in self.memberships.remove(&client).unwrap_or_default() {
            if let Some(state) = self.groups.get_mut(&group) {
                state.members.retain(|member| *member != client);
                groups.push((group, state.files.clone()));
            }
        }
        (own, groups)
    }

    /// Whether a request may be looked at.
    pub(super) fn admit(&mut self, from: ClientId, request: RequestId) -> Result<(), Refusal> {
        let Some(client) = self.clients.get_mut(&from) else { return Err(Refusal::NoSession(from)) };
        if client.requests.take(request.get()) { Ok(()) } else { Err(Refusal::Repeated(request)) }
    }

    /// All files that a client has open, for itself or in a group.
    pub(super) fn files_of(&self, client: ClientId) -> BTreeSet<FileId> {
        let own = self.clients.get(&client).into_iter().flat_map(|state| &state.files);
        let groups = self.groups_of(client).filter_map(|group| self.groups.get(&group));
        groups.flat_map(|state| &state.files).chain(own).copied().collect()
    }

    // ---- Groups

    pub(super) fn groups_of(&self, client: ClientId) -> impl Iterator<Item = GroupId> {
        self.memberships.get(&client).into_iter().flatten().copied()
    }

    /// The clients that have opened a file together with this one.
    pub(super) fn companions(&self, client: ClientId, file: FileId) -> BTreeSet<ClientId> {
        let groups = self.groups_of(client).filter_map(|group| self.groups.get(&group));
        groups.filter(|state| state.files.contains(&file)).flat_map(|state| &state.members).copied().collect()
    }

    pub(super) fn add_group(&mut self, group: GroupId, mut members: Vec<ClientId>) {
        // Members that are dead are nobody's any more: no ack of theirs is awaited.
        members.retain(|member| self.clients.contains_key(member));
        if members.is_empty() {
            return;
        }
        for member in &members {
            self.memberships.entry(*member).or_default().insert(group);
        }
        self.groups.insert(group, GroupState { members, files: BTreeSet::new() });
    }

    /// A group of an earlier boot, when the first of its members speaks of it.
    pub(super) fn take_over_group(&mut self, group: GroupId, members: &[ClientId]) {
        if !self.groups.contains_key(&group) {
            self.add_group(group, members.to_vec());
        }
    }

    /// Returns the files that the group had open.
    pub(super) fn forget_group(&mut self, group: GroupId) -> BTreeSet<FileId> {
        let Some(state) = self.groups.remove(&group) else { return BTreeSet::new() };
        for member in state.members {
            if let Some(groups) = self.memberships.get_mut(&member) {
                groups.remove(&group);
                if groups.is_empty() {
                    self.memberships.remove(&member);
                }
            }
        }
        state.files
    }

    // ---- Grace

    pub(super) fn note_closed(&mut self, open: OpenId) {
        if self.in_grace {
            self.closed.insert(open);
        }
    }

    pub(super) fn was_closed(&self, open: OpenId) -> bool {
        self.closed.contains(&open)
    }

    pub(super) fn end_grace(&mut self) {
        self.in_grace = false;
        self.closed.clear();
    }
}
