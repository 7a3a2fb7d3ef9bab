//! How the bytes of one round go: in memory that two ranks of a node share, as messages straight from rank to rank, or by way of
//! the leaders of nodes, as the plan says. Those in memory are passed in [`exchange`](crate::exchange), and are no messages here.
//!
//! With a relay, a rank's messages for aggregators on other nodes go to its leader as one, in the order of the aggregators; the
//! leader makes one message for each such aggregator, in the order of its ranks. What was read goes the same ways back. So
//! a message between two ranks has parts whose lengths both know from the plan.
//!
//! Invariants: all steps are taken on every rank, whatever it has; two ranks have at most two messages for each other in a step, and
//! both name them in the same order.

use crate::comm::Parcel;
use crate::error::Error;
use crate::file::OpenFile;
use crate::times::Counter;
use pfs_core::collective::{Exchange, Message, Nodes, Relay, Round};
use std::collections::BTreeMap;

/// What a rank knows about ways in all rounds.
pub(crate) struct Route<'a> {
    pub(crate) rank: u32,
    relay: Option<&'a Relay>,
    /// If ranks share memory with the aggregators on their nodes: which are on which.
    sharing: Option<&'a Nodes>,
}

impl<'a> Route<'a> {
    pub(crate) fn of(exchange: &'a Exchange, rank: u32, sharing: Option<&'a Nodes>) -> Route<'a> {
        Route { rank, relay: exchange.relay(), sharing }
    }

    /// Whether what a rank and an aggregator have for each other is no message.
    pub(crate) fn is_near(&self, rank: u32, aggregator: u32) -> bool {
        rank == aggregator || self.sharing.is_some_and(|nodes| nodes.node_of(rank) == nodes.node_of(aggregator))
    }

    /// This rank's messages in a round, without those that are none.
    pub(crate) fn own<'r>(&self, round: &'r Round) -> impl Iterator<Item = &'r Message> {
        round.own.iter().filter(|message| !self.is_near(self.rank, message.peer))
    }

    /// The same of those of its windows.
    pub(crate) fn served<'r>(&self, round: &'r Round) -> impl Iterator<Item = &'r Message> {
        round.served.iter().filter(|message| !self.is_near(message.peer, self.rank))
    }

    /// Who passes on what goes between a rank and an aggregator; nothing if it goes straight.
    fn leader(&self, rank: u32, aggregator: u32) -> Option<u32> {
        self.relay.filter(|relay| relay.is_between(rank, aggregator)).map(|relay| relay.leader(rank))
    }

    /// The lengths of the messages that this rank passes on, by rank and aggregator; with its own ones to other nodes.
    fn passed_on(&self, round: &Round) -> BTreeMap<(u32, u32), usize> {
        let own = self.own(round).filter(|message| self.leader(self.rank, message.peer) == Some(self.rank));
        let own = own.map(|message| ((self.rank, message.peer), length(message)));
        own.chain(round.relayed.iter().map(|one| ((one.member, one.aggregator), bytes(one.bytes)))).collect()
    }
}

/// Has all of a write's messages arrive at their aggregators. `own` are this rank's, as [`Route::own`] has them. Returns those of
/// [`Route::served`].
pub(crate) async fn gather(
    file: &OpenFile,
    route: &Route<'_>,
    round: &Round,
    own: Vec<Parcel>,
) -> Result<Vec<Parcel>, Error> {
    let passed_on = route.passed_on(round);
    let (mut outgoing, mut up, mut parts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for parcel in own {
        match route.leader(route.rank, parcel.peer) {
            None => outgoing.push(parcel),
            Some(leader) if leader == route.rank => drop(parts.insert((route.rank, parcel.peer), parcel.bytes)),
            Some(leader) => append(&mut up, leader, parcel.bytes),
        }
    }
    outgoing.extend(parcels(up));
    let (straight, from_leaders) = split(route, round);
    let mut incoming = room(&straight);
    incoming.extend(parcels(sums(of_others(route.rank, &passed_on, |member, _| member))));
    let mut arrived = pass(file, outgoing, incoming).await?;
    let up = arrived.split_off(straight.len());
    let order = of_others(route.rank, &passed_on, |member, aggregator| (member, aggregator));
    parts.extend(cut(up, order.map(|((member, aggregator), length)| (member, (member, aggregator), length))));
    let mut outgoing = BTreeMap::new();
    for ((_, aggregator), part) in parts {
        append(&mut outgoing, aggregator, part);
    }
    let incoming = sums(from_leaders.iter().map(|&(leader, _, length)| (leader, length)));
    let far = pass(file, parcels(outgoing).collect(), parcels(incoming).collect()).await?;
    arrived.extend(cut(far, from_leaders.into_iter()).map(|(peer, bytes)| Parcel { peer, bytes }));
    Ok(arrived)
}

/// Has all of a read's messages arrive at the ranks that read. `served` are this aggregator's, as [`Route::served`] has them.
/// Returns those of [`Route::own`].
pub(crate) async fn spread(
    file: &OpenFile,
    route: &Route<'_>,
    round: &Round,
    served: Vec<Parcel>,
) -> Result<Vec<Parcel>, Error> {
    let passed_on = route.passed_on(round);
    let (mut outgoing, mut to_leaders) = (Vec::new(), BTreeMap::new());
    for parcel in served {
        match route.leader(parcel.peer, route.rank) {
            None => outgoing.push(parcel),
            Some(leader) => append(&mut to_leaders, leader, parcel.bytes),
        }
    }
    outgoing.extend(parcels(to_leaders));
    let (by_leader, straight): (Vec<_>, Vec<_>) =
        route.own(round).partition(|message| route.leader(route.rank, message.peer).is_some());
    let mut incoming = room(&straight);
    incoming.extend(parcels(sums(passed_on.iter().map(|(&(_, aggregator), &length)| (aggregator, length)))));
    let mut arrived = pass(file, outgoing, incoming).await?;
    let far = arrived.split_off(straight.len());
    // In each aggregator's message the parts follow each other by rank.
    let order = passed_on.iter().map(|(&(member, aggregator), &length)| (aggregator, (member, aggregator), length));
    let mut outgoing = BTreeMap::new();
    for ((member, aggregator), part) in cut(far, order).collect::<BTreeMap<_, _>>() {
        match member == route.rank {
            true => arrived.push(Parcel { peer: aggregator, bytes: part }),
            false => append(&mut outgoing, member, part),
        }
    }
    let leader = by_leader.first().and_then(|message| route.leader(route.rank, message.peer));
    let order = by_leader.iter().zip(leader.filter(|leader| *leader != route.rank).into_iter().cycle());
    let order: Vec<_> = order.map(|(message, leader)| (leader, message.peer, length(message))).collect();
    let incoming = sums(order.iter().map(|&(leader, _, length)| (leader, length)));
    let down = pass(file, parcels(outgoing).collect(), parcels(incoming).collect()).await?;
    arrived.extend(cut(down, order.into_iter()).map(|(peer, bytes)| Parcel { peer, bytes }));
    Ok(arrived)
}

/// Messages that come straight, and the others: leader, rank and length of each, by rank.
fn split<'a>(route: &Route<'_>, round: &'a Round) -> (Vec<&'a Message>, Vec<(u32, u32, usize)>) {
    let (mut straight, mut far) = (Vec::new(), Vec::new());
    for message in route.served(round) {
        match route.leader(message.peer, route.rank) {
            None => straight.push(message),
            Some(leader) => far.push((leader, message.peer, length(message))),
        }
    }
    (straight, far)
}

/// What is passed on for others, under a key.
fn of_others<'a, K>(
    own: u32,
    passed_on: &'a BTreeMap<(u32, u32), usize>,
    key: impl Fn(u32, u32) -> K + 'a,
) -> impl Iterator<Item = (K, usize)> + 'a {
    let others = passed_on.iter().filter(move |((member, _), _)| *member != own);
    others.map(move |(&(member, aggregator), &length)| (key(member, aggregator), length))
}

/// Parcels with room for lengths that are told part by part.
fn sums(parts: impl Iterator<Item = (u32, usize)>) -> BTreeMap<u32, Vec<u8>> {
    let mut lengths = BTreeMap::<u32, usize>::new();
    parts.for_each(|(peer, length)| *lengths.entry(peer).or_default() += length);
    lengths.into_iter().map(|(peer, length)| (peer, vec![0; length])).collect()
}

/// Puts a part behind those that a rank gets already.
fn append(to: &mut BTreeMap<u32, Vec<u8>>, peer: u32, mut part: Vec<u8>) {
    let all = to.entry(peer).or_default();
    // The first part needs no copy.
    if all.is_empty() { *all = part } else { all.append(&mut part) }
}

fn parcels(by_peer: BTreeMap<u32, Vec<u8>>) -> impl Iterator<Item = Parcel> {
    by_peer.into_iter().map(|(peer, bytes)| Parcel { peer, bytes })
}

/// Cuts parcels into their parts: for each part its parcel's peer, a key and its length, those of a parcel in their order.
fn cut<K>(parcels: Vec<Parcel>, parts: impl Iterator<Item = (u32, K, usize)>) -> impl Iterator<Item = (K, Vec<u8>)> {
    let mut left: BTreeMap<u32, (Vec<u8>, usize)> =
        parcels.into_iter().map(|parcel| (parcel.peer, (parcel.bytes, 0))).collect();
    let part = move |(peer, key, length): (u32, K, usize)| {
        let (bytes, at) = left.get_mut(&peer).expect("every part is in a parcel of its peer");
        let from = std::mem::replace(at, *at + length);
        let is_whole = length == bytes.len();
        (key, if is_whole { std::mem::take(bytes) } else { bytes[from..from + length].to_vec() })
    };
    parts.map(part).collect::<Vec<_>>().into_iter()
}

/// Room for messages.
fn room(messages: &[&Message]) -> Vec<Parcel> {
    messages.iter().map(|message| Parcel { peer: message.peer, bytes: vec![0; length(message)] }).collect()
}

/// Bytes of a message.
pub(crate) fn length(message: &Message) -> usize {
    bytes(message.bytes())
}

fn bytes(length: u64) -> usize {
    usize::try_from(length).expect("a round fits in memory")
}

async fn pass(file: &OpenFile, outgoing: Vec<Parcel>, incoming: Vec<Parcel>) -> Result<Vec<Parcel>, Error> {
    if outgoing.is_empty() && incoming.is_empty() {
        return Ok(incoming);
    }
    file.times.add(Counter::BytesSent, outgoing.iter().map(|parcel| parcel.bytes.len() as u64).sum());
    file.group.pass(outgoing, incoming).await
}
