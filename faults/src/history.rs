//! What all workers of a round did, put together from their records.
//!
//! Invariant: a write is [`Certain`](Fate::Certain) only if it ended with success and a later sync of its session succeeded.
//! Everything else may have happened in part or not at all, but not after its [`Fate::Doubtful`] time and an operation of
//! another client that began after it and had the same bytes: by then the token had been given up or taken away.

use crate::record::{Kind, Outcome, Record, Seen};
use crate::unit::WriteId;
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// A time without an end.
pub const NEVER: u64 = u64::MAX;

/// What is known of a write's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happened before this time, as a whole, and stays.
    Certain(u64),
    /// It may have happened in part; its client did nothing for it any more after this time.
    Doubtful(u64),
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its name.
    pub id: WriteId,
    /// When it began.
    pub begun: u64,
    /// The first unit.
    pub first: u64,
    /// How many units.
    pub count: u64,
    /// Whether it happened.
    pub fate: Fate,
    /// When it ended with success, or [`NEVER`].
    pub succeeded: u64,
}

/// One read that ended with success.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whose.
    pub writer: u64,
    /// Its number in the session.
    pub operation: u64,
    /// When it began.
    pub begun: u64,
    /// When it ended.
    pub ended: u64,
    /// What it saw.
    pub seen: Vec<Seen>,
}

/// An operation that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What it does.
    pub kind: Kind,
    /// When it began.
    pub begun: u64,
    /// The first unit.
    pub first: u64,
    /// How many units.
    pub count: u64,
}

/// All writes and reads of a round.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Writes.
    pub writes: Vec<Write>,
    /// Reads.
    pub reads: Vec<Read>,
    /// Reads that found the file too short.
    pub short: Vec<String>,
    /// Operations that ended with an error, by its kind.
    pub errors: BTreeMap<String, u64>,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Sessions that were lost.
    pub lost: u64,
}

impl History {
    /// Adds what one worker told, in order. `faults`: when something was done to this very client. `gone`: when its process
    /// was killed, if it was.
    pub fn add_worker(&mut self, records: &[(u64, Record)], faults: &[u64], gone: Option<u64>) -> Result<()> {
        let mut session = Session { writer: 0, open: BTreeMap::new(), unsynced: Vec::new(), begun: 0 };
        let mut last = 0;
        for (time, record) in records {
            last = *time;
            match record {
                Record::Session { writer, .. } => {
                    self.end_session(&mut session, *time, &[]);
                    session = Session { writer: *writer, open: BTreeMap::new(), unsynced: Vec::new(), begun: *time };
                }
                Record::Begin { operation, kind, first, count } => {
                    let pending = Pending { kind: *kind, begun: *time, first: *first, count: *count };
                    session.open.insert(*operation, pending);
                }
                Record::End { operation, outcome } => {
                    let Some(pending) = session.open.remove(operation) else {
                        bail!("operation {operation} of session {} ended before it began", session.writer);
                    };
                    self.end_operation(&mut session, *operation, pending, *time, outcome);
                }
                Record::Lost(_) => {
                    self.lost += u64::from(session.writer != 0);
                    self.end_session(&mut session, *time, faults);
                }
                Record::Done => {}
            }
        }
        match gone {
            Some(time) => self.end_session(&mut session, time, faults),
            None => self.end_session(&mut session, last, &[]),
        }
        Ok(())
    }

    fn end_operation(&mut self, session: &mut Session, operation: u64, begun: Pending, ended: u64, outcome: &Outcome) {
        if let Outcome::Error(text) = outcome {
            let kind = text.split(' ').next().unwrap_or_default();
            *self.errors.entry(kind.to_owned()).or_default() += 1;
        }
        match (begun.kind, outcome) {
            (Kind::Write, Outcome::Ok(_)) => {
                session.unsynced.push(self.writes.len());
                self.push_write(session.writer, operation, begun, Fate::Doubtful(NEVER), ended);
            }
            (Kind::Write, _) => self.push_write(session.writer, operation, begun, Fate::Doubtful(ended), NEVER),
            (Kind::Read, Outcome::Ok(seen)) => self.reads.push(Read {
                writer: session.writer,
                operation,
                begun: begun.begun,
                ended,
                seen: seen.clone(),
            }),
            (Kind::Read, Outcome::Short(units)) => self.short.push(format!(
                "read {}.{operation} of {} units from {} ended after {units}",
                session.writer, begun.count, begun.first
            )),
            (Kind::Sync, Outcome::Ok(_)) => {
                self.syncs += 1;
                for index in session.unsynced.drain(..) {
                    let write = &mut self.writes[index];
                    write.fate = Fate::Certain(write.succeeded);
                }
            }
            (Kind::Sync, _) => {
                for index in session.unsynced.drain(..) {
                    self.writes[index].fate = Fate::Doubtful(ended);
                }
            }
            (Kind::Read, Outcome::Error(_)) => {}
        }
    }

    fn push_write(&mut self, writer: u64, operation: u64, begun: Pending, fate: Fate, succeeded: u64) {
        let id = WriteId { writer, sequence: operation };
        let Pending { begun, first, count, .. } = begun;
        self.writes.push(Write { id, begun, first, count, fate, succeeded });
    }

    /// A session that was lost did nothing any more from the last fault before its end on: it was dead, stopped or cut off
    /// until it was shut out. One that ended in good order had no such fault.
    fn end_session(&mut self, session: &mut Session, ended: u64, faults: &[u64]) {
        let fault = faults.iter().copied().filter(|fault| (session.begun..=ended).contains(fault)).max();
        let silent = fault.unwrap_or(ended);
        for index in session.unsynced.drain(..) {
            let write = &mut self.writes[index];
            write.fate = Fate::Doubtful(silent.max(write.begun));
        }
        // What ended with an error at the end of the session was under way when the fault came.
        for write in self.writes.iter_mut().filter(|write| write.id.writer == session.writer) {
            if let Fate::Doubtful(until) = write.fate
                && until > silent
            {
                write.fate = Fate::Doubtful(silent.max(write.begun));
            }
        }
        for (operation, pending) in std::mem::take(&mut session.open) {
            if pending.kind == Kind::Write {
                let silent = silent.max(pending.begun);
                self.push_write(session.writer, operation, pending, Fate::Doubtful(silent), NEVER);
            }
        }
        session.writer = 0;
    }
}

struct Session {
    writer: u64,
    open: BTreeMap<u64, Pending>,
    /// Writes that succeeded since the last sync.
    unsynced: Vec<usize>,
    begun: u64,
}
