//! What processes have used so far: CPU time, to the nanosecond, and page faults that needed no disk.
//!
//! CPU time is the process's own clock, which the kernel keeps for all its threads, ended ones too; work that the network stack
//! does on behalf of a thread counts as that thread's.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Counts since a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Minor page faults.
    pub faults: u64,
}

impl Usage {
    /// Of one process.
    pub fn of(process: i32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(process)).with_context(|| format!("find process {process}"))?;
        Ok(Usage {
            cpu: cpu_time(clock).with_context(|| format!("CPU time of process {process}"))?,
            faults: faults(process)?,
        })
    }

    /// Of several processes together.
    pub fn of_all(processes: &[i32]) -> Result<Self> {
        processes.iter().map(|process| Usage::of(*process)).sum()
    }

    /// CPU time of this thread alone.
    pub fn own_thread_cpu() -> Result<Duration> {
        cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID)
    }

    /// Of this process.
    pub fn own() -> Result<Self> {
        Usage::of(i32::try_from(std::process::id())?)
    }
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage { cpu: self.cpu + other.cpu, faults: self.faults + other.faults }
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, other: Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(other.cpu), faults: self.faults.saturating_sub(other.faults) }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(all: I) -> Usage {
        all.fold(Usage::default(), Add::add)
    }
}

fn cpu_time(clock: ClockId) -> Result<Duration> {
    let time = clock.now()?;
    Ok(Duration::new(u64::try_from(time.tv_sec())?, u32::try_from(time.tv_nsec())?))
}

fn faults(process: i32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The command name is in parentheses and may hold anything, so fields are counted from the last one.
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("{path} is of another form"))?;
    let field = fields.split_whitespace().nth(7).with_context(|| format!("{path} is too short"))?;
    field.parse().with_context(|| format!("{path}: {field:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_touched_pages_are_counted() {
        let before = Usage::own().unwrap();
        let mut pages = vec![0u8; 64 << 20];
        pages.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::hint::black_box(&pages);
        let used = Usage::own().unwrap() - before;
        assert!(used.cpu > Duration::ZERO);
        // Fewer than one for each page of 4 KiB where the kernel gives huge ones.
        assert!(used.faults >= 32, "{used:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Usage::of(i32::MAX).is_err());
    }
}
