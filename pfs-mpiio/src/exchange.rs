//! The rounds of a planned exchange.
//!
//! In each round every rank has at most one message for each aggregator, or gets one from it; ranks that have
//! nothing for each other do not talk. What a rank and an aggregator of the same node have for each other goes straight into
//! the aggregator's memory, or out of it ([`node_memory`](crate::node_memory)); how messages go from node to node is in
//! [`relay`](crate::relay). Errors of I/O are kept to the end: all bytes of all rounds are passed whatever happens, unless
//! the group is lost.
//!
//! What is written lies in an aggregator's block as in the file. What is read lies there rank by rank, each rank's bytes one after the
//! other, so that it is copied in long runs; only if several ranks read the same bytes it lies as in the file.
//!
//! An aggregator has two blocks, each as large as one round: while the bytes of one are read or written at the servers,
//! those of the other come from the ranks or go to them. So at most two rounds are under way, and an aggregator's memory
//! is twice `cb_buffer_size` and the messages of one round.

use crate::access::place;
use crate::comm::Parcel;
use crate::error::Error;
use crate::file::OpenFile;
use crate::node_memory::{BLOCKS, Memory, NodeMemory};
use crate::pin::Pinned;
use crate::relay::{self, Route};
use crate::times::{Counter, Phase};
use futures::future::join;
use pfs_core::collective::{CollectivePlan, Exchange, Message, Piece, Round};
use pfs_core::copy::Way;
use pfs_core::extent::Extent;
use std::marker::PhantomData;
use std::ops::Range;

/// What stays the same in all rounds.
struct Setting<'a> {
    file: &'a OpenFile,
    exchange: &'a Exchange,
    route: Route<'a>,
    memory: &'a NodeMemory,
}

impl<'a> Setting<'a> {
    fn of(file: &'a OpenFile, exchange: &'a Exchange, memory: &'a NodeMemory) -> Self {
        let sharing = memory.is_shared().then_some(&file.nodes);
        Setting { file, exchange, route: Route::of(exchange, file.group.rank(), sharing), memory }
    }

    /// The bytes of a round at this rank. It is an aggregator if there are any.
    fn block(&self, number: usize, round: &Round) -> Option<Block<'a>> {
        if round.io.is_empty() {
            return None;
        }
        let (memory, slot) = (self.memory.of(self.route.rank)?, number % BLOCKS);
        Some(Block { exchange: self.exchange, memory, slot, io: round.io.clone(), base: round.base })
    }

    /// Whether a rank reaches into the memory of an aggregator that is another one.
    fn is_guest(&self, rank: u32, aggregator: u32) -> bool {
        rank != aggregator && self.route.is_near(rank, aggregator)
    }

    /// Counts what others get from this rank without a message.
    fn note_sent<'m>(&self, messages: impl Iterator<Item = &'m Message>) {
        self.file.times.add(Counter::BytesSent, messages.map(Message::bytes).sum());
    }

    /// Has `pass` pass each message of this rank that goes by way of another rank's memory, as soon as that is open.
    async fn reach(
        &self,
        round: &Round,
        number: u64,
        mut pass: impl FnMut(&Memory, &Message, Way),
    ) -> Result<(), Error> {
        let rank = self.route.rank;
        let own = round.own.iter().filter(|message| self.is_guest(rank, message.peer));
        let memory_of = |aggregator| self.memory.of(aggregator).expect("memory is shared with all ranks of the node");
        let mut left: Vec<(&Message, &Memory)> = own.map(|message| (message, memory_of(message.peer))).collect();
        // Each rank begins with another one.
        let first = left.partition_point(|(message, _)| message.peer < rank);
        left.rotate_left(first);
        let mut watch = self.file.times.laps();
        while !left.is_empty() {
            let mut open = None;
            let is_any_open = || {
                open = left.iter().position(|(_, memory)| memory.is_open(number, rank));
                open.is_some()
            };
            self.file.group.until(is_any_open).await?;
            watch.end(Phase::Exchange);
            let (message, memory) = left.remove(open.expect("one was found"));
            let way = Way::of(message.bytes());
            pass(memory, message, way);
            way.finish();
            memory.done();
            watch.end(Phase::Pack);
        }
        Ok(())
    }

    /// Waits until so many more ranks are done in this rank's memory.
    async fn until_left(&self, guests: usize) -> Result<(), Error> {
        let Some(own) = self.memory.of(self.route.rank).filter(|_| guests > 0) else { return Ok(()) };
        self.memory.expect(guests);
        self.file.times.during(Phase::Exchange, self.file.group.until(|| self.memory.is_left(own))).await
    }

    /// Where each rank's bytes of a read begin in this rank's block, by message, when they lie one after the other. Nothing if a byte is in
    /// several messages.
    fn starts(&self, round: &Round) -> Option<Vec<usize>> {
        let lengths = || round.served.iter().map(relay::length);
        let is_disjoint = lengths().sum::<usize>() as u64 == bytes_of(&round.io);
        let start = |end: &mut usize, length| Some(std::mem::replace(end, *end + length));
        is_disjoint.then(|| lengths().scan(0, start).collect())
    }

    /// Says to the ranks of this node where their bytes of a read are.
    fn tell_starts(&self, block: &Block<'_>, round: &Round, starts: Option<&[usize]>) {
        for (at, message) in
            round.served.iter().enumerate().filter(|(_, message)| self.is_guest(message.peer, self.route.rank))
        {
            self.memory.set_start(block.memory, block.slot, message.peer, starts.map(|starts| starts[at]));
        }
    }
}

/// Gathers the bytes of all ranks at the aggregators, which write them: those of one round while the next are gathered.
pub(crate) async fn write(
    file: &OpenFile,
    plan: &CollectivePlan,
    exchange: &Exchange,
    pinned: &Pinned,
    bytes: &[u8],
) -> Result<(), Error> {
    let memory = file.node_memory(exchange).await?;
    let setting = Setting::of(file, exchange, &memory);
    let mut result = Ok(());
    let mut leaving = None;
    for (number, round) in plan.rounds(setting.route.rank).enumerate() {
        let filling = setting.block(number, &round);
        // The write is polled first, so its bytes are on their way while this rank packs.
        let write = write_block(file, pinned, leaving.as_ref(), result);
        let (written, gathered) = join(write, gather(&setting, number, &round, bytes, filling.as_ref())).await;
        result = written;
        gathered?;
        leaving = filling;
    }
    write_block(file, pinned, leaving.as_ref(), result).await
}

/// Has the aggregators read for all ranks and spreads the bytes: those of one round while the next are read.
pub(crate) async fn read(
    file: &OpenFile,
    plan: &CollectivePlan,
    exchange: &Exchange,
    pinned: &Pinned,
    bytes: &mut [u8],
) -> Result<(), Error> {
    let memory = file.node_memory(exchange).await?;
    let setting = Setting::of(file, exchange, &memory);
    let landing = Landing { start: bytes.as_mut_ptr(), length: bytes.len(), _bytes: PhantomData };
    let mut rounds =
        plan.rounds(setting.route.rank).enumerate().map(|(number, round)| Reading::of(&setting, number, round));
    let mut next = rounds.next();
    let mut result = read_block(file, pinned, next.as_ref(), &landing, Ok(())).await;
    while let Some(here) = next {
        next = rounds.next();
        let read = read_block(file, pinned, next.as_ref(), &landing, result);
        let (read, spread) = join(read, spread(&setting, &here, &landing)).await;
        result = read;
        spread?;
    }
    result
}

/// Passes the bytes of one round of a write; the block gets what this rank writes.
async fn gather(
    setting: &Setting<'_>,
    number: usize,
    round: &Round,
    bytes: &[u8],
    block: Option<&Block<'_>>,
) -> Result<(), Error> {
    let Setting { file, route, memory, .. } = setting;
    let count = memory.begin_round();
    // If no byte comes twice, all may put theirs at once.
    let is_ordered = round.served.iter().map(Message::bytes).sum::<u64>() > bytes_of(&round.io);
    block.iter().for_each(|block| block.memory.open(count, if is_ordered { 0 } else { u64::MAX }));
    setting.note_sent(round.own.iter().filter(|message| setting.is_guest(route.rank, message.peer)));
    let put = |memory: &Memory, message: &Message, way| {
        for piece in &message.pieces {
            let at = place_of(setting.exchange, round.base, piece.extent).start;
            memory.put(number % BLOCKS, at, &bytes[place(piece)], way);
        }
    };
    let serve = async {
        let mut watch = file.times.laps();
        let far = pack(route.own(round), |piece| &bytes[place(piece)]);
        watch.end(Phase::Pack);
        let incoming = relay::gather(file, route, round, far).await;
        watch.end(Phase::Exchange);
        let incoming = incoming?;
        let mut guests = 0;
        for (message, block) in round.served.iter().zip(block.into_iter().cycle()) {
            match incoming.iter().find(|parcel| parcel.peer == message.peer) {
                Some(parcel) => {
                    let way = Way::of(message.bytes());
                    unpack(message, &parcel.bytes, |piece, part| block.put(piece, part, way));
                    way.finish();
                }
                None if message.peer == route.rank => {
                    let way = Way::of(message.bytes());
                    message.pieces.iter().for_each(|piece| block.put(piece, &bytes[place(piece)], way));
                    way.finish();
                }
                None if is_ordered => {
                    block.memory.admit(u64::from(message.peer) + 1);
                    setting.until_left(1).await?;
                    watch.skip();
                }
                None => guests += 1,
            }
        }
        watch.end(Phase::Pack);
        setting.until_left(guests).await
    };
    // Both at once: ranks that serve each other in some order must not wait for each other in another one.
    let (reached, served) = join(setting.reach(round, count, put), serve).await;
    reached.and(served)
}

/// One round of a read.
struct Reading<'a> {
    number: usize,
    round: Round,
    block: Option<Block<'a>>,
    /// See [`Setting::starts`].
    starts: Option<Vec<usize>>,
}

impl<'a> Reading<'a> {
    fn of(setting: &Setting<'a>, number: usize, round: Round) -> Reading<'a> {
        let block = setting.block(number, &round);
        let starts = block.as_ref().and_then(|_| setting.starts(&round));
        Reading { number, round, block, starts }
    }

    /// What is read, in order, and where to: this rank's own bytes to where it wants them, those of the others into the block. If
    /// the bytes lie by place, all go into the block.
    ///
    /// # Safety
    /// The block is this rank's and not open as long as the references live; nobody else uses this rank's bytes of this round.
    #[allow(clippy::mut_from_ref)] // what is borrowed is what both stand for
    unsafe fn parts<'p>(
        &self,
        rank: u32,
        block: &'p Block<'_>,
        landing: &'p Landing<'_>,
    ) -> (Vec<Extent>, Vec<&'p mut [u8]>) {
        // SAFETY: the caller's promise. No two pieces are the same bytes of the file, nor have they the same place.
        let in_block = |range| unsafe { block.memory.bytes_mut(block.slot, range) };
        let Some(starts) = &self.starts else {
            return block.io.iter().map(|&extent| (extent, in_block(block.place(extent)))).unzip();
        };
        let mut parts = Vec::with_capacity(self.round.served.iter().map(|message| message.pieces.len()).sum());
        for (message, &start) in self.round.served.iter().zip(starts) {
            let mut at = start;
            parts.extend(message.pieces.iter().map(|piece| {
                let to = place(piece);
                let from = at;
                at += to.len();
                // SAFETY: as above.
                let part = if message.peer == rank { unsafe { landing.part(to) } } else { in_block(from..at) };
                (piece.extent, part)
            }));
        }
        // One list in order for each rank.
        parts.sort_by_key(|(extent, _)| extent.start());
        parts.into_iter().unzip()
    }

    /// Copies the bytes of a message of this rank from a block to where it wants them.
    fn take(
        &self,
        memory: &Memory,
        base: (&Exchange, u64),
        start: Option<usize>,
        message: &Message,
        landing: &Landing<'_>,
        way: Way,
    ) {
        let slot = self.number % BLOCKS;
        // SAFETY: these bytes are this message's, and no other one's.
        let to = |range| unsafe { landing.part(range) };
        match start {
            Some(mut at) => runs(&message.pieces).for_each(|run| {
                let length = run.len();
                memory.take(slot, at, to(run), way);
                at += length;
            }),
            None => message.pieces.iter().for_each(|piece| {
                memory.take(slot, place_of(base.0, base.1, piece.extent).start, to(place(piece)), way);
            }),
        }
    }

    /// Messages for ranks that do not reach into the block, with their bytes.
    fn far(&self, route: &Route<'_>, block: &Block<'_>) -> Vec<Parcel> {
        let Some(starts) = &self.starts else {
            return pack(route.served(&self.round), |piece| block.bytes(piece.extent));
        };
        let all = self.round.served.iter().zip(starts).filter(|(message, _)| !route.is_near(message.peer, route.rank));
        let parcel = |(message, &start): (&Message, &usize)| Parcel {
            peer: message.peer,
            bytes: block.at(start..start + relay::length(message)).to_vec(),
        };
        all.map(parcel).collect()
    }
}

/// Passes the bytes of one round of a read; the block has what this rank has read.
async fn spread(setting: &Setting<'_>, here: &Reading<'_>, landing: &Landing<'_>) -> Result<(), Error> {
    let Setting { file, route, memory, exchange } = setting;
    let Reading { number, round, block, starts, .. } = here;
    let base = (*exchange, round.base);
    let count = memory.begin_round();
    if let Some(block) = block {
        setting.tell_starts(block, round, starts.as_deref());
        block.memory.open(count, u64::MAX);
    }
    let guests = || round.served.iter().filter(|message| setting.is_guest(message.peer, route.rank));
    setting.note_sent(guests());
    let mut watch = file.times.laps();
    let far = block.as_ref().map_or_else(Vec::new, |block| here.far(route, block));
    watch.end(Phase::Pack);
    let take = |theirs: &Memory, message: &Message, way| {
        here.take(theirs, base, memory.start(theirs, number % BLOCKS, route.rank), message, landing, way);
    };
    setting.reach(round, count, take).await?;
    watch.skip();
    let incoming = relay::spread(file, route, round, far).await;
    watch.end(Phase::Exchange);
    let incoming = incoming?;
    for message in &round.own {
        match (incoming.iter().find(|parcel| parcel.peer == message.peer), block) {
            (Some(parcel), _) => {
                // SAFETY: these bytes are this message's, and no other one's.
                unpack(message, &parcel.bytes, |piece, part| {
                    unsafe { landing.part(place(piece)) }.copy_from_slice(part)
                });
            }
            (None, Some(block)) if message.peer == route.rank && starts.is_none() => {
                let way = Way::of(message.bytes());
                here.take(block.memory, base, None, message, landing, way);
                way.finish();
            }
            // This rank has taken them itself, or read them to where they belong.
            _ => {}
        }
    }
    watch.end(Phase::Pack);
    setting.until_left(guests().count()).await
}

/// Where the data of pieces lies, as long as one follows the other.
fn runs(pieces: &[Piece]) -> impl Iterator<Item = Range<usize>> + '_ {
    pieces.chunk_by(|one, next| one.at + one.extent.len() == next.at).map(|run| {
        let (first, last) = (place(&run[0]), place(&run[run.len() - 1]));
        first.start..last.end
    })
}

/// Writes a block, unless something has failed before.
async fn write_block(
    file: &OpenFile,
    pinned: &Pinned,
    block: Option<&Block<'_>>,
    before: Result<(), Error>,
) -> Result<(), Error> {
    before?;
    let Some(block) = block else { return Ok(()) };
    let parts: Vec<&[u8]> = block.io.iter().map(|&extent| block.bytes(extent)).collect();
    file.times.add(Counter::ServerBytesWritten, bytes_of(&block.io));
    let (io, token) = (file.io(), pinned.token()?);
    // SAFETY: this future is not forgotten, see `access`.
    let write = unsafe { io.write_list_under(token, &block.io, &parts) };
    Ok(file.times.during(Phase::ServerWrite, write).await?)
}

/// Reads a block, unless something has failed before.
async fn read_block(
    file: &OpenFile,
    pinned: &Pinned,
    reading: Option<&Reading<'_>>,
    landing: &Landing<'_>,
    before: Result<(), Error>,
) -> Result<(), Error> {
    before?;
    let Some((reading, block)) = reading.and_then(|reading| Some((reading, reading.block.as_ref()?))) else {
        return Ok(());
    };
    // SAFETY: the block is opened when it was read, and was left before. Nothing else refers to this rank's bytes of this round
    // meanwhile: they are passed when this is over.
    let (extents, mut parts) = unsafe { reading.parts(file.group.rank(), block, landing) };
    file.times.add(Counter::ServerBytesRead, bytes_of(&block.io));
    let (io, token) = (file.io(), pinned.token()?);
    // SAFETY: this future is not forgotten, see `access`.
    let read = unsafe { io.read_list_under(token, &extents, &mut parts) };
    Ok(file.times.during(Phase::ServerRead, read).await?)
}

/// The memory of the call, of which several rounds fill parts at the same time.
struct Landing<'a> {
    start: *mut u8,
    length: usize,
    _bytes: PhantomData<&'a mut [u8]>,
}

// SAFETY: it stands for a `&mut [u8]`; that no part is used twice is said by who asks for parts.
unsafe impl Send for Landing<'_> {}
// SAFETY: as above.
unsafe impl Sync for Landing<'_> {}

impl Landing<'_> {
    /// A part of it.
    ///
    /// # Safety
    /// There is no other reference to these bytes as long as this one lives.
    #[allow(clippy::mut_from_ref)] // what is borrowed is not `self`, but what it points to
    unsafe fn part(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} is past the end of the buffer");
        // SAFETY: inside of the bytes that are borrowed as long as this lives; see above.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// The bytes of one round at an aggregator, in its memory.
struct Block<'a> {
    exchange: &'a Exchange,
    memory: &'a Memory,
    slot: usize,
    /// What is written or read at the servers.
    io: Vec<Extent>,
    base: u64,
}

impl Block<'_> {
    fn place(&self, extent: Extent) -> Range<usize> {
        place_of(self.exchange, self.base, extent)
    }

    /// The bytes of an extent of this round.
    fn bytes(&self, extent: Extent) -> &[u8] {
        // SAFETY: the block is this rank's. A write refers to its bytes when it was left by all others, and a read when nobody
        // writes to them: while others take theirs, or before.
        unsafe { self.memory.bytes(self.slot, self.place(extent)) }
    }

    /// The bytes at a place.
    fn at(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: as above.
        unsafe { self.memory.bytes(self.slot, range) }
    }

    fn put(&self, piece: &Piece, bytes: &[u8], way: Way) {
        self.memory.put(self.slot, self.place(piece.extent).start, bytes, way);
    }
}

fn bytes_of(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len()).sum()
}

/// Where an extent of one window, or of neighbours, lies in an aggregator's block.
fn place_of(exchange: &Exchange, base: u64, extent: Extent) -> Range<usize> {
    let start = usize::try_from(exchange.place(extent.start()) - base).expect("a round fits in memory");
    start..start + usize::try_from(extent.len()).expect("an extent of a buffer fits in memory")
}

/// Messages with their bytes.
fn pack<'m, 'a>(messages: impl Iterator<Item = &'m Message>, bytes: impl Fn(&Piece) -> &'a [u8]) -> Vec<Parcel> {
    let parcel = |message: &Message| {
        let parts: Vec<&[u8]> = message.pieces.iter().map(&bytes).collect();
        Parcel { peer: message.peer, bytes: parts.concat() }
    };
    messages.map(parcel).collect()
}

fn unpack(message: &Message, bytes: &[u8], mut put: impl FnMut(&Piece, &[u8])) {
    let mut rest = bytes;
    for piece in &message.pieces {
        let (part, after) = rest.split_at(place(piece).len());
        put(piece, part);
        rest = after;
    }
}
