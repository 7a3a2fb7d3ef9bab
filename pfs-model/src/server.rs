//! A file server: admits requests by their stamps, applies them chunk by chunk, and keeps its fences over a crash.
//!
//! Whether it is cut off, stopped, slow or restarted makes no difference to the others: it serves, or it does not. It stops
//! to serve when its own lease has run out or when it crashes, and serves again when the manager has told it fences and boot
//! floor. Fences and floor are durable; requests in flight are lost in a crash, with their connections.

use crate::client::{Operation, Request, Step};
use crate::manager::Phase;
use crate::mistake::Mistake;
use crate::state::{BLOCKS, Breach, State};

/// One file server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// It has a lease and was told what to refuse.
    pub serving: bool,
    /// Stamps of other boots are refused. Durable.
    pub floor: u8,
    /// Clients that are refused, as bits. Durable.
    pub fences: u8,
    /// The manager knows that the floor of its boot is in force here.
    pub told: bool,
    /// Crashes so far.
    pub crashes: u8,
}

/// What the stamp of a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is served.
    Served,
    /// It has to wait: the server has no lease, or does not know the boot yet.
    NotYet,
    /// It is of an earlier boot, or of a client that was given up.
    Refused,
}

impl Server {
    /// A server that has registered.
    pub fn new() -> Self {
        Server { serving: true, floor: 0, fences: 0, told: true, crashes: 0 }
    }

    /// Whether a client's stamp of this boot is refused for ever.
    pub fn refuses(&self, c: usize, boot: u8) -> bool {
        boot < self.floor || self.fences >> c & 1 == 1
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl<const C: usize, const S: usize> State<C, S> {
    /// What a client's open request gets when it next wants to touch the object.
    pub fn verdict(&self, c: usize, s: usize) -> Verdict {
        let (server, boot) = (&self.servers[s], self.clients[c].requests[s].boot);
        match () {
            () if !server.serving => Verdict::NotYet,
            () if server.refuses(c, boot) => Verdict::Refused,
            () if boot > server.floor => Verdict::NotYet,
            () => Verdict::Served,
        }
    }

    /// A request gets on by one step: into a chunk, out of it, or refused.
    pub fn advance(&mut self, c: usize, s: usize, mistake: Option<Mistake>) -> Option<()> {
        let step = match self.clients[c].requests[s].step {
            Step::Inside(chunk) => {
                self.apply(c, s, chunk);
                if usize::from(chunk + 1) * S == BLOCKS { Step::Done } else { Step::Waiting(chunk + 1) }
            }
            Step::Waiting(chunk) => match self.verdict(c, s) {
                _ if chunk > 0 && mistake == Some(Mistake::ChunksUnchecked) => Step::Inside(chunk),
                Verdict::NotYet => return None,
                Verdict::Refused => Step::Refused,
                Verdict::Served if self.clients[c].operation == Operation::Read => {
                    (s..BLOCKS).step_by(S).for_each(|block| self.read(block));
                    Step::Done
                }
                Verdict::Served => Step::Inside(chunk),
            },
            Step::None | Step::Refused | Step::Done => return None,
        };
        let request = &mut self.clients[c].requests[s];
        request.step = step;
        if !request.is_open() {
            request.boot = 0;
        }
        self.finish(c);
        Some(())
    }

    fn apply(&mut self, c: usize, s: usize, chunk: u8) {
        let block = s + usize::from(chunk) * S;
        let (value, record) = (self.clients[c].value, self.manager.records[c]);
        let fenced = record.phase == Phase::Recorded && record.missing >> s & 1 == 0;
        let earlier = self.clients[c].requests[s].boot < self.manager.boot && !self.manager.grace;
        if record.phase == Phase::Freed || fenced || earlier {
            self.breach(Breach::WriteAfterFence);
        }
        if value < self.seen[block] {
            self.breach(Breach::LateWrite);
        }
        self.disk[block] = value;
    }

    fn read(&mut self, block: usize) {
        if self.disk[block] < self.seen[block] {
            self.breach(Breach::StaleRead);
        }
        self.seen[block] = self.seen[block].max(self.disk[block]);
    }

    /// All servers have answered: the operation is complete.
    fn finish(&mut self, c: usize) {
        let client = &mut self.clients[c];
        if client.requests.iter().all(|request| request.step == Step::Done) {
            if client.operation == Operation::Write {
                let value = client.value;
                self.seen = self.seen.map(|seen| seen.max(value));
            }
            self.clients[c].end_operation();
        }
        self.clients[c].end_doubt();
    }

    /// A file server hears from the manager: by a fence, by the answer to a heartbeat, or by a registration. What it hears is
    /// durable, and in force for everything that comes after.
    pub fn tell(&mut self, s: usize) -> Option<()> {
        let before = self.servers[s];
        let server = &mut self.servers[s];
        server.fences |= self.manager.dead();
        server.floor = self.manager.boot;
        server.serving = true;
        (*server != before).then_some(())
    }

    /// The lease runs out. What is inside a chunk leaves it; everything else that runs is refused.
    pub fn server_lapses(&mut self, s: usize) -> Option<()> {
        if !std::mem::replace(&mut self.servers[s].serving, false) {
            return None;
        }
        self.refuse_running(s, false);
        Some(())
    }

    /// It is killed and starts again. What runs there is gone; what a client was about to send comes later.
    pub fn server_crashes(&mut self, s: usize, mistake: Option<Mistake>) {
        let server = &mut self.servers[s];
        server.crashes += 1;
        server.serving = false;
        if mistake == Some(Mistake::FencesForgotten) {
            server.fences = 0;
            server.serving = true;
        }
        self.refuse_running(s, true);
    }

    /// Refuses every request that has begun, also inside a chunk if that chunk ends with the server.
    fn refuse_running(&mut self, s: usize, chunks_too: bool) {
        for client in &mut self.clients {
            let refused = match client.requests[s].step {
                Step::Waiting(chunk) => chunk > 0,
                Step::Inside(_) => chunks_too,
                Step::None | Step::Refused | Step::Done => false,
            };
            if refused {
                client.requests[s] = Request { step: Step::Refused, boot: 0 };
            }
            client.end_doubt();
        }
    }

    /// Whether nothing can touch an object there until the server has been told again. The manager concludes it from the time:
    /// the server's own lease, from when it was last heard, and a margin that covers one chunk (rule 16).
    pub fn has_stopped(&self, s: usize) -> bool {
        let inside = |request: &Request| matches!(request.step, Step::Inside(_));
        !self.servers[s].serving && !self.clients.iter().any(|client| inside(&client.requests[s]))
    }
}
