//! Ends connections from outside, so that whatever they still hold is dropped.
//!
//! A connection is a task that holds frames that are not sent, and with them the bytes of whoever sends them without a
//! copy. Nobody can ask it to let go of them, and with a peer that stops reading it keeps them for ever. A
//! [`KillSwitch`] makes the connection's reads and writes fail and wakes its task, which then ends as after any other
//! broken connection and drops all it has.
//!
//! Invariants: a killed connection never moves another byte; connections that are made after a kill are not touched by it.

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Ends the connections of one channel. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct KillSwitch {
    lines: Arc<Mutex<Vec<Weak<Line>>>>,
}

/// What a switch knows of one connection.
#[derive(Debug, Default)]
struct Line {
    killed: AtomicBool,
    /// The connection's task.
    task: AtomicWaker,
}

impl KillSwitch {
    /// Puts a connection under the switch.
    pub fn guard<S>(&self, stream: S) -> Guarded<S> {
        let line = Arc::new(Line::default());
        let mut lines = self.lines.lock();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        Guarded { stream, line }
    }

    /// Ends all connections that are there now.
    pub fn kill(&self) {
        let lines = std::mem::take(&mut *self.lines.lock());
        for line in lines.iter().filter_map(Weak::upgrade) {
            line.killed.store(true, Ordering::Release);
            line.task.wake();
        }
    }
}

/// A connection that can be killed.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    line: Arc<Line>,
}

impl<S> Guarded<S> {
    fn alive(&self, context: &Context<'_>) -> io::Result<()> {
        // First, so that a kill between the two is not missed.
        self.line.task.register(context.waker());
        match self.line.killed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up by this side")),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive(cx)?;
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(cx)?;
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.alive(cx)?;
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(cx)?;
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn a_kill_wakes_who_waits_and_stops_who_comes_later() {
        let switch = KillSwitch::default();
        let (near, mut far) = duplex(64);
        let mut near = switch.guard(near);
        near.write_all(b"ab").await.unwrap();
        assert_eq!(far.read_u16().await.unwrap(), u16::from_be_bytes(*b"ab"));
        let waiting = tokio::spawn(async move {
            let error = near.read_u8().await.unwrap_err();
            (near, error)
        });
        tokio::task::yield_now().await;
        switch.kill();
        let (mut near, error) = waiting.await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(near.write_all(b"c").await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(near.flush().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        let (next, mut other) = duplex(64);
        let mut next = switch.guard(next);
        next.write_all(b"d").await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), b'd', "a later connection lives");
    }
}
