//! Where figures are kept: `benches/runs/<date>-<machine>/<measurement>/`; and the flags that measurements have in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::step::Step;
use crate::workspace;

const GIT_LIMIT: Duration = Duration::from_secs(20);

/// What every measurement in rounds can be told
#[derive(Debug, Clone, Args)]
pub struct RoundFlags {
    /// Rounds; 21 or more give an interval worth its name
    #[arg(long, default_value_t = 21, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    pub place: PlaceFlags,
}

impl RoundFlags {
    /// How many rounds there are, if a quick check has so many.
    pub fn rounds(&self, quick: u32) -> u32 {
        if self.place.quick { quick } else { self.rounds }
    }
}

/// Where figures go
#[derive(Debug, Clone, Args)]
pub struct PlaceFlags {
    /// A short check that everything runs: few rounds of little data, figures kept in the target directory only
    #[arg(long)]
    pub quick: bool,
    /// How to call this machine in the name of the directory [default: processor and cores]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Keep the figures in this directory instead of one in benches/runs/DATE-MACHINE
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl PlaceFlags {
    /// Where the figures of a measurement go: to `--keep` if it is given, into the target directory if it is a quick one, else
    /// to its [`directory`].
    pub fn of(&self, measurement: &str) -> Result<PathBuf> {
        match &self.keep {
            Some(directory) => Ok(std::path::absolute(directory)?),
            None if self.quick => Ok(workspace::target_directory()?.join("bench").join(measurement)),
            None => directory(measurement, self.machine.as_deref()),
        }
    }
}

/// The directory of a measurement that is made today on this machine, or on one that `machine` names.
fn directory(measurement: &str, machine: Option<&str>) -> Result<PathBuf> {
    let machine = machine.map_or_else(machine_name, str::to_owned);
    Ok(workspace::root()?.join("benches/runs").join(format!("{}-{machine}", today())).join(measurement))
}

/// The commit that is checked out, with a mark if files differ from it.
pub fn commit() -> Result<String> {
    let mut command = Command::new("git");
    command.current_dir(workspace::root()?).args(["describe", "--always", "--dirty", "--abbrev=12"]);
    Ok(Step::new("git describe", command, GIT_LIMIT).run()?.stdout.trim().to_owned())
}

/// The processor's family and the number of cores, such as `epyc-2core`.
fn machine_name() -> String {
    let text = fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}-{cores}core", family(model.map_or("", |(_, model)| model)))
}

/// The words of a processor's name that tell it from its maker's others.
fn family(model: &str) -> String {
    let name = model.split('@').next().unwrap_or("").replace("(R)", "").replace("(TM)", "").to_lowercase();
    let makers = ["amd", "intel", "cpu", "processor"];
    let words: Vec<&str> = name.split_whitespace().filter(|word| !makers.contains(word)).collect();
    if words.is_empty() { "machine".to_owned() } else { words.join("-") }
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date so many days after 1970-01-01, by the calendar's cycles of 400, 100, 4 and 1 years that begin in March.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let known = [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_780, "2026-11-23")];
        assert_eq!(known.map(|(days, _)| date(days)), known.map(|(_, date)| date.to_owned()));
    }

    #[test]
    fn a_processor_has_a_short_name() {
        assert_eq!(family(" AMD EPYC"), "epyc");
        assert_eq!(family(" Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"), "xeon-platinum-8375c");
        assert_eq!(family(""), "machine");
    }
}
