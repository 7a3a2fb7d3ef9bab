//! Random plans against a model with one cell per byte.

use super::*;
use crate::ids::ServerId;
use proptest::prelude::*;
use smallvec::smallvec;

const FILE_BYTES: usize = 60_000;

#[derive(Clone, Debug)]
struct Case {
    ranges: Vec<RankRange>,
    recipe: Recipe,
    hints: Hints,
}

fn case() -> impl Strategy<Value = Case> {
    let range = (0u64..40_000, prop_oneof![Just(0u64), 1u64..100, 1u64..20_000])
        .prop_map(|(offset, length)| RankRange { offset, length });
    let switch = prop_oneof![Just(Switch::Automatic), Just(Switch::Enable), Just(Switch::Disable)];
    (prop::collection::vec(range, 1..9), (1u64..5, 1u32..6), (prop::option::of(1u32..12), 4096u64..20_000, switch))
        .prop_map(|(ranges, (units, servers), (cb_nodes, cb_buffer_bytes, switch))| {
            let slots = (1..=servers).map(|id| smallvec![ServerId::new(id).unwrap()]).collect();
            let recipe = Recipe::new(units * 4096, slots).unwrap();
            let hints = Hints { cb_nodes, cb_buffer_bytes, cb_read: switch, cb_write: switch, ..Hints::default() };
            Case { ranges, recipe, hints }
        })
}

fn cells(extent: Extent) -> std::ops::Range<usize> {
    extent.start() as usize..extent.end() as usize
}

/// The rank whose bytes a write must leave in each cell.
fn last_writers(ranges: &[RankRange]) -> Vec<Option<u32>> {
    let mut model = vec![None; FILE_BYTES];
    for (rank, range) in (0..).zip(ranges) {
        model[range.offset as usize..(range.offset + range.length) as usize].fill(Some(rank));
    }
    model
}

/// Carries a plan out on an array: what every rank's buffer moves, by way of aggregators where it says so.
struct Run {
    /// For every rank and cell: how often the byte was passed between the rank's buffer and the file.
    moved: Vec<Vec<u8>>,
    /// For every cell: how often the servers were asked for it.
    served: Vec<u8>,
}

fn run(plan: &CollectivePlan, ranks: u32, case: &Case) -> Run {
    let mut run = Run { moved: vec![vec![0; FILE_BYTES]; ranks as usize], served: vec![0; FILE_BYTES] };
    let all_rounds: Vec<Vec<Round>> = (0..ranks).map(|rank| plan.rounds(rank)).collect();
    for rank in 0..ranks {
        let needs: ExtentSet = plan.needs(rank).into_iter().collect();
        let mut serve = |extent: Extent| {
            assert!(needs.covers(extent, |()| true), "{extent} of rank {rank} is not in its needs {needs:?}");
            cells(extent).for_each(|i| run.served[i] += 1);
        };
        match plan.method() {
            Method::Direct => plan.direct(rank).for_each(|extent| {
                serve(extent);
                cells(extent).for_each(|i| run.moved[rank as usize][i] += 1);
            }),
            Method::Exchange(exchange) => {
                for (number, round) in all_rounds[rank as usize].iter().enumerate() {
                    let io_bytes: u64 = round.io.iter().map(|extent| extent.len()).sum();
                    assert!(io_bytes <= case.hints.cb_buffer_bytes, "a round of {io_bytes} bytes");
                    assert!(round.io.is_empty() || exchange.aggregators().contains(&rank));
                    round.io.iter().for_each(|&extent| serve(extent));
                    for message in &round.served {
                        let sent = all_rounds[message.peer as usize][number].own.iter().find(|m| m.peer == rank);
                        assert_eq!(sent.map(|m| &m.extents), Some(&message.extents), "both sides name the same bytes");
                        message.extents.iter().for_each(|&extent| {
                            cells(extent).for_each(|i| run.moved[message.peer as usize][i] += 1);
                        });
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

/// Each slot's servers are reached by the same few ranks, whatever the access.
fn check_fixed_map(plan: &CollectivePlan, ranks: u32, case: &Case) {
    let Method::Exchange(exchange) = plan.method() else { return };
    let slots = case.recipe.stripe_count() as usize;
    let per_slot = (exchange.aggregators().len() / slots).max(1);
    let mut seen = vec![std::collections::BTreeSet::new(); slots];
    for rank in 0..ranks {
        for extent in plan.rounds(rank).iter().flat_map(|round| &round.io) {
            for piece in case.recipe.split(*extent) {
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
        let rounds = plan.rounds(rank);
        let moved: ExtentSet = plan.direct(rank).filter(|_| matches!(plan.method(), Method::Direct)).collect();
        let moved = rounds.iter().flat_map(|round| &round.io).fold(moved, |mut moved, &extent| {
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

fn ranks_of(case: &Case) -> u32 {
    case.ranges.len() as u32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_write_leaves_each_byte_to_the_highest_rank(case in case()) {
        let plan = CollectivePlan::new(Direction::Write, &case.ranges, &case.recipe, &case.hints).unwrap();
        let run = run(&plan, ranks_of(&case), &case);
        for (i, writer) in last_writers(&case.ranges).into_iter().enumerate() {
            for rank in 0..ranks_of(&case) {
                prop_assert_eq!(run.moved[rank as usize][i], u8::from(writer == Some(rank)), "byte {} rank {}", i, rank);
            }
            prop_assert_eq!(run.served[i], u8::from(writer.is_some()), "byte {} at the servers", i);
        }
        check_fixed_map(&plan, ranks_of(&case), &case);
        check_shares(&plan, ranks_of(&case));
    }

    #[test]
    fn a_read_brings_every_rank_its_bytes(case in case(), size in 0u64..FILE_BYTES as u64) {
        let plan = CollectivePlan::new(Direction::Read, &case.ranges, &case.recipe, &case.hints).unwrap();
        let exchange = matches!(plan.method(), Method::Exchange(_));
        check_shares(&plan, ranks_of(&case));
        let plan = plan.clamped(size);
        let run = run(&plan, ranks_of(&case), &case);
        for i in 0..FILE_BYTES {
            let wants = |range: &RankRange| {
                (i as u64) < size && (range.offset..range.offset + range.length).contains(&(i as u64))
            };
            for (rank, range) in case.ranges.iter().enumerate() {
                prop_assert_eq!(run.moved[rank][i], u8::from(wants(range)));
            }
            if exchange {
                prop_assert_eq!(run.served[i], u8::from(case.ranges.iter().any(wants)), "read once for all");
            }
        }
    }

    #[test]
    fn tokens_cover_all_bytes_with_few_patterns(case in case()) {
        let plan = CollectivePlan::new(Direction::Write, &case.ranges, &case.recipe, &case.hints).unwrap();
        let tokens: ExtentSet = plan.tokens().iter().flat_map(|pattern| pattern.extents()).collect();
        prop_assert!(plan.tokens().len() <= TOKEN_PATTERNS_MAX);
        for part in plan.parts() {
            prop_assert!(tokens.covers(part.extent, |()| true));
        }
    }
}

#[test]
fn ranges_that_no_file_can_have_are_refused() {
    let recipe = Recipe::new(4096, vec![smallvec![ServerId::new(1).unwrap()]]).unwrap();
    let plan = |offset, length| {
        let ranges = [RankRange::default(), RankRange { offset, length }];
        CollectivePlan::new(Direction::Write, &ranges, &recipe, &Hints::default())
    };
    assert!(plan(MAX_FILE_BYTES - 1, 1).is_ok(), "the last byte of the largest file");
    for (offset, length) in [(MAX_FILE_BYTES, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, MAX_FILE_BYTES)] {
        assert_eq!(plan(offset, length), Err(PlanError::BeyondLimits { rank: 1, offset, length }));
    }
}
