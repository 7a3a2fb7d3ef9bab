//! Where results and messages of rank 0 go. In tables, results and messages go to the output, as with IOR; with JSON and CSV
//! messages go to the error output, so that the rest can be read by programs.

use crate::ior::params::{Format, Line, Progress};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The output of a run. On other ranks than 0 it says nothing.
pub struct Output {
    format: Format,
    results: Option<Box<dyn Write>>,
    progress: bool,
    shown: Option<Instant>,
}

const PROGRESS_EVERY: Duration = Duration::from_millis(200);

impl Output {
    /// The output that a command line asks for.
    pub fn new(line: &Line, is_root: bool) -> Result<Output> {
        let results: Option<Box<dyn Write>> = match &line.summary_file {
            _ if !is_root => None,
            Some(file) => {
                println!("Writing output to {file}");
                Some(Box::new(File::create(file).with_context(|| format!("Cannot open {file} for the output"))?))
            }
            None => Some(Box::new(io::stdout())),
        };
        let progress = match line.progress {
            Progress::Auto => io::stderr().is_terminal(),
            Progress::Always => true,
            Progress::Never => false,
        };
        Ok(Output { format: line.format, results, progress: progress && is_root, shown: None })
    }

    /// How results are printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints results.
    pub fn result(&mut self, text: &str) -> Result<()> {
        self.clear();
        if let Some(results) = &mut self.results {
            results.write_all(text.as_bytes()).and_then(|()| results.flush()).context("writing results")?;
        }
        Ok(())
    }

    /// Prints results if they are printed as tables.
    pub fn table(&mut self, text: &str) -> Result<()> {
        if self.format == Format::Default { self.result(text) } else { Ok(()) }
    }

    /// Prints a message.
    pub fn say(&mut self, text: &str) {
        self.clear();
        match (&self.results, self.format) {
            (None, _) => {}
            (Some(_), Format::Default) => println!("{text}"),
            (Some(_), _) => eprintln!("{text}"),
        }
    }

    /// Shows how far a phase is, now and then.
    pub fn progress(&mut self, what: &str, done: f64, bytes: f64, seconds: f64) {
        if self.progress && self.shown.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) && seconds > 0.0 {
            eprint!("\r{}\x1b[K", progress_line(what, done, bytes, seconds));
            self.shown = Some(Instant::now());
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The line of progress. The numbers are those of rank 0 times the ranks.
fn progress_line(what: &str, done: f64, bytes: f64, seconds: f64) -> String {
    let rate = bytes / seconds / f64::from(1 << 20);
    let left = if done > 0.0 && done < 1.0 { seconds / done * (1.0 - done) } else { 0.0 };
    format!("{what}: {:3.0} %  {rate:.0} MiB/s  {left:.0} s left", (done * 100.0).min(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left() {
        assert_eq!(progress_line("write 1/2", 0.25, 1e9, 10.0), "write 1/2:  25 %  95 MiB/s  30 s left");
        assert_eq!(progress_line("read 1/1", 1.2, 0.0, 1.0), "read 1/1: 100 %  0 MiB/s  0 s left");
    }

    #[test]
    fn results_go_to_the_file_that_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary");
        let summary_file = Some(path.to_string_lossy().into_owned());
        let line = Line { format: Format::Csv, summary_file, ..Line::default() };
        let mut output = Output::new(&line, true).unwrap();
        output.table("no table\n").unwrap();
        output.result("a,b\n").unwrap();
        drop(output);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a,b\n");
        Output::new(&line, false).unwrap().result("not root\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a,b\n");
    }
}
