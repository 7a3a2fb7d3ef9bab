//! Connections of clients, and the messages that come on them.

use super::message::{ClientFrame, ClientMessage, ServerFrame};
use super::{Asked, RANGES_COMPARED_MAX, Running, file_number};
use crate::invariants::Invariant;
use crate::transitions::Transition;
use crate::world::World;
use pfs_core::extent::Extent;
use pfs_core::ids::ClientId;
use pfs_core::session::Hello;
use pfs_core::session::coordinator::HelloRefused;
use pfs_core::token::message::{Ack, Acquire};

impl World {
    /// A frame has arrived.
    pub fn meta_frame(&mut self, connection: usize, frame: ClientFrame) {
        let now_ms = self.meta_ms();
        let Some(running) = self.running() else { return };
        let current = running.client_of.get(&connection).copied();
        let current = current.filter(|client| running.connection_of.get(client).is_some_and(|c| c.0 == connection));
        match (frame, current) {
            (ClientFrame::Hello(hello), None) => self.hello(connection, hello),
            (ClientFrame::Heartbeat(beat), Some(client)) => {
                running.heard_ms.insert(client, now_ms);
                if let Some(answer) = running.coordinator.handle_heartbeat(client, beat, now_ms) {
                    self.send_down(connection, ServerFrame::Heartbeat(answer));
                }
            }
            (ClientFrame::Message(number, message), Some(client))
                if running.coordinator.handle_arrival(client, number) =>
            {
                let last = running.handled.insert(client, number).unwrap_or(0);
                self.message_is_the_next(last, number, || format!("of {client}"));
                self.message(client, message);
            }
            (ClientFrame::Fin, Some(_)) => {
                self.close_at_meta(connection);
                self.meta_disconnected(connection);
            }
            _ => {}
        }
        self.meta_pump();
    }

    fn hello(&mut self, connection: usize, hello: Hello) {
        let now_ms = self.meta_ms();
        let Some(running) = self.running() else { return };
        match running.coordinator.handle_hello(hello, now_ms) {
            Ok((welcome, number)) => {
                running.client_of.insert(connection, hello.client);
                let before = running.connection_of.insert(hello.client, (connection, number));
                self.send_down(connection, ServerFrame::Welcome(welcome));
                if let Some((before, _)) = before {
                    self.close_at_meta(before);
                }
            }
            Err(HelloRefused::NoSession(client)) => {
                self.note(|| format!("M refuses the hello of {client}"));
                self.reach(Transition::HelloRefused);
                self.send_down(connection, ServerFrame::Refused);
                self.close_at_meta(connection);
            }
            Err(HelloRefused::TooEarly(_)) => self.close_at_meta(connection),
        }
    }

    /// A connection is over.
    pub fn meta_disconnected(&mut self, connection: usize) {
        let Some(running) = self.running() else { return };
        if let Some(client) = running.client_of.get(&connection).copied()
            && let Some((current, number)) = running.connection_of.get(&client).copied()
            && current == connection
        {
            running.connection_of.remove(&client);
            running.coordinator.handle_disconnected(client, number);
        }
    }

    fn message(&mut self, client: ClientId, message: ClientMessage) {
        let now_ms = self.meta_ms();
        let step = self.stats.steps;
        let store = &self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let live = running.coordinator.is_live(client);
        match message {
            ClientMessage::Acquire(acquire) if live => {
                let hull = acquire.required.iter().map(|pattern| pattern.hull()).reduce(Extent::hull);
                if let Some(required) = hull {
                    running.arrivals += 1;
                    let few =
                        acquire.required.iter().map(|pattern| pattern.count()).sum::<u64>() <= RANGES_COMPARED_MAX;
                    let ranges =
                        acquire.required.iter().filter(|_| few).flat_map(|pattern| pattern.extents()).collect();
                    let Acquire { request, holder, file, mode, .. } = acquire;
                    let arrival = running.arrivals;
                    running
                        .asked
                        .insert((client, request), Asked { required, step, arrival, holder, file, mode, ranges });
                }
                if running.coordinator.in_grace() {
                    self.stats.reach(Transition::GraceWaited);
                }
                running.coordinator.manager().handle_acquire(client, acquire);
            }
            ClientMessage::AcquireSet(set) if live => running.coordinator.manager().handle_acquire_set(client, set),
            ClientMessage::Ack(ack) => self.acked(client, ack),
            ClientMessage::Cancel(request) if live => running.coordinator.manager().handle_cancel(client, request),
            ClientMessage::Size { ask, size } => {
                if let Some(asked) = running.asks.get_mut(&ask) {
                    running.sizes[asked.file].learn(size);
                    asked.missing.remove(&client);
                }
                self.answer_asks();
            }
            ClientMessage::Reassert(reassertion) => {
                let file = file_number(reassertion.file);
                let taken_over = running.coordinator.handle_reassert(client, &reassertion, now_ms);
                match taken_over {
                    Ok(()) => {
                        if let Some(size) = reassertion.size {
                            running.sizes[file].learn(size);
                        }
                        if store.dead.contains(&client) || !store.clients.contains(&client) {
                            let text = format!("{client} was given up, and what it says is taken over");
                            self.violate(Invariant::TheGivenUpStayOut, text);
                        }
                    }
                    Err(refusal) => {
                        self.note(|| format!("M does not take over what {client} says: {refusal}"));
                    }
                }
            }
            ClientMessage::ReassertDone => running.coordinator.handle_reassert_done(client, now_ms),
            ClientMessage::Call { number, call } if live => self.call(client, number, call),
            _ => {}
        }
    }

    fn acked(&mut self, client: ClientId, ack: Ack) {
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        if let Some(size) = ack.size {
            running.sizes[file_number(ack.file)].learn(size);
            self.stats.reach(Transition::AckWithSize);
        }
        if !ack.undrained.is_empty() {
            self.stats.reach(Transition::AckUndrained);
        }
        if ack.released.len() > 1 {
            self.stats.reach(Transition::AckOffersMore);
        }
        let (file, holder) = (ack.file, ack.holder);
        let pieces = |running: &Running| running.coordinator.tokens().ranges_of(file, holder);
        let before = pieces(running);
        running.coordinator.handle_ack(client, ack);
        if pieces(running) > before {
            self.stats.reach(Transition::TableSplit);
        }
    }
}
