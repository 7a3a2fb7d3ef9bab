//! File servers and the fences that they are told.

use super::state::State;
use pfs_core::fence::Fences;
use pfs_core::ids::{ServerId, Stamp};
use pfs_core::session::coordinator::Victim;

/// What a file server must refuse.
pub(crate) struct Told {
    pub(crate) version: u64,
    pub(crate) fences: Fences,
    /// Operations that must not be applied any more: stamp and sequence.
    pub(crate) drains: Vec<(Stamp, u64)>,
}

impl State {
    /// A file server registers. Returns what it must refuse, with the version.
    pub(crate) fn server_registered(&mut self, server: ServerId) -> Told {
        self.coordinator.handle_server(server, None, Self::now_ms());
        self.told(server)
    }

    /// A file server has these fences of this boot in force. Returns what it must refuse, with the version.
    pub(crate) fn server_heard(&mut self, server: ServerId, fence_version: u64) -> Told {
        self.coordinator.handle_server(server, Some(fence_version), Self::now_ms());
        self.told(server)
    }

    fn told(&self, server: ServerId) -> Told {
        let (version, fences) = self.coordinator.fences();
        Told { version, fences, drains: self.coordinator.drains(server) }
    }

    /// It is durable that they are shut out.
    pub(crate) fn recorded(&mut self, victims: &[Victim]) {
        let now_ms = Self::now_ms();
        victims.iter().for_each(|victim| self.coordinator.handle_recorded(*victim, now_ms));
    }

    /// A file server refuses them.
    pub(crate) fn fenced(&mut self, server: ServerId, victims: &[Victim]) {
        let now_ms = Self::now_ms();
        victims.iter().for_each(|victim| self.coordinator.handle_fenced(server, *victim, now_ms));
    }

    /// Whom of these a file server still has to be told to refuse: none when it has surely stopped to serve.
    pub(crate) fn still_to_fence(&mut self, server: ServerId, mut victims: Vec<Victim>) -> Vec<Victim> {
        let lapsed = self.has_lapsed(server);
        victims.retain(|victim| !lapsed && self.burials.contains(victim));
        victims
    }

    /// A file server has drained a client's write.
    pub(crate) fn drained(&mut self, server: ServerId, stamp: Stamp, sequence: u64) {
        self.coordinator.handle_drained(server, stamp, sequence);
    }

    /// Whether a file server still has to be asked for a drain.
    pub(crate) fn still_to_drain(&mut self, server: ServerId, stamp: Stamp) -> bool {
        !self.has_lapsed(server) && self.coordinator.is_live(stamp.incarnation)
    }

    /// Whether a file server has surely stopped to serve. If it has, nobody waits for it any more when this returns.
    fn has_lapsed(&mut self, server: ServerId) -> bool {
        let now_ms = Self::now_ms();
        let lapsed = self.coordinator.has_lapsed(server, now_ms);
        if lapsed {
            self.coordinator.handle_timeout(now_ms);
        }
        lapsed
    }
}
