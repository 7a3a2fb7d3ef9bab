//! Where slow calls wait until a test lets them go on.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// A gate, closed at first. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    /// Lets everybody through, from now on.
    pub fn open(&self) {
        self.inner.state.lock().is_open = true;
        self.inner.changed.notify_all();
    }

    /// Waits until so many calls wait at the gate.
    pub fn wait_for(&self, waiting: usize) {
        let mut state = self.inner.state.lock();
        self.inner.changed.wait_while(&mut state, |state| state.waiting < waiting);
    }

    /// Waits until the gate is open.
    pub fn pass(&self) {
        let mut state = self.inner.state.lock();
        state.waiting += 1;
        self.inner.changed.notify_all();
        self.inner.changed.wait_while(&mut state, |state| !state.is_open);
        state.waiting -= 1;
    }
}
