//! Which rank moves which bytes, in which order and in which calls.
//!
//! ```text
//! shared file, 2 ranks, 2 segments:   | rank 0 block | rank 1 block | rank 0 block | rank 1 block |
//!                                     |--------- segment 0 ---------|--------- segment 1 ---------|
//! own files:                          | block of segment 0 | block of segment 1 |
//! ```
//!
//! A plan is a pure value: a sequence of calls that can be asked for by number, so that a phase may stop anywhere, start again
//! from the begin, and be repeated by who reads. A random order is made by hashing, from the seed alone, so that all ranks
//! agree about it without a word.

use crate::ior::params::Params;
use crate::ior::pattern::mix;

/// One call: transfers that lie at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// File offset of the first transfer.
    pub offset: u64,
    /// Where its data begins in the rank's view, in bytes.
    pub position: u64,
    /// Number of transfers.
    pub transfers: u64,
}

/// The calls of one rank's data.
#[derive(Clone, Debug)]
pub struct Plan {
    shape: Shape,
    transfer: u64,
    block: u64,
    segments: u64,
    segments_per_call: u64,
    shared: bool,
    whose: u64,
    tasks: u64,
}

#[derive(Clone, Debug)]
enum Shape {
    /// Transfers from front to back, so many in a call.
    Forward,
    /// The n-th transfers of all segments in one call.
    Strided,
    /// Offsets within a segment, the same in each.
    Shuffled(Vec<u64>),
    /// Blocks at random places of a file of so many blocks.
    Anywhere { seed: u64, blocks: u64 },
    /// Each segment is an array.
    Array,
}

/// What the order of a phase depends on beside the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Whose data is moved.
    pub whose: u64,
    /// Ranks of the test.
    pub tasks: u64,
    /// Seed of random orders, the same on all ranks.
    pub seed: u64,
    /// Bytes of the file, for random places.
    pub file_bytes: u64,
}

impl Plan {
    /// The calls for one pass over a rank's data.
    pub fn new(params: &Params, order: Order) -> Plan {
        let shared = params.file_per_rank == 0;
        let shape = match params.random {
            _ if params.array > 0 => Shape::Array,
            _ if params.strided > 0 => Shape::Strided,
            0 => Shape::Forward,
            1 => Shape::Shuffled(shuffled(params, order)),
            _ => {
                let seed = mix(mix(order.seed) ^ order.whose);
                Shape::Anywhere { seed, blocks: (order.file_bytes / params.block_bytes).max(1) }
            }
        };
        Plan {
            shape,
            transfer: params.transfer_bytes,
            block: params.block_bytes,
            segments: params.segments,
            segments_per_call: params.segments_per_call,
            shared,
            whose: order.whose,
            tasks: order.tasks,
        }
    }

    /// Number of calls of one pass.
    pub fn calls(&self) -> u64 {
        let per_block = self.block / self.transfer;
        match &self.shape {
            Shape::Forward if self.segments_per_call > 1 => self.segments.div_ceil(self.segments_per_call),
            Shape::Forward | Shape::Anywhere { .. } => self.segments * per_block,
            Shape::Strided => per_block,
            Shape::Shuffled(offsets) => self.segments * offsets.len() as u64,
            Shape::Array => self.segments,
        }
    }

    /// The most transfers of a call.
    pub fn transfers_per_call(&self) -> u64 {
        match self.shape {
            Shape::Forward if self.segments_per_call > 1 => {
                self.segments_per_call.min(self.segments) * (self.block / self.transfer)
            }
            Shape::Strided => self.segments,
            _ => 1,
        }
    }

    /// A call of the pass.
    pub fn call(&self, number: u64) -> Call {
        let per_block = self.block / self.transfer;
        match &self.shape {
            Shape::Forward if self.segments_per_call > 1 => {
                let segment = number * self.segments_per_call;
                let segments = self.segments_per_call.min(self.segments - segment);
                self.at(self.start_of(segment), segment * self.block, segments * per_block)
            }
            Shape::Forward => {
                let (segment, within) = (number / per_block, number % per_block * self.transfer);
                self.at(self.start_of(segment) + within, segment * self.block + within, 1)
            }
            Shape::Strided => self.at(self.start_of(0) + number * self.transfer, 0, self.segments),
            Shape::Shuffled(offsets) => {
                let count = offsets.len() as u64;
                let (segment, within) = (number / count, offsets[(number % count) as usize]);
                let segment_bytes = if self.shared { self.tasks * self.block } else { self.block };
                self.at(segment * segment_bytes + within, 0, 1)
            }
            Shape::Anywhere { seed, blocks } => {
                let (segment, within) = (number / per_block, number % per_block * self.transfer);
                // The last block is always there, so that the file has its size.
                let is_last = segment == 0 && (!self.shared || self.whose == 0);
                let block = if is_last { blocks - 1 } else { mix(seed ^ segment) % blocks };
                self.at(block * self.block + within, 0, 1)
            }
            Shape::Array => self.at(number * self.tasks * self.block, number * self.block, 1),
        }
    }

    /// What the data of a call's n-th transfer is made from: its place in the file, or that of an array's box in the view.
    pub fn place(&self, call: &Call, transfer: u64) -> u64 {
        match self.shape {
            Shape::Array => call.position,
            Shape::Strided => call.offset + transfer * self.segment_bytes(),
            _ => {
                let per_block = self.block / self.transfer;
                if call.transfers == 1 {
                    return call.offset;
                }
                call.offset + transfer / per_block * self.segment_bytes() + transfer % per_block * self.transfer
            }
        }
    }

    fn at(&self, offset: u64, position: u64, transfers: u64) -> Call {
        Call { offset, position, transfers }
    }

    /// From one of the rank's blocks to the next.
    fn segment_bytes(&self) -> u64 {
        if self.shared { self.tasks * self.block } else { self.block }
    }

    fn start_of(&self, segment: u64) -> u64 {
        segment * self.segment_bytes() + if self.shared { self.whose * self.block } else { 0 }
    }
}

/// The offsets that are a rank's within a segment, in random order. In a shared file each transfer is some rank's.
fn shuffled(params: &Params, order: Order) -> Vec<u64> {
    let transfer = params.transfer_bytes;
    let mut offsets: Vec<u64> = if params.file_per_rank > 0 {
        (0..params.transfers_per_block()).map(|i| i * transfer).collect()
    } else {
        let all = params.transfers_per_block() * order.tasks;
        let is_own = |i: &u64| mix(mix(order.seed) ^ i) % order.tasks == order.whose;
        (0..all).filter(is_own).map(|i| i * transfer).collect()
    };
    let mut state = mix(order.seed) ^ mix(order.whose);
    for last in (1..offsets.len()).rev() {
        state = mix(state);
        offsets.swap(last, (state % (last as u64 + 1)) as usize);
    }
    offsets
}

/// The box of a rank in an array of 8-byte numbers, all as close to cubes as the numbers allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box3 {
    /// Numbers of the whole array in each dimension.
    pub sizes: [u64; 3],
    /// Numbers of the box.
    pub subsizes: [u64; 3],
    /// Where the box begins.
    pub starts: [u64; 3],
}

impl Box3 {
    /// A rank's box of `bytes` bytes.
    pub fn of(rank: u64, ranks: u64, bytes: u64) -> Box3 {
        let grid = near_cube(ranks);
        let subsizes = near_cube(bytes / 8);
        let place = [rank / (grid[1] * grid[2]), rank / grid[2] % grid[1], rank % grid[2]];
        let sizes = [0, 1, 2].map(|i| grid[i] * subsizes[i]);
        let starts = [0, 1, 2].map(|i| place[i] * subsizes[i]);
        Box3 { sizes, subsizes, starts }
    }
}

/// Three factors of a number, as close to each other as can be, the smallest first.
fn near_cube(number: u64) -> [u64; 3] {
    let largest = |number: u64, limit: f64| {
        (1..=limit as u64 + 1).rev().find(|n| number.is_multiple_of(*n) && (*n as f64) <= limit + 1e-6).unwrap_or(1)
    };
    let first = largest(number, (number as f64).cbrt());
    let second = largest(number / first, ((number / first) as f64).sqrt());
    [first, second, number / first / second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ior::options::parse;
    use std::ffi::OsString;

    fn plans(text: &str, tasks: u64) -> Vec<Plan> {
        let (line, _) = parse(text.split_whitespace().map(OsString::from)).unwrap();
        let file_bytes = line.params.aggregate_bytes(tasks).unwrap();
        (0..tasks).map(|whose| Plan::new(&line.params, Order { whose, tasks, seed: 5, file_bytes })).collect()
    }

    /// The file offsets of all transfers in their order.
    fn offsets(plan: &Plan) -> Vec<u64> {
        let of = |call: Call| (0..call.transfers).map(move |i| (call, i));
        (0..plan.calls()).flat_map(|n| of(plan.call(n))).map(|(call, i)| plan.place(&call, i)).collect()
    }

    fn all_sorted(plans: &[Plan]) -> Vec<u64> {
        let mut all: Vec<u64> = plans.iter().flat_map(offsets).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn transfers_go_as_ior_draws_them() {
        let shared = plans("-b 24 -t 8 -s 3", 4);
        assert_eq!(all_sorted(&shared), (0..36).map(|i| i * 8).collect::<Vec<_>>());
        assert_eq!(offsets(&shared[1])[..4], [24, 32, 40, 120]);
        let own = plans("-F -b 16 -t 8 -s 2", 4);
        assert_eq!(offsets(&own[3]), [0, 8, 16, 24]);
    }

    #[test]
    fn positions_in_a_view_follow_each_other() {
        let plan = &plans("-V -b 24 -t 8 -s 3", 4)[1];
        assert_eq!(
            (0..9).map(|n| plan.call(n).position).collect::<Vec<_>>(),
            (0..9).map(|i| i * 8).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_call_of_several_segments_has_all_of_their_blocks() {
        let plan = &plans("-V -b 16 -t 8 -s 5 --segmentsPerCall 2", 4)[1];
        assert_eq!((plan.calls(), plan.transfers_per_call()), (3, 4));
        assert_eq!(plan.call(0), Call { offset: 16, position: 0, transfers: 4 });
        assert_eq!(plan.call(2), Call { offset: 272, position: 64, transfers: 2 });
        assert_eq!(offsets(plan), offsets(&plans("-b 16 -t 8 -s 5", 4)[1]), "the same bytes in fewer calls");
    }

    #[test]
    fn a_strided_call_has_a_transfer_of_each_segment() {
        let plan = &plans("-V -S -b 16 -t 8 -s 3", 4)[1];
        assert_eq!((plan.calls(), plan.transfers_per_call()), (2, 3));
        assert_eq!(offsets(plan), [16, 80, 144, 24, 88, 152]);
    }

    #[test]
    fn a_random_order_has_every_transfer_once() {
        let shared = plans("-z -b 64 -t 8 -s 2", 3);
        assert_eq!(all_sorted(&shared), (0..48).map(|i| i * 8).collect::<Vec<_>>());
        let own = plans("-z -F -b 512 -t 8 -s 2", 2);
        for plan in &own {
            let order = offsets(plan);
            assert!(order.windows(2).any(|pair| pair[0] > pair[1]), "not from front to back");
            assert_eq!(all_sorted(std::slice::from_ref(plan)), (0..128).map(|i| i * 8).collect::<Vec<_>>());
            assert_eq!(order[..64].iter().map(|o| o + 512).collect::<Vec<_>>(), order[64..], "each segment alike");
        }
        assert_ne!(offsets(&own[0]), offsets(&own[1]));
    }

    #[test]
    fn random_places_lie_in_the_file_and_reach_its_end() {
        let all = plans("-zz -b 64 -t 8 -s 100", 3);
        let end = 64 * 3 * 100;
        assert!(all.iter().flat_map(offsets).all(|offset| offset + 8 <= end));
        assert_eq!(offsets(&all[0])[7], end - 8);
        let blocks: std::collections::BTreeSet<u64> = all.iter().flat_map(offsets).map(|o| o / 64).collect();
        assert!(blocks.len() > 100 && blocks.len() < 300, "{} of 300 blocks", blocks.len());
    }

    #[test]
    fn boxes_fill_the_array() {
        for (ranks, bytes) in [(1, 8), (4, 8 << 20), (6, 1000 * 8), (7, 64)] {
            let boxes: Vec<Box3> = (0..ranks).map(|rank| Box3::of(rank, ranks, bytes)).collect();
            let volume = |sides: [u64; 3]| sides.iter().product::<u64>();
            assert_eq!(volume(boxes[0].sizes), ranks * bytes / 8);
            let starts: std::collections::BTreeSet<[u64; 3]> = boxes.iter().map(|b| b.starts).collect();
            assert_eq!(starts.len() as u64, ranks);
            assert!(boxes.iter().all(|b| (0..3).all(|i| b.starts[i] + b.subsizes[i] <= b.sizes[i])));
        }
        assert_eq!(Box3::of(3, 4, 8 << 20).sizes, [64, 256, 256]);
    }
}
