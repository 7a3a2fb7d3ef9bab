//! Reports: of a file when it is closed, and of a job when MPI ends.
//!
//! `PFS_REPORT=text` (or `1`) or `PFS_REPORT=json` in the environment of rank 0 asks for them when a file is opened. Rank 0 of
//! the file prints, at the close, what all ranks did with it and how long each phase took, on standard error: a table, or one
//! line of JSON. What the caches did is in it too; a client is shared by all files of a process, so with several files open
//! at once each report has what the caches did for the others.
//!
//! When MPI ends there is one more, of all files: see [`job`](crate::job).

use crate::error::{Error, ErrorClass};
use crate::group::Group;
use crate::process::{self, CACHE_COUNTS, CacheCounts};
use crate::times::{Counter, NUMBERS, Phase, Times};
use pfs_client::blocking::Client;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;

/// Asks for the reports.
const VARIABLE: &str = "PFS_REPORT";

/// The numbers of one rank: its [`Times`], then what its cache did.
pub(crate) const ROW: usize = NUMBERS + CACHE_COUNTS;
pub(crate) type Row = [u64; ROW];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    None,
    Text,
    Json,
}

impl Form {
    /// What this process's environment asks for.
    pub(crate) fn from_environment() -> Result<Form, Error> {
        Form::parse(std::env::var(VARIABLE).unwrap_or_default().trim())
    }

    /// The form as ranks tell it each other.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::None => "0",
            Form::Text => "text",
            Form::Json => "json",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Form, Error> {
        match text {
            "" | "0" => Ok(Form::None),
            "1" | "text" => Ok(Form::Text),
            "json" => Ok(Form::Json),
            other => {
                let message = format!("{VARIABLE} is {other:?}; it must be text, json, or 0 for no report");
                Err(Error::new(ErrorClass::Arg, message))
            }
        }
    }
}

/// What a file's report needs: its form, and where the client's counts stood when the file was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    form: Form,
    since: CacheCounts,
}

impl Report {
    /// From now on. The form is the same on all ranks.
    pub(crate) fn begin(form: Form, client: &Client) -> Report {
        Report { form, since: process::cache_counts(client) }
    }

    /// Collective: rank 0 prints the report of `name` if one is wanted.
    pub(crate) async fn print(self, group: &Group, client: &Client, name: &str, times: Times) -> Result<(), Error> {
        if self.form == Form::None {
            return Ok(());
        }
        let now = process::cache_counts(client);
        let rows =
            group.all_gather(row(&times, std::array::from_fn(|at| now[at].saturating_sub(self.since[at])))).await?;
        if group.is_root() {
            eprint!("{}", Summary::of(&rows).show(self.form, Subject::File(name)));
        }
        Ok(())
    }
}

/// The numbers of this rank.
pub(crate) fn row(times: &Times, cache: CacheCounts) -> Row {
    let mut row = [0; ROW];
    row[..NUMBERS].copy_from_slice(&times.numbers());
    row[NUMBERS..].copy_from_slice(&cache);
    row
}

/// What a report is of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// One file, by its path.
    File(&'a str),
    /// All files of all processes.
    Job,
    /// All files of one process, by its rank among all.
    Process(u32),
}

/// A time of all ranks, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    sum: f64,
    min: f64,
    max: f64,
    /// Which rank has the largest.
    slowest_rank: usize,
}

impl Spread {
    fn of(nanoseconds: impl Iterator<Item = u64>) -> Spread {
        let none = Spread { sum: 0.0, min: f64::INFINITY, max: 0.0, slowest_rank: 0 };
        #[allow(clippy::cast_precision_loss)] // a hundred days have 53 bits
        nanoseconds.map(|time| time as f64 / 1e9).enumerate().fold(none, |so_far, (rank, time)| Spread {
            sum: so_far.sum + time,
            min: so_far.min.min(time),
            max: so_far.max.max(time),
            slowest_rank: if time > so_far.max { rank } else { so_far.slowest_rank },
        })
    }
}

/// The numbers of all ranks together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    ranks: usize,
    #[serde(serialize_with = "as_map")]
    counters: Vec<(&'static str, u64)>,
    #[serde(serialize_with = "as_map")]
    times: Vec<(&'static str, Spread)>,
    #[serde(serialize_with = "as_map")]
    cache: Vec<(&'static str, u64)>,
}

fn as_map<V: Serialize, S: Serializer>(pairs: &[(&'static str, V)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// A report as one line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    job: bool,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Summary {
    /// Of at least one rank, by rank.
    pub(crate) fn of(rows: &[Row]) -> Summary {
        let sum = |at: usize| rows.iter().map(|row| row[at]).sum();
        let counters = Counter::ALL.iter().enumerate().map(|(at, counter)| (counter.name(), sum(at))).collect();
        let first = Counter::ALL.len();
        let spread = |at: usize| Spread::of(rows.iter().map(|row| row[first + at]));
        let times = Phase::ALL.iter().enumerate().map(|(at, phase)| (phase.name(), spread(at))).collect();
        let cache =
            process::cache_names().into_iter().enumerate().map(|(at, name)| (name, sum(NUMBERS + at))).collect();
        Summary { ranks: rows.len(), counters, times, cache }
    }

    pub(crate) fn show(&self, form: Form, subject: Subject<'_>) -> String {
        match form {
            Form::None => String::new(),
            Form::Json => self.json(subject),
            Form::Text => self.text(subject),
        }
    }

    fn json(&self, subject: Subject<'_>) -> String {
        let (file, process) = match subject {
            Subject::File(path) => (Some(path), None),
            Subject::Job => (None, None),
            Subject::Process(rank) => (None, Some(rank)),
        };
        let line = Line { file, process, job: matches!(subject, Subject::Job), summary: self };
        serde_json::to_string(&line).expect("names and numbers are JSON") + "\n"
    }

    /// Without what did not happen.
    fn text(&self, subject: Subject<'_>) -> String {
        let ranks = self.ranks;
        let mut text = match subject {
            Subject::File(path) => format!("pfs: {path}, {ranks} ranks\n"),
            Subject::Job => format!("pfs: all files of {ranks} ranks\n"),
            Subject::Process(rank) => format!("pfs: all files of rank {rank}\n"),
        };
        for (name, value) in self.counters.iter().filter(|(_, value)| *value > 0) {
            let _ = writeln!(text, "pfs:   {name:<26}{value:>14}");
        }
        for (name, Spread { sum, min, max, slowest_rank }) in self.times.iter().filter(|(_, time)| time.sum > 0.0) {
            let _ = write!(text, "pfs:   {name:<26}{sum:>14.6} s");
            let _ = match ranks {
                1 => writeln!(text),
                _ => writeln!(text, ", {min:.6} to {max:.6} (rank {slowest_rank})"),
            };
        }
        for (name, value) in self.cache.iter().filter(|(_, value)| *value > 0) {
            let _ = writeln!(text, "pfs:   {:<26}{value:>14}", format!("cache {}", name.replace('_', " ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_chosen_by_name() {
        let form = |text| Form::parse(text).unwrap();
        assert_eq!(
            ["", "0", "1", "text", "json"].map(form),
            [Form::None, Form::None, Form::Text, Form::Text, Form::Json]
        );
        assert!(Form::parse("yaml").unwrap_err().to_string().contains("yaml"));
    }

    fn rows() -> [Row; 2] {
        let mut rows = [[1; ROW], [3; ROW]];
        rows[1][NUMBERS - 1] = 2_500_000_000;
        rows
    }

    #[test]
    fn json_has_every_number() {
        let json = Summary::of(&rows()).show(Form::Json, Subject::File("/a\"b"));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&value["file"], &value["ranks"], &value["job"]), (&"/a\"b".into(), &2.into(), &false.into()));
        let of = |part: &str| value[part].as_object().unwrap().len();
        assert_eq!([of("counters") + of("times"), of("cache")], [NUMBERS, CACHE_COUNTS]);
        assert_eq!(value["counters"]["MPIIO_COLL_WRITES"], 4);
        let sync = &value["times"]["PFS_F_SYNC_TIME"];
        let [min, max] = ["min", "max"].map(|name| sync[name].as_f64().unwrap());
        assert_eq!((min, max, &sync["slowest_rank"]), (1e-9, 2.5, &1.into()));
        assert!(Summary::of(&rows()).show(Form::Json, Subject::Job).contains("\"job\":true"));
        assert!(Summary::of(&rows()[..1]).show(Form::Json, Subject::Process(7)).starts_with("{\"process\":7,"));
    }

    #[test]
    fn text_leaves_out_what_did_not_happen() {
        let text = Summary::of(&rows()).show(Form::Text, Subject::Job);
        assert_eq!(text.lines().count(), 1 + ROW);
        assert!(text.contains("2.500000 s, 0.000000 to 2.500000 (rank 1)\n"), "{text}");
        let text = Summary::of(&[[0; ROW]]).show(Form::Text, Subject::File("/a"));
        assert_eq!(text, "pfs: /a, 1 ranks\n");
        assert_eq!(Summary::of(&rows()).show(Form::None, Subject::Job), "");
    }
}
