//! Which rank moves which bytes.
//!
//! ```text
//! shared file, 2 ranks, 2 segments:   | rank 0 block | rank 1 block | rank 0 block | rank 1 block |
//!                                     |--------- segment 0 ---------|--------- segment 1 ---------|
//! own files:                          | block of segment 0 | block of segment 1 |
//! ```

use crate::ior::options::Options;

/// The file offsets of all transfers of the rank whose data is moved, in order.
pub fn offsets(options: &Options, rank: u64, ranks: u64) -> impl Iterator<Item = u64> {
    let (block, transfer, shared) = (options.block_bytes, options.transfer_bytes, !options.file_per_rank);
    (0..options.segments).flat_map(move |segment| {
        let start = if shared { (segment * ranks + rank) * block } else { segment * block };
        (0..block / transfer).map(move |i| start + i * transfer)
    })
}

/// Bytes of all ranks together, or nothing when that is too many.
pub fn aggregate_bytes(options: &Options, ranks: u64) -> Option<u64> {
    let bytes = options.block_bytes.checked_mul(options.segments)?.checked_mul(ranks)?;
    (bytes <= i64::MAX as u64).then_some(bytes)
}

/// Whose data a rank reads: with `-C` that of a rank on the next node, or of the next rank if all are on one node.
pub fn reads_data_of(options: &Options, rank: u64, ranks: u64, ranks_per_node: u64) -> u64 {
    let shift = match ranks_per_node % ranks {
        _ if !options.reorder => 0,
        0 => 1,
        shift => shift,
    };
    (rank + shift) % ranks
}

/// The name of the file with a rank's data.
pub fn file_name(options: &Options, rank: u64) -> String {
    if options.file_per_rank { format!("{}.{rank:08}", options.file) } else { options.file.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(line: &str) -> Options {
        let words = std::iter::once("pfs-ior").chain(line.split_whitespace());
        Options::try_parse_from(words).unwrap().checked().unwrap()
    }

    #[test]
    fn the_transfers_of_all_ranks_fill_a_shared_file() {
        let options = options("-b 24 -t 8 -s 3 -o x");
        let mut all: Vec<u64> = (0..4).flat_map(|rank| offsets(&options, rank, 4)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..36).map(|i| i * 8).collect::<Vec<_>>());
        assert_eq!(aggregate_bytes(&options, 4), Some(36 * 8));
        assert_eq!(offsets(&options, 1, 4).take(4).collect::<Vec<_>>(), [24, 32, 40, 120]);
    }

    #[test]
    fn a_rank_fills_its_own_file() {
        let options = options("-F -b 16 -t 8 -s 2 -o x");
        assert_eq!(offsets(&options, 3, 4).collect::<Vec<_>>(), [0, 8, 16, 24]);
        assert_eq!(file_name(&options, 3), "x.00000003");
    }

    #[test]
    fn reordered_ranks_read_what_others_wrote() {
        let (plain, reordered) = (options("-o x"), options("-C -o x"));
        assert_eq!(reads_data_of(&plain, 2, 4, 4), 2);
        assert_eq!(reads_data_of(&reordered, 3, 4, 4), 0, "one node: the next rank");
        assert_eq!(reads_data_of(&reordered, 1, 4, 2), 3, "two nodes: a rank of the other one");
        assert_eq!(reads_data_of(&reordered, 0, 1, 1), 0, "there is nobody else");
    }

    #[test]
    fn a_file_that_can_not_be_is_found_out() {
        assert_eq!(aggregate_bytes(&options("-b 1t -t 1t -s 99999999 -o x"), 1 << 20), None);
    }
}
