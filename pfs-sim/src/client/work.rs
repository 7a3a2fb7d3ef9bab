//! What the applications do: reads and writes of one file that all share and of the group's, and the odd truncation.

use super::{Stage, What, World};
use crate::metadata::{Call, ClientMessage};
use crate::model::{FILE_BYTES, WriteId};
use crate::plan::MS;
use crate::transitions::Transition;
use crate::world::Event;
use pfs_core::extent::Extent;
use pfs_core::ids::Holder;
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::{Acquire, Mode};

/// Most independent accesses of one client at a time.
const ACCESSES_MAX: usize = 3;

/// Bytes of the group's file that belong to one rank.
pub(crate) const REGION_BYTES: u64 = 64;

impl World {
    /// A process does its next thing.
    pub fn client_work(&mut self, client: usize, life: u64) {
        if !self.lives(client, life) {
            return;
        }
        let habits = self.clients[client].habits;
        if self.healed {
            self.last_words(client);
        } else {
            self.do_something(client);
        }
        self.client_settle(client);
        let think = self.rng.between(1, habits.think_ms_max) * MS;
        self.after(think, Event::ClientWork { client, life });
    }

    fn do_something(&mut self, client: usize) {
        match self.rng.below(1000) {
            0..40 => self.begin_sync(client),
            40..60 => self.truncate_file(client),
            60..110 => self.ask_size(client),
            110..140 => self.cancel(client),
            140..150 => self.ask_for_many(client),
            320..335 => self.begin_close(client),
            150..320 if client == 0 && self.plan.group > 0 => self.do_together(),
            _ => self.access(client),
        }
    }

    /// At the end everybody reads everything once, and makes what it wrote durable.
    fn last_words(&mut self, client: usize) {
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let holder = Holder::Client(process.id);
        let is_open = |file: usize| process.find(holder, crate::metadata::file_id(file)).is_some();
        if !process.unrest().is_empty() || !(0..crate::world::FILES).all(is_open) {
            return;
        }
        process.last_words += 1;
        match process.last_words {
            1 => {
                let own = |open: &super::OpenFile| open.is_usable() && matches!(open.holder, Holder::Client(_));
                let own: Vec<usize> = (0..process.files.len()).filter(|at| own(&process.files[*at])).collect();
                (0..crate::world::FILES).for_each(|file| process.call(Call::GetSize { file }, now));
                for at in own {
                    let range = Extent::new(0, FILE_BYTES).expect("not empty");
                    let what = What::Read { began: now, out: vec![0; FILE_BYTES as usize] };
                    self.begin_access(client, at, range, what);
                }
            }
            2 => self.begin_sync(client),
            _ => {}
        }
    }

    fn access(&mut self, client: usize) {
        let writes = self.clients[client].habits.writes;
        let count = match self.process(client) {
            Some(process) if process.accesses.len() < ACCESSES_MAX => process.files.len(),
            _ => return,
        };
        if count == 0 {
            return;
        }
        let at = self.rng.below(count as u64) as usize;
        let length = self.rng.pick(&[1, 4, 16, 24, 40, 64]);
        let start = self.rng.below(FILE_BYTES - length);
        let mut range = Extent::new(start, start + length).expect("not empty");
        let write = self.rng.chance(writes);
        let now = self.now;
        let process = self.process(client).expect("just seen");
        let open = &process.files[at];
        let (file, writer) = (open.file, process.writer);
        if !open.is_usable() {
            return;
        }
        if let Holder::Group(_) = open.holder {
            // MPI's rules: the ranks of a group see to it themselves that their accesses do not conflict.
            let busy = process.accesses.values().any(|access| access.file == at);
            let first = client as u64 * REGION_BYTES;
            let region = Extent::new(first, first + REGION_BYTES).expect("not empty");
            let Some(part) = range.intersection(region).filter(|_| !busy) else { return };
            range = part;
            if self.collectives.involve(client) {
                return;
            }
        }
        if write && self.model.has_values(file, range) {
            let (write, values) = self.model.begin_write(file, range, writer, now);
            self.note(|| format!("C{} writes {range:?} of file {}, {}..", client + 1, file + 1, values[0]));
            self.begin_access(client, at, range, What::Write { write, values });
        } else {
            self.note(|| format!("C{} reads {range:?} of file {}", client + 1, file + 1));
            let out = vec![0; range.len() as usize];
            self.begin_access(client, at, range, What::Read { began: now, out });
        }
        self.count_pin(client);
    }

    fn count_pin(&mut self, client: usize) {
        let Some(process) = self.process(client) else { return };
        let Some(access) = process.accesses.values().last() else { return };
        let open = &process.files[access.file];
        let held = open.tokens.held().any(|(range, _)| range.contains(access.range));
        let behind = process.accesses.values().rev().skip(1).any(|other| {
            other.file == access.file && other.stage != Stage::Doubtful && other.range.overlaps(access.range)
        });
        if behind {
            self.reach(Transition::Queued);
        } else if held {
            self.reach(Transition::PinFromHeld);
        }
    }

    fn cancel(&mut self, client: usize) {
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let waiting = process.accesses.iter().find(|(_, access)| access.stage == Stage::Waiting);
        let Some((&number, _)) = waiting else { return };
        let access = process.accesses.remove(&number).expect("just found");
        process.end(access.file, access.operation);
        if let What::Write { write, .. } = access.what {
            self.model.doubt(write);
            self.model.end(write, now);
        }
        self.note(|| format!("C{} does not want {:?} of file {} any more", client + 1, access.range, access.file + 1));
    }

    fn truncate_file(&mut self, client: usize) {
        let file = self.rng.below(2) as usize;
        let bytes = self.rng.below(FILE_BYTES + 20);
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let writer = process.writer;
        let write: WriteId = self.model.begin_cut(file, bytes.min(FILE_BYTES), writer, now);
        let bytes = bytes.min(FILE_BYTES);
        self.note(|| format!("C{} sets the size of file {} to {bytes}", client + 1, file + 1));
        if let Some(process) = self.process(client) {
            process.call(Call::SetSize { file, bytes, write }, now);
        }
    }

    fn ask_size(&mut self, client: usize) {
        let file = self.rng.below(2) as usize;
        let now = self.now;
        if let Some(process) = self.process(client) {
            process.call(Call::GetSize { file }, now);
        }
    }

    /// Asks for more ranges than a holder may have, far behind all bytes that are accessed.
    fn ask_for_many(&mut self, client: usize) {
        let Some(process) = self.process(client) else { return };
        let holder = Holder::Client(process.id);
        let file = crate::metadata::file_id(0);
        if process.find(holder, file).is_none() {
            return;
        }
        let request = super::Process::next_request(&mut process.last_request);
        let required = vec![RangePattern::new(1 << 20, 1, 2, 70_000).expect("a pattern")];
        let mode = Mode::Exclusive;
        let acquire = Acquire { request, holder, file, mode, required, desired: None, collective: false };
        process.session.send(ClientMessage::Acquire(acquire));
    }
}
