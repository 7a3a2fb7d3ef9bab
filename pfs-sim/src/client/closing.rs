//! Closing files, and opening them again.
//!
//! A close writes back what is dirty, with or without a sync, and waits until nothing of the file is running or may still be
//! applied. Then the process leaves the file, and the metadata server is told; the next open may be right behind.

use super::{OpenState, Process, Stage, World};
use crate::metadata::{Call, ClientMessage};
use crate::transitions::Transition;
use pfs_core::extent::Extent;
use pfs_core::ids::Holder;
use pfs_core::token::message::{Ack, Revoke};

impl World {
    /// Begins to close one of the files that a process has open for itself.
    pub(super) fn begin_close(&mut self, client: usize) {
        // In atomic mode a rank's own open lives as long as the group's.
        let files = if self.plan.atomic && client < self.plan.group { 1 } else { crate::world::FILES as u64 };
        let file = self.rng.below(files) as usize;
        let synced = self.rng.chance(600);
        let Some(process) = self.process(client) else { return };
        let holder = Holder::Client(process.id);
        let Some(at) = process.find(holder, crate::metadata::file_id(file)) else { return };
        if process.files[at].is_usable() {
            process.files[at].state = OpenState::Closing;
            self.note(|| format!("C{} begins to close file {}", client + 1, file + 1));
            if synced {
                self.begin_sync(client);
            }
        }
    }

    /// Takes a close a step further. False: none can go on.
    pub(super) fn advance_closes(&mut self, client: usize) -> bool {
        let Some(process) = self.process(client) else { return false };
        for at in 0..process.files.len() {
            if process.files[at].state != OpenState::Closing || !process.is_unused(at) {
                continue;
            }
            let key = process.files[at].key();
            if process.cache.has_dirty(key, Extent::ALL) {
                return self.write_back(client, at, Extent::ALL);
            }
            if !process.cache.is_pending(key, Extent::ALL) {
                self.leave_file(client, at);
                return true;
            }
        }
        false
    }

    fn leave_file(&mut self, client: usize, at: usize) {
        let again = self.rng.chance(500);
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let open = &mut process.files[at];
        open.state = OpenState::Left;
        let (file, size, key) = (open.file, open.tokens.written_size(), open.key());
        let close = Call::Close { file, open: open.open, size };
        process.cache.close(key);
        process.call(close, now);
        if again {
            process.open(file, now);
        }
        self.holders_changed = true;
        self.note(|| format!("C{} closes file {}", client + 1, file + 1));
        self.reach(Transition::Closed);
    }

    /// The metadata server knows of a close.
    pub(super) fn close_told(&mut self, client: usize, file: usize) {
        let now = self.now;
        let Some(process) = self.process(client) else { return };
        let left = |open: &&mut super::OpenFile| open.file == file && open.state == OpenState::Left;
        if let Some(open) = process.files.iter_mut().find(left) {
            open.state = OpenState::Closed;
        }
        let asked =
            process.calls.values().any(|asked| matches!(asked.call, Call::Open { file: other, .. } if other == file));
        let holder = Holder::Client(process.id);
        if !asked && process.find(holder, crate::metadata::file_id(file)).is_none() {
            process.open(file, now);
        }
    }

    /// The ack of a process that has left the file: it uses nothing, so there is nothing to wait for.
    pub(super) fn nothing_to_give(&mut self, client: usize, revoke: &Revoke) {
        let Revoke { revoke, holder, file, range, .. } = *revoke;
        let ack = Ack { revoke, holder, file, released: vec![range], size: None, undrained: Vec::new() };
        self.reach(Transition::RevokeLeft);
        if let Some(process) = self.process(client) {
            process.session.send(ClientMessage::Ack(ack));
        }
    }
}

impl Process {
    /// Whether no access of an open file is under way, no sync is, and none may still be applied.
    fn is_unused(&self, at: usize) -> bool {
        let open = &self.files[at];
        // What is in doubt is no access any more for its caller.
        let accessed = self.accesses.values().any(|access| access.file == at && access.stage != Stage::Doubtful);
        let given_up = self.doubts.iter().any(|doubt| doubt.given_up && doubt.stamp.holder == open.holder);
        !accessed && self.sync.is_none() && !open.tokens.is_in_use() && !given_up
    }
}
