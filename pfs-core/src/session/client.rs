//! The client's half of a session.
//!
//! # How to drive it
//! After each `handle_*` and `send`, call [`poll_action`](ClientSession::poll_action) until it returns nothing and do what
//! it says, in that order. Call [`handle_timeout`](ClientSession::handle_timeout) when
//! [`poll_timeout`](ClientSession::poll_timeout) has come. `U` is what the client sends.
//!
//! # Invariants
//! * [`may_access`](ClientSession::may_access) is false from the moment at which the lease, counted from the sending of the
//!   last answered heartbeat, has run out; it becomes true again only with an answer to a heartbeat or a hello that was
//!   sent later, and never after the end;
//! * every message is handled by a manager once and in order, or belongs to a start of the manager that is over;
//! * [`boot`](ClientSession::boot) changes only when a restarted manager has taken over all that this client holds.

use super::link::{Arrival, Inbox, Outbox};
use super::{Heartbeat, HeartbeatAnswer, Hello, Terms, Welcome};
use crate::ids::{Boot, ClientId};
use std::collections::VecDeque;

/// First pause before a broken connection is tried again; doubles up to the heartbeat interval.
const RECONNECT_MS_MIN: u64 = 20;

/// Messages after which the manager is told at once that they were seen: it keeps them until then, and gives up a client
/// for which it keeps too many.
const UNTOLD_MAX: u64 = 8192;

/// What the session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAction<U> {
    /// Drop the connection, if there is one, and make a new one. Answered by `handle_connected` or
    /// `handle_disconnected`.
    Connect,
    /// Send this on the new connection, before anything else.
    Hello(Hello),
    /// Send a sign of life.
    Heartbeat(Heartbeat),
    /// Send a message with its number.
    Send {
        /// Its number.
        number: u64,
        /// The message.
        message: U,
    },
    /// The metadata server was restarted and knows nothing: [`send`](ClientSession::send) what every holder holds, and
    /// then that this was all. Everything that was sent before and not answered is lost; it is sent again, if it is
    /// still wanted, after [`Resumed`](SessionAction::Resumed).
    Reassert,
    /// The restarted metadata server has taken over everything: stamps are of its boot from now on.
    Resumed {
        /// Its boot.
        boot: Boot,
    },
    /// No request may be sent to a file server, and no cached block used, until [`Resume`](SessionAction::Resume).
    Suspend,
    /// Accesses may go on.
    Resume,
    /// The session is over. Nothing may be accessed any more; dirty data is lost.
    End(EndReason),
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The metadata server has given this client up.
    #[error("the metadata server has given this client up")]
    GivenUp,
    /// Nobody answered for as long as the client was told to try.
    #[error("the metadata server was not reached for {patience_ms} ms")]
    Unreachable {
        /// How long it was tried.
        patience_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A connection is being made.
    Connecting,
    /// The next attempt is made then.
    Waiting {
        until_ms: u64,
    },
    /// A hello was sent then.
    Greeting {
        sent_ms: u64,
    },
    Connected,
    /// As `Connected`, and a restarted manager is being told what is held.
    Reasserting,
    Ended,
}

/// The state of one session at its client.
#[derive(Debug)]
pub struct ClientSession<U> {
    client: ClientId,
    terms: Terms,
    /// How long a session outlives its connection.
    patience_ms: u64,
    phase: Phase,
    /// Of stamps.
    boot: Boot,
    /// The start of the manager to which the numbers of the link belong.
    link_boot: Boot,
    outbox: Outbox<U>,
    inbox: Inbox,
    /// The number of the last message of which the manager was told that it was seen.
    told: u64,
    /// When the last heartbeat or hello was sent that was answered.
    alive_from_ms: u64,
    suspended: bool,
    /// Heartbeats on their way: number and time of sending.
    unanswered: VecDeque<(u64, u64)>,
    beats: u64,
    next_beat_ms: u64,
    progress: u64,
    pause_ms: u64,
    actions: VecDeque<SessionAction<U>>,
}

impl<U: Clone> ClientSession<U> {
    /// A session that was just opened; its first action is to connect. `opened_ms` is when the request for it was sent.
    pub fn new(client: ClientId, boot: Boot, terms: Terms, patience_ms: u64, opened_ms: u64) -> Self {
        ClientSession {
            client,
            terms,
            patience_ms,
            phase: Phase::Connecting,
            boot,
            link_boot: boot,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            told: 0,
            alive_from_ms: opened_ms,
            suspended: false,
            unanswered: VecDeque::new(),
            beats: 0,
            next_beat_ms: opened_ms,
            progress: 0,
            pause_ms: RECONNECT_MS_MIN,
            actions: VecDeque::from([SessionAction::Connect]),
        }
    }

    /// Who it is.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The boot of stamps.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether requests may be sent to file servers, and cached blocks used, at this moment.
    pub fn may_access(&self, now_ms: u64) -> bool {
        self.phase != Phase::Ended && !self.suspended && now_ms < self.lease_ends_ms()
    }

    /// Until when accesses are allowed if nothing is heard.
    pub fn lease_ends_ms(&self) -> u64 {
        self.alive_from_ms + self.terms.lease_ms
    }

    /// Sends a message, now or when the connection is there. Nothing after the end.
    pub fn send(&mut self, message: U) {
        if self.phase == Phase::Ended {
            return;
        }
        let number = self.outbox.push(message.clone());
        if matches!(self.phase, Phase::Connected | Phase::Reasserting) {
            self.actions.push_back(SessionAction::Send { number, message });
        }
    }

    /// A request to a file server was answered.
    pub fn note_progress(&mut self) {
        self.progress += 1;
    }

    /// The connection that was asked for is there.
    pub fn handle_connected(&mut self, now_ms: u64) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Greeting { sent_ms: now_ms };
            let hello = Hello { client: self.client, boot: self.link_boot, received: self.inbox.received() };
            self.actions.push_back(SessionAction::Hello(hello));
        }
    }

    /// The connection could not be made, or is broken.
    pub fn handle_disconnected(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Ended | Phase::Waiting { .. }) {
            return;
        }
        self.unanswered.clear();
        let healthy = matches!(self.phase, Phase::Connected | Phase::Reasserting);
        self.pause_ms = match healthy {
            true => RECONNECT_MS_MIN,
            false => (self.pause_ms * 2).min(self.terms.heartbeat_ms.max(RECONNECT_MS_MIN)),
        };
        self.phase = Phase::Waiting { until_ms: now_ms + self.pause_ms };
    }

    /// The metadata server has answered the hello.
    pub fn handle_welcome(&mut self, welcome: Welcome, now_ms: u64) {
        let Phase::Greeting { sent_ms } = self.phase else { return };
        if welcome.boot < self.link_boot {
            // An earlier start that has not noticed that it was replaced.
            return;
        }
        self.alive_from_ms = self.alive_from_ms.max(sent_ms);
        self.next_beat_ms = sent_ms;
        self.pause_ms = RECONNECT_MS_MIN;
        if welcome.boot != self.link_boot {
            self.link_boot = welcome.boot;
            self.outbox = Outbox::default();
            self.inbox = Inbox::default();
            self.told = 0;
            self.phase = Phase::Reasserting;
            self.suspend();
            self.actions.push_back(SessionAction::Reassert);
            return;
        }
        self.outbox.acknowledge(welcome.received);
        if !crate::mutant!(UnseenNotRepeated) {
            let unseen = self.outbox.unseen().map(|(number, message)| SessionAction::Send { number, message });
            self.actions.extend(unseen);
        }
        if self.boot != self.link_boot {
            self.phase = Phase::Reasserting;
        } else {
            self.phase = Phase::Connected;
            self.resume(now_ms);
        }
    }

    /// A restarted metadata server has taken over everything that was re-asserted.
    pub fn handle_reasserted(&mut self, now_ms: u64) {
        if self.phase == Phase::Reasserting {
            self.phase = Phase::Connected;
            self.boot = self.link_boot;
            self.actions.push_back(SessionAction::Resumed { boot: self.boot });
            self.resume(now_ms);
        }
    }

    /// A numbered message has arrived. True: it is to be handled. A gap drops the connection.
    pub fn handle_arrival(&mut self, number: u64, now_ms: u64) -> bool {
        if !matches!(self.phase, Phase::Connected | Phase::Reasserting) {
            return false;
        }
        match self.inbox.arrive(number) {
            Arrival::Next => {
                if self.inbox.received() - self.told >= UNTOLD_MAX {
                    self.beat(now_ms);
                }
                true
            }
            Arrival::Repeated => false,
            Arrival::Gap => {
                self.handle_disconnected(now_ms);
                false
            }
        }
    }

    /// A heartbeat was answered.
    pub fn handle_heartbeat_answer(&mut self, answer: HeartbeatAnswer, now_ms: u64) {
        if !matches!(self.phase, Phase::Connected | Phase::Reasserting) {
            return;
        }
        self.outbox.acknowledge(answer.received);
        while let Some((number, sent_ms)) = self.unanswered.front().copied()
            && number <= answer.number
        {
            self.unanswered.pop_front();
            self.alive_from_ms = self.alive_from_ms.max(sent_ms);
        }
        if self.phase == Phase::Connected {
            self.resume(now_ms);
        }
    }

    /// The metadata server does not know this client any more, or has refused what it re-asserted.
    pub fn handle_given_up(&mut self) {
        self.end(EndReason::GivenUp);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.phase == Phase::Ended {
            return;
        }
        let silent_ms = now_ms.saturating_sub(self.alive_from_ms);
        if silent_ms >= self.terms.lease_ms {
            self.suspend();
        }
        if silent_ms >= self.patience_ms.max(self.terms.lease_ms) {
            return self.end(EndReason::Unreachable { patience_ms: self.patience_ms });
        }
        match self.phase {
            Phase::Waiting { until_ms } if now_ms >= until_ms => {
                self.phase = Phase::Connecting;
                self.actions.push_back(SessionAction::Connect);
            }
            // A connection on which nothing is answered is no better than none.
            Phase::Greeting { sent_ms } if now_ms >= sent_ms + self.terms.lease_ms => self.handle_disconnected(now_ms),
            Phase::Connected | Phase::Reasserting if now_ms >= self.next_beat_ms => self.beat(now_ms),
            _ => {}
        }
    }

    /// When `handle_timeout` must be called next.
    pub fn poll_timeout(&self) -> Option<u64> {
        let gives_up_ms = self.alive_from_ms + self.patience_ms.max(self.terms.lease_ms);
        let lease = (!self.suspended).then_some(self.lease_ends_ms());
        let own = match self.phase {
            Phase::Ended => return None,
            Phase::Connecting => None,
            Phase::Waiting { until_ms } => Some(until_ms),
            Phase::Greeting { sent_ms } => Some(sent_ms + self.terms.lease_ms),
            Phase::Connected | Phase::Reasserting => Some(self.next_beat_ms),
        };
        own.into_iter().chain(lease).chain([gives_up_ms]).min()
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<SessionAction<U>> {
        self.actions.pop_front()
    }

    fn beat(&mut self, now_ms: u64) {
        // A new connection may get through where the retransmissions of this one still wait.
        let late = self.unanswered.front().is_some_and(|(_, sent_ms)| 2 * (now_ms - sent_ms) >= self.terms.lease_ms);
        if late {
            return self.handle_disconnected(now_ms);
        }
        self.beats += 1;
        self.unanswered.push_back((self.beats, now_ms));
        self.next_beat_ms = now_ms + self.terms.heartbeat_ms;
        let received = self.inbox.received();
        self.told = received;
        let beat = Heartbeat { number: self.beats, received, progress: self.progress };
        self.actions.push_back(SessionAction::Heartbeat(beat));
    }

    fn suspend(&mut self) {
        if !std::mem::replace(&mut self.suspended, true) {
            self.actions.push_back(SessionAction::Suspend);
        }
    }

    fn resume(&mut self, now_ms: u64) {
        // A late answer to an early heartbeat renews nothing.
        if now_ms < self.lease_ends_ms() && std::mem::replace(&mut self.suspended, false) {
            self.actions.push_back(SessionAction::Resume);
        }
    }

    fn end(&mut self, reason: EndReason) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.actions.clear();
            self.actions.push_back(SessionAction::End(reason));
        }
    }
}
