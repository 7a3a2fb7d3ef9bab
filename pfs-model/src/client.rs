//! A client: asks for a token, reads and writes under it, gives it up, falls silent and comes back.
//!
//! A client is its own holder. What it holds in its own view is all that lets it begin something; the manager's table may
//! say more (a grant is on its way) but never less. A write goes to every file server at once, stays in flight there as
//! long as it likes, and outlives its client: that is the zombie.
//!
//! Not hearing from the manager is nothing that is modelled: a message may always take longer. What is modelled is what
//! follows from it, that the lease runs out, and the client stops by itself.

use crate::state::{Mode, State};

/// What a client is doing. It does one thing at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Nothing.
    #[default]
    Idle,
    /// It reads both blocks.
    Read,
    /// It writes both blocks.
    Write,
    /// It has stopped waiting for a write, which may still be applied (rule 7).
    Doubt,
}

/// How far a request has come at one file server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// There is none.
    #[default]
    None,
    /// On its way, or between chunks: next it enters the chunk of this number.
    Waiting(u8),
    /// Past the check, inside this chunk.
    Inside(u8),
    /// Refused. The client sends it again when it may.
    Refused,
    /// Everything is applied, or read.
    Done,
}

impl Step {
    /// A number of three bits.
    pub fn number(self) -> u8 {
        match self {
            Step::None => 0,
            Step::Waiting(chunk) => 1 + chunk,
            Step::Inside(chunk) => 3 + chunk,
            Step::Refused => 5,
            Step::Done => 6,
        }
    }
}

/// A request to one file server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// How far it has come.
    pub step: Step,
    /// The boot in its stamp.
    pub boot: u8,
}

impl Request {
    /// Whether it may still do something.
    pub fn is_open(self) -> bool {
        matches!(self.step, Step::Waiting(_) | Step::Inside(_))
    }
}

/// What a revoke leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Revoked {
    /// There is no revoke.
    #[default]
    No,
    /// An exclusive holder is to become a shared one.
    ToShared,
    /// All is to go.
    All,
}

impl Revoked {
    /// What is left of a token.
    pub fn leaves(self, token: Mode) -> Mode {
        match self {
            Revoked::No => token,
            Revoked::ToShared => token.min(Mode::Shared),
            Revoked::All => Mode::None,
        }
    }
}

/// One client's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client<const S: usize> {
    /// Its lease has run out, or it is being taken over by a new boot: it begins nothing and uses nothing cached.
    pub suspended: bool,
    /// The boot of its stamps.
    pub boot: u8,
    /// What it holds.
    pub token: Mode,
    /// What it was asked to give up: closed to new operations.
    pub revoked: Revoked,
    /// What it does.
    pub operation: Operation,
    /// The number of its write.
    pub value: u8,
    /// Its requests, by file server.
    pub requests: [Request; S],
}

impl<const S: usize> Client<S> {
    /// A client that has just connected.
    pub fn new() -> Self {
        Client {
            suspended: false,
            boot: 0,
            token: Mode::None,
            revoked: Revoked::No,
            operation: Operation::Idle,
            value: 0,
            requests: [Request::default(); S],
        }
    }

    /// The operation is over.
    pub fn end_operation(&mut self) {
        self.operation = Operation::Idle;
        self.requests = [Request::default(); S];
    }

    /// Ends a write in doubt when nothing of it can be applied any more.
    pub fn end_doubt(&mut self) {
        if self.operation == Operation::Doubt && !self.requests.iter().any(|request| request.is_open()) {
            self.end_operation();
        }
    }
}

impl<const S: usize> Default for Client<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const C: usize, const S: usize> State<C, S> {
    /// Begins an operation under the token that is held, and sends its requests.
    pub fn start(&mut self, c: usize, operation: Operation) -> Option<()> {
        let needed = if operation == Operation::Write { Mode::Exclusive } else { Mode::Shared };
        let value = self.next_value();
        let client = &mut self.clients[c];
        let may = !client.suspended && client.revoked == Revoked::No && client.operation == Operation::Idle;
        if !may || client.token < needed || client.requests.iter().any(|request| request.is_open()) {
            return None;
        }
        client.operation = operation;
        client.value = value;
        client.requests = [Request { step: Step::Waiting(0), boot: client.boot }; S];
        Some(())
    }

    /// Sends a refused request again, under the stamp that the client has now.
    pub fn resend(&mut self, c: usize, s: usize) -> Option<()> {
        let client = &mut self.clients[c];
        let running = matches!(client.operation, Operation::Read | Operation::Write);
        if client.suspended || !running || client.requests[s].step != Step::Refused {
            return None;
        }
        client.requests[s] = Request { step: Step::Waiting(0), boot: client.boot };
        Some(())
    }

    /// Stops waiting for a write: a time-out, a reset, a dropped future.
    pub fn abandon(&mut self, c: usize) -> Option<()> {
        let client = &mut self.clients[c];
        if client.suspended || client.operation != Operation::Write {
            return None;
        }
        client.operation = Operation::Doubt;
        client.end_doubt();
        Some(())
    }

    /// A file server confirms that a write in doubt can not be applied there any more. It is asked by the client, or by
    /// the manager for an ack that names it.
    pub fn drain(&mut self, c: usize, s: usize) -> Option<()> {
        let held = self.manager.records[c].held != Revoked::No;
        let client = &mut self.clients[c];
        let asked = client.operation == Operation::Doubt && (held || !client.suspended);
        if !asked || !matches!(client.requests[s].step, Step::Waiting(_)) {
            return None;
        }
        client.requests[s] = Request::default();
        client.end_doubt();
        Some(())
    }

    /// The lease runs out, counted from what the client sent.
    pub fn lease_runs_out(&mut self, c: usize) -> Option<()> {
        let client = &mut self.clients[c];
        (!std::mem::replace(&mut client.suspended, true)).then_some(())
    }

    /// Whether an operation keeps a client from giving up what it is asked for. One in doubt does not: the ack names it.
    pub fn is_pinned(&self, c: usize) -> bool {
        let client = &self.clients[c];
        match client.operation {
            Operation::Idle | Operation::Doubt => false,
            Operation::Read => client.revoked == Revoked::All,
            Operation::Write => true,
        }
    }
}
