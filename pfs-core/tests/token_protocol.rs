//! Manager and holders together, with messages that wait on their streams for random times.
//!
//! What would break without the rules: a grant before every ack, a revoke that overtakes a collective grant, a split that
//! loses a remnant, or a request that starves. After every step:
//! * no two holders have operations under way that conflict on a byte (TOKENS.md 5, 6);
//! * what a client thinks it holds, the manager's table gives to its holder (TOKENS.md 4, 6);
//! * operations of a client that is its own holder exclude each other (TOKENS.md 10);
//! * no holder is in the way of another one's bytes that were not written back (TOKENS.md 5), or may still be applied
//!   (TOKENS.md 7).
//!
//! The manager is restarted now and then; the clients say again what they hold, one after the other (TOKENS.md 18).
//!
//! And when no new work comes, every operation gets its turn (TOKENS.md 2).

use pfs_core::extent::{Extent, ExtentSet};
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId, ServerId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::holder::{HolderAction, OperationId, Ranges, TokenHolder};
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{
    Ack, Acquire, AcquireSet, FileSize, Grant, Mode, Reassertion, Revoke, SetId, SetPart, Undrained,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const FILE_BYTES: u64 = 40;

enum Up {
    Acquire(Acquire),
    AcquireSet(AcquireSet),
    Cancel(RequestId),
    Ack(Ack),
}

#[derive(Debug)]
enum Down {
    Grant(Grant),
    Revoke(Revoke),
    Refused,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }

    fn extent(&mut self) -> Extent {
        let start = self.below(FILE_BYTES - 1);
        Extent::new(start, start + 1 + self.below(FILE_BYTES - start)).unwrap()
    }

    fn mode(&mut self) -> Mode {
        if self.below(2) == 0 { Mode::Shared } else { Mode::Exclusive }
    }
}

/// Numbers for requests, each larger than the one before.
fn numbers(last: &mut u64) -> impl FnMut() -> RequestId {
    || {
        *last += 1;
        RequestId::new(*last).unwrap()
    }
}

/// One client's half: its streams, its holders, its operations.
struct Client {
    id: ClientId,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    holders: BTreeMap<Holder, TokenHolder>,
    /// Mode and ranges of everything begun and not ended, and whether it is pinned.
    operations: BTreeMap<(Holder, OperationId), (Mode, Ranges, bool)>,
    /// Operations that have failed and may still be applied.
    doubtful: BTreeSet<(Holder, OperationId)>,
    /// Collective grants on their way by broadcast.
    broadcasts: BTreeMap<Holder, VecDeque<(Grant, Mode, Ranges)>>,
    last_request: u64,
    /// Written into the cache, and not to the servers.
    dirty: BTreeMap<Holder, ExtentSet>,
    /// Asked for by revokes.
    write_backs: Vec<(Holder, RevokeId, Vec<Extent>)>,
    /// Writes whose servers do not answer, by their sequence: the bytes where they may still be applied.
    undrained: BTreeMap<u64, (Holder, Boot, Ranges)>,
    /// Whether the manager is the one that this client talks to.
    connected: bool,
}

impl Client {
    fn pump(&mut self, holder: Holder) {
        let tokens = self.holders.get_mut(&holder).unwrap();
        while let Some(action) = tokens.poll_action() {
            match action {
                HolderAction::Request(acquire) => self.up.push_back(Up::Acquire(acquire)),
                HolderAction::Cancel(request) => self.up.push_back(Up::Cancel(request)),
                HolderAction::Ack(ack) => self.up.push_back(Up::Ack(ack)),
                HolderAction::WriteBack { revoke, ranges, .. } => self.write_backs.push((holder, revoke, ranges)),
                HolderAction::Ready(operation) => {
                    if let Some(entry) = self.operations.get_mut(&(holder, operation)) {
                        entry.2 = true;
                    }
                }
            }
        }
        if !self.connected {
            self.up.clear();
        }
    }

    /// The cache has written back what a revoke asked for.
    fn write_back(&mut self, at: usize) {
        if self.write_backs.is_empty() {
            return;
        }
        let (holder, revoke, ranges) = self.write_backs.remove(at % self.write_backs.len());
        let dirty = self.dirty.entry(holder).or_default();
        ranges.into_iter().for_each(|range| dirty.remove(range));
        let next = numbers(&mut self.last_request);
        self.holders.get_mut(&holder).unwrap().written_back(revoke, next);
        self.pump(holder);
    }

    fn begin(&mut self, holder: Holder, mode: Mode, ranges: Ranges) {
        let next = numbers(&mut self.last_request);
        let tokens = self.holders.get_mut(&holder).unwrap();
        let operation = tokens.begin(mode, ranges.clone(), Some(Extent::ALL), next);
        self.operations.insert((holder, operation), (mode, ranges, false));
        self.pump(holder);
    }

    /// Writes by the cache leave dirty bytes behind.
    fn end(&mut self, holder: Holder, operation: OperationId) {
        if let Some((Mode::Exclusive, ranges, true)) = self.operations.remove(&(holder, operation))
            && !self.doubtful.contains(&(holder, operation))
        {
            let dirty = self.dirty.entry(holder).or_default();
            ranges.into_iter().for_each(|range| dirty.insert(range, ()));
        }
        self.doubtful.remove(&(holder, operation));
        let next = numbers(&mut self.last_request);
        self.holders.get_mut(&holder).unwrap().end(operation, next);
        self.pump(holder);
    }
}

/// A collective that is under way in a group: which member asks, and everybody's ranges.
struct Collective {
    asker: usize,
    request: RequestId,
    mode: Mode,
    ranges: Vec<Ranges>,
}

struct World {
    random: Random,
    file: FileId,
    manager: TokenManager,
    clients: Vec<Client>,
    groups: BTreeMap<Holder, Vec<usize>>,
    collectives: BTreeMap<Holder, Collective>,
    /// Sets that were asked for, and which clients have not claimed their parts.
    sets: BTreeMap<SetId, BTreeMap<usize, (Mode, Ranges)>>,
    grants: u64,
    boot: Boot,
}

impl World {
    fn new(seed: u64, clients: u64) -> World {
        let (boot, file) = (Boot::new(1).unwrap(), FileId::new(7).unwrap());
        let mut manager = TokenManager::new(boot);
        let mut world_clients = Vec::new();
        let size = FileSize { generation: 1, bytes: 0 };
        for number in 1..=clients {
            let id = ClientId::new(number).unwrap();
            manager.add_client(id);
            let own = Holder::Client(id);
            manager.open(own, file, OpenId::new(number).unwrap());
            world_clients.push(Client {
                id,
                up: VecDeque::new(),
                down: VecDeque::new(),
                holders: BTreeMap::from([(own, TokenHolder::new(own, file, boot, size, true))]),
                operations: BTreeMap::new(),
                doubtful: BTreeSet::new(),
                broadcasts: BTreeMap::new(),
                last_request: 0,
                dirty: BTreeMap::new(),
                write_backs: Vec::new(),
                undrained: BTreeMap::new(),
                connected: true,
            });
        }
        let mut groups = BTreeMap::new();
        for (number, members) in [(1, vec![0, 1]), (2, (0..world_clients.len()).collect::<Vec<_>>())] {
            let group = GroupId::new(number).unwrap();
            let holder = Holder::Group(group);
            manager.add_group(group, members.iter().map(|m| world_clients[*m].id).collect());
            manager.open(holder, file, OpenId::new(100 + number).unwrap());
            for member in &members {
                let tokens = TokenHolder::new(holder, file, boot, size, false);
                world_clients[*member].holders.insert(holder, tokens);
            }
            groups.insert(holder, members);
        }
        let (random, collectives, sets) = (Random(seed), BTreeMap::new(), BTreeMap::new());
        World { random, file, manager, clients: world_clients, groups, collectives, sets, grants: 0, boot }
    }

    fn drain_manager(&mut self) {
        self.manager.assert_invariants();
        while let Some(action) = self.manager.poll_action() {
            let (to, message) = match action {
                ManagerAction::Grant { to, grant } => (to, Down::Grant(grant)),
                ManagerAction::Revoke { to, revoke } => (to, Down::Revoke(revoke)),
                ManagerAction::Refused { to, .. } => (to, Down::Refused),
                ManagerAction::ManagerGranted { operation, file } => {
                    self.manager.release_for_manager(operation, file);
                    continue;
                }
            };
            let client = self.clients.iter_mut().find(|client| client.id == to).unwrap();
            assert!(client.connected, "{message:?} to {to}, which has not said what it holds");
            client.down.push_back(message);
        }
    }

    fn deliver_up(&mut self, at: usize) {
        let Some(message) = self.clients[at].up.pop_front() else { return };
        let from = self.clients[at].id;
        match message {
            Up::Acquire(acquire) => self.manager.handle_acquire(from, acquire),
            Up::AcquireSet(set) => self.manager.handle_acquire_set(from, set),
            Up::Cancel(request) => self.manager.handle_cancel(from, request),
            Up::Ack(ack) => {
                // The metadata server asks the file servers that did not answer the client, and then it counts the ack.
                let undrained = &mut self.clients[at].undrained;
                undrained.retain(|sequence, _| !ack.undrained.iter().any(|named| *sequence <= named.sequence));
                self.manager.handle_ack(from, &ack);
            }
        }
        self.drain_manager();
    }

    fn deliver_down(&mut self, at: usize) {
        let Some(message) = self.clients[at].down.pop_front() else { return };
        match message {
            Down::Grant(grant) if grant.collective => {
                let collective = self.collectives.remove(&grant.holder).expect("somebody asked");
                assert_eq!((collective.asker, collective.request), (at, grant.request));
                for (member, ranges) in self.groups[&grant.holder].clone().into_iter().zip(collective.ranges) {
                    let queue = self.clients[member].broadcasts.entry(grant.holder).or_default();
                    queue.push_back((grant.clone(), collective.mode, ranges));
                }
            }
            Down::Grant(grant) if grant.set.is_some() => {
                self.clients[at].holders.get_mut(&grant.holder).unwrap().handle_set_grant(&grant);
                self.clients[at].pump(grant.holder);
            }
            Down::Grant(grant) => {
                self.grants += 1;
                self.clients[at].holders.get_mut(&grant.holder).unwrap().handle_grant(&grant);
                self.clients[at].pump(grant.holder);
            }
            Down::Revoke(revoke) => {
                let holder = revoke.holder;
                self.clients[at].holders.get_mut(&holder).unwrap().handle_revoke(revoke);
                self.clients[at].pump(holder);
            }
            // Only requests that were cancelled are refused here, and their operations have ended.
            Down::Refused => {}
        }
    }

    fn deliver_broadcast(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((&holder, _)) = client.broadcasts.iter().find(|(_, queue)| !queue.is_empty()) else { return };
        let (grant, mode, ranges) = client.broadcasts.get_mut(&holder).unwrap().pop_front().unwrap();
        let empty = ranges.is_empty();
        let Ok(operation) = client.holders.get_mut(&holder).unwrap().install(&grant, mode, ranges.clone()) else {
            return;
        };
        assert_eq!(operation.is_none(), empty, "a collective grant covers what its members access");
        if let Some(operation) = operation {
            client.operations.insert((holder, operation), (mode, ranges, true));
        }
        client.pump(holder);
    }

    fn begin_independent(&mut self) {
        let at = self.pick_client();
        let holders: Vec<Holder> = self.clients[at].holders.keys().copied().collect();
        let holder = holders[self.random.below(holders.len() as u64) as usize];
        let (mode, mut extents) = (self.random.mode(), vec![self.random.extent()]);
        let second = self.random.extent();
        if self.random.below(3) == 0 && !second.overlaps(extents[0]) {
            extents.push(second);
            extents.sort_by_key(|extent| extent.start());
        }
        self.clients[at].begin(holder, mode, Ranges::from_vec(extents));
    }

    fn begin_collective(&mut self) {
        let index = self.random.below(self.groups.len() as u64) as usize;
        let (holder, members) = self.groups.iter().nth(index).map(|(h, m)| (*h, m.clone())).unwrap();
        let busy = self.collectives.contains_key(&holder)
            || members.iter().any(|m| self.clients[*m].broadcasts.get(&holder).is_some_and(|q| !q.is_empty()));
        if busy {
            return;
        }
        let mode = self.random.mode();
        let ranges: Vec<Ranges> = members
            .iter()
            .map(|_| if self.random.below(5) == 0 { Ranges::new() } else { Ranges::from_elem(self.random.extent(), 1) })
            .collect();
        let mut pinned = Vec::new();
        for (member, ranges) in members.iter().zip(&ranges).filter(|(_, ranges)| !ranges.is_empty()) {
            let tokens = self.clients[*member].holders.get_mut(&holder).unwrap();
            pinned.push((*member, tokens.try_begin(mode, ranges), ranges.clone()));
        }
        if pinned.iter().all(|(_, operation, _)| operation.is_some()) {
            for (member, operation, ranges) in pinned {
                self.clients[member].operations.insert((holder, operation.unwrap()), (mode, ranges, true));
            }
            return;
        }
        for (member, operation, _) in pinned {
            if let Some(operation) = operation {
                self.clients[member].end(holder, operation);
            }
        }
        let asker = members[self.random.below(members.len() as u64) as usize];
        if !self.clients[asker].connected {
            return;
        }
        let client = &mut self.clients[asker];
        client.last_request += 1;
        let request = RequestId::new(client.last_request).unwrap();
        client.up.push_back(Up::Acquire(Acquire {
            request,
            holder,
            file: self.file,
            mode,
            required: ranges.iter().flatten().map(|range| RangePattern::from(*range)).collect(),
            desired: (self.random.below(2) == 0).then_some(Extent::ALL),
            collective: true,
        }));
        self.collectives.insert(holder, Collective { asker, request, mode, ranges });
    }

    /// One client asks for several: each of them gets a piece of its own, all at once or when it comes to its turn.
    fn begin_set(&mut self) {
        let mode = self.random.mode();
        let mut parts = BTreeMap::new();
        let mut from = 0;
        for at in 0..self.clients.len() {
            let start = from + self.random.below(FILE_BYTES / 4);
            let end = start + 1 + self.random.below(FILE_BYTES / 4);
            if self.random.below(4) > 0 {
                parts.insert(at, (mode, Ranges::from_elem(Extent::new(start, end).unwrap(), 1)));
                from = end;
            }
        }
        let asker = self.pick_client();
        if parts.is_empty() || !self.clients[asker].connected {
            return;
        }
        let part = |(at, (_, ranges)): (&usize, &(Mode, Ranges))| SetPart {
            holder: Holder::Client(self.clients[*at].id),
            required: ranges.iter().map(|range| RangePattern::from(*range)).collect(),
        };
        let set_parts = parts.iter().map(part).collect();
        let client = &mut self.clients[asker];
        client.last_request += 1;
        let request = RequestId::new(client.last_request).unwrap();
        client.up.push_back(Up::AcquireSet(AcquireSet { request, file: self.file, mode, parts: set_parts }));
        self.sets.insert(SetId { client: client.id, request }, parts);
    }

    /// One client begins what a set was for, or the whole set is given up.
    fn claim_one(&mut self, may_give_up: bool) {
        if self.sets.is_empty() {
            return;
        }
        let at = self.random.below(self.sets.len() as u64) as usize;
        let (set, parts) = self.sets.iter().nth(at).map(|(set, parts)| (*set, parts.clone())).unwrap();
        if may_give_up && self.random.below(8) == 0 {
            let asker = self.clients.iter_mut().find(|client| client.id == set.client).unwrap();
            asker.up.push_back(Up::Cancel(set.request));
            for member in parts.into_keys() {
                let client = &mut self.clients[member];
                let own = Holder::Client(client.id);
                let next = numbers(&mut client.last_request);
                client.holders.get_mut(&own).unwrap().abandon_set(set, next);
                client.pump(own);
            }
            self.sets.remove(&set);
            return;
        }
        for (member, (mode, ranges)) in parts {
            let client = &mut self.clients[member];
            let own = Holder::Client(client.id);
            if let Some(operation) = client.holders.get_mut(&own).unwrap().claim_set(set) {
                client.operations.insert((own, operation), (mode, ranges, true));
                let left = self.sets.get_mut(&set).unwrap();
                left.remove(&member);
                if left.is_empty() {
                    self.sets.remove(&set);
                }
                break;
            }
        }
    }

    /// One operation fails with its outcome in doubt: it still keeps its ranges from the others.
    fn doubt_one(&mut self) {
        let at = self.pick_client();
        let client = &mut self.clients[at];
        let pinned: Vec<_> = client.operations.iter().filter(|(_, op)| op.2).map(|(key, _)| *key).collect();
        if !pinned.is_empty() {
            let (holder, operation) = pinned[self.random.below(pinned.len() as u64) as usize];
            let client = &mut self.clients[at];
            let next = numbers(&mut client.last_request);
            client.holders.get_mut(&holder).unwrap().doubt(operation, next);
            client.doubtful.insert((holder, operation));
            client.pump(holder);
        }
    }

    /// One client stops to wait for the server that may still apply a write.
    fn give_up_doubt_one(&mut self, sequence: u64) {
        let at = self.pick_client();
        let client = &mut self.clients[at];
        let Some((holder, operation)) = client.doubtful.pop_first() else { return };
        let (mode, ranges, _) = client.operations.remove(&(holder, operation)).unwrap();
        let next = numbers(&mut client.last_request);
        let tokens = client.holders.get_mut(&holder).unwrap();
        let mut writes = Vec::new();
        if mode == Mode::Exclusive {
            writes.push(Undrained { server: ServerId::new(1).unwrap(), boot: tokens.boot(), sequence });
            client.undrained.insert(sequence, (holder, tokens.boot(), ranges));
        }
        tokens.give_up_doubt(operation, writes, next);
        client.pump(holder);
    }

    /// The manager is gone with all it knew, and another one begins to ask.
    fn restart(&mut self) {
        self.boot = Boot::new(self.boot.get() + 1).unwrap();
        self.manager = TokenManager::in_grace(self.boot);
        for (number, client) in (1..).zip(&mut self.clients) {
            client.connected = false;
            (client.up, client.down) = (VecDeque::new(), VecDeque::new());
            self.manager.add_client(client.id);
            self.manager.open(Holder::Client(client.id), self.file, OpenId::new(number).unwrap());
        }
        for (number, (holder, members)) in (101..).zip(&self.groups) {
            let Holder::Group(group) = holder else { panic!("groups only") };
            self.manager.add_group(*group, members.iter().map(|m| self.clients[*m].id).collect());
            self.manager.open(*holder, self.file, OpenId::new(number).unwrap());
        }
        self.collectives.clear();
        self.sets.clear();
    }

    /// One client says what it holds; with the last one the grace is over.
    fn rejoin(&mut self) {
        let Some(client) = self.clients.iter_mut().find(|client| !client.connected) else { return };
        let holders: Vec<Holder> = client.holders.keys().copied().collect();
        for holder in &holders {
            let (ranges, size) = client.holders.get_mut(holder).unwrap().reassert();
            let members = match holder {
                Holder::Client(_) => Vec::new(),
                Holder::Group(_) => self.groups[holder].clone(),
            };
            let members = members.into_iter().map(|number| ClientId::new(number as u64 + 1).unwrap()).collect();
            let reassertion =
                Reassertion { holder: *holder, members, file: self.file, opens: Vec::new(), ranges, size };
            self.manager.reassert(client.id, &reassertion).expect("what was held is held again");
        }
        client.connected = true;
        for holder in holders {
            let next = numbers(&mut client.last_request);
            client.holders.get_mut(&holder).unwrap().resumed(self.boot, next);
            client.pump(holder);
        }
        if self.clients.iter().all(|client| client.connected) {
            // The file servers refuse the stamps of earlier boots from now on.
            self.clients.iter_mut().for_each(|client| client.undrained.retain(|_, (_, boot, _)| *boot == self.boot));
            self.manager.end_grace();
            self.drain_manager();
        }
    }

    /// Ends one operation; one that is not pinned is given up.
    fn end_one(&mut self, only_pinned: bool) {
        let at = self.pick_client();
        let candidates: Vec<_> = self.clients[at]
            .operations
            .iter()
            .filter(|(_, (_, _, pinned))| *pinned || !only_pinned)
            .map(|(key, _)| *key)
            .collect();
        if !candidates.is_empty() {
            let (holder, operation) = candidates[self.random.below(candidates.len() as u64) as usize];
            self.clients[at].end(holder, operation);
        }
    }

    fn pick_client(&mut self) -> usize {
        self.random.below(self.clients.len() as u64) as usize
    }

    fn step(&mut self, number: u64) {
        match self.random.below(24) {
            20 | 21 => {
                let (at, which) = (self.pick_client(), self.random.below(3) as usize);
                self.clients[at].write_back(which);
            }
            22 => self.give_up_doubt_one(number),
            23 if number.is_multiple_of(61) => self.restart(),
            23 => self.rejoin(),
            0..5 => {
                let at = self.pick_client();
                self.deliver_up(at);
            }
            5..10 => {
                let at = self.pick_client();
                self.deliver_down(at);
            }
            10..12 => {
                let at = self.pick_client();
                self.deliver_broadcast(at);
            }
            12..14 => self.begin_independent(),
            14 if self.random.below(2) == 0 => self.begin_set(),
            14 => self.begin_collective(),
            15..17 => self.end_one(true),
            17 if self.random.below(2) == 0 => self.end_one(true),
            17 => self.claim_one(true),
            18 => self.doubt_one(),
            _ if self.random.below(2) == 0 => self.end_one(false),
            _ => {
                let range = Extent::from(self.random.below(FILE_BYTES));
                self.manager.acquire_for_manager(number, self.file, range);
                self.drain_manager();
            }
        }
    }

    /// No new work: everything that was asked for must come to its end.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            self.rejoin();
            for at in 0..self.clients.len() {
                self.deliver_up(at);
                self.deliver_down(at);
                self.deliver_broadcast(at);
                self.clients[at].write_back(0);
            }
            self.check();
            self.claim_one(false);
            self.end_one(true);
            if self.is_quiet() {
                break;
            }
        }
        assert_eq!(self.manager.counters().waiting, 0, "requests wait for ever");
        assert!(self.sets.is_empty(), "parts of sets never come: {:?}", self.sets);
        for client in &self.clients {
            assert!(client.operations.is_empty(), "operations wait for ever: {:?}", client.operations);
            assert!(client.up.is_empty() && client.down.is_empty());
        }
    }

    fn is_quiet(&self) -> bool {
        let quiet = |client: &Client| {
            client.operations.is_empty()
                && client.write_backs.is_empty()
                && client.up.is_empty()
                && client.down.is_empty()
                && client.broadcasts.values().all(VecDeque::is_empty)
        };
        self.sets.is_empty() && self.clients.iter().all(quiet)
    }

    fn check(&self) {
        no_conflicting_operations(&self.clients);
        nobody_has_bytes_that_are_on_their_way(&self.clients);
        no_client_holds_more_than_the_manager_gave(&self.manager, self.file, &self.clients);
    }
}

fn no_conflicting_operations(clients: &[Client]) {
    let pinned: Vec<_> = clients
        .iter()
        .flat_map(|client| client.operations.iter().map(move |(key, value)| (client, key, value)))
        .filter(|(_, _, (_, _, pinned))| *pinned)
        .collect();
    for (i, (a, key_a, (mode_a, ranges_a, _))) in pinned.iter().enumerate() {
        for (b, key_b, (mode_b, ranges_b, _)) in &pinned[..i] {
            let (client_a, holder_a, client_b, holder_b) = (a.id, key_a.0, b.id, key_b.0);
            let in_doubt = a.doubtful.contains(key_a) || b.doubtful.contains(key_b);
            let exclusive_owner = matches!(holder_a, Holder::Client(_)) && !in_doubt;
            if (holder_a != holder_b || exclusive_owner) && mode_a.conflicts(*mode_b) {
                let overlap = ranges_a.iter().any(|a| ranges_b.iter().any(|b| a.overlaps(*b)));
                assert!(
                    !overlap,
                    "{client_a} for {holder_a} {mode_a} {ranges_a:?} beside {client_b} for {holder_b} {mode_b} {ranges_b:?}"
                );
            }
        }
    }
}

fn nobody_has_bytes_that_are_on_their_way(clients: &[Client]) {
    for client in clients {
        let dirty = client.dirty.iter().flat_map(|(holder, set)| set.extents().map(move |range| (holder, range)));
        let undrained =
            client.undrained.values().flat_map(|(holder, _, ranges)| ranges.iter().map(move |r| (holder, *r)));
        for (holder, range) in dirty.chain(undrained) {
            for other in clients {
                for ((theirs, _), (_, ranges, pinned)) in &other.operations {
                    let beside = *pinned && theirs != holder && ranges.iter().any(|r| r.overlaps(range));
                    assert!(
                        !beside,
                        "{} for {theirs} uses {ranges:?}, and {} has {range} for {holder}",
                        other.id, client.id
                    );
                }
            }
        }
    }
}

fn no_client_holds_more_than_the_manager_gave(manager: &TokenManager, file: FileId, clients: &[Client]) {
    let table = manager.tokens(file);
    for client in clients.iter().filter(|client| client.connected) {
        for (holder, tokens) in &client.holders {
            for (range, mode) in tokens.held() {
                let mut from = range.start();
                for line in &table {
                    let theirs = line.holders.contains(holder) && line.mode >= mode;
                    if theirs && line.range.start() <= from && from < line.range.end() {
                        from = line.range.end();
                    }
                }
                assert!(from >= range.end(), "{} thinks that {holder} has {range} {mode}: {table:?}", client.id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn streams_of_random_delay_never_break_the_rules(seed in any::<u64>(), clients in 2u64..5) {
        let mut world = World::new(seed, clients);
        for number in 1..400 {
            world.step(number);
            world.check();
        }
        world.settle();
        prop_assert!(world.grants > 0);
    }
}
