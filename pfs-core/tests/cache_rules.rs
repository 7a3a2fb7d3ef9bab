//! One small story for each rule of the block cache.

use pfs_core::cache::{BlockCache, CacheCounters, FileKey, Read, Write, may_use_hit};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder};

const BLOCK: u64 = 16;
const UNIT: u64 = 32;

type Cache = BlockCache<&'static str>;

fn key(client: u64) -> FileKey {
    FileKey { holder: Holder::Client(ClientId::new(client).unwrap()), file: FileId::new(1).unwrap() }
}

fn boot(number: u64) -> Boot {
    Boot::new(number).unwrap()
}

fn range(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

fn cache(blocks: u64) -> Cache {
    let mut cache = Cache::new(BLOCK, blocks * BLOCK);
    cache.open(key(1), boot(1), UNIT);
    cache
}

fn write(cache: &mut Cache, range: Extent, byte: u8) -> Write {
    cache.write(key(1), boot(1), range, &vec![byte; range.len() as usize])
}

fn read(cache: &mut Cache, range: Extent) -> (Read, Vec<u8>) {
    let mut out = vec![0xEE; range.len() as usize];
    (cache.read(key(1), boot(1), range, &mut out), out)
}

fn fill(cache: &mut Cache, range: Extent, byte: u8) {
    let id = cache.begin_fill(key(1), boot(1), range).unwrap();
    cache.fill(key(1), id, range, &vec![byte; range.len() as usize]);
    cache.end_fill(key(1), id);
}

/// Writes everything back; returns the ranges in the order in which they went out.
fn write_back(cache: &mut Cache, range: Extent) -> Vec<Extent> {
    let mut out = Vec::new();
    while let Some(batch) = cache.take_dirty(key(1), range, 1 << 20, &mut Vec::new()) {
        out.extend(batch.extents());
        cache.written(batch);
    }
    out
}

/// A write of some bytes of a block needs no byte of the servers, and only those bytes go to them: another client may have
/// the rest of the block.
#[test]
fn a_write_reads_nothing_before_and_writes_nothing_beside_it() {
    let mut cache = cache(4);
    assert_eq!(write(&mut cache, range(3, 6), 7), Write::Cached);
    let (found, bytes) = read(&mut cache, range(2, 8));
    assert_eq!(found, Read::Miss(vec![range(2, 3), range(6, 8)]));
    assert_eq!(&bytes[1..4], &[7, 7, 7]);
    assert_eq!(write_back(&mut cache, Extent::ALL), [range(3, 6)]);
}

/// Stripe units that are dirty as a whole go first, in one piece each, and without anybody asking; the rest waits.
#[test]
fn full_stripe_units_go_first() {
    let mut cache = cache(8);
    write(&mut cache, range(5, 9), 1);
    (32..64).step_by(4).for_each(|at| assert_eq!(write(&mut cache, range(at, at + 4), 2), Write::Cached));
    assert_eq!(cache.next_write_back(), Some((key(1), range(32, 64))));
    assert_eq!(write_back(&mut cache, Extent::ALL), [range(32, 64), range(5, 9)]);
    assert_eq!(cache.next_write_back(), None);
}

/// When dirty blocks take more than half of the room, they are written back; with no room at all a write is not taken.
#[test]
fn pressure_writes_back_and_a_full_cache_takes_nothing() {
    let mut cache = cache(4);
    for block in [9, 5, 7] {
        assert_eq!(cache.next_write_back(), None);
        write(&mut cache, range(block * BLOCK, block * BLOCK + 1), 1);
    }
    assert_eq!(cache.next_write_back(), Some((key(1), range(64, 96))));
    assert_eq!(write(&mut cache, range(0, 1), 1), Write::Cached);
    assert_eq!(write(&mut cache, range(256, 257), 1), Write::NoRoom);
    assert_eq!(cache.counters().dirty_bytes, 4);
    write_back(&mut cache, range(64, 96));
    assert_eq!(write(&mut cache, range(256, 257), 1), Write::Cached);
    assert_eq!(cache.counters().evictions, 1);
}

/// The block that was not used for longest makes room.
#[test]
fn the_least_recently_used_block_is_evicted() {
    let mut cache = cache(3);
    (0..3).for_each(|block| fill(&mut cache, range(block * BLOCK, (block + 1) * BLOCK), 1));
    assert_eq!(read(&mut cache, range(0, 16)).0, Read::Hit);
    fill(&mut cache, range(48, 64), 1);
    assert_eq!(read(&mut cache, range(0, 16)).0, Read::Hit);
    assert_eq!(read(&mut cache, range(16, 32)).0, Read::Miss(vec![range(16, 32)]));
    assert_eq!(cache.counters().evictions, 1);
}

/// Bytes that are written again while they are on their way are dirty again, and do not go out a second time before.
#[test]
fn what_is_written_again_on_its_way_is_dirty_again() {
    let mut cache = cache(4);
    write(&mut cache, range(0, 8), 1);
    let first = cache.take_dirty(key(1), Extent::ALL, 100, &mut Vec::new()).unwrap();
    write(&mut cache, range(4, 12), 2);
    let second = cache.take_dirty(key(1), Extent::ALL, 100, &mut Vec::new()).unwrap();
    assert!(second.pieces().eq([(range(8, 12), &[2; 4][..])]), "the rest would overtake");
    cache.written(first);
    cache.written(second);
    assert!(cache.is_pending(key(1), Extent::ALL));
    assert_eq!(write_back(&mut cache, Extent::ALL), [range(4, 8)]);
    assert_eq!(read(&mut cache, range(0, 12)), (Read::Hit, [vec![1; 4], vec![2; 8]].concat()));
}

/// A write-back that fails for good drops its bytes, except for newer ones, and the next who asks is told once.
#[test]
fn a_failed_write_back_drops_the_bytes_and_is_told_once() {
    let mut cache = cache(4);
    write(&mut cache, range(0, 8), 1);
    let batch = cache.take_dirty(key(1), Extent::ALL, 100, &mut Vec::new()).unwrap();
    write(&mut cache, range(4, 6), 2);
    cache.failed(batch, "no space");
    let (found, bytes) = read(&mut cache, range(0, 8));
    assert_eq!(found, Read::Miss(vec![range(0, 4), range(6, 8)]));
    assert_eq!(bytes[4..6], [2, 2]);
    assert_eq!((cache.take_error(key(1)), cache.take_error(key(1))), (Some("no space"), None));
}

/// An answer of a server that was asked before the bytes were given up must not be found after they were got again.
#[test]
fn an_overtaken_answer_is_not_cached() {
    let mut cache = cache(4);
    let id = cache.begin_fill(key(1), boot(1), range(0, 16)).unwrap();
    cache.invalidate(key(1), range(4, 8));
    cache.fill(key(1), id, range(0, 16), &[1; 16]);
    assert_eq!(read(&mut cache, range(0, 16)).0, Read::Miss(vec![range(4, 8)]));
}

/// Two holders of one process share nothing, nor do two boots, unless the later one has taken over what was held.
#[test]
fn blocks_belong_to_a_holder_and_a_boot() {
    let mut cache = cache(4);
    cache.open(key(2), boot(1), UNIT);
    write(&mut cache, range(0, 4), 1);
    let mut out = [0; 4];
    let miss = Read::Miss(vec![range(0, 4)]);
    assert_eq!(cache.read(key(2), boot(1), range(0, 4), &mut out), miss);
    assert_eq!(cache.read(key(1), boot(2), range(0, 4), &mut out), miss);
    assert_eq!(cache.write(key(1), boot(2), range(0, 4), &out), Write::Stale);
    cache.resumed(key(1), boot(2));
    assert_eq!(cache.read(key(1), boot(2), range(0, 4), &mut out), Read::Hit);
    assert!(may_use_hit(boot(2), boot(2), true));
    assert!(!may_use_hit(boot(1), boot(2), true) && !may_use_hit(boot(2), boot(2), false));
}

#[test]
fn every_counter_counts_its_event() {
    let mut cache = cache(4);
    fill(&mut cache, range(0, 16), 1);
    read(&mut cache, range(0, 4));
    read(&mut cache, range(12, 20));
    write(&mut cache, range(0, 2), 1);
    write(&mut cache, range(30, 34), 1);
    let now = CacheCounters { cached_bytes: 20, dirty_bytes: 6, ..CacheCounters::default() };
    let counted = CacheCounters { read_hits: 1, read_misses: 1, write_hits: 1, write_misses: 1, ..now };
    assert_eq!(cache.counters(), counted);
    cache.drop_clean(key(1));
    assert_eq!(cache.counters(), CacheCounters { invalidations: 1, cached_bytes: 6, ..counted });
    write_back(&mut cache, Extent::ALL);
    cache.count_write_backs(2, false);
    cache.count_write_backs(1, true);
    cache.close(key(1));
    let end = CacheCounters { invalidations: 1, write_backs: 3, close_write_backs: 1, close_evictions: 3, ..counted };
    assert_eq!(cache.counters(), CacheCounters { cached_bytes: 0, dirty_bytes: 0, ..end });
}
