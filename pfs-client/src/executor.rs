//! A background thread with an event loop of its own, for what must go on while the program computes.

use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One thread and its event loop. Ends when it is dropped; tasks that are still running are cancelled.
#[derive(Debug)]
pub(crate) struct Executor {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Executor {
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error means that the executor itself is gone, which ends the thread just the same.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Executor { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future on the background thread and waits for it there. Not for use on an event loop.
    pub(crate) fn wait<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // A channel and no executor: the caller may be polled by one, when it drops the last user of a client.
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let output = AssertUnwindSafe(future).catch_unwind().await;
            // The receiver waits below.
            let _ = send.send(output);
        });
        match receive.recv() {
            Ok(Ok(output)) => output,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("the executor outlives the calls that wait on it"),
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // The thread runs no code of ours that could panic after its loop.
            let _ = thread.join();
        }
    }
}

/// A future that finds the timers of an event loop wherever it is polled, so that callers may use any executor.
pub(crate) struct InContext<F> {
    handle: Handle,
    inner: Pin<Box<F>>,
}

impl<F: Future> InContext<F> {
    pub(crate) fn new(handle: Handle, inner: F) -> Self {
        InContext { handle, inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let handle = self.handle.clone();
        let _entered = handle.enter();
        self.inner.as_mut().poll(context)
    }
}
