//! The test itself.

use crate::ior::backend::{self, Purpose};
use crate::ior::layout;
use crate::ior::options::Options;
use crate::ior::pattern::{Mismatch, Signature};
use crate::ior::table::{self, Measurement, Operation};
use anyhow::{Context, Result};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Everything a run found out, the same on every rank.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Ranks.
    pub ranks: u64,
    /// All measurements in order.
    pub measurements: Vec<Measurement>,
    /// Wrong bytes of all ranks.
    pub wrong_bytes: u64,
}

/// One rank's view of a run.
struct Job<'a> {
    options: &'a Options,
    world: &'a SimpleCommunicator,
    rank: u64,
    ranks: u64,
    ranks_per_node: u64,
    buffer: Vec<u8>,
    wrong_bytes: u64,
}

/// Runs the test on all ranks; rank 0 prints. An error of any rank ends the run on all of them by `MPI_Abort`,
/// which is the caller's part.
pub fn run(options: &Options, world: &SimpleCommunicator) -> Result<Report> {
    let (rank, ranks) = (u64::try_from(world.rank())?, u64::try_from(world.size())?);
    layout::aggregate_bytes(options, ranks).context("the file would be larger than 2^63 - 1 bytes")?;
    let ranks_per_node = u64::try_from(world.split_shared(world.rank()).size())?;
    let buffer = vec![0; usize::try_from(options.transfer_bytes)?];
    let mut job = Job { options, world, rank, ranks, ranks_per_node, buffer, wrong_bytes: 0 };
    let measurements = job.repetitions()?;
    let mut wrong_bytes = 0;
    world.all_reduce_into(&job.wrong_bytes, &mut wrong_bytes, SystemOperation::sum());
    let report = Report { ranks, measurements, wrong_bytes };
    job.print_end(&report)?;
    Ok(report)
}

impl Job<'_> {
    fn repetitions(&mut self) -> Result<Vec<Measurement>> {
        self.say(&format!("{}\n\nResults:\n\n{}", self.setup(), table::header()));
        let mut measurements = Vec::new();
        let first_run = self.first_run_number();
        for iteration in 0..self.options.repetitions {
            // A new number for each repetition, so that data of the one before is found out.
            let run = if self.options.write { first_run.wrapping_add(u64::from(iteration)) } else { first_run };
            if self.options.verbose > 0 {
                self.say(&format!("signature of repetition {iteration}: {run}"));
            }
            if self.options.write {
                let measured = self.write(run, iteration)?;
                self.say(&table::line(self.options, &measured));
                measurements.push(measured);
            }
            if self.options.check_write {
                self.read(run, iteration, true)?;
            }
            if self.options.read {
                let measured = self.read(run, iteration, self.options.check_read)?;
                self.say(&table::line(self.options, &measured));
                measurements.push(measured);
            }
            let last = iteration + 1 == self.options.repetitions;
            if !(self.options.keep && last) && self.options.write {
                self.remove()?;
            }
        }
        Ok(measurements)
    }

    /// The same on all ranks: given, or rank 0's clock.
    fn first_run_number(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut number = self.options.signature.unwrap_or(now.as_secs() << 20 ^ u64::from(now.subsec_nanos()));
        self.world.process_at_rank(0).broadcast_into(&mut number);
        number
    }

    fn write(&mut self, run: u64, iteration: u32) -> Result<Measurement> {
        let signature = Signature::new(run, self.rank);
        self.measure(Operation::Write, self.rank, iteration, |file, offset, buffer, collective| {
            signature.fill(offset, buffer);
            let start = mpi::time();
            file.write(offset, buffer, collective)?;
            Ok(mpi::time() - start)
        })
    }

    fn read(&mut self, run: u64, iteration: u32, check: bool) -> Result<Measurement> {
        let whose = layout::reads_data_of(self.options, self.rank, self.ranks, self.ranks_per_node);
        let signature = Signature::new(run, whose);
        let (mut wrong, mut first) = (0, None);
        let measured = self.measure(Operation::Read, whose, iteration, |file, offset, buffer, collective| {
            let start = mpi::time();
            file.read(offset, buffer, collective)?;
            let seconds = mpi::time() - start;
            if check {
                let (bytes, mismatch) = signature.check(offset, buffer);
                wrong += bytes;
                first = first.or(mismatch);
            }
            Ok(seconds)
        })?;
        if let Some(Mismatch { offset, expected, actual }) = first {
            let name = layout::file_name(self.options, whose);
            eprintln!(
                "rank {}: {wrong} wrong bytes in rank {whose}'s data in {name}; the first at offset {offset}: \
                 {actual:#04x} instead of {expected:#04x}",
                self.rank
            );
        }
        self.wrong_bytes += wrong;
        Ok(measured)
    }

    /// Opens, lets `transfer` do every transfer and say how long it took, and closes.
    fn measure(
        &mut self,
        access: Operation,
        whose: u64,
        iteration: u32,
        mut transfer: impl FnMut(&mut dyn backend::Backend, u64, &mut [u8], bool) -> Result<f64>,
    ) -> Result<Measurement> {
        let options = self.options;
        let name = layout::file_name(options, whose);
        let own = SimpleCommunicator::self_comm();
        let comm = if options.file_per_rank { &own } else { self.world };
        let purpose = if access == Operation::Write { Purpose::Write } else { Purpose::Read };
        // Times count from here on every rank, so that clocks of several nodes need not agree.
        self.world.barrier();
        let zero = mpi::time();
        let mut file = backend::open(options.api, comm, &name, purpose)?;
        let opened = mpi::time() - zero;
        let (mut transfer_s, mut transfers) = (0.0, 0u64);
        for offset in layout::offsets(options, whose, self.ranks) {
            transfer_s += transfer(&mut *file, offset, &mut self.buffer, options.collective)?;
            transfers += 1;
        }
        let accessed = mpi::time() - zero;
        if options.fsync && access == Operation::Write {
            file.sync()?;
        }
        file.close()?;
        let closed = mpi::time() - zero;
        Ok(self.gathered(access, iteration, [0.0, opened, accessed, closed], transfer_s, transfers))
    }

    /// Phases last from the first rank's start to the last rank's end.
    fn gathered(
        &self,
        access: Operation,
        iteration: u32,
        times: [f64; 4],
        transfer_s: f64,
        transfers: u64,
    ) -> Measurement {
        let (mut first, mut last) = ([0.0; 4], [0.0; 4]);
        self.world.all_reduce_into(&times[..], &mut first[..], SystemOperation::min());
        self.world.all_reduce_into(&times[..], &mut last[..], SystemOperation::max());
        let mut busy = 0.0;
        self.world.all_reduce_into(&transfer_s, &mut busy, SystemOperation::sum());
        let transfers = transfers * self.ranks;
        Measurement {
            access,
            bytes: transfers * self.options.transfer_bytes,
            transfers,
            open_s: last[1] - first[0],
            access_s: last[2] - first[1],
            close_s: last[3] - first[2],
            total_s: last[3] - first[0],
            latency_s: busy / transfers as f64,
            iteration,
        }
    }

    fn remove(&self) -> Result<()> {
        self.world.barrier();
        if self.options.file_per_rank || self.rank == 0 {
            backend::remove(self.options.api, &layout::file_name(self.options, self.rank))?;
        }
        self.world.barrier();
        Ok(())
    }

    fn setup(&self) -> String {
        let options = self.options;
        let access = if options.file_per_rank { "file-per-process" } else { "single-shared-file" };
        let kind = if options.collective { "collective" } else { "independent" };
        let bytes = layout::aggregate_bytes(options, self.ranks).unwrap_or(0);
        format!(
            "Options:\napi                 : {}\ntest filename       : {}\naccess              : {access}, {kind}\n\
             segments            : {}\ntasks               : {}\nclients per node    : {}\nrepetitions         : {}\n\
             xfersize            : {}\nblocksize           : {}\naggregate filesize  : {bytes}",
            options.api.name(),
            options.file,
            options.segments,
            self.ranks,
            self.ranks_per_node,
            options.repetitions,
            options.transfer_bytes,
            options.block_bytes,
        )
    }

    fn print_end(&self, report: &Report) -> Result<()> {
        if self.rank != 0 {
            return Ok(());
        }
        if self.options.json {
            println!("{}", serde_json::to_string(report)?);
        }
        let measured = &report.measurements;
        let summary = table::summary(self.options, self.ranks, self.ranks_per_node, measured);
        self.say(&format!("\n{}\n{summary}", table::maxima(measured)));
        if report.wrong_bytes > 0 {
            eprintln!("WARNING: incorrect data: {} wrong bytes", report.wrong_bytes);
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        if self.rank == 0 && !self.options.json {
            println!("{text}");
        }
    }
}
