//! Writes of unknown outcome: drained, or left to the metadata server.

use super::super::{Process, Stage, What};
use super::request::{DataBody, DataRequest};
use super::{DRAINS_MAX, Doubt, Purpose};
use crate::file_server::{OpenDoubt, id_of};
use crate::plan::MS;
use crate::transitions::Transition;
use crate::world::World;
use pfs_core::ids::Stamp;
use pfs_core::token::message::Undrained;

impl World {
    pub(super) fn try_drains(&mut self, client: usize) {
        let now = self.now;
        let life = self.clients[client].life;
        let Some(process) = self.process(client) else { return };
        let mut requests = Vec::new();
        for doubt in process.doubts.iter_mut().filter(|doubt| doubt.next <= now) {
            doubt.next = now + 90 * MS;
            doubt.tries += 1;
            let Doubt { server, stamp, sequence, .. } = *doubt;
            requests.push(DataRequest {
                client,
                life,
                number: 0,
                server,
                file: 0,
                stamp,
                sequence,
                body: DataBody::Drain,
            });
        }
        let tired = process.doubts.iter().filter(|d| d.tries > DRAINS_MAX && !d.given_up).map(|doubt| doubt.purpose);
        let tired: Vec<Purpose> = tired.collect();
        for request in requests {
            self.data_send(client, life, Box::new(request));
        }
        tired.into_iter().for_each(|purpose| self.give_up_doubt(client, purpose));
    }

    pub(super) fn drained(&mut self, client: usize, server: usize, stamp: Stamp, sequence: u64) {
        let Some(process) = self.process(client) else { return };
        let over = |doubt: &Doubt| doubt.server == server && doubt.stamp == stamp && doubt.sequence <= sequence;
        let ended: Vec<Purpose> = process.doubts.iter().filter(|d| over(d) && !d.given_up).map(|d| d.purpose).collect();
        process.doubts.retain(|doubt| !over(doubt));
        for purpose in ended {
            let Some(process) = self.process(client) else { return };
            if process.doubts.iter().any(|doubt| doubt.purpose == purpose) {
                continue;
            }
            self.reach(Transition::DoubtDrained);
            match purpose {
                Purpose::Access(number) => self.doubt_over(client, number),
                Purpose::WriteBack(number) => self.write_back_drained(client, number),
                Purpose::Sync => {}
            }
        }
    }

    fn doubt_over(&mut self, client: usize, number: u64) {
        let now = self.now;
        let Some(process) = self.clients[client].process.as_deref_mut() else { return };
        let Some(access) = process.accesses.get(&number).filter(|a| a.stage == Stage::Doubtful) else { return };
        let (at, operation) = (access.file, access.operation);
        if let What::Write { write, .. } = access.what {
            self.model.end(write, now);
        }
        process.accesses.remove(&number);
        process.end(at, operation);
    }

    /// A server can not be asked: the metadata server must see to it.
    fn give_up_doubt(&mut self, client: usize, purpose: Purpose) {
        let Some(process) = self.process(client) else { return };
        let mut undrained = Vec::new();
        if let Purpose::Access(number) = purpose
            && process.accesses.get(&number).is_some_and(|access| access.stage != Stage::Doubtful)
        {
            // Other parts of it are still on their way.
            return;
        }
        if let Purpose::WriteBack(_) = purpose {
            if process.data.values().any(|pending| pending.purpose == purpose && pending.sent.is_some()) {
                return;
            }
            // The token goes with it: what was not sent yet may never be.
            process.data.retain(|_, pending| pending.purpose != purpose);
        }
        for doubt in process.doubts.iter_mut().filter(|doubt| doubt.purpose == purpose) {
            doubt.given_up = true;
            let Doubt { server, stamp, sequence, .. } = *doubt;
            undrained.push(Undrained { server: id_of(server), boot: stamp.boot, sequence });
        }
        if undrained.is_empty() {
            return;
        }
        match purpose {
            Purpose::Access(number) => {
                let Some(access) = process.accesses.remove(&number) else { return };
                let last = &mut process.last_request;
                let next = || Process::next_request(last);
                process.files[access.file].tokens.give_up_doubt(access.operation, undrained, next);
            }
            Purpose::WriteBack(number) => self.write_back_given_up(client, number, undrained),
            Purpose::Sync => {}
        }
        self.reach(Transition::DoubtGivenUp);
    }

    /// Nothing of these doubts can be applied any more.
    pub fn end_doubts(&mut self, server: usize, stamp: Stamp, sequence: u64) {
        self.end_doubts_if(|d| d.server == server && d.stamp == stamp && d.sequence <= sequence);
    }

    /// Whatever was on its way to a server is gone with it.
    pub fn end_writes_at(&mut self, server: usize) {
        self.end_doubts_if(|doubt| doubt.server == server);
    }

    /// Nothing of a client can be applied any more.
    pub fn end_writes_of(&mut self, client: pfs_core::ids::ClientId) {
        self.end_doubts_if(|doubt| doubt.stamp.incarnation == client);
        let now = self.now;
        // It may not know yet that whatever it has in its cache is lost.
        let lost = self.writers.get(&client).map(|writer| self.model.client_lost(*writer)).unwrap_or_default();
        for write in lost.into_iter().chain(self.lost_writes.remove(&client).unwrap_or_default()) {
            self.model.end(write, now);
        }
    }

    fn end_doubts_if(&mut self, over: impl Fn(&OpenDoubt) -> bool) {
        let ended: Vec<OpenDoubt> = self.open_doubts.iter().filter(|doubt| over(doubt)).copied().collect();
        self.open_doubts.retain(|doubt| !over(doubt));
        for doubt in ended {
            if !self.open_doubts.iter().any(|other| other.write == doubt.write) {
                let now = self.now;
                self.model.end(doubt.write, now);
            }
        }
    }
}
