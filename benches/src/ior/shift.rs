//! Whose data a rank reads (`-C`, `-Z`, `-Q`, `-X`).
//!
//! `-C` goes one node on, as IOR does. Where that would be the rank itself, since all ranks are on one node, it goes one rank
//! on: each rank is a client with a cache of its own.

use crate::ior::params::Params;
use crate::ior::pattern::mix;
use crate::ranks::Nodes;

/// Whose data a rank reads when the time of reads is taken.
pub fn for_read(params: &Params, nodes: Nodes, rank: u64, tasks: u64, repetition: u32) -> u64 {
    if params.reorder > 0 {
        return constant(params.task_offset, nodes, rank, tasks);
    }
    match params.reorder_random {
        0 => rank,
        1 => {
            // Not on one of the nodes that follow, as far as there are others.
            let away = params.task_offset.min(nodes.count.saturating_sub(1)) * nodes.ranks_on_first;
            let mut state = mix(seed(params, repetition)) ^ mix(rank);
            loop {
                state = mix(state);
                let shift = state % tasks;
                if shift >= away.min(tasks - 1) {
                    return (rank + shift) % tasks;
                }
            }
        }
        _ => permutation(seed(params, repetition), tasks)[rank as usize],
    }
}

/// Whose data a rank reads to check a write: one further than reads go, so that each of the two meets other ranks' data.
pub fn for_write_check(params: &Params, nodes: Nodes, rank: u64, tasks: u64) -> u64 {
    if params.reorder > 0 { constant(params.task_offset + 1, nodes, rank, tasks) } else { rank }
}

fn constant(offset: u64, nodes: Nodes, rank: u64, tasks: u64) -> u64 {
    let node = if nodes.in_blocks { nodes.ranks_on_first } else { 1 };
    let shift = match offset * node % tasks {
        0 => offset % tasks,
        shift => shift,
    };
    (rank + shift) % tasks
}

fn seed(params: &Params, repetition: u32) -> u64 {
    match params.reorder_seed {
        seed if seed < 0 => seed.unsigned_abs() + u64::from(repetition),
        seed => seed.unsigned_abs(),
    }
}

fn permutation(seed: u64, tasks: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..tasks).collect();
    let mut state = seed;
    for last in (1..order.len()).rev() {
        state = mix(state);
        order.swap(last, (state % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Nodes = Nodes { count: 1, ranks_on_first: 4, in_blocks: true };
    const BLOCKS: Nodes = Nodes { count: 2, ranks_on_first: 2, in_blocks: true };
    const TURNS: Nodes = Nodes { count: 2, ranks_on_first: 2, in_blocks: false };

    fn reads(params: &Params, nodes: Nodes, repetition: u32) -> Vec<u64> {
        (0..4).map(|rank| for_read(params, nodes, rank, 4, repetition)).collect()
    }

    #[test]
    fn a_constant_shift_goes_to_the_next_node() {
        let mut params = Params { reorder: 1, ..Params::default() };
        assert_eq!(reads(&Params::default(), ONE, 0), [0, 1, 2, 3]);
        assert_eq!(reads(&params, BLOCKS, 0), [2, 3, 0, 1]);
        assert_eq!(reads(&params, TURNS, 0), [1, 2, 3, 0]);
        assert_eq!(reads(&params, ONE, 0), [1, 2, 3, 0], "one node: the next rank");
        assert_eq!((0..4).map(|r| for_write_check(&params, ONE, r, 4)).collect::<Vec<_>>(), [2, 3, 0, 1]);
        params.task_offset = 2;
        assert_eq!(reads(&params, TURNS, 0), [2, 3, 0, 1]);
        assert_eq!(for_read(&params, Nodes { ranks_on_first: 1, ..ONE }, 0, 1, 0), 0, "there is nobody else");
    }

    #[test]
    fn a_random_shift_leaves_the_node() {
        let params = Params { reorder_random: 1, reorder_seed: 5, ..Params::default() };
        for rank in 0..4 {
            let shift = (for_read(&params, BLOCKS, rank, 4, 0) + 4 - rank) % 4;
            assert!(shift >= 2, "{shift}");
        }
        assert_eq!(reads(&params, BLOCKS, 0), reads(&params, BLOCKS, 1), "the same seed, the same order");
    }

    #[test]
    fn twice_random_is_a_permutation_that_a_negative_seed_changes() {
        let params = Params { reorder_random: 2, reorder_seed: -3, ..Params::default() };
        let orders: Vec<Vec<u64>> = (0..8).map(|repetition| reads(&params, ONE, repetition)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert!(orders.iter().any(|order| *order != orders[0]));
    }
}
