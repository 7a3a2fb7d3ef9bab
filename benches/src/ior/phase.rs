//! The transfers of one phase on one rank: the loop, the deadline, and the data.
//!
//! Invariants: with collective calls every rank makes the same number of them, since rank 0 alone says when the deadline is
//! over; with wear-out all ranks end with the same number of transfers; what a phase moved is known by rank afterwards, so
//! that what is read later is what was written.

use crate::aiori::Handle;
use crate::ior::operations::Operations;
use crate::ior::output::Output;
use crate::ior::params::Params;
use crate::ior::pattern::{Mismatch, Pattern};
use crate::ior::plan::{Call, Plan};
use crate::ranks::Ranks;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// What a phase does with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes.
    Write,
    /// Reads.
    Read,
    /// Reads and compares.
    Check,
}

/// One phase of a rank.
pub struct Phase<'a> {
    /// The test.
    pub params: &'a Params,
    /// Its ranks.
    pub ranks: &'a Ranks,
    /// The transfers.
    pub plan: &'a Plan,
    /// Their data.
    pub pattern: Pattern,
    /// What is done.
    pub kind: Kind,
    /// So many transfers and no more; 0 for a whole pass.
    pub limit: u64,
    /// Whether the deadline counts.
    pub has_deadline: bool,
    /// What the progress line says.
    pub title: String,
}

/// What a phase has done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Transfers of this rank.
    pub transfers: u64,
    /// Bytes of this rank.
    pub bytes: u64,
    /// Transfers with wrong data.
    pub errors: u64,
    /// The first of them.
    pub first: Option<Mismatch>,
    /// When the deadline ended the phase.
    pub stonewall: Option<Stonewall>,
}

/// The moment before wear-out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stonewall {
    /// Seconds until then.
    pub seconds: f64,
    /// The least transfers of a rank.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// The least bytes of a rank.
    pub least_bytes: u64,
    /// The bytes of a rank on average.
    pub mean_bytes: u64,
}

struct Running<'a, 'b> {
    phase: &'a Phase<'b>,
    file: &'a mut dyn Handle,
    buffer: &'a mut [u8],
    operations: &'a mut Operations,
    output: &'a mut Output,
    start: Instant,
    next: u64,
    done: Done,
}

impl Phase<'_> {
    /// Makes all transfers.
    pub fn run(
        &self,
        file: &mut dyn Handle,
        buffer: &mut [u8],
        operations: &mut Operations,
        output: &mut Output,
    ) -> Result<Done> {
        let (start, done) = (Instant::now(), Done::default());
        let mut running = Running { phase: self, file, buffer, operations, output, start, next: 0, done };
        if self.plan.calls() > 0 {
            running.passes()?;
        }
        if self.has_deadline && self.params.wear_out > 0 {
            running.wear_out()?;
        }
        Ok(running.done)
    }
}

impl Running<'_, '_> {
    /// Passes from the begin of the file, until the deadline or the limit, or the least time is over.
    fn passes(&mut self) -> Result<()> {
        loop {
            for _ in 0..self.phase.plan.calls() {
                self.call()?;
                if self.must_stop() {
                    return Ok(());
                }
            }
            let more = self.start.elapsed() < Duration::from_secs(self.phase.params.min_s);
            if !self.agreed(more, self.phase.params.min_s > 0) {
                return Ok(());
            }
        }
    }

    fn must_stop(&self) -> bool {
        let Phase { params, limit, has_deadline, .. } = self.phase;
        let over = *has_deadline && self.start.elapsed() > Duration::from_secs(params.deadline_s);
        let full = *limit > 0 && self.done.transfers >= *limit;
        self.agreed(over || full, *has_deadline)
    }

    /// What rank 0 says, if calls are collective and ranks may differ.
    fn agreed(&self, own: bool, may_differ: bool) -> bool {
        let ranks = self.phase.ranks;
        if self.phase.params.collective > 0 && may_differ { ranks.of_root(u8::from(own)) > 0 } else { own }
    }

    /// Goes on to the number of transfers of the fastest rank.
    fn wear_out(&mut self) -> Result<()> {
        let ranks = self.phase.ranks;
        let (transfers, bytes) = (self.done.transfers, self.done.bytes);
        let stonewall = Stonewall {
            seconds: self.start.elapsed().as_secs_f64(),
            least: ranks.least(transfers),
            most: ranks.greatest(transfers),
            least_bytes: ranks.least(bytes),
            mean_bytes: ranks.sum(bytes) / ranks.size,
        };
        self.done.stonewall = Some(stonewall);
        while self.done.transfers < stonewall.most && self.phase.plan.calls() > 0 {
            self.call()?;
        }
        Ok(())
    }

    /// The next call; behind the last one comes the first.
    fn call(&mut self) -> Result<()> {
        let Phase { params, plan, kind, .. } = self.phase;
        let call = plan.call(self.next % plan.calls());
        self.next += 1;
        let bytes = call.transfers * params.transfer_bytes;
        let length = usize::try_from(bytes)?;
        self.prepare(&call, length);
        let begun = Instant::now();
        if params.dry_run == 0 {
            self.transfer(&call, length).with_context(|| {
                let verb = if *kind == Kind::Write { "write to" } else { "read from" };
                format!("cannot {verb} file at offset {}", call.offset)
            })?;
        }
        self.operations.note(begun - self.start, begun.elapsed(), bytes)?;
        self.done.transfers += call.transfers;
        self.done.bytes += bytes;
        if *kind == Kind::Check && params.dry_run == 0 {
            self.compare(&call, length)?;
        }
        if *kind == Kind::Write && params.fsync_per_write > 0 && params.dry_run == 0 {
            self.file.sync()?;
        }
        if params.transfer_delay_us > 0 && *kind != Kind::Check {
            std::thread::sleep(Duration::from_micros(params.transfer_delay_us));
        }
        self.show_progress();
        Ok(())
    }

    fn prepare(&mut self, call: &Call, length: usize) {
        let Phase { params, plan, pattern, kind, .. } = self.phase;
        let transfers = self.buffer[..length].chunks_mut(params.transfer_bytes as usize);
        for (number, transfer) in (0..).zip(transfers) {
            match kind {
                Kind::Write => pattern.stamp(plan.place(call, number), transfer),
                Kind::Check => Pattern::spoil(transfer),
                Kind::Read => {}
            }
        }
    }

    /// Moves a call's bytes. What a call by one rank leaves out is tried again, unless `-x` forbids it.
    fn transfer(&mut self, call: &Call, length: usize) -> Result<()> {
        let params = self.phase.params;
        let may_retry = params.single_attempt == 0 && params.collective == 0 && params.view == 0;
        let mut moved = 0;
        while moved < length {
            let rest = Call { offset: call.offset + moved as u64, ..*call };
            let part = &mut self.buffer[moved..length];
            let bytes = match self.phase.kind {
                Kind::Write => self.file.write(&rest, part)?,
                Kind::Read | Kind::Check => self.file.read(&rest, part)?,
            };
            moved += usize::try_from(bytes)?;
            let goes_on = moved == length || (bytes > 0 && may_retry);
            ensure!(goes_on, "only {moved} of {length} bytes were moved");
        }
        Ok(())
    }

    fn compare(&mut self, call: &Call, length: usize) -> Result<()> {
        let Phase { params, plan, pattern, .. } = self.phase;
        let transfers = self.buffer[..length].chunks(params.transfer_bytes as usize);
        for (number, transfer) in (0..).zip(transfers) {
            if let Some(mismatch) = pattern.check(plan.place(call, number), transfer) {
                self.done.errors += 1;
                self.done.first.get_or_insert(mismatch);
                ensure!(
                    params.quit_on_error == 0,
                    "wrong data at offset {}: {:#018x} instead of {:#018x}",
                    mismatch.place,
                    mismatch.actual,
                    mismatch.expected
                );
            }
        }
        Ok(())
    }

    fn show_progress(&mut self) {
        let Phase { params, ranks, plan, limit, has_deadline, title, .. } = self.phase;
        let seconds = self.start.elapsed().as_secs_f64();
        let all = if *limit > 0 { *limit } else { plan.calls() * plan.transfers_per_call() };
        let by_count = self.done.transfers as f64 / all as f64;
        let done = if *has_deadline { by_count.max(seconds / params.deadline_s as f64) } else { by_count };
        self.output.progress(title, done, (self.done.bytes * ranks.size) as f64, seconds);
    }
}
