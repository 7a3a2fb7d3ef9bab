//! A program that computes while its own transfers go on in the background: how much slower its loop gets by them, and what
//! the client's threads take.
//!
//! Invariants: the loop has the same number of steps alone and beside a transfer, and touches no memory, so what makes it
//! slower is the loss of its core; in each round every contender is measured alone and beside, moments apart; a transfer moves
//! a fixed number of bytes, and may end before or after the loop.

use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::cases::{OURS_4, RAW};
use crate::contenders::Contender;
use crate::figures::{Figure, Target};
use crate::measure::{Case, in_turns};
use crate::statistics::Median;
use crate::usage::Usage;
use crate::work::{Job, Material};

/// Bytes of one call of a transfer.
const CALL_BYTES: usize = 16 << 20;
/// Seconds that the loop lasts on an idle core for each GiB of the transfer: somewhat longer than most transfers.
const LOOP_S_PER_GIB: f64 = 1.0;

const WHO: &[&str] = &[RAW, OURS_4];

/// What goes on in the background.
pub const CASES: [Case; 2] = [
    Case { name: "overlap-write", job: Job::Write { call_bytes: CALL_BYTES }, fresh: false, contenders: WHO },
    Case { name: "overlap-read", job: Job::Read { call_bytes: CALL_BYTES }, fresh: false, contenders: WHO },
];

/// A loop of a fixed number of steps.
#[derive(Clone, Copy, Debug)]
pub struct Loop {
    steps: u64,
}

impl Loop {
    /// As many steps as take about so long on an idle core.
    pub fn lasting(time: Duration) -> Loop {
        let probe = Loop { steps: 10_000_000 };
        let least = (0..5).map(|_| {
            let started = Instant::now();
            probe.run();
            started.elapsed().as_secs_f64()
        });
        let least = least.fold(f64::INFINITY, f64::min);
        Loop { steps: (probe.steps as f64 * time.as_secs_f64() / least) as u64 }
    }

    /// For a transfer of so many bytes.
    pub fn beside(bytes: u64) -> Loop {
        Loop::lasting(Duration::from_secs_f64(bytes as f64 / f64::from(1u32 << 30) * LOOP_S_PER_GIB))
    }

    fn run(self) {
        let mut state = 1u64;
        for step in 0..self.steps {
            state = (state ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        }
        black_box(state);
    }
}

/// What one loop and one transfer took.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The case's name.
    pub case: &'static str,
    /// Counted from 1.
    pub round: u32,
    /// Whose transfer.
    pub contender: &'static str,
    /// Bytes of the transfer.
    pub bytes: u64,
    /// The loop with nothing beside it.
    pub alone_s: f64,
    /// The loop beside the transfer.
    pub beside_s: f64,
    /// How much of that it was ready and had no core.
    pub without_core_s: f64,
    /// Until both loop and transfer were over.
    pub whole_s: f64,
    /// CPU time of the client's threads, the loop's left out.
    pub client_cpu_s: f64,
    /// CPU time of all servers together.
    pub server_cpu_s: f64,
}

/// What the loop took.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall: Duration,
    cpu: Duration,
    without_core: Duration,
}

/// Runs a case for so many rounds and one before. `progress` is told each round.
pub fn run(
    case: &Case,
    contenders: &mut [Box<dyn Contender>],
    material: &Material,
    rounds: u32,
    progress: impl FnMut(u32),
) -> Result<Vec<Sample>> {
    let work = Loop::beside(material.large_bytes);
    in_turns(case, contenders, material, rounds, progress, |round, contender| {
        once(case, round, contender, material, work)
    })
}

fn once(case: &Case, round: u32, contender: &mut dyn Contender, material: &Material, work: Loop) -> Result<Sample> {
    let alone = timed(work)?;
    let servers = contender.servers().to_vec();
    let before = (Usage::own()?, Usage::of_all(&servers)?);
    let (started, mut beside) = (Instant::now(), None);
    contender.beside(case.job, material, &mut || beside = Some(timed(work)))?;
    let whole = started.elapsed();
    let (client, server) = (Usage::own()? - before.0, Usage::of_all(&servers)? - before.1);
    contender.check(case.job, material)?;
    let beside = beside.context("the loop did not run")??;
    Ok(Sample {
        case: case.name,
        round,
        contender: contender.name(),
        bytes: material.large_bytes,
        alone_s: alone.wall.as_secs_f64(),
        beside_s: beside.wall.as_secs_f64(),
        without_core_s: beside.without_core.as_secs_f64(),
        whole_s: whole.as_secs_f64(),
        client_cpu_s: client.cpu.saturating_sub(beside.cpu).as_secs_f64(),
        server_cpu_s: server.cpu.as_secs_f64(),
    })
}

fn timed(work: Loop) -> Result<Took> {
    let (started, cpu_before, without_before) = (Instant::now(), Usage::own_thread_cpu()?, without_core()?);
    work.run();
    let wall = started.elapsed();
    let without_core = without_core()?.saturating_sub(without_before);
    Ok(Took { wall, cpu: Usage::own_thread_cpu()?.saturating_sub(cpu_before), without_core })
}

/// For how long this thread was ready and had no core so far.
fn without_core() -> Result<Duration> {
    const FILE: &str = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
    let waited = text.split_whitespace().nth(1).with_context(|| format!("{FILE} is too short"))?;
    Ok(Duration::from_nanos(waited.parse().with_context(|| format!("{FILE}: {waited:?} is no number"))?))
}

/// The figures of the samples, for each case and contender; nothing is promised of them.
pub fn figures(samples: &[Sample]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for case in CASES {
        for who in case.contenders {
            let of: Vec<&Sample> =
                samples.iter().filter(|one| one.case == case.name && one.contender == *who).collect();
            if of.is_empty() {
                continue;
            }
            let mut figure = |suffix: &str, value: fn(&Sample) -> f64| {
                let median = Median::of(&of.iter().map(|sample| value(sample)).collect::<Vec<_>>());
                figures.push(Figure::new(format!("{}-{who}-{suffix}", case.name), &median, Target::Told, false));
            };
            figure("slowdown", |sample| sample.beside_s / sample.alone_s);
            figure("without-core", |sample| sample.without_core_s / sample.beside_s);
            figure("both-s", |sample| sample.whole_s);
            figure("loop-s", |sample| sample.alone_s);
            figure("client-cpu-s", |sample| sample.client_cpu_s);
            figure("server-cpu-s", |sample| sample.server_cpu_s);
        }
    }
    figures
}

/// All samples as rows.
pub fn csv(samples: &[Sample]) -> String {
    let mut text =
        String::from("case,round,contender,bytes,alone_s,beside_s,without_core_s,whole_s,client_cpu_s,server_cpu_s\n");
    for sample in samples {
        let Sample { case, round, contender, bytes, alone_s, beside_s, without_core_s, whole_s, .. } = sample;
        let [client, server] = [sample.client_cpu_s, sample.server_cpu_s];
        let times = format!("{alone_s:.6},{beside_s:.6},{without_core_s:.6},{whole_s:.6},{client:.6},{server:.6}");
        writeln!(text, "{case},{round},{contender},{bytes},{times}").expect("a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads and writes nothing, and does work of its own on a thread of its own.
    struct Busy;

    impl Contender for Busy {
        fn name(&self) -> &'static str {
            RAW
        }

        fn servers(&self) -> &[i32] {
            &[]
        }

        fn empty(&mut self) -> Result<()> {
            Ok(())
        }

        fn run(&mut self, _job: Job, _material: &Material) -> Result<()> {
            Loop { steps: 30_000_000 }.run();
            Ok(())
        }

        fn check(&self, _job: Job, _material: &Material) -> Result<()> {
            Ok(())
        }

        fn beside(&mut self, job: Job, material: &Material, work: &mut dyn FnMut()) -> Result<()> {
            std::thread::scope(|scope| {
                let busy = scope.spawn(|| self.run(job, material));
                work();
                busy.join().expect("no panic")
            })
        }
    }

    #[test]
    fn the_loops_own_time_is_not_the_clients() {
        let material = Material::new(1 << 20, 8);
        let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(Busy)];
        let samples = run(&CASES[0], &mut contenders, &material, 2, |_| ()).unwrap();
        assert_eq!(samples.iter().map(|sample| sample.round).collect::<Vec<_>>(), [1, 2]);
        for sample in &samples {
            assert!(sample.client_cpu_s > 0.0 && sample.alone_s > 0.0, "{sample:?}");
            assert!(sample.whole_s >= sample.beside_s && sample.beside_s >= sample.without_core_s, "{sample:?}");
        }
        assert_eq!(csv(&samples).lines().count(), 3);
        let figures = figures(&samples);
        let names: std::collections::HashSet<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        assert!(names.contains("overlap-write-raw-slowdown") && names.len() == figures.len(), "{names:?}");
    }
}
