//! Which calls are struck, and how.

use super::gate::Gate;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Open,
    Create,
    Unlink,
    Rename,
    MakeDirectory,
    List,
    SyncDirectory,
    Write,
    Read,
    SetLength,
    Sync,
    Allocate,
    Punch,
    Status,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails and has done nothing. [`Errno::INTR`] is harmless.
    Error(Errno),
    /// Half of the bytes are written or read, and it says so: harmless.
    Short,
    /// Half of the bytes are written, and then it fails.
    ErrorHalfWay(Errno),
    /// It waits at the gate and then goes on: harmless.
    Wait(Gate),
    /// A sync fails, and what it was about is lost: the bytes are again what they were at the last sync. That is what Linux
    /// may do as soon as it needs the memory; a test must not wait for it. The rule has to be there before the bytes are.
    LoseAndFail(Errno),
    /// It says that it is done, and does nothing: a disk that lies.
    Ignore,
}

/// Some calls, of some files, and what happens to them.
pub struct Rule {
    call: Call,
    fault: Fault,
    files: Box<dyn Fn(&Path) -> bool + Send + Sync>,
    numbers: Range<u64>,
    every: u64,
}

impl Rule {
    /// All calls of a kind, of all files.
    pub fn new(call: Call, fault: Fault) -> Self {
        Rule { call, fault, files: Box::new(|_| true), numbers: 0..u64::MAX, every: 1 }
    }

    /// Only of these files.
    pub fn of(mut self, files: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        self.files = Box::new(files);
        self
    }

    /// Only the calls of these numbers, counted from 0 among those that the rule is about.
    pub fn numbers(mut self, numbers: Range<u64>) -> Self {
        self.numbers = numbers;
        self
    }

    /// Only the next one.
    pub fn once(self) -> Self {
        self.numbers(0..1)
    }

    /// Only the last one of every so many.
    pub fn every(mut self, every: u64) -> Self {
        self.every = every.max(1);
        self
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { call, fault, numbers, every, files: _ } = self;
        write!(f, "{call:?}: {fault:?} for {numbers:?}, one in {every}")
    }
}

/// What is left of a fault for the call to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Struck {
    /// Half of it.
    Some {
        /// And then fail.
        then: Option<Errno>,
    },
    LoseAndFail(Errno),
    Ignore,
}

/// All rules, each with the number of calls that it was about.
#[derive(Debug, Default)]
pub(super) struct Rules {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<(Rule, u64)>,
    struck: u64,
}

impl Rules {
    pub(super) fn add(&self, rule: Rule) {
        self.state.lock().rules.push((rule, 0));
    }

    pub(super) fn clear(&self) {
        self.state.lock().rules.clear();
    }

    pub(super) fn struck(&self) -> u64 {
        self.state.lock().struck
    }

    pub(super) fn is_any_for(&self, call: Call, path: &Path) -> bool {
        self.state.lock().rules.iter().any(|(rule, _)| rule.call == call && (rule.files)(path))
    }

    pub(super) fn may_lose(&self, path: &Path) -> bool {
        let loses = |rule: &Rule| matches!(rule.fault, Fault::LoseAndFail(_)) && (rule.files)(path);
        self.state.lock().rules.iter().any(|(rule, _)| loses(rule))
    }

    /// Counts a call, waits and fails for it, and tells what else it has to do.
    pub(super) fn strike(&self, call: Call, path: &Path) -> io::Result<Option<Struck>> {
        // The lock is free again while a call waits.
        let fault = self.state.lock().next(call, path);
        match fault {
            None => Ok(None),
            Some(Fault::Error(error)) => Err(error.into()),
            Some(Fault::Short) => Ok(Some(Struck::Some { then: None })),
            Some(Fault::ErrorHalfWay(error)) => Ok(Some(Struck::Some { then: Some(error) })),
            Some(Fault::LoseAndFail(error)) => Ok(Some(Struck::LoseAndFail(error))),
            Some(Fault::Ignore) => Ok(Some(Struck::Ignore)),
            Some(Fault::Wait(gate)) => {
                gate.pass();
                Ok(None)
            }
        }
    }
}

impl State {
    fn next(&mut self, call: Call, path: &Path) -> Option<Fault> {
        let mut fault = None;
        for (rule, count) in self.rules.iter_mut().filter(|(rule, _)| rule.call == call && (rule.files)(path)) {
            let number = *count;
            *count += 1;
            if fault.is_none() && rule.numbers.contains(&number) && (number + 1) % rule.every == 0 {
                fault = Some(rule.fault.clone());
            }
        }
        self.struck += u64::from(fault.is_some());
        fault
    }
}
