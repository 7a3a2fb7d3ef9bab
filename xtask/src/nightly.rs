//! `nightly`: the same tests as `test` with larger counts.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::test;

/// Run every test with larger counts
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
    let Flags { factor: time_factor, schedules, fault_rounds, .. } = *flags;
    test::run_with(&flags.test, test::Effort { counts: counts.to_vec(), schedules, fault_rounds, time_factor })
}
