//! The block cache against plain arrays of bytes: the file at the servers, and what its users have written.
//!
//! Two clients share a file byte by byte. A token is modelled as the owner of each byte. The cache of whoever owns a byte
//! must show the newest write of it; a byte that changes its owner was written back and forgotten before.

use pfs_core::cache::{Batch, BlockCache, FileKey, Read, Write};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder};
use proptest::prelude::*;

const FILE_BYTES: usize = 96;
const BLOCK_BYTES: u64 = 8;
const STRIPE_UNIT: u64 = 16;

#[derive(Clone, Debug)]
enum Step {
    Read(usize, Extent),
    Write(usize, Extent, u8),
    /// Asks the servers now and puts the answer into the cache some steps later.
    BeginFill(usize, Extent),
    Fill(usize),
    Take(usize, Extent),
    Background(usize),
    /// What is on its way arrives.
    Arrive(usize),
    PutBack(usize),
    /// Past the cache.
    Direct(usize, Extent, u8),
    /// Another client gets the range.
    HandOver(Extent, usize),
    DropClean(usize),
    Resume,
}

type Pieces = Vec<(Extent, Vec<u8>)>;

struct Cached {
    cache: BlockCache<&'static str>,
    key: FileKey,
    batches: Vec<(Batch, Pieces)>,
    fills: Vec<(pfs_core::cache::FillId, Extent, Vec<u8>)>,
}

struct World {
    clients: Vec<Cached>,
    boot: Boot,
    server: Vec<u8>,
    newest: Vec<u8>,
    owner: Vec<usize>,
}

fn slice(bytes: &[u8], range: Extent) -> &[u8] {
    &bytes[range.start() as usize..range.end() as usize]
}

fn slice_mut(bytes: &mut [u8], range: Extent) -> &mut [u8] {
    &mut bytes[range.start() as usize..range.end() as usize]
}

impl World {
    fn new(capacity_bytes: u64) -> World {
        let boot = Boot::new(1).unwrap();
        let clients = (1..=2)
            .map(|number| {
                let key =
                    FileKey { holder: Holder::Client(ClientId::new(number).unwrap()), file: FileId::new(3).unwrap() };
                let mut cache = BlockCache::new(BLOCK_BYTES, capacity_bytes);
                cache.open(key, boot, STRIPE_UNIT);
                Cached { cache, key, batches: Vec::new(), fills: Vec::new() }
            })
            .collect();
        let (server, newest, owner) = (vec![0; FILE_BYTES], vec![0; FILE_BYTES], vec![0; FILE_BYTES]);
        World { clients, boot, server, newest, owner }
    }

    fn owns(&self, client: usize, range: Extent) -> bool {
        slice_owner(&self.owner, range).iter().all(|owner| *owner == client)
    }

    fn read(&mut self, client: usize, range: Extent) {
        let mut out = vec![0xEE; range.len() as usize];
        let c = &mut self.clients[client];
        if let Read::Miss(missing) = c.cache.read(c.key, self.boot, range, &mut out) {
            for part in missing {
                let at = (part.start() - range.start()) as usize;
                out[at..at + part.len() as usize].copy_from_slice(slice(&self.server, part));
            }
        }
        assert_eq!(out, slice(&self.newest, range), "client {client} reads {range}");
    }

    fn take(&mut self, client: usize, range: Extent, bytes_max: u64) -> bool {
        let c = &mut self.clients[client];
        let Some(batch) = c.cache.take_dirty(c.key, range, bytes_max, &mut Vec::new()) else { return false };
        let pieces: Vec<(Extent, Vec<u8>)> = batch.pieces().map(|(extent, bytes)| (extent, bytes.to_vec())).collect();
        for (extent, bytes) in &pieces {
            assert!(range.contains(*extent) && extent.len() == bytes.len() as u64);
            for (other, _) in c.batches.iter().flat_map(|(_, pieces)| pieces) {
                assert!(!other.overlaps(*extent), "{extent} is on its way twice");
            }
        }
        c.batches.push((batch, pieces));
        true
    }

    fn arrive(&mut self, client: usize) {
        let c = &mut self.clients[client];
        if !c.batches.is_empty() {
            let (batch, pieces) = c.batches.remove(0);
            for (extent, bytes) in pieces {
                slice_mut(&mut self.server, extent).copy_from_slice(&bytes);
            }
            c.cache.written(batch);
        }
    }

    fn write_back(&mut self, client: usize, range: Extent) {
        while self.clients[client].cache.is_pending(self.clients[client].key, range) {
            if !self.take(client, range, 12) {
                self.arrive(client);
            }
        }
    }

    fn direct(&mut self, client: usize, range: Extent, byte: u8) {
        self.write_back(client, range);
        let c = &mut self.clients[client];
        c.cache.invalidate(c.key, range);
        slice_mut(&mut self.server, range).fill(byte);
        slice_mut(&mut self.newest, range).fill(byte);
        c.cache.invalidate(c.key, range);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Read(client, range) if self.owns(client, range) => self.read(client, range),
            Step::Write(client, range, byte) if self.owns(client, range) => {
                let bytes = vec![byte; range.len() as usize];
                let c = &mut self.clients[client];
                match c.cache.write(c.key, self.boot, range, &bytes) {
                    Write::Cached => slice_mut(&mut self.newest, range).fill(byte),
                    Write::NoRoom => self.direct(client, range, byte),
                    Write::Stale => panic!("the boot is right"),
                }
            }
            Step::BeginFill(client, range) if self.owns(client, range) => {
                let c = &mut self.clients[client];
                let id = c.cache.begin_fill(c.key, self.boot, range).unwrap();
                assert!(c.cache.is_filling(c.key, range));
                c.fills.push((id, range, slice(&self.server, range).to_vec()));
            }
            Step::Fill(client) if !self.clients[client].fills.is_empty() => {
                let c = &mut self.clients[client];
                let (id, range, bytes) = c.fills.remove(0);
                c.cache.fill(c.key, id, range, &bytes);
                c.cache.end_fill(c.key, id);
            }
            Step::Take(client, range) => drop(self.take(client, range, 20)),
            Step::Background(client) => {
                let c = &mut self.clients[client];
                if let Some((key, range)) = c.cache.next_write_back() {
                    assert_eq!(key, c.key);
                    assert!(c.cache.is_pending(key, range));
                    self.take(client, range, 64);
                }
            }
            Step::Arrive(client) => self.arrive(client),
            Step::PutBack(client) if !self.clients[client].batches.is_empty() => {
                let c = &mut self.clients[client];
                let (batch, _) = c.batches.remove(0);
                c.cache.put_back(batch);
            }
            Step::Direct(client, range, byte) if self.owns(client, range) => self.direct(client, range, byte),
            Step::HandOver(range, to) => {
                for client in 0..self.clients.len() {
                    self.write_back(client, range);
                    let c = &mut self.clients[client];
                    c.cache.invalidate(c.key, range);
                }
                slice_owner_mut(&mut self.owner, range).fill(to);
            }
            Step::DropClean(client) => {
                let c = &mut self.clients[client];
                c.cache.drop_clean(c.key);
            }
            Step::Resume => {
                self.boot = Boot::new(self.boot.get() + 1).unwrap();
                self.clients.iter_mut().for_each(|c| c.cache.resumed(c.key, self.boot));
            }
            _ => {}
        }
    }

    fn check(&self, capacity_bytes: u64) {
        for c in &self.clients {
            let counters = c.cache.counters();
            assert!(counters.dirty_bytes <= counters.cached_bytes && counters.cached_bytes <= capacity_bytes);
            let whole = Extent::new(0, FILE_BYTES as u64).unwrap();
            assert_eq!(counters.dirty_bytes > 0, c.cache.is_pending(c.key, whole));
        }
    }
}

fn slice_owner(owner: &[usize], range: Extent) -> &[usize] {
    &owner[range.start() as usize..range.end() as usize]
}

fn slice_owner_mut(owner: &mut [usize], range: Extent) -> &mut [usize] {
    &mut owner[range.start() as usize..range.end() as usize]
}

fn step() -> impl Strategy<Value = Step> {
    let range = || {
        (0..FILE_BYTES as u64 - 1, 1..30u64)
            .prop_map(|(start, length)| Extent::new(start, (start + length).min(FILE_BYTES as u64)).unwrap())
    };
    let client = 0..2usize;
    prop_oneof![
        6 => (client.clone(), range()).prop_map(|(c, r)| Step::Read(c, r)),
        6 => (client.clone(), range(), any::<u8>()).prop_map(|(c, r, b)| Step::Write(c, r, b)),
        3 => (client.clone(), range()).prop_map(|(c, r)| Step::BeginFill(c, r)),
        3 => client.clone().prop_map(Step::Fill),
        2 => (client.clone(), range()).prop_map(|(c, r)| Step::Take(c, r)),
        2 => client.clone().prop_map(Step::Background),
        3 => client.clone().prop_map(Step::Arrive),
        1 => client.clone().prop_map(Step::PutBack),
        1 => (client.clone(), range(), any::<u8>()).prop_map(|(c, r, b)| Step::Direct(c, r, b)),
        3 => (range(), client.clone()).prop_map(|(r, c)| Step::HandOver(r, c)),
        1 => client.prop_map(Step::DropClean),
        1 => Just(Step::Resume),
    ]
}

proptest! {
    #[test]
    fn a_cache_is_an_array_of_bytes(steps in prop::collection::vec(step(), 1..120), blocks in 0u64..8) {
        let capacity_bytes = blocks * BLOCK_BYTES;
        let mut world = World::new(capacity_bytes);
        for step in steps {
            world.step(step);
            world.check(capacity_bytes);
        }
        let whole = Extent::new(0, FILE_BYTES as u64).unwrap();
        (0..2).for_each(|client| world.write_back(client, whole));
        prop_assert_eq!(world.server, world.newest);
        for c in &mut world.clients {
            c.cache.close(c.key);
            prop_assert_eq!((c.cache.counters().cached_bytes, c.cache.counters().dirty_bytes), (0, 0));
        }
    }
}
