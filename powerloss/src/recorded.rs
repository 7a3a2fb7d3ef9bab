//! Steps that were performed, and when: between which changes of the disk.

use super::memory::Memory;
use super::steps::{Step, Steps, perform};
use pfs_file_server::store::disk::{Disk, SimDisk};
use pfs_file_server::store::{PosixStore, StoreError};

/// A step, and how many changes there were before and after it.
#[derive(Clone, Debug)]
pub struct Performed {
    step: Step,
    before: usize,
    after: usize,
}

/// Performs steps, those of each generator on a thread of its own.
pub fn perform_all<D: Disk>(
    disk: &SimDisk,
    store: &PosixStore<D>,
    generators: Vec<Steps>,
    count: usize,
) -> Result<Vec<Vec<Performed>>, StoreError> {
    let one = |mut steps: Steps| {
        let performed = (0..count).map(|_| {
            let (step, before) = (steps.next(), disk.changes());
            perform(store, &step)?;
            Ok(Performed { step, before, after: disk.changes() })
        });
        performed.collect::<Result<Vec<_>, StoreError>>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = generators.into_iter().map(|steps| scope.spawn(|| one(steps))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a store does not panic")).collect()
    })
}

/// What may be in the store after each number of changes, which only grows.
#[derive(Debug)]
pub struct Timeline {
    memory: Memory,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    performed: std::vec::IntoIter<Performed>,
    now: Option<Performed>,
}

impl Timeline {
    /// From what may be there before the first step.
    pub fn new(memory: Memory, threads: Vec<Vec<Performed>>) -> Self {
        let thread = |performed: Vec<Performed>| Thread { performed: performed.into_iter(), now: None };
        Timeline { memory, threads: threads.into_iter().map(thread).collect() }
    }

    /// What may be there when power is lost after so many changes.
    pub fn at(&mut self, changes: usize) -> &Memory {
        for thread in &mut self.threads {
            thread.go_on(changes, &mut self.memory);
        }
        &self.memory
    }

    /// The steps that are under way.
    pub fn under_way(&self) -> Vec<&Step> {
        self.threads.iter().filter_map(|thread| thread.now.as_ref()).map(|performed| &performed.step).collect()
    }
}

impl Thread {
    fn go_on(&mut self, changes: usize, memory: &mut Memory) {
        loop {
            if let Some(now) = self.now.take_if(|now| now.after <= changes) {
                memory.end(&now.step);
            }
            if self.now.is_some() {
                return;
            }
            let has_begun = |next: &Performed| next.before < changes || next.after <= changes;
            match self.performed.as_slice().first().is_some_and(has_begun).then(|| self.performed.next()).flatten() {
                Some(next) => {
                    memory.begin(&next.step);
                    self.now = Some(next);
                }
                None => return,
            }
        }
    }
}
