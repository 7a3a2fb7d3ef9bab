//! The open connections of a server, so that all of them can be cut at once.
//!
//! Invariants: a connection is in the table from its accept until it is dropped; after [`Connections::cut`] no
//! connection of the table carries another byte, and new ones are cut when they enter it.

use futures::stream::{self, Stream};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream as StdTcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long accepting rests after an error: without file descriptors it would fail again and again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All open connections of one server.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    cut: bool,
    /// Duplicates of the sockets: a shutdown of one is a shutdown of both.
    open: BTreeMap<u64, StdTcpStream>,
}

impl Connections {
    /// Accepts for as long as it is polled; the listener closes with the stream.
    pub(crate) fn accept(self, listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold((self, listener), |(connections, listener)| async move {
            let connection = connections.next(&listener).await;
            Some((Ok(connection), (connections, listener)))
        })
    }

    async fn next(&self, listener: &TcpListener) -> Connection {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match stream.set_nodelay(true).and_then(|()| self.enter(stream)) {
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
    fn enter(&self, stream: TcpStream) -> io::Result<Connection> {
        let duplicate = StdTcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let mut table = self.lock();
        if table.cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has ended"));
        }
        let number = table.next;
        table.next += 1;
        table.open.insert(number, duplicate);
        Ok(Connection { stream, number, connections: self.clone() })
    }

    /// Ends all connections at once, whatever they carry.
    pub(crate) fn cut(&self) {
        let mut table = self.lock();
        table.cut = true;
        for socket in table.open.values() {
            // An error says that the peer was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of the table.
pub(crate) struct Connection {
    stream: TcpStream,
    number: u64,
    connections: Connections,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
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
