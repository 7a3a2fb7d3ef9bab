//! What the coordinator and the token manager want done, and how often each was wanted.

use super::message::{DiskDone, ServerFrame, ServerMessage};
use super::{Asked, RpcKey, file_number, server_number};
use crate::invariants::Invariant;
use crate::plan::Node;
use crate::transitions::Transition;
use crate::world::{Event, TERMS, World};
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, Holder, RequestId};
use pfs_core::session::coordinator::{Action, Victim};
use pfs_core::token::manager::ManagerAction;
use pfs_core::token::message::{Grant, Refusal, Revoke};

impl World {
    /// The coordinator is called.
    pub fn meta_timer(&mut self, epoch: u64) {
        if self.meta.epoch != epoch || !self.meta.is_up() {
            return;
        }
        let now_ms = self.meta_ms();
        let waived = {
            let running = self.running().expect("it is up");
            running.timer_at = None;
            let before = running.coordinator.burials();
            running.coordinator.handle_timeout(now_ms);
            running.coordinator.burials() < before
        };
        if waived {
            self.reach(Transition::FencedByLapse);
        }
        self.meta_pump();
    }

    pub(super) fn meta_pump(&mut self) {
        let now_ms = self.meta_ms();
        while let Some(action) = self.running().and_then(|running| running.coordinator.poll_action(now_ms)) {
            self.act(action);
        }
        let epoch = self.meta.epoch;
        let Some(running) = self.running() else { return };
        let wanted = running.coordinator.poll_timeout();
        let Some(wanted) = wanted else { return };
        // What is overdue is looked at again soon, and not at once for ever.
        let at = self.when(Node::Meta, wanted.max(now_ms + 1));
        let running = self.running().expect("it is up");
        if running.timer_at.is_none_or(|planned| at < planned) {
            running.timer_at = Some(at);
            self.at(at, Event::MetaTimer { epoch });
        }
    }

    fn act(&mut self, action: Action<ServerMessage>) {
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match action {
            Action::Send { to, number, message } => {
                if let Some((connection, _)) = running.connection_of.get(&to).copied() {
                    self.send_down(connection, ServerFrame::Message(number, message));
                }
            }
            Action::Cut(client) => {
                if let Some((connection, _)) = running.connection_of.remove(&client) {
                    self.close_at_meta(connection);
                }
            }
            Action::Tokens(action) => self.act_on_tokens(action),
            Action::Reasserted(client) => self.say(client, ServerMessage::Reasserted),
            Action::Record(victim) => {
                self.note(|| format!("M gives {victim:?} up"));
                self.stats.reach(Transition::Record);
                let now_ms = self.clock(Node::Meta);
                let heard_ms = self.running().map(|running| running.heard_ms.clone()).unwrap_or_default();
                match victim {
                    Victim::Group(_) => self.reach(Transition::StuckGroup),
                    Victim::Client(client) => {
                        if heard_ms.get(&client).is_some_and(|heard| now_ms - heard < TERMS.lease_ms) {
                            self.reach(Transition::StuckClient);
                        }
                    }
                }
                self.write(DiskDone::Victim(victim));
            }
            Action::Fence { server, victim } => {
                if !self.meta.store.has_recorded(victim) {
                    let text = format!("S{} is told to refuse {victim:?}", server_number(server) + 1);
                    return self.violate(Invariant::EndsAreRecordedFirst, text);
                }
                running.rpcs.insert(RpcKey::Fence(server_number(server), victim));
                self.try_rpcs();
            }
            Action::Drain { server, stamp, sequence } => {
                self.stats.reach(Transition::Drain);
                running.rpcs.insert(RpcKey::Drain(server_number(server), stamp, sequence));
                self.try_rpcs();
            }
            Action::Freed(victim) => self.freed(victim),
            Action::MemberLost { group, member, tell } => {
                self.reach(Transition::MemberLost);
                for to in tell {
                    self.say(to, ServerMessage::MemberLost { group, member });
                }
            }
            Action::GroupLost { group, tell } => {
                let now_ms = self.meta_ms();
                let Some(running) = self.running() else { return };
                for to in tell {
                    running.coordinator.send_group_lost(to, group, ServerMessage::GroupLost(group), now_ms);
                }
            }
            Action::GraceOver => {
                let boot = running.coordinator.boot();
                self.note(|| "M ends the grace".into());
                self.stats.reach(Transition::GraceOver);
                self.earlier_boots_are_over(boot);
                for (client, number, call) in std::mem::take(&mut self.running().expect("it is up").early_calls) {
                    self.call(client, number, call);
                }
            }
        }
    }

    fn freed(&mut self, victim: Victim) {
        self.note(|| format!("M frees {victim:?}"));
        self.holders_changed = true;
        self.meta.freed.insert(victim);
        self.the_freed_have_stopped(victim);
        let Some(running) = self.running() else { return };
        running.rpcs.retain(|key| !matches!(key, RpcKey::Fence(_, v) if *v == victim));
        if let Victim::Client(client) = victim {
            running.asks.values_mut().for_each(|ask| {
                ask.missing.remove(&client);
            });
            running.rpcs.retain(|key| !matches!(key, RpcKey::Drain(_, stamp, _) if stamp.incarnation == client));
            self.end_writes_of(client);
            self.reach(Transition::FreedClient);
        } else {
            self.reach(Transition::FreedGroup);
        }
        self.answer_asks();
        self.write(DiskDone::Freed(victim));
    }

    fn act_on_tokens(&mut self, action: ManagerAction) {
        let step = self.stats.steps;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match action {
            ManagerAction::Grant { to, grant } => {
                let size = running.sizes[file_number(grant.file)].get();
                // The request of a set is another client's.
                let own = grant.set.is_none().then_some((to, grant.request));
                let asked = own.and_then(|own| running.asked.remove(&own));
                self.count_grant(&grant, asked.as_ref(), step);
                if let Some(asked) = asked {
                    self.is_granted_in_order(to, &asked);
                }
                self.note(|| {
                    let Grant { holder, file, mode, ranges, sequence, .. } = &grant;
                    format!("M grants {holder} {mode} {ranges:?} of {file}, #{sequence}, to {to}")
                });
                self.say(to, ServerMessage::Grant(grant, size));
            }
            ManagerAction::Revoke { to, revoke } => {
                self.reach(if revoke.downgrade { Transition::RevokeDowngrade } else { Transition::RevokeFull });
                if matches!(revoke.holder, Holder::Group(_)) {
                    self.reach(Transition::RevokeOfGroup);
                }
                if revoke.covers_sequence > 0 {
                    self.reach(Transition::RevokeCovers);
                }
                self.note(|| {
                    let Revoke { revoke, holder, file, range, downgrade, .. } = &revoke;
                    let how = if *downgrade { " down to shared" } else { "" };
                    format!("M revokes {range:?} of {file} from {holder}{how}, {revoke}, at {to}")
                });
                self.say(to, ServerMessage::Revoke(revoke));
            }
            ManagerAction::Refused { to, request, refusal } => {
                running.asked.remove(&(to, request));
                let cancelled = refusal == Refusal::Cancelled;
                self.reach(if cancelled { Transition::RefusalCancelled } else { Transition::Refusal });
                self.note(|| format!("M refuses {request} of {to}: {refusal}"));
                self.say(to, ServerMessage::Refused(request));
            }
            ManagerAction::ManagerGranted { operation, .. } => self.cut_is_granted(operation),
        }
    }

    /// [`Invariant::RequestsAreGrantedInOrder`]. The requests of clients that are given up wait for nothing any more.
    fn is_granted_in_order(&mut self, to: ClientId, granted: &Asked) {
        let Some(running) = self.running() else { return };
        let before = |((client, _), asked): &(&(ClientId, RequestId), &Asked)| {
            asked.arrival < granted.arrival && running.coordinator.is_live(*client) && asked.conflicts(granted)
        };
        if let Some(((client, request), asked)) = running.asked.iter().find(before) {
            let text = format!(
                "{to} was granted {:?} of {} for {} before {request} of {client} for {}, which came earlier",
                granted.ranges, granted.file, granted.holder, asked.holder
            );
            self.violate(Invariant::RequestsAreGrantedInOrder, text);
        }
    }

    fn count_grant(&mut self, grant: &Grant, asked: Option<&Asked>, step: u64) {
        let hull = grant.ranges.iter().copied().reduce(Extent::hull);
        if grant.collective {
            self.reach(Transition::GrantCollective);
        }
        if grant.set.is_some() {
            self.reach(Transition::GrantSet);
        }
        if let (Some(asked), Some(hull)) = (asked, hull) {
            let at_once = asked.step == step;
            self.reach(if at_once { Transition::GrantImmediate } else { Transition::GrantAfterWait });
            if hull.len() > asked.required.len() {
                let unlimited = hull.end() == pfs_core::extent::INFINITY;
                self.reach(if unlimited { Transition::GrantUnlimited } else { Transition::GrantWidened });
            }
            if grant.ranges.len() == 1 && asked.required.len() > 100_000 && hull.len() < u64::MAX / 2 {
                self.reach(Transition::GrantHull);
            }
        }
    }
}
