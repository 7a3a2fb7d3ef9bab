//! Answering a request: how much is granted, and how many ranges a holder may have.

use super::FileTokens;
use super::give_way::Send;
use super::queue::{Part, Requester, Waiting};
use crate::extent::{Extent, ExtentSet};
use crate::ids::{ClientId, FileId, Holder, RequestId};
use crate::token::manager::{ManagerAction, Shared};
use crate::token::message::{Grant, Mode, SetId};
use crate::token::{RANGES_PER_HOLDER_MAX, WIDEN_BYTES_MIN};

/// To whom a grant goes, and what it answers.
#[derive(Clone, Copy, Debug)]
struct Address {
    to: ClientId,
    request: RequestId,
    collective: bool,
    set: Option<SetId>,
}

impl FileTokens {
    /// Grants a request, of which the caller has seen that nothing stands in the way: every part in one decision.
    pub(super) fn grant(&mut self, file: FileId, waiting: Waiting, shared: &mut Shared) {
        for part in &waiting.parts {
            match (waiting.requester, part.holder) {
                (Requester::Manager { operation }, _) => {
                    self.taken.insert(operation, part.hull());
                    shared.actions.push_back(ManagerAction::ManagerGranted { operation, file });
                }
                (Requester::Member { client, request, collective }, Some(holder)) => {
                    let address = Address { to: client, request, collective, set: None };
                    self.grant_part(file, &waiting, part, holder, address, shared);
                }
                (Requester::Set { client, request }, Some(Holder::Client(to))) => {
                    let set = Some(SetId { client, request });
                    let address = Address { to, request, collective: false, set };
                    self.grant_part(file, &waiting, part, Holder::Client(to), address, shared);
                }
                (Requester::Member { .. } | Requester::Set { .. }, _) => {
                    unreachable!("a client asks for holders, and in a set for clients")
                }
            }
        }
    }

    /// Whether nobody but this holder has the file open, or wants any of it, and it has nothing of it yet.
    pub(in crate::token) fn is_fresh_for(&self, holder: Holder) -> bool {
        let is_alone = self.holders.len() == 1 && self.table.is_empty() || crate::mutant!(OpenTakesFromOthers);
        let is_quiet = self.queue.is_empty() && self.revokes.is_empty() && self.taken.is_empty();
        self.is_open(holder) && is_alone && is_quiet
    }

    /// Gives all of a [fresh](Self::is_fresh_for) file to its only holder, without a request in the queue. The grant is to be sent.
    pub(in crate::token) fn grant_all(
        &mut self,
        file: FileId,
        holder: Holder,
        mode: Mode,
        request: RequestId,
        shared: &mut Shared,
    ) -> Grant {
        self.table.grant_tokens(Extent::ALL, holder, mode);
        let state = self.holders.get_mut(&holder).expect("the holder has the file open");
        state.sequence += 1;
        state.may_have_written |= mode == Mode::Exclusive;
        let (sequence, boot) = (state.sequence, shared.boot);
        self.counters.grants += 1;
        shared.counters.grants += 1;
        let ranges = vec![Extent::ALL];
        Grant { request, holder, file, mode, ranges, sequence, boot, collective: false, set: None }
    }

    fn grant_part(
        &mut self,
        file: FileId,
        waiting: &Waiting,
        part: &Part,
        holder: Holder,
        address: Address,
        shared: &mut Shared,
    ) {
        let mode = waiting.mode;
        let mut ranges = self.widen(holder, waiting, part);
        for range in &ranges {
            self.table.grant_tokens(*range, holder, mode);
        }
        let too_many = self.table.count_of(holder) > RANGES_PER_HOLDER_MAX;
        if too_many {
            let gaps = self.fill_gaps(holder, mode);
            if address.set.is_none() {
                let all: ExtentSet = ranges.into_iter().chain(gaps).collect();
                ranges = all.extents().collect();
            }
        }
        let state = self.holders.get_mut(&holder).expect("a request's holder has the file open");
        state.sequence += 1;
        if address.collective {
            state.collective_sequence = state.sequence;
        }
        state.may_have_written |= mode == Mode::Exclusive;
        // Who goes on as before is not to ask for each access, however long these are.
        let asked_for: u64 = part.required.iter().map(|range| range.len()).sum();
        state.widen_bytes = match waiting.asked {
            true => WIDEN_BYTES_MIN,
            false => state.widen_bytes.saturating_mul(2).max(asked_for),
        };
        let Address { to, request, collective, set } = address;
        let (sequence, boot) = (state.sequence, shared.boot);
        let grant = Grant { request, holder, file, mode, ranges, sequence, boot, collective, set };
        self.counters.grants += 1;
        shared.counters.grants += 1;
        shared.actions.push_back(ManagerAction::Grant { to, grant });
        if too_many {
            self.reclaim(file, holder, shared);
        }
    }

    /// What a grant names: all that is required, and as much of what is desired as hurts nobody.
    fn widen(&self, holder: Holder, waiting: &Waiting, part: &Part) -> Vec<Extent> {
        let Some(desired) = waiting.desired else { return part.required.to_vec() };
        let quiet = self.queue.is_empty() && self.revokes.is_empty() && self.taken.is_empty();
        if quiet && !self.table.has_others(holder) {
            return vec![desired.hull(part.hull())];
        }
        if waiting.asked || !quiet {
            return part.required.to_vec();
        }
        let reach = self.holders[&holder].widen_bytes;
        let mut ranges = part.required.to_vec();
        let last = ranges.len() - 1;
        let (first_start, last_end) = (ranges[0].start(), ranges[last].end());
        let below = self.table.room_around(ranges[0], holder, waiting.mode).start();
        let above = self.table.room_around(ranges[last], holder, waiting.mode).end();
        let start = first_start.saturating_sub(reach).max(below).max(desired.start()).min(first_start);
        let end = last_end.saturating_add(reach).min(above).min(desired.end()).max(last_end);
        let first = &mut ranges[0];
        *first = Extent::new(start, first.end()).expect("widened");
        let tail = &mut ranges[last];
        *tail = Extent::new(tail.start(), end).expect("widened");
        ranges
    }

    /// Gives a holder the gaps between its own ranges that nobody has or wants. Returns those of this mode, for the
    /// holder to know.
    fn fill_gaps(&mut self, holder: Holder, mode: Mode) -> Vec<Extent> {
        let own = self.own_ranges(holder);
        let gaps: Vec<(Extent, Mode)> = own
            .windows(2)
            .filter(|pair| pair[0].1 == pair[1].1)
            .filter_map(|pair| Some((Extent::new(pair[0].0.end(), pair[1].0.start())?, pair[0].1)))
            .filter(|(gap, _)| self.is_unwanted(*gap))
            .collect();
        for (gap, mode) in &gaps {
            self.table.grant_tokens(*gap, holder, *mode);
        }
        gaps.into_iter().filter(|(_, m)| *m == mode).map(|(gap, _)| gap).collect()
    }

    /// Keeps a holder's number of ranges bounded: takes the lower half back. Does nothing while it is under way, or when
    /// there is room again.
    pub(super) fn reclaim(&mut self, file: FileId, holder: Holder, shared: &mut Shared) {
        let under_way = self.holders.get(&holder).and_then(|state| state.reclaim);
        let few = self.table.count_of(holder) <= RANGES_PER_HOLDER_MAX / 4 * 3;
        if few || under_way.is_some_and(|revoke| self.revokes.contains(revoke)) {
            return;
        }
        let own = self.own_ranges(holder);
        let range = own[0].0.hull(own[own.len() / 2].0);
        let revoke = self.send_revoke(file, Send { holder, range, wanted: range, downgrade: false }, shared);
        if let Some(state) = self.holders.get_mut(&holder) {
            state.reclaim = Some(revoke);
        }
    }

    /// After a restart: fewer gaps and ranges, for holders that have said too many.
    pub(super) fn bound_ranges(&mut self, file: FileId, shared: &mut Shared) {
        let holders: Vec<Holder> = self.holders.keys().copied().collect();
        for holder in holders {
            if self.table.count_of(holder) > RANGES_PER_HOLDER_MAX {
                self.reclaim(file, holder, shared);
            }
        }
    }

    fn own_ranges(&self, holder: Holder) -> Vec<(Extent, Mode)> {
        let mine = self.table.iter().filter(|(_, claim)| claim.holders().contains(&holder));
        mine.map(|(range, claim)| (range, claim.mode())).collect()
    }

    fn is_unwanted(&self, gap: Extent) -> bool {
        self.table.overlapping(gap).next().is_none()
            && !self.queue.touches(gap)
            && !self.taken.values().any(|taken| taken.overlaps(gap))
            && self.revokes.overlapping(gap).next().is_none()
    }
}
