//! Whether what all clients saw can be explained: every byte is of an allowed write, and all agree on one order.
//!
//! Unit by unit the history is one of a register to which every value is written at most once, so that Gibbons' and
//! Korach's criterion holds ("Testing Shared Memories", SIAM J. Comput. 26, 1997): take each write with the reads that saw
//! it; from the earliest end among them to the latest begin is the time in which the unit certainly had this value (a
//! forward zone), if that is a time at all; else there is a time in which it had it at some moment (a backward zone). There
//! is an order if and only if no two forward zones overlap and no backward zone lies inside a forward one.
//!
//! A doubtful write counts only if somebody else saw it. Beyond units: two certain writes that one read saw are not both the
//! later one. A unit of mixed bytes is right only if a doubtful write was cut off inside it.

use crate::history::{Fate, History, NEVER, Read, Write};
use crate::record::Seen;
use crate::unit::{UNIT_BYTES, WriteId, encode};
use std::collections::{BTreeMap, HashMap};

/// Most violations that are told; there may be thousands of the same.
const TOLD_MAX: usize = 12;

/// All that is wrong with a history, in words; empty if all is right.
pub fn check(history: &History, units: u64) -> Vec<String> {
    let mut checker = Checker::new(history);
    checker.wrong.extend(history.short.iter().cloned());
    for (index, read) in history.reads.iter().enumerate() {
        checker.look_at_read(index, read, units);
    }
    for unit in 0..units {
        checker.check_unit(unit);
    }
    checker.wrong
}

struct Checker<'a> {
    history: &'a History,
    by_id: HashMap<WriteId, usize>,
    /// For each unit, the writes that cover it.
    covering: BTreeMap<u64, Vec<usize>>,
    /// For each unit, which read saw which write.
    sightings: BTreeMap<u64, Vec<(usize, WriteId)>>,
    wrong: Vec<String>,
}

/// From the earliest end to the latest begin of a write and the reads that saw it.
#[derive(Clone, Copy, Debug)]
struct Zone {
    first_end: u64,
    last_begin: u64,
    write: WriteId,
}

impl Zone {
    fn is_forward(&self) -> bool {
        self.first_end < self.last_begin
    }
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Self {
        let mut covering: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (index, write) in history.writes.iter().enumerate() {
            for unit in write.first..write.first + write.count {
                covering.entry(unit).or_default().push(index);
            }
        }
        let by_id = history.writes.iter().enumerate().map(|(index, write)| (write.id, index)).collect();
        Checker { history, by_id, covering, sightings: BTreeMap::new(), wrong: Vec::new() }
    }

    fn complain(&mut self, text: String) {
        if self.wrong.len() < TOLD_MAX {
            self.wrong.push(text);
        }
    }

    fn look_at_read(&mut self, index: usize, read: &Read, units: u64) {
        let name = format!("read {}.{} ({}..{} ns)", read.writer, read.operation, read.begun, read.ended);
        for seen in &read.seen {
            match seen {
                Seen::Run { first, count, write } => {
                    for unit in *first..(first + count).min(units) {
                        self.sightings.entry(unit).or_default().push((index, *write));
                        if *write != WriteId::default() && !self.is_of(*write, unit, read.ended) {
                            self.complain(format!("{name} saw {write} in unit {unit}, which was not written there"));
                        }
                    }
                }
                Seen::Mixed { index: unit, bytes } => {
                    if !self.is_cut_off(*unit, bytes, read.ended) {
                        self.complain(format!("{name} saw bytes in unit {unit} that nobody wrote: {bytes:02x?}"));
                    }
                }
            }
        }
        self.check_whole(&name, read);
    }

    /// Whether a write covers a unit and had begun at a time.
    fn is_of(&self, write: WriteId, unit: u64, at: u64) -> bool {
        self.by_id
            .get(&write)
            .map(|index| &self.history.writes[*index])
            .is_some_and(|write| (write.first..write.first + write.count).contains(&unit) && write.begun <= at)
    }

    /// Whether each byte of a unit is of a write that covers it, one of which is doubtful.
    fn is_cut_off(&self, unit: u64, bytes: &[u8], at: u64) -> bool {
        let writes = self.covering.get(&unit).into_iter().flatten().map(|index| &self.history.writes[*index]);
        let writes: Vec<&Write> = writes.filter(|write| write.begun <= at).collect();
        let doubtful = writes.iter().any(|write| matches!(write.fate, Fate::Doubtful(_)));
        let contents: Vec<[u8; UNIT_BYTES]> =
            writes.iter().map(|write| encode(write.id, unit)).chain([[0; UNIT_BYTES]]).collect();
        doubtful && bytes.iter().enumerate().all(|(at, byte)| contents.iter().any(|content| content[at] == *byte))
    }

    /// A read does not see each of two certain writes where it should see the other one.
    fn check_whole(&mut self, name: &str, read: &Read) {
        let mut runs: Vec<(u64, u64, &Write)> = Vec::new();
        for seen in &read.seen {
            if let Seen::Run { first, count, write } = seen
                && let Some(write) = self.by_id.get(write).map(|index| &self.history.writes[*index])
                && matches!(write.fate, Fate::Certain(_))
            {
                runs.push((*first, first + count, write));
            }
        }
        let covers = |write: &Write, (start, end): (u64, u64)| write.first < end && start < write.first + write.count;
        let mut later: Vec<(WriteId, WriteId)> = Vec::new();
        for (start, end, write) in &runs {
            for (_, _, other) in runs.iter().filter(|(_, _, other)| other.id != write.id) {
                if covers(other, (*start, *end)) && !later.contains(&(write.id, other.id)) {
                    later.push((write.id, other.id));
                }
            }
        }
        for (one, other) in &later {
            if one < other && later.contains(&(*other, *one)) {
                self.complain(format!("{name} saw {one} and {other} torn: each lies over the other"));
            }
        }
    }

    fn check_unit(&mut self, unit: u64) {
        self.check_given_up(unit);
        let zones = self.zones(unit);
        let mut forward: Vec<Zone> = zones.iter().copied().filter(Zone::is_forward).collect();
        forward.sort_by_key(|zone| zone.first_end);
        for pair in forward.windows(2) {
            if pair[1].first_end < pair[0].last_begin {
                self.complain(format!(
                    "unit {unit} was {} until {} ns and {} from {} ns on: no order explains both",
                    pair[0].write, pair[0].last_begin, pair[1].write, pair[1].first_end
                ));
            }
        }
        for zone in zones.iter().filter(|zone| !zone.is_forward()) {
            let around = forward.iter().find(|f| f.first_end < zone.last_begin && zone.first_end < f.last_begin);
            if let Some(around) = around {
                self.complain(format!(
                    "unit {unit} became {} between {} and {} ns, but was {} from {} to {} ns",
                    zone.write, zone.last_begin, zone.first_end, around.write, around.first_end, around.last_begin
                ));
            }
        }
    }

    fn zones(&mut self, unit: u64) -> Vec<Zone> {
        let sightings = self.sightings.get(&unit).cloned().unwrap_or_default();
        let covering = self.covering.get(&unit).cloned().unwrap_or_default();
        let mut zones = vec![Zone { first_end: 0, last_begin: 0, write: WriteId::default() }];
        for index in covering {
            let write = &self.history.writes[index];
            let others = |(read, id): &(usize, WriteId)| *id == write.id && self.reads(*read).writer != write.id.writer;
            match write.fate {
                Fate::Certain(ended) => {
                    zones.push(Zone { first_end: ended, last_begin: write.begun, write: write.id });
                }
                Fate::Doubtful(silent) if sightings.iter().any(others) => {
                    let first_end = self.given_up(unit, write, silent, &sightings);
                    zones.push(Zone { first_end, last_begin: write.begun, write: write.id });
                }
                Fate::Doubtful(_) => {}
            }
        }
        for zone in &mut zones {
            let doubtful = self
                .by_id
                .get(&zone.write)
                .is_some_and(|index| matches!(self.history.writes[*index].fate, Fate::Doubtful(_)));
            for (read, id) in &sightings {
                let read = self.reads(*read);
                // A client's cache may have shown it what was lost with the cache.
                if *id == zone.write && !(doubtful && read.writer == id.writer) {
                    zone.first_end = zone.first_end.min(read.ended);
                    zone.last_begin = zone.last_begin.max(read.begun);
                }
            }
        }
        zones
    }

    /// A doubtful write is not seen after an operation of another client that came after its client had fallen silent and did
    /// not see it: that operation had the token, and whatever is applied later goes past a fence or a drain.
    fn check_given_up(&mut self, unit: u64) {
        let sightings = self.sightings.get(&unit).cloned().unwrap_or_default();
        for (late, id) in &sightings {
            let late = self.reads(*late);
            let Some(write) = self.by_id.get(id).map(|index| &self.history.writes[*index]) else { continue };
            let Fate::Doubtful(silent) = write.fate else { continue };
            let between = |writer: u64, begun: u64, ended: u64| {
                writer != id.writer && begun > silent && ended < late.begun && late.writer != id.writer
            };
            let covering = self.covering.get(&unit).into_iter().flatten().map(|index| &self.history.writes[*index]);
            let mut writes = covering.filter(|other| matches!(other.fate, Fate::Certain(_)));
            let overwritten = writes.find(|other| between(other.id.writer, other.begun, other.succeeded));
            let mut reads = sightings.iter().filter(|(_, seen)| seen != id).map(|(read, _)| self.reads(*read));
            let unseen = reads.find(|other| between(other.writer, other.begun, other.ended));
            let by = match (overwritten, unseen) {
                (Some(other), _) => format!("write {}", other.id),
                (None, Some(other)) => format!("read {}.{}", other.writer, other.operation),
                (None, None) => continue,
            };
            self.complain(format!(
                "unit {unit}: read {}.{} at {} ns saw {id}, whose client was silent from {silent} ns on, after {by} had the \
                 unit",
                late.writer, late.operation, late.begun
            ));
        }
    }

    /// When a doubtful write can not happen any more: another client that came after its client had fallen silent has had the
    /// same unit.
    fn given_up(&self, unit: u64, write: &Write, silent: u64, sightings: &[(usize, WriteId)]) -> u64 {
        let session = write.id.writer;
        let reads = sightings.iter().map(|(read, _)| self.reads(*read));
        let reads = reads.filter(|read| read.writer != session && read.begun > silent).map(|read| read.ended);
        let writes = self.covering.get(&unit).into_iter().flatten().map(|index| &self.history.writes[*index]);
        let writes = writes.filter(|other| other.id.writer != session && other.begun > silent);
        reads.chain(writes.map(|other| other.succeeded)).min().unwrap_or(NEVER)
    }

    fn reads(&self, index: usize) -> &'a Read {
        &self.history.reads[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(writer: u64, sequence: u64) -> WriteId {
        WriteId { writer, sequence }
    }

    fn write(writer: u64, begun: u64, fate: Fate, range: std::ops::Range<u64>) -> Write {
        let succeeded = if let Fate::Certain(ended) = fate { ended } else { NEVER };
        let count = range.end - range.start;
        Write { id: id(writer, 1), begun, first: range.start, count, fate, succeeded }
    }

    fn read(writer: u64, begun: u64, ended: u64, runs: &[(u64, u64, u64)]) -> Read {
        let run = |&(first, count, writer): &(u64, u64, u64)| {
            let write = if writer == 0 { WriteId::default() } else { id(writer, 1) };
            Seen::Run { first, count, write }
        };
        Read { writer, operation: 7, begun, ended, seen: runs.iter().map(run).collect() }
    }

    fn verdict(writes: Vec<Write>, reads: Vec<Read>) -> Vec<String> {
        check(&History { writes, reads, ..History::default() }, 20)
    }

    #[test]
    fn orders_that_explain_all_pass() {
        let writes = vec![write(1, 10, Fate::Certain(20), 0..4), write(2, 15, Fate::Certain(40), 2..6)];
        for seen in [[(0, 2, 1), (2, 4, 2)], [(0, 4, 1), (4, 2, 2)]] {
            assert_eq!(verdict(writes.clone(), vec![read(3, 50, 60, &seen)]), Vec::<String>::new());
        }
        // While a write is under way, its old value may be seen, and then its new one.
        let reads = vec![read(3, 16, 17, &[(2, 2, 0)]), read(3, 22, 23, &[(2, 2, 1)]), read(3, 30, 31, &[(2, 2, 2)])];
        assert_eq!(verdict(writes, reads), Vec::<String>::new());
    }

    #[test]
    fn what_was_overwritten_or_lost_is_found() {
        let writes = vec![write(1, 10, Fate::Certain(20), 0..4), write(2, 30, Fate::Certain(40), 0..4)];
        assert!(!verdict(writes.clone(), vec![read(3, 50, 60, &[(0, 4, 1)])]).is_empty(), "an old value");
        assert!(!verdict(writes.clone(), vec![read(3, 50, 60, &[(0, 4, 0)])]).is_empty(), "synced bytes are gone");
        assert!(!verdict(writes.clone(), vec![read(3, 5, 8, &[(0, 4, 1)])]).is_empty(), "before it was written");
        assert!(!verdict(writes.clone(), vec![read(3, 50, 60, &[(3, 2, 2)])]).is_empty(), "where it was not written");
        assert!(!verdict(writes.clone(), vec![read(3, 50, 60, &[(0, 4, 9)])]).is_empty(), "of nobody");
        let reads = vec![read(3, 32, 33, &[(0, 1, 2)]), read(4, 34, 35, &[(0, 1, 1)])];
        assert!(!verdict(writes, reads).is_empty(), "back and forth");
    }

    #[test]
    fn torn_writes_are_found() {
        let writes = vec![write(1, 10, Fate::Certain(20), 0..4), write(2, 15, Fate::Certain(40), 0..4)];
        let torn = verdict(writes, vec![read(3, 50, 60, &[(0, 2, 1), (2, 2, 2)])]);
        assert!(torn[0].contains("torn"), "{torn:?}");
    }

    #[test]
    fn a_doubtful_write_may_be_there_or_not_but_not_come_late() {
        let doubtful = write(1, 10, Fate::Doubtful(20), 0..4);
        let certain = write(2, 30, Fate::Certain(40), 0..4);
        let writes = vec![doubtful, certain];
        let passes = |reads: Vec<Read>| verdict(writes.clone(), reads).is_empty();
        assert!(passes(vec![read(3, 50, 60, &[(0, 4, 2)])]), "it was overwritten or never happened");
        assert!(passes(vec![read(3, 22, 25, &[(0, 2, 1), (2, 2, 0)])]), "a part of it happened");
        assert!(!passes(vec![read(3, 50, 60, &[(0, 1, 1), (1, 3, 2)])]), "it came after it was shut out");
        let reads = vec![read(3, 32, 33, &[(0, 4, 2)]), read(3, 50, 60, &[(0, 4, 1)])];
        assert!(!passes(reads), "a value came back");
        assert!(passes(vec![read(1, 12, 18, &[(0, 4, 1)]), read(3, 22, 25, &[(0, 4, 0)])]), "lost with the cache");
        let reads = vec![read(4, 22, 23, &[(0, 4, 1)]), read(3, 24, 25, &[(0, 4, 0)])];
        assert!(!passes(reads), "what others saw is not lost with the cache");
    }

    #[test]
    fn mixed_bytes_need_a_write_that_was_cut_off() {
        let mixed = [&encode(id(1, 1), 3)[..30], &encode(id(2, 1), 3)[30..]].concat();
        let seen = || vec![Seen::Mixed { index: 3, bytes: mixed.clone() }];
        let look = || vec![Read { writer: 3, operation: 1, begun: 50, ended: 60, seen: seen() }];
        let certain = write(2, 15, Fate::Certain(40), 0..4);
        let cut = write(1, 10, Fate::Doubtful(20), 0..4);
        assert!(verdict(vec![cut, certain.clone()], look()).is_empty());
        let whole = write(1, 10, Fate::Certain(20), 0..4);
        assert!(!verdict(vec![whole, certain], look()).is_empty());
    }
}
