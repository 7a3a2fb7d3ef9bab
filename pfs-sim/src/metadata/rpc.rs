//! What comes without a session, and what is told to file servers until they have confirmed it.

use super::message::{DiskDone, MetaRpc};
use super::{Intent, RETRY_US, RpcKey, server_id};
use crate::file_server::ServerRpc;
use crate::plan::Node;
use crate::transitions::Transition;
use crate::world::{Event, World};
use pfs_core::ids::ClientId;

impl World {
    /// Something has arrived that needs no session.
    pub fn meta_rpc(&mut self, rpc: MetaRpc) {
        let now_ms = self.meta_ms();
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match rpc {
            MetaRpc::Register { client, life, sent_ms } => {
                let id = ClientId::new(store.next_client).expect("counts from 1");
                store.next_client += 1;
                running.coordinator.admit(id, now_ms);
                self.write(DiskDone::Client { id, client, life, sent_ms });
            }
            MetaRpc::RegisterServer { server, sent_ms } => self.write(DiskDone::Server { server, sent_ms }),
            MetaRpc::Beat { server, boot, version, sent_ms } => {
                let own = running.coordinator.boot();
                let fenced = (boot == own).then_some(version);
                let before = running.coordinator.burials();
                running.coordinator.handle_server(server_id(server), fenced, now_ms);
                if running.coordinator.burials() < before {
                    self.stats.reach(Transition::FencedByHeartbeat);
                }
                self.tell_server(server, ServerRpc::BeatAnswer { boot: own, sent_ms });
            }
            MetaRpc::Fenced { server, victim } => {
                if running.rpcs.remove(&RpcKey::Fence(server, victim)) {
                    self.stats.reach(Transition::FencedByCall);
                }
                running.coordinator.handle_fenced(server_id(server), victim, now_ms);
            }
            MetaRpc::Drained { server, stamp, sequence } => {
                if running.rpcs.remove(&RpcKey::Drain(server, stamp, sequence)) {
                    self.stats.reach(Transition::Drained);
                }
                running.coordinator.handle_drained(server_id(server), stamp, sequence);
            }
            MetaRpc::Truncated { server, operation } => {
                running.rpcs.remove(&RpcKey::Truncate(server, operation));
                if let Some(cutting) = running.cuttings.get_mut(&operation)
                    && cutting.missing.remove(&server)
                    && cutting.missing.is_empty()
                {
                    self.write(DiskDone::Cut { operation });
                }
            }
        }
        self.meta_pump();
    }

    pub(super) fn tell_server(&mut self, server: usize, rpc: ServerRpc) {
        let rpc = Box::new(rpc);
        self.send(Node::Meta, Node::Server(server), Event::Server { server, rpc });
    }

    /// It is time to try again.
    pub fn meta_retry(&mut self, epoch: u64) {
        if self.meta.epoch == epoch
            && let Some(running) = self.running()
        {
            running.retrying = false;
            self.try_rpcs();
        }
    }

    pub(super) fn try_rpcs(&mut self) {
        let Some(running) = self.running() else { return };
        let (version, fences) = running.coordinator.fences();
        let rpcs: Vec<RpcKey> = running.rpcs.iter().copied().collect();
        let first = !rpcs.is_empty() && !std::mem::replace(&mut running.retrying, true);
        for key in rpcs {
            match key {
                RpcKey::Fence(server, victim) => {
                    self.reach(Transition::FenceSent);
                    self.tell_server(server, ServerRpc::Fence { victim, version, fences: fences.clone() });
                }
                RpcKey::Drain(server, stamp, sequence) => {
                    self.tell_server(server, ServerRpc::Drain { stamp, sequence });
                }
                RpcKey::Truncate(server, operation) => {
                    let Some(cutting) = self.running().and_then(|r| r.cuttings.get(&operation)) else { continue };
                    let Intent { file, size, .. } = cutting.intent;
                    self.tell_server(server, ServerRpc::Truncate { operation, file, size });
                }
            }
        }
        if first {
            self.after(RETRY_US, Event::MetaRetry { epoch: self.meta.epoch });
        }
    }
}
