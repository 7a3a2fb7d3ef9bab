//! `bench hosts`: throughput over 1, 2, 4 and 8 servers and clients, each on a host of its own, by the program `pfs-scale`; then
//! the model that is made of it.
//!
//! Hosts are network namespaces, so it needs root. Real servers in release, their stores in memory.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::keep::{self, RoundFlags};
use crate::setup::{self, Need};
use crate::step::Step;

/// The longest that a round of all places may take.
const ROUND_LIMIT: Duration = Duration::from_secs(120);
const MODEL_LIMIT: Duration = Duration::from_secs(1800);

/// Compare with raw TCP over links of a known rate, on several hosts, and calculate it for more
#[derive(Debug, Clone, Args)]
pub struct Flags {
    #[command(flatten)]
    common: RoundFlags,
    /// Only the model, from figures that were kept before
    #[arg(long)]
    model: bool,
    /// Megabits a second of each link [default: an eighth of a third of what the bridge between them passes]
    #[arg(long, value_name = "N")]
    megabits: Option<u64>,
}

/// Builds in release, measures and calculates.
pub fn run(flags: &Flags) -> Result<()> {
    setup::run(&[Need::OpenMpi, Need::Namespaces, Need::Fonts])?;
    let place = &flags.common.place;
    let built = super::build()?;
    let out = place.of("hosts")?;
    let scale = built.program("pfs-scale")?;
    if !flags.model {
        let rounds = flags.common.rounds(2);
        let mut command = Command::new(scale);
        command.arg("hosts").arg("--raw").arg(built.program("pfs-raw")?).arg("--out").arg(&out);
        command.args(["--rounds", &rounds.to_string(), "--commit", &keep::commit()?]);
        command.args(["--unlimited-rounds", if place.quick { "2" } else { "7" }]);
        command.args(flags.megabits.iter().flat_map(|megabits| ["--megabits".to_owned(), megabits.to_string()]));
        command.env("PFS_BIN", built.program("pfs")?);
        let limit = ROUND_LIMIT * (rounds + 8);
        print!("{}", Step::new("pfs-scale hosts", command, limit).showing_stderr().run()?.stdout);
    }
    let mut command = Command::new(scale);
    command.arg("model").arg("--hosts").arg(&out).arg("--out").arg(&out);
    command.args(if place.quick { &["--ranks", "100", "--servers", "10"][..] } else { &[] });
    print!("{}", Step::new("pfs-scale model", command, MODEL_LIMIT).showing_stderr().run()?.stdout);
    eprintln!("kept in {}", out.display());
    Ok(())
}
