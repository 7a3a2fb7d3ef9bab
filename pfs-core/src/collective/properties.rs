//! Random plans against a model with one cell per byte.

use super::*;
use crate::datatype::{Datatype, View};
use crate::ids::ServerId;
use proptest::prelude::*;
use smallvec::smallvec;
use std::sync::Arc;

const FILE_BYTES: usize = 60_000;

#[derive(Clone, Debug)]
struct Case {
    accesses: Vec<Access>,
    recipe: Recipe,
    hints: Hints,
}

fn case() -> impl Strategy<Value = Case> {
    let range = (0u64..40_000, prop_oneof![Just(0u64), 1u64..100, 1u64..20_000])
        .prop_map(|(offset, length)| Access::range(offset, length).unwrap());
    let blocks = (0u64..20_000, 1u64..3000, 0u64..6000, 0u64..4000, 0u64..4000).prop_map(
        |(offset, block, gap, position, length)| {
            let view = Arc::new(super::golden::strided(offset, block, block + gap));
            let access = Access::new(view.clone(), position, length).unwrap();
            let fits = access.hull().is_none_or(|hull| hull.end() <= FILE_BYTES as u64);
            if fits { access } else { Access::new(view, 0, length.min(block)).unwrap() }
        },
    );
    let access = prop_oneof![range, blocks, irregular()];
    let switch = prop_oneof![Just(Switch::Automatic), Just(Switch::Enable), Just(Switch::Disable)];
    (prop::collection::vec(access, 1..9), (1u64..5, 1u32..6), (prop::option::of(1u32..12), 4096u64..20_000, switch))
        .prop_map(|(accesses, (units, servers), (cb_nodes, cb_buffer_bytes, switch))| {
            let slots = (1..=servers).map(|id| smallvec![ServerId::new(id).unwrap()]).collect();
            let recipe = Recipe::new(units * 4096, slots).unwrap();
            let hints = Hints { cb_nodes, cb_buffer_bytes, cb_read: switch, cb_write: switch, ..Hints::default() };
            Case { accesses, recipe, hints }
        })
}

/// A list of blocks of all lengths, repeated.
fn irregular() -> impl Strategy<Value = Access> {
    let blocks = prop::collection::vec((0u64..900, 1u64..900), 1..12);
    (0u64..8000, blocks, 0u64..1500, 1u64..3).prop_map(|(offset, blocks, from, copies)| {
        let mut at = 0;
        let placed = blocks.into_iter().map(|(gap, length)| {
            let start = at + gap;
            at = start + length;
            (start as i64, length)
        });
        let byte = Datatype::elementary(1).unwrap();
        let filetype = Datatype::hindexed(&placed.collect::<Vec<_>>(), &byte).unwrap();
        let length = (filetype.size() * copies).saturating_sub(from);
        Access::new(Arc::new(View::new(offset, &byte, &filetype).unwrap()), from, length).unwrap()
    })
}

fn cells(extent: Extent) -> std::ops::Range<usize> {
    extent.start() as usize..extent.end() as usize
}

/// The rank whose bytes a write must leave in each cell.
fn last_writers(accesses: &[Access]) -> Vec<Option<u32>> {
    let mut model = vec![None; FILE_BYTES];
    for (rank, access) in (0..).zip(accesses) {
        access.pieces().for_each(|piece| model[cells(piece.extent)].fill(Some(rank)));
    }
    model
}

/// Which byte of an access's data belongs to each cell.
fn data_of(access: &Access) -> Vec<Option<u64>> {
    let mut model = vec![None; FILE_BYTES];
    let mut at = 0;
    for piece in access.pieces() {
        assert_eq!(piece.at, at);
        for cell in cells(piece.extent) {
            model[cell] = Some(at);
            at += 1;
        }
    }
    assert_eq!(at, access.bytes());
    model
}

/// Carries a plan out on an array: what every rank's buffer moves, by way of aggregators where it says so.
struct Run {
    /// For every cell: the rank whose byte is there in the end.
    last: Vec<Option<u32>>,
    /// For every rank and cell: how often the byte was passed between the rank's buffer and the file.
    moved: Vec<Vec<u8>>,
    /// For every cell: how often the servers were asked for it.
    served: Vec<u8>,
}

fn run(plan: &CollectivePlan, ranks: u32, case: &Case) -> Run {
    let mut run = Run {
        last: vec![None; FILE_BYTES],
        moved: vec![vec![0; FILE_BYTES]; ranks as usize],
        served: vec![0; FILE_BYTES],
    };
    let data: Vec<_> = (0..ranks).map(|rank| data_of(plan.access(rank))).collect();
    let all_rounds: Vec<Vec<Round>> = (0..ranks).map(|rank| plan.rounds(rank).collect()).collect();
    assert!(all_rounds.iter().all(|rounds| rounds.len() == all_rounds[0].len()), "equally many rounds");
    let pass = |run: &mut Run, rank: u32, piece: &Piece| {
        for (cell, at) in cells(piece.extent).zip(piece.at..) {
            assert_eq!(data[rank as usize][cell], Some(at), "the byte's place in the data of rank {rank}");
            run.moved[rank as usize][cell] += 1;
            run.last[cell] = Some(rank);
        }
    };
    for rank in 0..ranks {
        let needs: ExtentSet = plan.needs(rank).into_iter().collect();
        let serve = |run: &mut Run, extent: Extent| {
            assert!(needs.covers(extent, |()| true), "{extent} of rank {rank} is not in its needs {needs:?}");
            cells(extent).for_each(|i| run.served[i] += 1);
        };
        match plan.method() {
            Method::Direct => plan.direct(rank).iter().for_each(|piece| {
                serve(&mut run, piece.extent);
                pass(&mut run, rank, piece);
            }),
            Method::Exchange(exchange) => {
                for (number, round) in all_rounds[rank as usize].iter().enumerate() {
                    let io_bytes: u64 = round.io.iter().map(|extent| extent.len()).sum();
                    assert!(io_bytes <= case.hints.cb_buffer_bytes, "a round of {io_bytes} bytes");
                    assert!(round.io.is_empty() || exchange.aggregators().contains(&rank));
                    round.io.iter().for_each(|&extent| serve(&mut run, extent));
                    check_places(exchange, round);
                    for message in &round.served {
                        let sent = all_rounds[message.peer as usize][number].own.iter().find(|m| m.peer == rank);
                        assert_eq!(sent.map(|m| &m.pieces), Some(&message.pieces), "both sides name the same bytes");
                        message.pieces.iter().for_each(|piece| pass(&mut run, message.peer, piece));
                    }
                    let sent: usize = round.own.len();
                    let heard = all_rounds.iter().flat_map(|rounds| &rounds[number].served);
                    assert_eq!(heard.filter(|message| message.peer == rank).count(), sent, "no message is lost");
                }
            }
        }
    }
    run
}

/// What a round reads or writes has room in an aggregator's memory: extents as wholes, and each byte a place of its own.
fn check_places(exchange: &Exchange, round: &Round) {
    let mut places = ExtentSet::new();
    for extent in &round.io {
        let at = exchange.place(extent.start()).checked_sub(round.base).expect("after the round's first byte");
        assert_eq!(exchange.place(extent.end() - 1) - round.base, at + extent.len() - 1, "{extent} lies together");
        let place = Extent::new(at, at + extent.len()).unwrap();
        assert!(place.end() <= exchange.round_bytes() && places.within(place).next().is_none(), "{place} for {extent}");
        places.insert(place, ());
    }
}

/// Each slot's servers are reached by the same few ranks, whatever the access.
fn check_fixed_map(plan: &CollectivePlan, ranks: u32, case: &Case) {
    let Method::Exchange(exchange) = plan.method() else { return };
    let slots = case.recipe.stripe_count() as usize;
    let per_slot = (exchange.aggregators().len() / slots).max(1);
    let mut seen = vec![std::collections::BTreeSet::new(); slots];
    for rank in 0..ranks {
        for extent in plan.rounds(rank).flat_map(|round| round.io) {
            for piece in case.recipe.split(extent) {
                seen[piece.slot as usize].insert(rank);
            }
        }
    }
    assert!(seen.iter().all(|ranks| ranks.len() <= per_slot), "{seen:?} with {per_slot} per slot");
}

/// Each rank's share is what it moves at the servers, and shares of a write are disjoint, as patterns too.
fn check_shares(plan: &CollectivePlan, ranks: u32) {
    let mut owners = vec![None; 2 * FILE_BYTES];
    for rank in 0..ranks {
        let direct = plan.direct(rank).into_iter().map(|piece| piece.extent);
        let moved: ExtentSet = direct.filter(|_| matches!(plan.method(), Method::Direct)).collect();
        let moved = plan.rounds(rank).flat_map(|round| round.io).fold(moved, |mut moved, extent| {
            moved.insert(extent, ());
            moved
        });
        assert_eq!(plan.share(rank), moved.extents().collect::<Vec<_>>());
        let patterns = plan.share_patterns(rank);
        let named: ExtentSet = patterns.iter().flat_map(|pattern| pattern.extents()).collect();
        assert!(moved.extents().all(|extent| named.covers(extent, |()| true)), "{patterns:?} for {moved:?}");
        for i in named.extents().flat_map(cells).filter(|_| plan.direction() == Direction::Write) {
            assert_eq!(owners[i].replace(rank), None, "byte {i} is named for two ranks");
        }
    }
}

fn plan(direction: Direction, case: &Case) -> CollectivePlan {
    CollectivePlan::new(direction, case.accesses.clone(), &case.recipe, &case.hints)
}

fn ranks_of(case: &Case) -> u32 {
    case.accesses.len() as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_write_leaves_each_byte_to_the_highest_rank(case in case()) {
        let plan = plan(Direction::Write, &case);
        let run = run(&plan, ranks_of(&case), &case);
        let exchange = matches!(plan.method(), Method::Exchange(_));
        for (i, writer) in last_writers(&case.accesses).into_iter().enumerate() {
            prop_assert_eq!(run.last[i], writer, "byte {}", i);
            for rank in 0..ranks_of(&case) {
                let moved = run.moved[rank as usize][i];
                prop_assert!(moved <= 1 && (exchange || moved == u8::from(writer == Some(rank))), "byte {} rank {}", i, rank);
            }
            prop_assert_eq!(run.served[i], u8::from(writer.is_some()), "byte {} at the servers", i);
        }
        check_fixed_map(&plan, ranks_of(&case), &case);
        check_shares(&plan, ranks_of(&case));
    }

    #[test]
    fn a_read_brings_every_rank_its_bytes(case in case(), size in 0u64..FILE_BYTES as u64) {
        let plan = plan(Direction::Read, &case);
        let exchange = matches!(plan.method(), Method::Exchange(_));
        check_shares(&plan, ranks_of(&case));
        let plan = plan.clamped(size);
        let run = run(&plan, ranks_of(&case), &case);
        for i in 0..FILE_BYTES {
            let wants = |access: &Access| {
                let byte = Extent::new(i as u64, i as u64 + 1).unwrap();
                (i as u64) < size && access.bytes_in(byte) > 0
            };
            for (rank, access) in case.accesses.iter().enumerate() {
                prop_assert_eq!(run.moved[rank][i], u8::from(wants(access)));
            }
            if exchange {
                prop_assert_eq!(run.served[i], u8::from(case.accesses.iter().any(wants)), "read once for all");
            }
        }
    }

    #[test]
    fn tokens_cover_all_bytes_with_few_patterns(case in case()) {
        let plan = plan(Direction::Write, &case);
        let tokens: ExtentSet = plan.tokens().iter().flat_map(|pattern| pattern.extents()).collect();
        prop_assert!(plan.tokens().len() <= TOKEN_PATTERNS_MAX);
        for piece in case.accesses.iter().flat_map(Access::pieces) {
            prop_assert!(tokens.covers(piece.extent, |()| true));
        }
    }
}

/// Blocks that overlap each other, as a view for reading may have them.
fn overlapping() -> impl Strategy<Value = Access> {
    (0u64..5000, 1u64..4000, 1u64..500, 0u64..3000, 1u64..9000).prop_map(|(offset, block, step, position, length)| {
        Access::new(Arc::new(super::golden::strided(offset, block, step.min(block))), position, length).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every place of the data gets the byte that it shows, once, also where several places show the same.
    #[test]
    fn a_read_fills_every_place_of_the_data(
        accesses in prop::collection::vec(prop_oneof![overlapping(), irregular()], 1..5),
        (servers, cb_nodes, cb_buffer_bytes) in (1u32..4, prop::option::of(1u32..6), 4096u64..20_000),
    ) {
        let slots = (1..=servers).map(|id| smallvec![ServerId::new(id).unwrap()]).collect();
        let recipe = Recipe::new(4096, slots).unwrap();
        let hints = Hints { cb_nodes, cb_buffer_bytes, cb_read: Switch::Enable, ..Hints::default() };
        let ranks = accesses.len() as u32;
        let plan = CollectivePlan::new(Direction::Read, accesses, &recipe, &hints);
        let all: Vec<Vec<Round>> = (0..ranks).map(|rank| plan.rounds(rank).collect()).collect();
        for rank in 0..ranks {
            let access = plan.access(rank);
            let mut filled = vec![None; access.bytes() as usize];
            for (number, round) in all[rank as usize].iter().enumerate() {
                for message in &round.own {
                    let at_peer = &all[message.peer as usize][number];
                    let sent = at_peer.served.iter().find(|sent| sent.peer == rank).map(|sent| &sent.pieces);
                    prop_assert_eq!(sent, Some(&message.pieces));
                    for piece in &message.pieces {
                        prop_assert!(at_peer.io.iter().any(|io| io.contains(piece.extent)));
                        for (cell, at) in cells(piece.extent).zip(piece.at as usize..) {
                            prop_assert_eq!(filled[at].replace(cell), None, "place {} comes twice", at);
                        }
                    }
                }
            }
            let shown: Vec<Option<usize>> = access.pieces().flat_map(|piece| cells(piece.extent)).map(Some).collect();
            prop_assert_eq!(filled, shown);
        }
    }

    /// What leaders pass on is exactly what the ranks of their nodes have for aggregators on other nodes.
    #[test]
    fn leaders_pass_on_what_goes_between_nodes(case in case(), node_ranks in 1u32..5) {
        let Case { accesses, recipe, hints } = case;
        let ranks = accesses.len() as u32;
        let nodes = Nodes::new((0..ranks).map(|rank| (rank / node_ranks).to_string()));
        let hints = Hints { cb_write: Switch::Enable, node_gather: Switch::Enable, ..hints };
        let plan = CollectivePlan::with_nodes(Direction::Write, accesses, &recipe, &hints, &nodes);
        let Method::Exchange(exchange) = plan.method() else { return Ok(()) };
        prop_assert_eq!(exchange.relay().is_some(), nodes.count() > 1);
        let Some(relay) = exchange.relay() else { return Ok(()) };
        let all: Vec<Vec<Round>> = (0..ranks).map(|rank| plan.rounds(rank).collect()).collect();
        for (number, leader) in (0..all[0].len()).flat_map(|number| (0..ranks).map(move |leader| (number, leader))) {
            let is_passed_on = |member: &u32| *member != leader && relay.leader(*member) == leader;
            let expected: Vec<Relayed> = (0..ranks)
                .filter(is_passed_on)
                .flat_map(|member| all[member as usize][number].own.iter().map(move |message| (member, message)))
                .filter(|(member, message)| relay.is_between(*member, message.peer))
                .map(|(member, message)| Relayed { member, aggregator: message.peer, bytes: message.bytes() })
                .collect();
            prop_assert_eq!(&all[leader as usize][number].relayed, &expected);
        }
    }

    /// What is found by steps and searches is what two sets have in common.
    #[test]
    fn common_bytes_are_those_of_both(one in irregular(), other in prop_oneof![irregular(), sparse()]) {
        let set = |access: &Access| access.pieces().map(|piece| piece.extent).collect::<ExtentSet>();
        let (left, right) = (set(&one), set(&other));
        let expected: ExtentSet = left.extents().flat_map(|extent| {
            right.within(extent).map(|(part, ())| part).collect::<Vec<_>>()
        }).collect();
        prop_assert_eq!(cursor::common(&one, &other).into_iter().collect::<ExtentSet>(), expected.clone());
        prop_assert_eq!(cursor::common(&other, &one).into_iter().collect::<ExtentSet>(), expected);
    }
}

/// Many small pieces, or few.
fn sparse() -> impl Strategy<Value = Access> {
    (0u64..3000, 1u64..40, 0u64..400, 1u64..3000).prop_map(|(offset, block, gap, length)| {
        Access::new(Arc::new(super::golden::strided(offset, block, block + gap)), 0, length).unwrap()
    })
}

/// A rank with millions of pieces among ranks with few: nothing is written out, and a round has what lies in it.
#[test]
fn millions_of_pieces_cost_what_lies_in_a_round() {
    let recipe = Recipe::new(1 << 20, vec![smallvec![ServerId::new(1).unwrap()]; 4]).unwrap();
    let dense = Access::new(Arc::new(super::golden::strided(0, 4, 8)), 0, 1 << 40).unwrap();
    let far = Access::range(1 << 40, 10).unwrap();
    let none = Access::range(0, 0).unwrap();
    let hints = Hints { cb_buffer_bytes: 1 << 20, cb_write: Switch::Enable, ..Hints::default() };
    let plan = CollectivePlan::new(Direction::Write, vec![dense, far, none], &recipe, &hints);
    let round = plan.rounds(1).nth(2).unwrap();
    assert_eq!((round.own.len(), round.served.len(), round.io.len()), (0, 1, (1 << 20) / 8));
    assert_eq!(round.served[0].bytes(), 1 << 19);
    assert_eq!(plan.access(0).runs(), 1 << 38);
}

/// Whether short messages go by way of leaders is decided from the nodes and the bytes, unless a hint says it.
#[test]
fn short_messages_between_nodes_are_gathered() {
    let recipe = Recipe::new(1 << 20, vec![smallvec![ServerId::new(1).unwrap()]; 4]).unwrap();
    let relayed = |bytes: u64, node_ranks: u32, node_gather| {
        let accesses = (0..16).map(|rank| Access::range(rank * bytes, bytes).unwrap()).collect();
        let nodes = Nodes::new((0..16).map(|rank| (rank / node_ranks).to_string()));
        let hints = Hints { cb_write: Switch::Enable, node_gather, ..Hints::default() };
        let plan = CollectivePlan::with_nodes(Direction::Write, accesses, &recipe, &hints, &nodes);
        matches!(plan.method(), Method::Exchange(exchange) if exchange.relay().is_some())
    };
    assert!(relayed(60_000, 4, Switch::Automatic));
    assert!(!relayed(600_000, 4, Switch::Automatic), "long messages go straight");
    assert!(!relayed(60_000, 1, Switch::Automatic), "there is nobody to gather with");
    assert!(!relayed(60_000, 16, Switch::Automatic), "all are on one node");
    assert!(relayed(600_000, 4, Switch::Enable) && !relayed(60_000, 4, Switch::Disable));
}

#[test]
fn accesses_that_no_file_can_have_are_refused() {
    use crate::extent::MAX_FILE_BYTES;
    assert!(Access::range(MAX_FILE_BYTES - 1, 1).is_ok(), "the last byte of the largest file");
    assert!(Access::range(u64::MAX, 0).is_ok(), "no bytes");
    for (position, length) in [(MAX_FILE_BYTES, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, MAX_FILE_BYTES)] {
        assert_eq!(Access::range(position, length).unwrap_err(), BeyondLimits { position, length });
    }
    let view = Arc::new(super::golden::strided(0, 1, 1 << 40));
    assert!(Access::new(view.clone(), 0, 1 << 22).is_ok());
    assert!(Access::new(view, 0, 1 << 24).is_err());
}

/// Two ranks at the two ends of the largest file: the rounds between, in which nobody has bytes, are left out.
#[test]
fn empty_stretches_cost_no_rounds() {
    use crate::extent::MAX_FILE_BYTES;
    let recipe = Recipe::new(4096, vec![smallvec![ServerId::new(1).unwrap()]]).unwrap();
    let accesses = vec![Access::range(0, 10).unwrap(), Access::range(MAX_FILE_BYTES - 10, 10).unwrap()];
    let hints = Hints { cb_write: Switch::Enable, cb_buffer_bytes: 4096, ..Hints::default() };
    let plan = CollectivePlan::new(Direction::Write, accesses, &recipe, &hints);
    assert_eq!(plan.rounds(0).map(|round| round.io.len()).collect::<Vec<_>>(), [1, 1]);
}

/// Many interleaved pieces: they are known to be disjoint without being written out.
#[test]
fn interleaved_blocks_are_planned_without_a_list() {
    let recipe = Recipe::new(1 << 20, vec![smallvec![ServerId::new(1).unwrap()]]).unwrap();
    let accesses: Vec<Access> = (0..64u64)
        .map(|rank| {
            let view = super::golden::strided(rank * 100, 100, 6400);
            Access::new(Arc::new(view), 0, 100 << 20).unwrap()
        })
        .collect();
    let plan = CollectivePlan::new(Direction::Write, accesses, &recipe, &Hints::default());
    assert!(plan.is_disjoint && matches!(plan.method(), Method::Exchange(_)));
    assert_eq!(plan.tokens().len(), 1);
    let first = plan.rounds(0).next().unwrap();
    assert_eq!(first.io, [Extent::new(0, 16 << 20).unwrap()]);
}
