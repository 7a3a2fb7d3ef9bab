//! `nightly`: the same tests as `test` with larger counts, then the fuzz targets.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{fuzz, test};

/// Run every test with larger counts, and the fuzz targets
#[derive(Debug, Args)]
pub struct Flags {
    /// How many times as many cases of properties and rounds of races as `test` runs
    #[arg(long, default_value_t = 20, value_name = "N")]
    factor: u32,

    /// Schedules of the simulator
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    schedules: u64,

    /// Rounds of faults on real processes
    #[arg(long, default_value_t = 100, value_name = "N")]
    fault_rounds: u32,

    /// Recordings of a store whose power is lost at every step
    #[arg(long, default_value_t = 500, value_name = "N")]
    power_seeds: u64,

    /// Minutes of each fuzz target, when all parts are run; 0: none
    #[arg(long, default_value_t = 10, value_name = "N")]
    fuzz_minutes: u64,

    #[command(flatten)]
    test: test::Flags,
}

/// Cases of a property test when nothing says otherwise (proptest's own default).
const PROPERTY_CASES: u32 = 256;
/// Rounds of the tests that repeat a race, when nothing says otherwise.
const ROUNDS: u32 = 1000;

/// Runs the parts with the counts multiplied by the factor.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let counts = [("PROPTEST_CASES", PROPERTY_CASES), ("PFS_TEST_ROUNDS", ROUNDS)]
        .map(|(name, count)| (name, count.saturating_mul(flags.factor).to_string()));
    let Flags { factor: time_factor, schedules, fault_rounds, power_seeds, fuzz_minutes, .. } = *flags;
    let random_cases = test::RANDOM_CASES.saturating_mul(u64::from(flags.factor));
    let counts = counts.to_vec();
    let effort = test::Effort { counts, schedules, fault_rounds, power_seeds, random_cases, time_factor };
    let tested = test::run_with(&flags.test, effort)?;
    if fuzz_minutes == 0 || !flags.test.asks_for_all() {
        return Ok(tested);
    }
    let fuzzed = fuzz::run(&fuzz::Flags::all(fuzz_minutes))?;
    Ok(if tested == ExitCode::SUCCESS { fuzzed } else { tested })
}
