//! Plans of faults: which calls are struck, and how. Which calls and faults there are, and what a call is about, is said
//! where they are carried out: by a disk or by a store.

use parking_lot::Mutex;
use std::fmt;
use std::ops::Range;

/// Some calls, about some targets, and what happens to them.
pub struct Rule<C, F, T: ?Sized> {
    call: C,
    fault: F,
    targets: Box<dyn Fn(&T) -> bool + Send + Sync>,
    numbers: Range<u64>,
    every: u64,
}

impl<C, F, T: ?Sized> Rule<C, F, T> {
    /// All calls of a kind, whatever they are about.
    pub fn new(call: C, fault: F) -> Self {
        Rule { call, fault, targets: Box::new(|_| true), numbers: 0..u64::MAX, every: 1 }
    }

    /// Only about these.
    pub fn of(mut self, targets: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.targets = Box::new(targets);
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

impl<C: PartialEq, F, T: ?Sized> Rule<C, F, T> {
    fn is_about(&self, call: &C, target: &T) -> bool {
        self.call == *call && (self.targets)(target)
    }

    fn strikes(&self, number: u64) -> bool {
        self.numbers.contains(&number) && (number + 1).is_multiple_of(self.every)
    }
}

impl<C: fmt::Debug, F: fmt::Debug, T: ?Sized> fmt::Debug for Rule<C, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { call, fault, numbers, every, targets: _ } = self;
        write!(f, "{call:?}: {fault:?} for {numbers:?}, one in {every}")
    }
}

/// All rules, each with the number of calls that it was about. A call is struck by the first rule that fits.
#[derive(Debug)]
pub(super) struct Rules<C, F, T: ?Sized> {
    state: Mutex<State<C, F, T>>,
}

#[derive(Debug)]
struct State<C, F, T: ?Sized> {
    rules: Vec<(Rule<C, F, T>, u64)>,
    struck: u64,
}

impl<C, F, T: ?Sized> Default for Rules<C, F, T> {
    fn default() -> Self {
        Rules { state: Mutex::new(State { rules: Vec::new(), struck: 0 }) }
    }
}

impl<C: PartialEq, F: Clone, T: ?Sized> Rules<C, F, T> {
    pub(super) fn add(&self, rule: Rule<C, F, T>) {
        self.state.lock().rules.push((rule, 0));
    }

    pub(super) fn clear(&self) {
        self.state.lock().rules.clear();
    }

    /// How many calls were struck.
    pub(super) fn struck(&self) -> u64 {
        self.state.lock().struck
    }

    /// Whether there is such a rule for what a call is about, at whatever numbers.
    pub(super) fn is_any(&self, target: &T, wanted: impl Fn(&C, &F) -> bool) -> bool {
        self.state.lock().rules.iter().any(|(rule, _)| wanted(&rule.call, &rule.fault) && (rule.targets)(target))
    }

    /// Counts a call, and tells what happens to it.
    pub(super) fn next(&self, call: &C, target: &T) -> Option<F> {
        self.state.lock().next(call, target)
    }

    /// For a call that is made in another way if this one comes to nothing: it is counted once, so here only if such a
    /// fault strikes it.
    pub(super) fn try_next(&self, call: &C, target: &T, wanted: impl Fn(&F) -> bool) -> Tried<F> {
        let mut state = self.state.lock();
        if !state.rules.iter().any(|(rule, _)| rule.is_about(call, target)) {
            return Tried::Free;
        }
        match state.coming(call, target).is_some_and(wanted) {
            true => state.next(call, target).map_or(Tried::Later, Tried::Struck),
            false => Tried::Later,
        }
    }
}

/// See [`Rules::try_next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried<F> {
    /// No rule is about it.
    Free,
    /// This happens to it.
    Struck(F),
    /// It was not counted: what happens to it is found out in the other way.
    Later,
}

impl<C: PartialEq, F: Clone, T: ?Sized> State<C, F, T> {
    fn coming(&self, call: &C, target: &T) -> Option<&F> {
        let about = self.rules.iter().filter(|(rule, _)| rule.is_about(call, target));
        about.filter(|(rule, count)| rule.strikes(*count)).map(|(rule, _)| &rule.fault).next()
    }

    fn next(&mut self, call: &C, target: &T) -> Option<F> {
        let fault = self.coming(call, target).cloned();
        self.rules.iter_mut().filter(|(rule, _)| rule.is_about(call, target)).for_each(|(_, count)| *count += 1);
        self.struck += u64::from(fault.is_some());
        fault
    }
}
