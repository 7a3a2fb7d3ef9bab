//! One test: its repetitions, and the phases of each.
//!
//! Invariants: what is timed begins with a barrier and ends with the close; times count from that barrier on every rank, so
//! that the clocks of nodes need not agree; an error of any rank ends the job, which is the caller's part.

use crate::aiori::{Backend, Handle, Purpose, Request, View, gathered_hints};
use crate::ior::names;
use crate::ior::operations::Operations;
use crate::ior::output::Output;
use crate::ior::params::Params;
use crate::ior::pattern::{Mismatch, Pattern};
use crate::ior::phase::{Done, Kind, Phase};
use crate::ior::plan::{Box3, Order, Plan};
use crate::ior::report::{Access, Context as Setting, Point};
use crate::ior::{outliers, shift};
use crate::ranks::{Nodes, Ranks};
use anyhow::{Context, Result, bail};
use mpi::topology::SimpleCommunicator;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A test under way on a rank that takes part.
pub struct Test<'a> {
    /// The test.
    pub setting: &'a Setting,
    /// Its ranks.
    pub ranks: &'a Ranks,
    /// Where they are.
    pub nodes: Nodes,
    /// The interface.
    pub backend: &'a dyn Backend,
    /// Where results go.
    pub output: &'a mut Output,
    buffer: Vec<u8>,
    seed: u64,
    signature: u64,
    repetition: u32,
    /// Transfers of each rank's data that the last write made; 0 for all.
    written: Vec<u64>,
    /// Transfers with wrong data of all ranks, in this repetition and in all.
    wrong: u64,
    errors: u64,
}

/// What a test has measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Writes and reads.
    pub points: Vec<Point>,
    /// Seconds of removals, by repetition.
    pub removals: Vec<(u32, f64)>,
    /// Transfers with wrong data of all ranks.
    pub errors: u64,
    /// Transfers of the rank with the most, in the last write.
    pub pairs: u64,
}

/// The moments of a phase, in seconds from its barrier.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    opened: f64,
    begun: f64,
    moved: f64,
    closing: f64,
    closed: f64,
}

impl<'a> Test<'a> {
    /// A test of these ranks. Collective.
    pub fn new(
        setting: &'a Setting,
        ranks: &'a Ranks,
        nodes: Nodes,
        backend: &'a dyn Backend,
        output: &'a mut Output,
    ) -> Result<Test<'a>> {
        let params = &setting.params;
        let seed = ranks.of_root(params.random_seed.unwrap_or_else(now_s));
        let written = vec![0; usize::try_from(ranks.size)?];
        let order = Order { whose: ranks.rank, tasks: ranks.size, seed, file_bytes: 0 };
        let transfers = Plan::new(params, order).transfers_per_call();
        let buffer = vec![0; usize::try_from(transfers * params.transfer_bytes)?];
        let (signature, repetition, wrong, errors) = (params.signature, 0, 0, 0);
        Ok(Test { setting, ranks, nodes, backend, output, buffer, seed, signature, repetition, written, wrong, errors })
    }

    fn params(&self) -> &'a Params {
        &self.setting.params
    }

    /// Runs all repetitions; `show` prints a result.
    pub fn run(mut self, show: &mut dyn FnMut(&mut Output, Shown) -> Result<()>) -> Result<Measured> {
        let params = self.params();
        let memory = self.hog();
        let (start, mut measured) = (Instant::now(), Measured::default());
        if params.write > 0 || params.check_write > 0 {
            self.warn_of_existing()?;
        }
        for repetition in 0..params.repetitions {
            (self.repetition, self.wrong) = (repetition, 0);
            self.new_signature();
            if params.write > 0 && self.has_time(start) {
                let point = self.write(&mut measured)?;
                show(self.output, Shown::Point(&point))?;
                measured.points.push(point);
            }
            if params.check_write > 0 && self.has_time(start) {
                self.check_write()?;
            }
            if (params.read > 0 || params.check_read > 0) && self.has_time(start) {
                let point = self.read()?;
                show(self.output, Shown::Point(&point))?;
                measured.points.push(point);
            }
            if params.keep == 0 && (self.wrong == 0 || params.keep_with_error == 0) {
                let seconds = self.remove_all()?;
                show(self.output, Shown::Removal(repetition, seconds))?;
                measured.removals.push((repetition, seconds));
            } else {
                self.ranks.barrier();
            }
        }
        drop(memory);
        measured.errors = self.errors;
        Ok(measured)
    }

    /// Memory that the test takes away from the page cache, touched on every page.
    fn hog(&self) -> Vec<u8> {
        let params = self.params();
        let bytes = match params.memory_per_task {
            0 => params.memory_per_node / self.setting.tasks_on_node0.max(1),
            bytes => bytes,
        };
        vec![1; usize::try_from(bytes).unwrap_or(usize::MAX)]
    }

    fn has_time(&self, start: Instant) -> bool {
        let limit = self.params().max_minutes;
        let is_over = limit > 0 && start.elapsed() >= Duration::from_secs(limit * 60);
        limit == 0 || self.ranks.of_root(u8::from(!is_over)) > 0
    }

    /// A new signature for each repetition, so that the data of the one before is found out; that of `-G` stays.
    fn new_signature(&mut self) {
        let fresh = now_s().wrapping_add(u64::from(self.repetition)) & 0xffff_ffff;
        let signature = if self.params().signature > 0 { self.params().signature } else { fresh };
        self.signature = self.ranks.of_root(signature);
        if self.params().verbose >= 2 {
            self.output.say(&format!("Using Time Stamp {0} ({0:#x}) for Data Signature", self.signature));
        }
    }

    fn file(&self, whose: u64) -> String {
        names::file(self.params(), whose, self.repetition)
    }

    fn warn_of_existing(&mut self) -> Result<()> {
        let params = self.params();
        if params.dry_run == 0 && self.ranks.is_root() {
            let name = self.file(0);
            if self.backend.size(&name)?.is_some() {
                let fate = if params.existing > 0 { "overwritten" } else { "deleted" };
                self.warn(&format!("The file \"{name}\" exists already and will be {fate}"))?;
            }
        }
        Ok(())
    }

    fn warn(&mut self, message: &str) -> Result<()> {
        if self.params().warnings_as_errors > 0 {
            bail!("{message} (warnings are errors)");
        }
        self.output.say(&format!("WARNING: {message}"));
        Ok(())
    }

    fn plan(&self, whose: u64, file_bytes: u64) -> Plan {
        Plan::new(self.params(), Order { whose, tasks: self.ranks.size, seed: self.seed, file_bytes })
    }

    fn pattern(&self, whose: u64) -> Pattern {
        Pattern::new(self.params().packet, self.signature, whose)
    }

    fn write(&mut self, measured: &mut Measured) -> Result<Point> {
        let (params, rank) = (self.params(), self.ranks.rank);
        self.delay();
        if params.existing == 0 {
            self.ranks.barrier();
            self.remove(rank)?;
        }
        self.make_directory()?;
        if params.prefill_bytes > 0 {
            self.prefill()?;
        }
        let file_bytes = params.aggregate_bytes(if params.file_per_rank > 0 { 1 } else { self.ranks.size });
        let plan = self.plan(rank, file_bytes.context("the file would be larger than 2^63 - 1 bytes")?);
        let pattern = self.pattern(rank);
        self.buffer.chunks_mut(params.transfer_bytes as usize).for_each(|transfer| pattern.fill(transfer));
        let (times, done) = self.timed(Kind::Write, rank, &plan, params.wear_out_transfers)?;
        let point = self.point(Access::Write, times, &done)?;
        self.written = vec![0; self.written.len()];
        if params.deadline_s > 0 || params.min_s > 0 {
            self.written = self.ranks.all(&[done.transfers]).concat();
        } else if params.wear_out_transfers > 0 {
            self.written.fill(params.wear_out_transfers);
        }
        measured.pairs = self.ranks.greatest(done.transfers);
        Ok(point)
    }

    fn check_write(&mut self) -> Result<()> {
        if self.params().verbose >= 1 {
            self.output.say("Verifying contents of the file(s) just written.");
        }
        self.ranks.barrier();
        let whose = shift::for_write_check(self.params(), self.nodes, self.ranks.rank, self.ranks.size);
        let plan = self.plan(whose, self.size_for_random(whose)?);
        let (_, done) = self.timed(Kind::Check, whose, &plan, self.written[whose as usize])?;
        self.count_errors("write", whose, &done)
    }

    fn read(&mut self) -> Result<Point> {
        let params = self.params();
        let limit = self.limit_of_read();
        let whose = shift::for_read(params, self.nodes, self.ranks.rank, self.ranks.size, self.repetition);
        self.delay();
        let plan = self.plan(whose, self.size_for_random(whose)?);
        let kind = if params.check_read > 0 { Kind::Check } else { Kind::Read };
        let limit = limit.unwrap_or(self.written[whose as usize]);
        let (times, done) = self.timed(kind, whose, &plan, limit)?;
        if kind == Kind::Check {
            self.count_errors("read", whose, &done)?;
        }
        self.point(Access::Read, times, &done)
    }

    /// The number of transfers that an earlier run, or the user, has named.
    fn limit_of_read(&mut self) -> Option<u64> {
        let params = self.params();
        let Some(file) = &params.status_file else {
            return (params.write == 0 && params.wear_out_transfers > 0).then_some(params.wear_out_transfers);
        };
        let known = if self.ranks.is_root() {
            std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok())
        } else {
            None
        };
        if self.ranks.is_root() && known.is_none() {
            self.output.say("WARNING: Could not read back the stonewalling status from the file!");
        }
        Some(self.ranks.of_root(known.unwrap_or(0)))
    }

    fn size_for_random(&self, whose: u64) -> Result<u64> {
        if self.params().random < 2 || self.params().dry_run > 0 {
            return Ok(self.params().aggregate_bytes(1).unwrap_or(0));
        }
        Ok(self.backend.size(&self.file(whose))?.unwrap_or(0))
    }

    /// Opens, makes the transfers, and closes.
    fn timed(&mut self, kind: Kind, whose: u64, plan: &Plan, limit: u64) -> Result<(Times, Done)> {
        let (params, name) = (self.params(), self.file(whose));
        let request = self.request(if kind == Kind::Write { Purpose::Write } else { Purpose::Read }, whose)?;
        let own = SimpleCommunicator::self_comm();
        let comm = if params.file_per_rank > 0 { &own } else { &self.ranks.comm };
        let what = match kind {
            Kind::Write => "write",
            Kind::Read => "read",
            Kind::Check => "check",
        };
        let title = format!("{what} {}/{}", self.repetition + 1, params.repetitions);
        let (pattern, has_deadline) = (self.pattern(whose), params.deadline_s > 0 && kind != Kind::Check);
        let phase = Phase { params, ranks: self.ranks, plan, pattern, kind, limit, has_deadline, title };
        let mut operations = Operations::begin(params.operation_details.as_deref(), self.repetition, self.ranks.rank)?;
        if params.verbose >= 3 {
            println!("task {} {what}s {name}", self.ranks.rank);
        }
        self.ranks.barrier();
        let zero = Instant::now();
        let at = || zero.elapsed().as_secs_f64();
        let mut times = Times::default();
        let mut file: Box<dyn Handle> = match params.dry_run {
            0 => self.backend.open(comm, &name, &request)?,
            _ => Box::new(Nothing),
        };
        times.opened = at();
        self.barrier_within();
        times.begun = at();
        let done = phase.run(&mut *file, &mut self.buffer, &mut operations, self.output)?;
        if params.fsync > 0 && kind == Kind::Write {
            file.sync()?;
        }
        times.moved = at();
        self.barrier_within();
        times.closing = at();
        file.close()?;
        times.closed = at();
        operations.end()?;
        self.ranks.barrier();
        Ok((times, done))
    }

    fn barrier_within(&self) {
        if self.params().barriers > 0 {
            self.ranks.barrier();
        }
    }

    fn request(&self, purpose: Purpose, whose: u64) -> Result<Request> {
        let (params, tasks) = (self.params(), self.ranks.size);
        let shared = params.file_per_rank == 0;
        let stride = if shared { tasks * params.block_bytes } else { params.block_bytes };
        let view = match () {
            () if params.view == 0 => None,
            () if params.array > 0 => Some(View::Array(Box3::of(whose, tasks, params.block_bytes))),
            () if params.strided > 0 => Some(View::Strided { transfer: params.transfer_bytes, stride }),
            () => {
                let start = if shared { whose * params.block_bytes } else { 0 };
                Some(View::Blocks { block: params.block_bytes, stride, start })
            }
        };
        let hints_file = match &params.hints_file {
            Some(file) => {
                Some(std::fs::read_to_string(file).with_context(|| format!("cannot open hints file {file}"))?)
            }
            None => None,
        };
        let hints = gathered_hints(std::env::vars(), hints_file.as_deref());
        let show_hints = params.show_hints > 0;
        if show_hints && self.ranks.is_root() {
            println!("\nhints passed to MPI_File_open() {{");
            hints.iter().for_each(|(key, value)| println!("\t{key} = {value}"));
            println!("}}");
        }
        let is_write = purpose == Purpose::Write;
        let bytes = params.block_bytes * params.segments * if shared { tasks } else { 1 };
        let preallocate = (params.preallocate > 0 && is_write).then_some(bytes);
        let (collective, direct) = (params.collective > 0, params.direct > 0);
        Ok(Request { purpose, view, collective, preallocate, hints, show_hints, direct })
    }

    /// Writes all of the rank's blocks with something else, so that a random write changes what is there.
    fn prefill(&mut self) -> Result<()> {
        let params = Params {
            transfer_bytes: self.params().prefill_bytes,
            random: 0,
            deadline_s: 0,
            wear_out: 0,
            min_s: 0,
            ..self.params().clone()
        };
        let setting = Setting { params, ..self.setting.clone() };
        let mut filler = Test::new(&setting, self.ranks, self.nodes, self.backend, self.output)?;
        filler.buffer.fill(0xff);
        let plan = filler.plan(self.ranks.rank, 0);
        filler.timed(Kind::Write, self.ranks.rank, &plan, 0)?;
        Ok(())
    }

    /// What all ranks have measured together. Phases last from the first rank's start to the last rank's end.
    fn point(&mut self, access: Access, times: Times, done: &Done) -> Result<Point> {
        let params = self.params();
        let [first_begun, first_closing] = self.ranks.least_of([times.begun, times.closing]);
        let [opened, moved, closed] = self.ranks.greatest_of([times.opened, times.moved, times.closed]);
        let bytes = self.ranks.sum(done.bytes);
        let own_latency = (times.moved - times.begun) / done.transfers.max(1) as f64;
        let [latency_s] = self.ranks.least_of([if done.transfers > 0 { own_latency } else { f64::MAX }]);
        self.check_size(bytes)?;
        let stonewall = done.stonewall.map(|stonewall| (stonewall.seconds, stonewall.mean_bytes));
        if let Some(wall) = done.stonewall {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            self.output.say(&format!(
                "stonewalling pairs accessed min: {} max: {} -- min data: {:.1} GiB mean data: {:.1} GiB time: {:.1}s",
                wall.least,
                wall.most,
                gib(wall.least_bytes),
                gib(wall.mean_bytes),
                wall.seconds
            ));
        }
        let point = Point {
            access,
            repetition: self.repetition,
            bytes,
            open_s: opened,
            access_s: moved - first_begun,
            close_s: closed - first_closing,
            total_s: closed,
            latency_s,
            stonewall,
        };
        outliers::details(
            self.ranks,
            params,
            &point,
            [times.opened, times.begun, times.moved, times.closing, times.closed],
            self.output,
        )?;
        Ok(point)
    }

    /// Warns if the file has not the size that it should have. An interface that knows no sizes is believed.
    fn check_size(&mut self, moved: u64) -> Result<()> {
        let params = self.params();
        if params.dry_run > 0 {
            return Ok(());
        }
        let own = self.backend.size(&self.file(self.ranks.rank))?;
        let is_known = self.ranks.least(u64::from(own.is_some())) > 0;
        let own = own.unwrap_or(0);
        let in_file = if params.file_per_rank > 0 { self.ranks.sum(own) } else { self.ranks.least(own) };
        let expected = params.aggregate_bytes(self.ranks.size).unwrap_or(0);
        if (expected != moved || (is_known && in_file != moved)) && self.ranks.is_root() {
            self.warn(&format!("Expected aggregate file size       = {expected}"))?;
            self.warn(&format!("Stat() of aggregate file size      = {in_file}"))?;
            self.warn(&format!("Using actual aggregate bytes moved = {moved}"))?;
            if params.deadline_s > 0 {
                self.warn("Maybe caused by deadlineForStonewalling")?;
            }
        }
        Ok(())
    }

    fn count_errors(&mut self, what: &str, whose: u64, done: &Done) -> Result<()> {
        if let Some(Mismatch { place, expected, actual, words }) = done.first {
            eprintln!(
                "task {}: {} transfers of task {whose}'s data in {} are wrong; the first wrong 8 bytes ({words} in its \
                 transfer) at {place}: {actual:#018x} instead of {expected:#018x}",
                self.ranks.rank,
                done.errors,
                self.file(whose)
            );
        }
        let errors = self.ranks.sum(done.errors);
        self.wrong += errors;
        self.errors += errors;
        if errors > 0 && self.ranks.is_root() {
            self.warn(&format!("Incorrect data on {what} ({errors} errors found)."))?;
            self.output.say(&format!("Used Time Stamp {0} ({0:#x}) for Data Signature", self.signature));
        }
        Ok(())
    }

    fn make_directory(&mut self) -> Result<()> {
        let directory = names::directory(self.params(), self.ranks.rank).filter(|_| self.params().dry_run == 0);
        if let Some(directory) = directory
            && !self.backend.exists(&directory)?
        {
            self.backend.make_directory(&directory)?;
        }
        Ok(())
    }

    /// Removes a rank's file, or the shared one, if it is there.
    fn remove(&mut self, rank: u64) -> Result<()> {
        let params = self.params();
        let name = self.file(rank);
        let is_own = params.file_per_rank > 0 || self.ranks.is_root();
        if params.dry_run == 0 && is_own && self.backend.exists(&name)? {
            if params.verbose >= 3 {
                println!("task {} removes {name}", self.ranks.rank);
            }
            self.backend.remove(&name)?;
        }
        Ok(())
    }

    fn remove_all(&mut self) -> Result<f64> {
        let start = Instant::now();
        self.ranks.barrier();
        self.remove(self.ranks.rank)?;
        self.ranks.barrier();
        let seconds = start.elapsed().as_secs_f64();
        if let Some(directory) = names::directory(self.params(), self.ranks.rank).filter(|_| self.params().dry_run == 0)
        {
            self.backend.remove_directory(&directory)?;
        }
        Ok(seconds)
    }

    fn delay(&mut self) {
        let seconds = self.params().delay_s;
        if seconds > 0 && self.ranks.is_root() {
            if self.params().verbose >= 1 {
                self.output.say(&format!("delaying {seconds} seconds . . ."));
            }
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }
}

/// A result to be shown as soon as it is known.
pub enum Shown<'a> {
    /// A write or a read.
    Point(&'a Point),
    /// A removal.
    Removal(u32, f64),
}

/// The file of a test that moves nothing.
struct Nothing;

impl Handle for Nothing {
    fn write(&mut self, _call: &crate::ior::plan::Call, data: &[u8]) -> Result<u64> {
        Ok(data.len() as u64)
    }

    fn read(&mut self, _call: &crate::ior::plan::Call, data: &mut [u8]) -> Result<u64> {
        Ok(data.len() as u64)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
