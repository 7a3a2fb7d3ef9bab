//! Calls: opens, sizes, truncations, closes. A change that is asked for again is answered again.

use super::message::{Call, DiskDone, Reply, ServerMessage};
use super::{Cutting, Intent, RpcKey, SizeAsk, file_id};
use crate::model::WriteId;
use crate::transitions::Transition;
use crate::world::World;
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, GroupId, Holder};
use pfs_core::token::message::{FileSize, Mode};
use std::collections::BTreeSet;

impl World {
    pub(super) fn call(&mut self, client: ClientId, number: u64, call: Call) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let coordinator = &mut running.coordinator;
        match call {
            Call::Open { file, request } => {
                let open = store.open();
                let holder = Holder::Client(client);
                coordinator.manager().open(holder, file_id(file), open);
                let mode = if request.get().is_multiple_of(2) { Mode::Exclusive } else { Mode::Shared };
                let grant = coordinator.manager().grant_with_open(client, request, holder, file_id(file), mode);
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Opened { open, group: None, size, grant });
            }
            Call::OpenTogether { file, members } => {
                if !members.iter().all(|member| coordinator.is_live(*member)) {
                    return self.reply(client, number, Reply::Failed);
                }
                let (open, group) = (store.open(), GroupId::new(store.open().get()).expect("counts from 1"));
                coordinator.manager().add_group(group, members);
                coordinator.manager().open(Holder::Group(group), file_id(file), open);
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Opened { open, group: Some(group), size, grant: None });
            }
            Call::SetSize { .. } | Call::GetSize { .. } if coordinator.in_grace() => {
                running.early_calls.push((client, number, call));
            }
            Call::SetSize { file, bytes, write } => self.set_size(client, number, file, bytes, write),
            Call::GetSize { file } => {
                let missing: BTreeSet<ClientId> =
                    coordinator.manager().exclusive_clients(file_id(file)).into_iter().collect();
                let ask = store.open().get();
                for member in &missing {
                    let query = ServerMessage::SizeQuery { ask, file: file_id(file) };
                    self.say(*member, query);
                }
                let ask_state = SizeAsk { client, number, file, missing };
                self.running().expect("it is up").asks.insert(ask, ask_state);
                self.answer_asks();
            }
            Call::Synced { file, size } => self.write(DiskDone::Synced { client, number, file, size }),
            Call::Close { file, open, size } => {
                size.into_iter().for_each(|size| running.sizes[file].learn(size));
                self.write(DiskDone::Closed { client, number, file, open, size });
            }
        }
    }

    pub(super) fn answer_asks(&mut self) {
        let Some(running) = self.running() else { return };
        let ready: Vec<u64> = running.asks.iter().filter(|(_, a)| a.missing.is_empty()).map(|(ask, _)| *ask).collect();
        for ask in ready {
            let Some(running) = self.running() else { return };
            if let Some(SizeAsk { client, number, file, .. }) = running.asks.remove(&ask) {
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Size(size));
            }
        }
    }

    fn set_size(&mut self, client: ClientId, number: u64, file: usize, bytes: u64, write: WriteId) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let same = |intent: &Intent| (intent.client, intent.number) == (client, number);
        if running.cuttings.values().any(|cutting| same(&cutting.intent)) {
            return;
        }
        if store.answers.contains(&(client, number)) {
            return self.reply(client, number, Reply::Done);
        }
        let operation = store.open().get();
        let from = Extent::from(bytes.min(running.sizes[file].get().bytes));
        let size = FileSize { generation: 0, bytes };
        let intent = Intent { file, size, client, number, write };
        running.cuttings.insert(operation, Cutting { intent, missing: BTreeSet::new(), durable: false });
        running.coordinator.manager().acquire_for_manager(operation, file_id(file), from);
    }

    /// The range of a truncation is the manager's.
    pub(super) fn cut_is_granted(&mut self, operation: u64) {
        self.stats.reach(Transition::GrantToManager);
        let Some(running) = self.running() else { return };
        let Some(cutting) = running.cuttings.get_mut(&operation) else { return };
        if cutting.durable {
            return self.cut_objects(operation);
        }
        cutting.intent.size.generation = running.sizes[cutting.intent.file].get().generation + 1;
        self.write(DiskDone::Intent { operation });
    }

    /// The intent is durable.
    pub(super) fn cut_objects(&mut self, operation: u64) {
        let servers = self.servers.len();
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let Some(cutting) = running.cuttings.get_mut(&operation) else { return };
        cutting.durable = true;
        cutting.missing = (0..servers).collect();
        let Intent { file, size, .. } = cutting.intent;
        store.intents.insert(operation, cutting.intent.clone());
        store.sizes[file].learn(size);
        running.sizes[file].set(size);
        running.rpcs.extend((0..servers).map(|server| RpcKey::Truncate(server, operation)));
        self.note(|| format!("M cuts file {} to {} bytes, {operation}", file + 1, size.bytes));
        self.try_rpcs();
    }

    /// The objects are cut, and that is durable.
    pub(super) fn cut_is_done(&mut self, operation: u64) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let Some(Cutting { intent, .. }) = running.cuttings.remove(&operation) else { return };
        store.intents.remove(&operation);
        if store.clients.contains(&intent.client) {
            store.answers.insert((intent.client, intent.number));
        }
        running.coordinator.manager().release_for_manager(operation, file_id(intent.file));
        self.model.succeed(intent.write, self.now);
        self.reply(intent.client, intent.number, Reply::Done);
    }

    pub(super) fn reply(&mut self, client: ClientId, number: u64, reply: Reply) {
        self.say(client, ServerMessage::Reply { number, reply });
    }

    pub(super) fn say(&mut self, client: ClientId, message: ServerMessage) {
        let now_ms = self.meta_ms();
        if let Some(running) = self.running() {
            running.coordinator.send(client, message, now_ms);
        }
    }
}
