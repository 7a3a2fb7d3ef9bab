//! Times of single transfers (`savePerOpDataCSV`): a file for each rank and repetition.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

/// The file, if one is wanted.
#[derive(Default)]
pub struct Operations(Option<BufWriter<File>>);

impl Operations {
    /// Begins `PREFIX-REPETITION-RANK.csv`.
    pub fn begin(prefix: Option<&str>, repetition: u32, rank: u64) -> Result<Operations> {
        let Some(prefix) = prefix else { return Ok(Operations(None)) };
        Operations::create(&format!("{prefix}-{repetition}-{rank:05}.csv"))
    }

    /// Begins a file of this name.
    pub fn create(name: &str) -> Result<Operations> {
        let mut file = BufWriter::new(File::create(name).with_context(|| format!("Could not create {name}"))?);
        writeln!(file, "time,runtime,tp")?;
        Ok(Operations(Some(file)))
    }

    /// Notes an operation: when it began, how long it took, and its bytes.
    pub fn note(&mut self, at: Duration, took: Duration, bytes: u64) -> Result<()> {
        if let Some(file) = &mut self.0 {
            let (at, took) = (at.as_secs_f64(), took.as_secs_f64());
            writeln!(file, "{at:.8e},{took:.8e},{:e}", bytes as f64 / took.max(1e-9)).context("noting an operation")?;
        }
        Ok(())
    }

    /// Ends the file.
    pub fn end(self) -> Result<()> {
        match self.0 {
            Some(mut file) => file.flush().context("noting operations"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = directory.path().join("op").to_string_lossy().into_owned();
        let mut operations = Operations::begin(Some(&prefix), 2, 7).unwrap();
        operations.note(Duration::from_millis(500), Duration::from_millis(250), 1024).unwrap();
        operations.end().unwrap();
        let text = std::fs::read_to_string(format!("{prefix}-2-00007.csv")).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines[0], ["time", "runtime", "tp"]);
        let numbers: Vec<f64> = lines[1].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(numbers, [0.5, 0.25, 4096.0]);
        assert_eq!(lines.len(), 2);
    }
}
