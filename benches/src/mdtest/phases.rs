//! The phases of an iteration on one rank.
//!
//! Invariants: a phase is timed from a barrier to a barrier, unless `-B` leaves them out; rank r makes its own items, looks at
//! those of rank r + N, reads those of r + 2N and removes those of r + 3N; all phases go over as many items as were made.

use crate::aiori::{Backend, Handle, Purpose, Request};
use crate::ior::operations::Operations;
use crate::ior::pattern::{Pattern, mix};
use crate::ior::plan::Call;
use crate::mdtest::params::Params;
use crate::mdtest::summary::{Iteration, Measured, TESTS, Test};
use crate::mdtest::tree::{Items, Kind};
use crate::ranks::Ranks;
use anyhow::{Context, Result, bail, ensure};
use mpi::topology::SimpleCommunicator;
use std::process::Command;
use std::time::{Duration, Instant};

/// Iterations under way.
pub struct Phases<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// The ranks of this number of tasks.
    pub ranks: &'a Ranks,
    /// The interface.
    pub backend: &'a dyn Backend,
    /// The items.
    pub items: Items,
    /// Where this rank works.
    pub root: String,
    /// From rank to rank, nodes taken into account.
    pub stride: u64,
    /// Signature of the data.
    pub signature: u64,
    /// The order in which items are looked at, if it is a random one.
    order: Vec<u64>,
    own: SimpleCommunicator,
    buffer: Vec<u8>,
    iteration: u64,
    /// Items of each rank, as many as were made.
    count: u64,
    results: Iteration,
    errors: u64,
    stonewall: Option<String>,
}

impl<'a> Phases<'a> {
    /// Nothing done yet.
    pub fn new(
        params: &'a Params,
        ranks: &'a Ranks,
        backend: &'a dyn Backend,
        root: String,
        stride: u64,
        signature: u64,
    ) -> Result<Phases<'a>> {
        let items = Items::new(params);
        let buffer = vec![0; usize::try_from(params.write_bytes.max(params.read_bytes))?];
        let own = SimpleCommunicator::self_comm();
        let (count, results, order) = (items.count(), [Measured::default(); TESTS], Vec::new());
        let (iteration, errors, stonewall) = (0, 0, None);
        Ok(Phases {
            params,
            ranks,
            backend,
            items,
            root,
            stride,
            signature,
            order,
            own,
            buffer,
            iteration,
            count,
            results,
            errors,
            stonewall,
        })
    }

    /// Files with wrong data, of this rank.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// What the stone wall has done, once.
    pub fn take_stonewall(&mut self) -> Option<String> {
        self.stonewall.take()
    }

    /// One iteration.
    pub fn run(&mut self, iteration: u64) -> Result<Iteration> {
        let params = self.params;
        (self.iteration, self.results) = (iteration, [Measured::default(); TESTS]);
        self.count = self.items.count();
        if params.create > 0 {
            self.make_trees()?;
        } else {
            self.known_count()?;
        }
        self.order = self.new_order();
        if params.dirs_only > 0 {
            self.delay();
            self.directories()?;
        }
        if params.files_only > 0 {
            self.delay();
            self.files()?;
        }
        self.ranks.barrier();
        if params.remove > 0 {
            self.remove_trees()?;
        }
        Ok(self.results)
    }

    fn delay(&self) {
        if self.params.delay_s > 0 && self.ranks.is_root() {
            std::thread::sleep(Duration::from_secs(self.params.delay_s));
        }
    }

    fn new_order(&self) -> Vec<u64> {
        if self.params.random == 0 && self.params.random_seed == 0 {
            return Vec::new();
        }
        let mut order: Vec<u64> = (0..self.count).collect();
        let mut state = mix(self.params.random_seed) ^ mix(self.ranks.rank);
        for last in (1..order.len()).rev() {
            state = mix(state);
            order.swap(last, (state % (last as u64 + 1)) as usize);
        }
        order
    }

    /// The rank whose items this one works on, so many strides on.
    fn owner(&self, strides: u64) -> u64 {
        (self.ranks.rank + strides * self.stride) % self.ranks.size
    }

    fn path(&self, kind: Kind, owner: u64, at: u64) -> (String, u64) {
        let (path, number) = self.items.path(kind, self.iteration, owner, at);
        (format!("{}/{path}", self.root), number)
    }

    fn directories(&mut self) -> Result<()> {
        let (params, kind) = (self.params, Kind::Directory);
        let count = self.count;
        if params.create > 0 {
            self.phase(Test::DirectoryCreation, count, |phases, _| {
                phases.for_owners(0, |phases, owner| {
                    (0..count).try_for_each(|at| phases.backend.make_directory(&phases.path(kind, owner, at).0))
                })
            })?;
        }
        if params.stat > 0 {
            self.phase(Test::DirectoryStat, count, |phases, _| {
                let owner = phases.owner(1);
                (0..count).try_for_each(|at| phases.backend.stat_directory(&phases.path(kind, owner, phases.at(at)).0))
            })?;
        }
        if params.rename > 0 && count > 1 {
            self.phase(Test::DirectoryRename, count, |phases, _| phases.rename())?;
        }
        if params.remove > 0 {
            self.phase(Test::DirectoryRemoval, count, |phases, _| {
                phases.for_owners(3, |phases, owner| {
                    (0..count).try_for_each(|at| phases.backend.remove_directory(&phases.path(kind, owner, at).0))
                })
            })?;
        }
        Ok(())
    }

    fn files(&mut self) -> Result<()> {
        let params = self.params;
        if params.create > 0 {
            let begun = self.count;
            self.phase(Test::FileCreation, begun, Self::create_files)?;
            // After a stone wall there are other numbers of files.
            self.results[Test::FileCreation as usize].items = self.count as f64;
            self.order = self.new_order();
        }
        let count = self.count;
        if params.stat > 0 {
            self.phase(Test::FileStat, count, |phases, operations| {
                let owner = phases.owner(1);
                (0..count).try_for_each(|at| {
                    let path = phases.path(Kind::File, owner, phases.at(at)).0;
                    operations.time(1, || phases.backend.stat_file(&path))
                })
            })?;
        }
        if params.read > 0 {
            self.phase(Test::FileRead, count, |phases, operations| {
                let owner = phases.owner(2);
                (0..count).try_for_each(|at| phases.read_file(owner, phases.at(at), operations))
            })?;
        }
        if params.remove > 0 {
            self.phase(Test::FileRemoval, count, |phases, operations| {
                phases.for_owners(3, |phases, owner| {
                    let mine = if params.shared > 0 && phases.ranks.rank > 0 { 0 } else { count };
                    (0..mine).try_for_each(|at| {
                        let path = phases.path(Kind::File, owner, at).0;
                        operations.time(1, || phases.backend.remove(&path))
                    })
                })
            })?;
        }
        Ok(())
    }

    /// The item that is looked at in the n-th place.
    fn at(&self, place: u64) -> u64 {
        self.order.get(place as usize).copied().unwrap_or(place)
    }

    /// Runs something for the rank's own owner; with collective creates rank 0 does it for all, and the others nothing.
    fn for_owners(&mut self, strides: u64, mut work: impl FnMut(&mut Self, u64) -> Result<()>) -> Result<()> {
        if self.params.collective == 0 {
            let owner = self.owner(strides);
            return work(self, owner);
        }
        let all = if self.ranks.is_root() { self.ranks.size } else { 0 };
        (0..all).try_for_each(|owner| work(self, owner))
    }

    /// Times a phase.
    fn phase(&mut self, test: Test, items: u64, work: impl FnOnce(&mut Self, &mut Timed) -> Result<()>) -> Result<()> {
        let params = self.params;
        command(&params.before)?;
        let mut timed = Timed::new(params, test, self.ranks.rank)?;
        if params.no_barriers == 0 {
            self.ranks.barrier();
        }
        let mut start = Instant::now();
        if params.unique > 0 {
            // The way to the tree, which is no work here, is a barrier.
            self.ranks.barrier();
            if params.time_unique == 0 {
                start = Instant::now();
            }
        }
        timed.start = start;
        work(self, &mut timed).with_context(|| test.name().to_owned())?;
        let own_seconds = start.elapsed().as_secs_f64();
        if params.call_sync > 0 {
            self.backend.sync_all()?;
        }
        command(&params.after)?;
        if params.no_barriers == 0 {
            self.ranks.barrier();
        }
        let seconds = start.elapsed().as_secs_f64();
        timed.operations.end()?;
        self.results[test as usize] = Measured { items: items as f64, seconds, own_seconds };
        Ok(())
    }

    fn create_files(&mut self, timed: &mut Timed) -> Result<()> {
        let params = self.params;
        if params.collective > 0 {
            let count = self.count;
            self.for_owners(0, |phases, owner| {
                (0..count).try_for_each(|at| {
                    let path = phases.path(Kind::File, owner, at).0;
                    phases.open(&path, Purpose::Write, false)?.close()
                })
            })?;
            self.ranks.barrier();
        }
        let (owner, limit) = (self.owner(0), Duration::from_secs(params.stonewall_s));
        let mut made = 0;
        while made < self.count {
            self.create_file(owner, made, timed)?;
            made += 1;
            if params.stonewall_s > 0 && timed.start.elapsed() > limit {
                break;
            }
        }
        if params.stonewall_s == 0 {
            return Ok(());
        }
        // All ranks come to what the fastest has made.
        let (least, most, sum) = (self.ranks.least(made), self.ranks.greatest(made), self.ranks.sum(made));
        if most < self.count || least < most {
            let mean = sum as f64 / self.ranks.size as f64;
            self.stonewall = Some(format!("Continue stonewall hit min: {least} max: {most} avg: {mean:.1} \n"));
        }
        (made..most).try_for_each(|at| self.create_file(owner, at, timed))?;
        self.count = most;
        match &params.status_file {
            Some(name) if self.ranks.is_root() => {
                std::fs::write(name, most.to_string()).with_context(|| format!("Cannot write to {name}"))
            }
            _ => Ok(()),
        }
    }

    /// The number of files that a run before has made.
    fn known_count(&mut self) -> Result<()> {
        let Some(name) = &self.params.status_file else { return Ok(()) };
        let known = if self.ranks.is_root() { std::fs::read_to_string(name).ok() } else { None };
        let known = known.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
        let known = self.ranks.of_root(known);
        ensure!(known != u64::MAX, "Could not read stonewall status file {name}");
        self.count = known.min(self.items.count());
        Ok(())
    }

    fn open(&self, path: &str, purpose: Purpose, together: bool) -> Result<Box<dyn Handle>> {
        let comm = if together && self.params.shared > 0 { &self.ranks.comm } else { &self.own };
        self.backend.open(comm, path, &Request::new(purpose))
    }

    fn create_file(&mut self, owner: u64, at: u64, timed: &mut Timed) -> Result<()> {
        let (params, (path, number)) = (self.params, self.path(Kind::File, owner, at));
        let begun = Instant::now();
        if params.make_node > 0 {
            self.backend.make_node(&path)?;
        } else {
            let purpose = if params.verify_write > 0 { Purpose::WriteRead } else { Purpose::Write };
            let mut file = self.open(&path, purpose, true)?;
            if params.write_bytes > 0 {
                self.write_file(&mut *file, &path, owner, number)?;
            }
            file.close()?;
        }
        timed.note(begun, params.write_bytes.max(1))
    }

    fn write_file(&mut self, file: &mut dyn Handle, path: &str, owner: u64, number: u64) -> Result<()> {
        let (params, pattern) = (self.params, self.pattern(owner));
        let length = params.write_bytes as usize;
        pattern.fill(&mut self.buffer[..length]);
        pattern.stamp(place(number), &mut self.buffer[..length]);
        let whole = Call { offset: 0, position: 0, transfers: 1 };
        let written = file.write(&whole, &self.buffer[..length])?;
        ensure!(written == params.write_bytes, "unable to write file {path}");
        if params.sync_file > 0 {
            file.sync()?;
        }
        if params.verify_write > 0 {
            Pattern::spoil(&mut self.buffer[..length]);
            let read = file.read(&whole, &mut self.buffer[..length])?;
            ensure!(read == params.write_bytes, "unable to verify write (read/back) file {path}");
            self.verify(path, owner, number, length)?;
        }
        Ok(())
    }

    fn read_file(&mut self, owner: u64, at: u64, timed: &mut Timed) -> Result<()> {
        let (params, (path, number)) = (self.params, self.path(Kind::File, owner, at));
        let length = params.read_bytes as usize;
        let begun = Instant::now();
        let mut file = self.open(&path, Purpose::Read, true)?;
        if length > 0 {
            Pattern::spoil(&mut self.buffer[..length]);
            let read = file.read(&Call { offset: 0, position: 0, transfers: 1 }, &mut self.buffer[..length])?;
            ensure!(read == params.read_bytes, "unable to read file {path}: {read} of {length} bytes");
        }
        file.close()?;
        timed.note(begun, params.read_bytes.max(1))?;
        if params.verify_read > 0 {
            self.verify(&path, owner, number, length)?;
        }
        Ok(())
    }

    /// The data of an owner. All ranks write the same into shared files.
    fn pattern(&self, owner: u64) -> Pattern {
        Pattern::new(self.params.packet, self.signature, if self.params.shared > 0 { 0 } else { owner })
    }

    fn verify(&mut self, path: &str, owner: u64, number: u64, length: usize) -> Result<()> {
        if let Some(mismatch) = self.pattern(owner).check(place(number), &self.buffer[..length]) {
            self.errors += 1;
            eprintln!("verification error in file: {path}, {} words wrong", mismatch.words);
            if self.params.warnings_as_errors > 0 {
                bail!("verification error in file: {path}");
            }
        }
        Ok(())
    }

    /// Gives each directory the name of the one before it; in the end all names are there again.
    fn rename(&mut self) -> Result<()> {
        let (owner, count) = (self.owner(1), self.count);
        let name = |at: u64| self.path(Kind::Directory, owner, at).0;
        let aside = format!("{}-XX", name(0));
        self.backend.rename(&name(0), &aside)?;
        (1..count - 1).try_for_each(|at| self.backend.rename(&name(at), &name(at - 1)))?;
        self.backend.rename(&aside, &name(count - 2))
    }

    /// The nodes of a tree, parents first. Whose trees a rank makes: its own with `-u`, else rank 0 the only one.
    fn nodes(&self, owner: u64) -> Vec<String> {
        let nodes = |tree: u64| (0..self.items.nodes).map(move |node| (tree, node));
        let all = (0..self.items.loops).flat_map(nodes);
        all.map(|(tree, node)| format!("{}/{}", self.root, self.items.node(self.iteration, tree, owner, node)))
            .collect()
    }

    fn tree_owners(&self) -> Vec<u64> {
        let (root, collective) = (self.ranks.is_root(), self.params.collective > 0);
        match (self.params.unique > 0, collective) {
            (true, false) => vec![self.ranks.rank],
            (true, true) if root => (0..self.ranks.size).collect(),
            (false, _) if root => vec![0],
            _ => Vec::new(),
        }
    }

    fn test_directories(&self) -> Vec<String> {
        let (root, iteration) = (&self.root, self.iteration);
        (0..self.items.loops).map(|tree| format!("{root}/{}", Items::test_directory(iteration, tree))).collect()
    }

    fn make_trees(&mut self) -> Result<()> {
        if self.ranks.rank < self.params.paths.len() as u64 {
            for directory in self.test_directories() {
                if !self.backend.exists(&directory)? {
                    self.backend.make_directory(&directory)?;
                }
            }
        }
        self.trees(Test::TreeCreation, |phases, owner| {
            phases.nodes(owner).iter().try_for_each(|node| phases.backend.make_directory(node))
        })
    }

    fn remove_trees(&mut self) -> Result<()> {
        self.trees(Test::TreeRemoval, |phases, owner| {
            phases.nodes(owner).iter().rev().try_for_each(|node| phases.backend.remove_directory(node))
        })?;
        if self.ranks.rank < self.params.paths.len() as u64 {
            for directory in self.test_directories() {
                self.backend.remove_directory(&directory)?;
            }
        }
        Ok(())
    }

    fn trees(&mut self, test: Test, work: impl Fn(&Self, u64) -> Result<()>) -> Result<()> {
        self.ranks.barrier();
        let start = Instant::now();
        self.tree_owners()
            .into_iter()
            .try_for_each(|owner| work(self, owner))
            .with_context(|| test.name().to_owned())?;
        let own_seconds = start.elapsed().as_secs_f64();
        self.ranks.barrier();
        let items = (self.items.nodes * self.items.loops) as f64;
        self.results[test as usize] = Measured { items, seconds: start.elapsed().as_secs_f64(), own_seconds };
        Ok(())
    }
}

/// A phase's clock, and the times of its operations.
struct Timed {
    start: Instant,
    operations: Operations,
}

impl Timed {
    fn new(params: &Params, test: Test, rank: u64) -> Result<Timed> {
        let operations = match &params.operation_details {
            Some(prefix) if test >= Test::FileCreation => {
                Operations::create(&format!("{prefix}-{}-{rank:05}.csv", test.name()))?
            }
            _ => Operations::default(),
        };
        Ok(Timed { start: Instant::now(), operations })
    }

    fn note(&mut self, begun: Instant, units: u64) -> Result<()> {
        self.operations.note(begun - self.start, begun.elapsed(), units)
    }

    fn time(&mut self, units: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        work()?;
        self.note(begun, units)
    }
}

/// What an item's data is made from, so that no two files of a rank are alike.
fn place(number: u64) -> u64 {
    number << 20
}

/// Runs a command of the user.
fn command(text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let status = Command::new("sh").args(["-c", text]).status().with_context(|| format!("running {text:?}"))?;
    ensure!(status.success(), "{text:?} ended with {status}");
    Ok(())
}
