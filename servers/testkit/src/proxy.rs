//! A way to a server that a test can cut, stall and heal, and that can change what it carries.

use crate::ports::free_address;
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Bytes that are taken up at once; a stalled connection holds no more.
const CHUNK_BYTES: usize = 16 * 1024;
/// The shortest chunk in which a bit is changed.
const FLIPPED_CHUNK_BYTES_MIN: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Flows,
    /// Connections stand, and nothing gets through.
    Stalled,
    /// What the server sends is held back.
    AnswersStalled,
    /// There are no connections, and new ones end at once.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    mode: Mode,
    /// Connections of an earlier age are over.
    age: u64,
}

/// Which bits are changed on their way.
#[derive(Debug, Default)]
struct Flips {
    /// One chunk in so many; 0: none.
    one_in: AtomicU64,
    chunks: AtomicU64,
    flipped: AtomicU64,
}

impl Flips {
    /// Changes a bit somewhere in a chunk, if it is its turn. Short chunks are left alone: they have no payload to speak of.
    fn pass(&self, chunk: &mut [u8]) {
        let one_in = self.one_in.load(Ordering::SeqCst);
        if one_in == 0 || chunk.len() < FLIPPED_CHUNK_BYTES_MIN {
            return;
        }
        let number = self.chunks.fetch_add(1, Ordering::SeqCst) + 1;
        if number.is_multiple_of(one_in) {
            let at = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let byte = usize::try_from((at >> 8) % chunk.len() as u64).expect("less than its length");
            chunk[byte] ^= 1 << (at & 7);
            self.flipped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A TCP proxy on a thread of its own. It listens for as long as it lives.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    way: watch::Sender<Way>,
    accepted: Arc<AtomicU64>,
    flips: Arc<Flips>,
    /// Ends with the proxy.
    _runtime: Runtime,
}

impl Proxy {
    /// A way to `target`, open.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let proxy = Proxy::start_without_target()?;
        proxy.lead_to(target);
        Ok(proxy)
    }

    /// A way of which is said later [where it leads](Self::lead_to); connections end at once until then.
    pub fn start_without_target() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build();
        let runtime = runtime.context("cannot make a runtime")?;
        let address = free_address()?;
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let way = watch::Sender::new(Way { mode: Mode::Flows, age: 0 });
        let accepted = Arc::new(AtomicU64::new(0));
        let target = Arc::new(OnceLock::new());
        let flips = Arc::new(Flips::default());
        runtime.spawn(accept(listener, target.clone(), way.subscribe(), accepted.clone(), flips.clone()));
        Ok(Proxy { address, target, way, accepted, flips, _runtime: runtime })
    }

    /// Says where it leads, once and for all.
    ///
    /// # Panics
    /// If it leads elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        assert_eq!(*self.target.get_or_init(|| target), target);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Changes a bit in one of so many chunks of bytes, both ways, somewhere in the chunk; 0: none.
    pub fn flip_bits(&self, one_chunk_in: u64) {
        self.flips.one_in.store(one_chunk_in, Ordering::SeqCst);
    }

    /// How many bits were changed so far.
    pub fn flipped(&self) -> u64 {
        self.flips.flipped.load(Ordering::SeqCst)
    }

    /// Ends all connections; new ones go through.
    pub fn break_connections(&self) {
        self.way.send_modify(|way| way.age += 1);
    }

    /// Ends all connections; new ones end at once, until it is healed.
    pub fn cut(&self) {
        self.way.send_modify(|way| *way = Way { mode: Mode::Cut, age: way.age + 1 });
    }

    /// Holds all bytes back, both ways, until it is healed. Connections stay and can be made.
    pub fn stall(&self) {
        self.way.send_modify(|way| way.mode = Mode::Stalled);
    }

    /// Holds what the server sends back, until it is healed. What clients send gets through.
    pub fn stall_answers(&self) {
        self.way.send_modify(|way| way.mode = Mode::AnswersStalled);
    }

    /// Opens the way again. What was held back goes on.
    pub fn heal(&self) {
        self.way.send_modify(|way| way.mode = Mode::Flows);
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<OnceLock<SocketAddr>>,
    way: watch::Receiver<Way>,
    accepted: Arc<AtomicU64>,
    flips: Arc<Flips>,
) {
    // An error of one connection says nothing of the next.
    loop {
        let Ok((from, _)) = listener.accept().await else { continue };
        accepted.fetch_add(1, Ordering::SeqCst);
        let now = *way.borrow();
        if let (Mode::Flows | Mode::Stalled | Mode::AnswersStalled, Some(target)) = (now.mode, target.get()) {
            tokio::spawn(carry(from, *target, way.clone(), now.age, flips.clone()));
        }
    }
}

async fn carry(from: TcpStream, target: SocketAddr, way: watch::Receiver<Way>, age: u64, flips: Arc<Flips>) {
    let mut ages = way.clone();
    let carried = async {
        let to = TcpStream::connect(target).await?;
        from.set_nodelay(true)?;
        to.set_nodelay(true)?;
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        let asks = pump(from_read, to_write, way.clone(), &flips, |mode| mode != Mode::Stalled);
        tokio::try_join!(asks, pump(to_read, from_write, way.clone(), &flips, |mode| mode == Mode::Flows))
    };
    // Either side may end it, and so may the test; dropping the streams ends both.
    tokio::select! {
        _ = carried => {}
        // An error says that the proxy is gone.
        _ = ages.wait_for(|way| way.age != age) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    flips: &Flips,
    flows: impl Fn(Mode) -> bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if way.wait_for(|way| flows(way.mode)).await.is_err() {
            return Ok(());
        }
        if read == 0 {
            return to.shutdown().await;
        }
        flips.pass(&mut buffer[..read]);
        to.write_all(&buffer[..read]).await?;
    }
}
