//! `bench interposition`: what the library costs programs whose files are not ours: the same small accesses of a local file,
//! with and without it, in turns; and with it in a job that has a file system, where MPI is asked to let all threads call it.
//!
//! A program measures itself, `pfs-mpiio/capi/tests/c/small.c`: calls by time of the processor, which other programs of the
//! machine disturb less than time of the clock.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::keep::{self, RoundFlags};
use crate::capi;
use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::step::Step;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(300);
/// Calls of each kind in a run of a quick check.
const QUICK_CALLS: u32 = 1000;
const SOURCE: &str = "pfs-mpiio/capi/tests/c/small.c";

/// Compare small accesses of local files with and without the library, in turns
#[derive(Debug, Clone, Args)]
pub struct Flags {
    #[command(flatten)]
    common: RoundFlags,
    /// Calls of each kind in a run
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    calls: u32,
    /// Measure these libraries, like those in target/capi, instead of building some: MPI=FILE
    #[arg(long, value_name = "MPI=FILE")]
    library: Vec<String>,
}

/// Measures both MPIs and keeps the figures.
pub fn run(flags: &Flags) -> Result<()> {
    setup::run(&[Need::OpenMpi, Need::Mpich])?;
    let out = flags.common.place.of("interposition")?;
    let (rounds, calls) = (flags.common.rounds(3), if flags.common.place.quick { QUICK_CALLS } else { flags.calls });
    let mut summary = format!("commit {}, {rounds} rounds of {calls} calls\n", keep::commit()?);
    let mut table = String::from("mpi\tround\tcall\tlibrary\tcpu_ns\n");
    for mpi in Mpi::ALL {
        let library = match flags.library.iter().find_map(|given| given.strip_prefix(&format!("{}=", mpi.name()))) {
            Some(given) => fs::canonicalize(given).with_context(|| format!("the library {given}"))?,
            None => capi::release(mpi)?,
        };
        let samples = measure(mpi, &library, rounds, calls)?;
        for sample in &samples {
            let (mpi, Sample { round, call, setting, cpu_ns }) = (mpi.name(), sample);
            writeln!(table, "{mpi}\t{round}\t{call}\t{}\t{cpu_ns}", setting.name())?;
        }
        summary += &summarised(mpi, &samples);
    }
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    fs::write(out.join("interposition.tsv"), table)?;
    fs::write(out.join("summary.txt"), &summary)?;
    print!("{summary}");
    println!("kept in {}", out.display());
    Ok(())
}

/// What the program runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Without,
    With,
    /// With it, and files of ours can be opened: MPI lets every thread call it.
    InJob,
}

impl Setting {
    const ALL: [Setting; 3] = [Setting::Without, Setting::With, Setting::InJob];

    fn name(self) -> &'static str {
        match self {
            Setting::Without => "without",
            Setting::With => "with",
            Setting::InJob => "with, in a job",
        }
    }

    /// The program's environment.
    fn variables(self, library: &Path) -> Vec<(&'static str, String)> {
        let preload = ("LD_PRELOAD", library.display().to_string());
        match self {
            Setting::Without => Vec::new(),
            Setting::With => vec![preload],
            Setting::InJob => vec![preload, ("PFS_SECRET_FILE", "/nowhere".to_owned())],
        }
    }
}

/// One figure.
struct Sample {
    round: u32,
    call: String,
    setting: Setting,
    cpu_ns: f64,
}

fn measure(mpi: Mpi, library: &Path, rounds: u32, calls: u32) -> Result<Vec<Sample>> {
    let folder = tempfile::tempdir_in("/dev/shm").context("making a folder for local files")?;
    let program = folder.path().join("small");
    let mut compile = Command::new(mpi.compiler());
    compile.args(["-O2", "-Wall", "-o"]).arg(&program).arg(workspace::root()?.join(SOURCE));
    Step::new("compiling small.c", compile, LIMIT).run()?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        // Who is first changes, so that nobody always finds the machine warm.
        let mut settings = Setting::ALL;
        settings.rotate_left(round as usize % Setting::ALL.len());
        for setting in settings {
            let mut command = mpi.launch(1);
            for (name, value) in setting.variables(library) {
                match mpi {
                    Mpi::Open => command.arg("-x").arg(format!("{name}={value}")),
                    Mpi::Mpich => command.args(["-genv", name, &value]),
                };
            }
            command.arg(&program).arg(folder.path().join("file")).arg(calls.to_string());
            let said = Step::new("small", command, LIMIT).run()?.stdout;
            let before = samples.len();
            for line in said.lines() {
                let (call, cpu_ns) = line.split_once('\t').context("a line of the program")?;
                samples.push(Sample { round, call: call.to_owned(), setting, cpu_ns: cpu_ns.parse()? });
            }
            ensure!(samples.len() > before, "the program said nothing");
        }
    }
    Ok(samples)
}

/// For each kind of call the medians, and of the rounds' ratios to that without the library the median with the quarters
/// around it.
fn summarised(mpi: Mpi, samples: &[Sample]) -> String {
    let mut calls: Vec<&str> = samples.iter().map(|sample| sample.call.as_str()).collect();
    calls.sort_unstable();
    calls.dedup();
    let of = |call: &str, setting| {
        let chosen = samples.iter().filter(move |sample| sample.call == call && sample.setting == setting);
        let mut chosen: Vec<&Sample> = chosen.collect();
        chosen.sort_by_key(|sample| sample.round);
        chosen.iter().map(|sample| sample.cpu_ns).collect::<Vec<f64>>()
    };
    let mut text = String::new();
    for call in calls {
        let without = of(call, Setting::Without);
        text +=
            &format!("{:8} {call:24} {:15} {:8.0} ns of CPU a call\n", mpi.name(), "without", quantile(&without, 0.5));
        for setting in [Setting::With, Setting::InJob] {
            let with = of(call, setting);
            let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| quantile(&ratios, part));
            text += &format!(
                "{:8} {call:24} {:15} {:8.0} ns of CPU a call; ratio {middle:.3} ({low:.3} to {high:.3})\n",
                mpi.name(),
                setting.name(),
                quantile(&with, 0.5),
            );
        }
    }
    text
}

/// The figure below which this part of all lies.
fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_ratios_is_told() {
        let sample = |round, setting, cpu_ns| Sample { round, call: "write_at".to_owned(), setting, cpu_ns };
        let rounds = [[100.0, 101.0, 150.0], [200.0, 206.0, 300.0], [100.0, 100.0, 150.0]];
        let samples: Vec<Sample> = (0..)
            .zip(rounds)
            .flat_map(|(round, figures)| {
                let each = Setting::ALL.into_iter().zip(figures).rev();
                each.map(move |(setting, cpu_ns)| sample(round, setting, cpu_ns))
            })
            .collect();
        let text = summarised(Mpi::Mpich, &samples);
        assert!(text.contains("101 ns of CPU a call; ratio 1.010 (1.010 to 1.030)"), "{text}");
        assert!(text.contains("150 ns of CPU a call; ratio 1.500 (1.500 to 1.500)"), "{text}");
    }
}
