//! The open connections of a server, so that all of them can be cut at once.
//!
//! Invariants: a connection is in the table from its accept until it is dropped; after [`Connections::cut`] no
//! connection of the table carries another byte, and new ones are cut when they enter it; after
//! [`Connections::begin_anew`] every connection that peers had made before is cut, those that were not accepted yet too, and
//! the later ones have the next [`ConnectionEpoch`].

use futures::stream::{self, Stream};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

/// How long accepting rests after an error: without file descriptors it would fail again and again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells the connections before a [`Connections::begin_anew`] from those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionEpoch(pub u64);

/// The connection on which a request has come. It is in the extensions of every request.
#[derive(Clone)]
pub struct Peer {
    /// When the connection was made.
    pub epoch: ConnectionEpoch,
    number: u64,
    connections: Connections,
}

impl Peer {
    /// Ends the connection at once, whatever it carries.
    pub fn cut(&self) {
        if let Some(socket) = self.connections.lock().open.get(&self.number) {
            shut_down(socket);
        }
    }
}

impl Peer {
    /// A peer, and the other end of its connection, for tests of what lies above.
    ///
    /// # Panics
    /// When there is no loopback.
    #[doc(hidden)]
    pub async fn of_a_test() -> (Peer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let far = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
        let (near, _) = listener.accept().await.expect("it has connected");
        let connections = Connections::default();
        let connection = connections.enter(near, ConnectionEpoch::default()).expect("a duplicate");
        let peer = connection.connect_info();
        // It stays in the table.
        std::mem::forget(connection);
        (peer, far)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} of epoch {}", self.number, self.epoch.0)
    }
}

/// All open connections of one server.
#[derive(Clone, Default)]
pub struct Connections {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    cut: bool,
    epoch: ConnectionEpoch,
    /// The listener, for as long as connections are accepted.
    backlog: Weak<StdTcpListener>,
    /// Duplicates of the sockets: a shutdown of one is a shutdown of both.
    open: BTreeMap<u64, StdTcpStream>,
}

impl Connections {
    /// Accepts for as long as it is polled; the listener closes with the stream.
    pub(crate) fn accept(self, listener: TcpListener) -> io::Result<impl Stream<Item = io::Result<Connection>>> {
        let backlog = Arc::new(StdTcpListener::from(listener.as_fd().try_clone_to_owned()?));
        self.lock().backlog = Arc::downgrade(&backlog);
        Ok(stream::unfold((self, listener, backlog), |(connections, listener, backlog)| async move {
            let connection = connections.next(&listener).await;
            Some((Ok(connection), (connections, listener, backlog)))
        }))
    }

    async fn next(&self, listener: &TcpListener) -> Connection {
        loop {
            // Asked before: a connection that was taken from the backlog meanwhile is of the time before.
            let epoch = self.lock().epoch;
            match listener.accept().await {
                Ok((stream, peer)) => match stream.set_nodelay(true).and_then(|()| self.enter(stream, epoch)) {
                    Ok(connection) => return connection,
                    Err(error) => tracing::debug!(%peer, %error, "a new connection is lost"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Adds a connection to the table, for as long as the returned one lives.
    fn enter(&self, stream: TcpStream, epoch: ConnectionEpoch) -> io::Result<Connection> {
        let duplicate = StdTcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let mut table = self.lock();
        if table.cut || table.epoch != epoch {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended or begun anew"));
        }
        let number = table.next;
        table.next += 1;
        table.open.insert(number, duplicate);
        Ok(Connection { stream, number, epoch, connections: self.clone() })
    }

    /// Ends all connections at once, whatever they carry.
    pub(crate) fn cut(&self) {
        let mut table = self.lock();
        table.cut = true;
        table.shut_down();
    }

    /// Ends all connections that peers have made until now, and goes on with new ones.
    pub fn begin_anew(&self) {
        let mut table = self.lock();
        if let Some(backlog) = table.backlog.upgrade() {
            // Not blocking, as tokio has set it; whatever ends this, nothing is left that can be accepted.
            while backlog.accept().is_ok() {}
        }
        table.epoch.0 += 1;
        table.shut_down();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn shut_down(&self) {
        self.open.values().for_each(shut_down);
    }
}

fn shut_down(socket: &StdTcpStream) {
    // An error says that the peer was faster.
    let _ = socket.shutdown(Shutdown::Both);
}

/// A connection of the table.
pub(crate) struct Connection {
    stream: TcpStream,
    number: u64,
    epoch: ConnectionEpoch,
    connections: Connections,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { epoch: self.epoch, number: self.number, connections: self.connections.clone() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use tokio::io::AsyncReadExt;

    async fn is_cut(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0]))
            .await
            .is_ok_and(|read| !matches!(read, Ok(1..)))
    }

    /// Also those are cut that a peer has made and nobody has accepted yet.
    #[tokio::test]
    async fn what_peers_made_before_is_cut_and_what_they_make_later_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::default();
        let mut accepting = std::pin::pin!(connections.clone().accept(listener).unwrap());
        let mut accepted = TcpStream::connect(address).await.unwrap();
        let known = accepting.next().await.unwrap().unwrap();
        assert_eq!(known.connect_info().epoch, ConnectionEpoch(0));
        let mut waiting = TcpStream::connect(address).await.unwrap();
        connections.begin_anew();
        assert!(is_cut(&mut accepted).await);
        assert!(is_cut(&mut waiting).await);
        let _later = TcpStream::connect(address).await.unwrap();
        let later = accepting.next().await.unwrap().unwrap();
        assert_eq!(later.connect_info().epoch, ConnectionEpoch(1));
    }

    #[tokio::test]
    async fn one_peer_is_cut_and_the_others_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = std::pin::pin!(Connections::default().accept(listener).unwrap());
        let mut first = TcpStream::connect(address).await.unwrap();
        let known = accepting.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut other = accepting.next().await.unwrap().unwrap();
        let peer = known.connect_info();
        peer.cut();
        assert!(is_cut(&mut first).await);
        drop(known);
        peer.cut();
        tokio::io::AsyncWriteExt::write_all(&mut other, b"x").await.unwrap();
        assert!(matches!(second.read(&mut [0]).await, Ok(1)), "it carries bytes");
    }
}
