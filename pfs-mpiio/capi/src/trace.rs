//! `PFS_MPIIO_TRACE`: what a program calls, on standard error.
//!
//! `errors` shows calls that fail, `1` or `files` those for files of ours, and `all` those that go to MPI's own functions too.

use crate::failure::{Failure, SUCCESS};
use mpi::ffi;
use std::ffi::c_int;
use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const VARIABLE: &str = "PFS_MPIIO_TRACE";

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Nothing,
    Errors,
    Files,
    All,
}

/// What the environment asks for.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let asked = std::env::var(VARIABLE).unwrap_or_default();
        parse(&asked).unwrap_or_else(|| {
            eprintln!("pfs: {VARIABLE}={asked}: it is 0, errors, files (or 1) or all; files it is");
            Level::Files
        })
    })
}

fn parse(text: &str) -> Option<Level> {
    match text {
        "" | "0" => Some(Level::Nothing),
        "errors" => Some(Level::Errors),
        "1" | "files" => Some(Level::Files),
        "all" => Some(Level::All),
        _ => None,
    }
}

/// A call of a file of ours, from its begin on.
pub struct Call<'a> {
    function: &'static str,
    file: &'a str,
    arguments: fmt::Arguments<'a>,
    begin: Option<Instant>,
}

impl<'a> Call<'a> {
    pub fn begin(function: &'static str, file: &'a str, arguments: fmt::Arguments<'a>) -> Call<'a> {
        let begin = (level() > Level::Nothing).then(Instant::now);
        Call { function, file, arguments, begin }
    }

    /// Shows what came of it.
    pub fn end<T: fmt::Debug>(&self, result: &Result<T, Failure>) {
        let time = self.begin.map(|begin| Time(begin.elapsed()));
        let Call { function, file, arguments, .. } = self;
        match (result, time) {
            (Err(failure), Some(time)) => line(format_args!("{function}({file}{arguments}) = {failure} {time}")),
            (Err(failure), None) if failure.is_unexpected() => {
                line(format_args!("{function}({file}{arguments}) = {failure}"))
            }
            (Ok(value), Some(time)) if level() >= Level::Files => {
                line(format_args!("{function}({file}{arguments}) = {value:?} {time}"));
            }
            _ => {}
        }
    }
}

/// Shows a call that goes to MPI's own function.
pub fn native(function: &'static str, what: fmt::Arguments<'_>, call: impl FnOnce() -> c_int) -> c_int {
    if level() < Level::All {
        return call();
    }
    let begin = Instant::now();
    let code = call();
    let time = Time(begin.elapsed());
    match code {
        SUCCESS => line(format_args!("{function}({what}) = MPI's own {time}")),
        code => line(format_args!("{function}({what}) = MPI's own, error {code} {time}")),
    }
    code
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{:.6} s>", self.0.as_secs_f64())
    }
}

/// Says something, with this process's rank, in one piece: other ranks write to the same place.
pub fn line(text: fmt::Arguments<'_>) {
    let line = match rank() {
        Some(rank) => format!("pfs: rank {rank}: {text}\n"),
        None => format!("pfs: {text}\n"),
    };
    // Who has closed standard error wants to hear nothing.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The rank in `MPI_COMM_WORLD`, between MPI's begin and its end.
pub fn rank() -> Option<c_int> {
    static RANK: OnceLock<c_int> = OnceLock::new();
    if RANK.get().is_none() {
        let (mut is_begun, mut is_over, mut rank) = (0, 0, 0);
        // SAFETY: the first two may be called at any time, the third when MPI is there.
        unsafe {
            ffi::MPI_Initialized(&mut is_begun);
            ffi::MPI_Finalized(&mut is_over);
            if is_begun == 0 || is_over != 0 || ffi::MPI_Comm_rank(ffi::RSMPI_COMM_WORLD, &mut rank) != SUCCESS {
                return None;
            }
        }
        let _ = RANK.set(rank);
    }
    RANK.get().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names() {
        let levels = ["", "0", "errors", "1", "files", "all"].map(|text| parse(text).unwrap());
        assert!(levels.is_sorted());
        assert_eq!((parse("1"), parse("yes")), (Some(Level::Files), None));
    }
}
