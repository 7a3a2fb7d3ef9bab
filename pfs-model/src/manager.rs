//! The metadata server: grants in order of arrival, revokes what is in the way, buries the dead, and starts again.
//!
//! One file and one range, so a request conflicts with every other unless both are shared. The manager answers an event at
//! once ([`State::settle`]), as the state machine in `pfs-core` does; what it sends takes as long as it likes. Two kinds of
//! messages need no channel of their own, as each can be read off what both sides believe: a grant is on its way while the
//! table says more than the client holds, a revoke while it is asked for and the client does not know it. So a revoke never
//! overtakes a grant, which is what numbers and one stream per client give.
//!
//! Durable are the boot and who is recorded as dead. All else is lost in a crash.

use crate::client::{Client, Operation, Revoked, Step};
use crate::mistake::Mistake;
use crate::state::{Breach, Mode, State};

/// What the manager knows of a client's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// It has spoken in this boot.
    #[default]
    Live,
    /// It had a session in an earlier boot.
    Unheard,
    /// It is to be shut out; not durable yet.
    GivenUp,
    /// It is durable that it is dead; fences are on their way.
    Recorded,
    /// All file servers refuse it; its tokens are free.
    Freed,
}

/// What the manager has of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Its life.
    pub phase: Phase,
    /// Its token in the table.
    pub token: Mode,
    /// The revoke that awaits its ack.
    pub asked: Revoked,
    /// An ack that awaits drains.
    pub held: Revoked,
    /// What it waits for.
    pub wish: Mode,
    /// Its place in the queue, from 1.
    pub place: u8,
    /// File servers that have not confirmed its fence, as bits.
    pub missing: u8,
}

impl Record {
    /// A client that has nothing.
    pub fn new() -> Self {
        Record {
            phase: Phase::Live,
            token: Mode::None,
            asked: Revoked::No,
            held: Revoked::No,
            wish: Mode::None,
            place: 0,
            missing: 0,
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// The metadata server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Manager<const C: usize> {
    /// Its start.
    pub boot: u8,
    /// It grants nothing yet.
    pub grace: bool,
    /// The clients.
    pub records: [Record; C],
}

impl<const C: usize> Manager<C> {
    /// Who is recorded as dead, as bits.
    pub fn dead(&self) -> u8 {
        let dead = |c: &usize| self.records[*c].phase >= Phase::Recorded;
        (0..C).filter(dead).map(|c| 1 << c).sum()
    }

    fn leave_queue(&mut self, c: usize) {
        let place = std::mem::take(&mut self.records[c].place);
        self.records[c].wish = Mode::None;
        if place > 0 {
            self.records.iter_mut().filter(|record| record.place > place).for_each(|record| record.place -= 1);
        }
    }
}

// ---- Requests and grants

impl<const C: usize, const S: usize> State<C, S> {
    /// Whether a client and the running manager can talk about tokens.
    fn talks(&self, c: usize) -> bool {
        let (client, record) = (&self.clients[c], &self.manager.records[c]);
        !client.suspended && record.phase == Phase::Live && client.boot == self.manager.boot
    }

    /// A client's request joins the queue.
    pub fn ask(&mut self, c: usize, wish: Mode, mistake: Option<Mistake>) -> Option<()> {
        let (client, record) = (&self.clients[c], &self.manager.records[c]);
        let settled = record.token == client.token && record.asked == Revoked::No && record.held == Revoked::No;
        let wants = client.operation == Operation::Idle && client.token < wish && record.place == 0;
        if !self.talks(c) || !settled || !wants {
            return None;
        }
        let waiting = self.manager.records.iter().filter(|record| record.place > 0).count();
        let record = &mut self.manager.records[c];
        (record.wish, record.place) = (wish, waiting as u8 + 1);
        self.settle(mistake);
        Some(())
    }

    /// A grant arrives.
    pub fn grant_arrives(&mut self, c: usize) -> Option<()> {
        let record = self.manager.records[c];
        let on_its_way = record.token > self.clients[c].token && record.held == Revoked::No;
        (self.talks(c) && on_its_way).then(|| self.clients[c].token = record.token)
    }

    /// A revoke arrives, after the grant that was sent before it.
    pub fn revoke_arrives(&mut self, c: usize) -> Option<()> {
        let (client, record) = (&self.clients[c], self.manager.records[c]);
        let on_its_way = record.asked != Revoked::No && client.revoked == Revoked::No && client.token == record.token;
        (self.talks(c) && on_its_way).then(|| self.clients[c].revoked = record.asked)
    }

    /// A client gives up what it was asked for. If a write of it is in doubt, the ack names it and is held.
    pub fn ack(&mut self, c: usize, mistake: Option<Mistake>) -> Option<()> {
        if !self.talks(c) || self.clients[c].revoked == Revoked::No || self.is_pinned(c) {
            return None;
        }
        let client = &mut self.clients[c];
        let revoked = std::mem::take(&mut client.revoked);
        client.token = revoked.leaves(client.token);
        let record = &mut self.manager.records[c];
        record.asked = Revoked::No;
        if client.operation == Operation::Doubt && mistake != Some(Mistake::DoubtForgotten) {
            record.held = revoked;
        } else {
            record.token = client.token;
        }
        self.settle(mistake);
        Some(())
    }

    /// A held ack passes: what it named is drained, or lies at a server that has stopped. Such a server is told of the drain
    /// before it serves again, so here the request is gone already.
    pub fn pass_held_ack(&mut self, c: usize, mistake: Option<Mistake>) -> Option<()> {
        let open = |s: &usize| self.clients[c].requests[*s].is_open();
        let passes = (0..S).filter(open).all(|s| self.has_stopped(s));
        if self.manager.records[c].held == Revoked::No || !passes || self.manager.records[c].phase != Phase::Live {
            return None;
        }
        let record = &mut self.manager.records[c];
        let held = std::mem::take(&mut record.held);
        record.token = held.leaves(record.token);
        if mistake != Some(Mistake::DrainForgottenByLapse) && self.clients[c].operation == Operation::Doubt {
            self.clients[c].end_operation();
        }
        self.settle(mistake);
        Some(())
    }

    /// What the manager does by itself after every event: free who is fenced, revoke for the first in the queue, grant.
    pub fn settle(&mut self, mistake: Option<Mistake>) {
        for c in 0..C {
            let record = &mut self.manager.records[c];
            if record.phase == Phase::Recorded && record.missing == 0 {
                *record = Record { phase: Phase::Freed, ..Record::new() };
            }
        }
        while !self.manager.grace
            && let Some(c) = self.manager.records.iter().position(|record| record.place == 1)
            && self.clear_the_way(c, mistake)
        {
            self.grant(c);
        }
    }

    /// Revokes what is in the way of a request. True: nothing is.
    fn clear_the_way(&mut self, c: usize, mistake: Option<Mistake>) -> bool {
        let wish = self.manager.records[c].wish;
        let mut clear = true;
        for (other, record) in self.manager.records.iter_mut().enumerate() {
            if other == c || !wish.conflicts(record.token) {
                continue;
            }
            clear &= mistake == Some(Mistake::GrantBeforeAck);
            if record.phase == Phase::Live && record.asked == Revoked::No && record.held == Revoked::No {
                record.asked = if wish == Mode::Shared { Revoked::ToShared } else { Revoked::All };
            }
        }
        clear
    }

    fn grant(&mut self, c: usize) {
        let unheard = self.manager.records.iter().any(|record| record.phase == Phase::Unheard);
        let untold = self.servers.iter().any(|server| server.serving && server.floor < self.manager.boot);
        if unheard || untold {
            self.breach(Breach::GrantInGrace);
        }
        let wish = self.manager.records[c].wish;
        self.manager.leave_queue(c);
        self.manager.records[c].token = self.manager.records[c].token.max(wish);
    }
}

// ---- Death

impl<const C: usize, const S: usize> State<C, S> {
    /// A client was silent for its lease, counted from what was received, or did not come back in the grace: it is given up.
    /// It has stopped by then, as its own count began earlier (rule 14).
    pub fn give_up(&mut self, c: usize, mistake: Option<Mistake>) -> Option<()> {
        let alive = matches!(self.manager.records[c].phase, Phase::Live | Phase::Unheard);
        let stopped = self.clients[c].suspended || mistake == Some(Mistake::GivenUpBeforeItStops);
        if !alive || !stopped {
            return None;
        }
        self.deaths += 1;
        self.manager.leave_queue(c);
        let record = &mut self.manager.records[c];
        record.phase = Phase::GivenUp;
        (record.asked, record.held) = (Revoked::No, Revoked::No);
        self.settle(mistake);
        Some(())
    }

    /// The death is durable. Now it may be told.
    pub fn record(&mut self, c: usize, mistake: Option<Mistake>) -> Option<()> {
        let record = &mut self.manager.records[c];
        if record.phase != Phase::GivenUp {
            return None;
        }
        record.phase = Phase::Recorded;
        record.missing = if mistake == Some(Mistake::FenceSkipped) { 0 } else { (1 << S) - 1 };
        if mistake != Some(Mistake::DeathNotRecorded) && self.clients[c].suspended {
            self.bury(c);
        }
        self.settle(mistake);
        Some(())
    }

    /// A file server confirms what it was told: everything that it must refuse is out of every chunk (rule 15).
    pub fn confirm(&mut self, s: usize, mistake: Option<Mistake>) -> Option<()> {
        let server = self.servers[s];
        let inside = |c: usize| matches!(self.clients[c].requests[s].step, Step::Inside(_));
        let barred = |c: usize| server.refuses(c, self.clients[c].requests[s].boot) && inside(c);
        let done = mistake == Some(Mistake::FenceAnsweredTooEarly) || !(0..C).any(barred);
        if !server.serving || server.floor != self.manager.boot || !done {
            return None;
        }
        let heard = self.fenced_at(s, server.fences) || !server.told;
        self.servers[s].told = true;
        self.settle(mistake);
        heard.then_some(())
    }

    /// The manager has waited long enough for a file server: it has stopped.
    pub fn notice_lapse(&mut self, s: usize, mistake: Option<Mistake>) -> Option<()> {
        let stopped = self.has_stopped(s) || mistake == Some(Mistake::ClientLeaseInPlaceOfServers);
        let dead = self.manager.dead();
        let heard = stopped && self.fenced_at(s, dead);
        self.settle(mistake);
        heard.then_some(())
    }

    fn fenced_at(&mut self, s: usize, fences: u8) -> bool {
        let mut news = false;
        for (c, record) in self.manager.records.iter_mut().enumerate() {
            if record.phase == Phase::Recorded && fences >> c & 1 == 1 && record.missing >> s & 1 == 1 {
                record.missing &= !(1 << s);
                news = true;
            }
        }
        news
    }

    /// What a dead client believes does not matter any more. Its writes do, until they are refused.
    fn bury(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Client { operation, value, requests, .. } = *client;
        *client = Client { suspended: true, ..Client::new() };
        if matches!(operation, Operation::Write | Operation::Doubt) {
            (client.operation, client.value, client.requests) = (Operation::Doubt, value, requests);
            client.end_doubt();
        }
    }
}

// ---- Restarts

impl<const C: usize, const S: usize> State<C, S> {
    /// The metadata server is killed and starts again.
    pub fn restart(&mut self, mistake: Option<Mistake>) {
        self.restarts += 1;
        self.manager.boot += 1;
        self.manager.grace = mistake != Some(Mistake::GraceSkipped);
        for record in &mut self.manager.records {
            let phase = match record.phase {
                Phase::Live | Phase::Unheard | Phase::GivenUp => Phase::Unheard,
                _ if mistake == Some(Mistake::DeathNotRecorded) => Phase::Unheard,
                dead => dead,
            };
            let missing = if phase == Phase::Recorded { (1 << S) - 1 } else { 0 };
            *record = Record { phase, missing, ..Record::new() };
        }
        self.servers.iter_mut().for_each(|server| server.told = false);
    }

    /// A client of an earlier boot says what it holds, and waits to be told that it was taken over.
    pub fn reassert(&mut self, c: usize) -> Option<()> {
        if self.manager.records[c].phase != Phase::Unheard {
            return None;
        }
        let token = self.clients[c].token;
        if self.manager.records.iter().any(|record| record.token.conflicts(token)) {
            self.breach(Breach::ConflictingReassertion);
        }
        (self.clients[c].suspended, self.clients[c].revoked) = (true, Revoked::No);
        (self.manager.records[c].phase, self.manager.records[c].token) = (Phase::Live, token);
        Some(())
    }

    /// A suspended client hears that it is alive: by an answered heartbeat or hello, or because it was taken over. Its stamps
    /// are of the manager's boot from now on.
    pub fn come_back(&mut self, c: usize) -> Option<()> {
        let client = &mut self.clients[c];
        if !client.suspended || self.manager.records[c].phase != Phase::Live {
            return None;
        }
        (client.suspended, client.boot) = (false, self.manager.boot);
        Some(())
    }

    /// The grace ends: everybody has spoken or is fenced, and every file server refuses earlier boots or has stopped.
    pub fn end_grace(&mut self, mistake: Option<Mistake>) -> Option<()> {
        let spoken = |record: &Record| matches!(record.phase, Phase::Live | Phase::Freed);
        let servers_know = (0..S).all(|s| self.servers[s].told || self.has_stopped(s));
        let servers_know = servers_know || mistake == Some(Mistake::GraceIgnoresServers);
        if !self.manager.grace || !servers_know || !self.manager.records.iter().all(spoken) {
            return None;
        }
        self.manager.grace = false;
        self.settle(mistake);
        Some(())
    }
}
