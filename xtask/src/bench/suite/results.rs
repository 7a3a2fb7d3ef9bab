//! What programs print, as rows of `samples.csv`; and what went wrong, in `notes.txt`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::contender::Contender;
use super::workload::Workload;

/// The columns, as `pfs-bench-figures` reads them.
const HEADER: &str = "workload,setting,way,contender,round,rate,open_s,access_s,close_s";

/// The files that are written.
pub struct Table {
    samples: File,
    notes: Vec<String>,
    directory: std::path::PathBuf,
}

impl Table {
    /// Begins both anew. What was said of the machine and the commit is of the samples before, so it goes with them.
    pub fn begin(out: &Path) -> Result<Self> {
        match fs::remove_file(out.join("machine.json")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("removing machine.json"),
            _ => {}
        }
        let mut samples = File::create(out.join("samples.csv")).context("making samples.csv")?;
        writeln!(samples, "{HEADER}")?;
        Ok(Table { samples, notes: Vec::new(), directory: out.to_path_buf() })
    }

    /// A row without times.
    pub fn row(&mut self, workload: &str, setting: u64, way: &str, who: &str, round: u32, rate: f64) -> Result<()> {
        Ok(writeln!(self.samples, "{workload},{setting},{way},{who},{round},{rate:.4},0,0,0")?)
    }

    /// Something that a reader of the figures should know.
    pub fn note(&mut self, text: &str) -> Result<()> {
        self.notes.push(text.replace('\n', " "));
        Ok(fs::write(self.directory.join("notes.txt"), self.notes.join("\n") + "\n")?)
    }

    /// Ends the files.
    pub fn end(mut self) -> Result<()> {
        Ok(self.samples.flush()?)
    }
}

/// The results of the last repetition in the JSON that `pfs-ior` has printed.
pub fn ior(text: &str, workload: &Workload, contender: Contender, round: u32, table: &mut Table) -> Result<()> {
    let start = text.find('{').context("no JSON")?;
    let value: Value = serde_json::from_str(&text[start..]).context("reading the JSON of pfs-ior")?;
    let results = value.pointer("/tests/0/Results").and_then(Value::as_array).context("no results")?;
    let access = |result: &'_ Value| result.get("access").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut count = 0;
    for (at, result) in results.iter().enumerate() {
        let number = |key: &str| result.get(key).and_then(Value::as_f64).with_context(|| format!("no {key}"));
        let way = access(result);
        let comes_again = results[at + 1..].iter().any(|later| access(later) == way);
        if way == "remove" || comes_again {
            continue;
        }
        let (rate, open, access, close) =
            (number("bwMiB")?, number("openTime")?, number("wrRdTime")?, number("closeTime")?);
        let (name, setting, who) = (workload.name, workload.setting, contender.name());
        writeln!(table.samples, "{name},{setting},{way},{who},{round},{rate:.4},{open},{access},{close}")?;
        count += 1;
    }
    ensure!(count > 0, "no results");
    Ok(())
}

/// The rates in the table that `pfs-mdtest` has printed.
pub fn mdtest(text: &str, workload: &Workload, contender: Contender, round: u32, table: &mut Table) -> Result<()> {
    for (operation, way) in
        [("File creation", "create"), ("File stat", "stat"), ("File read", "open"), ("File removal", "remove")]
    {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(operation));
        let mean = line.and_then(|line| line.split_whitespace().nth(2)).and_then(|text| text.parse().ok());
        let mean = mean.with_context(|| format!("no line of {operation}"))?;
        table.row(workload.name, workload.setting, way, contender.name(), round, mean)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::workload::workloads;
    use super::*;

    #[test]
    fn results_become_rows() {
        let directory = tempfile::tempdir().unwrap();
        let mut table = Table::begin(directory.path()).unwrap();
        let all = workloads(true);
        let json = r#"Fake line
            {"tests":[{"Results":[{"access":"write","bwMiB":1.5,"openTime":9,"wrRdTime":9,"closeTime":9},
            {"access":"write","bwMiB":5.5,"openTime":0.1,"wrRdTime":0.2,"closeTime":0.3},
            {"access":"remove","totalTime":1.0}]}]}"#;
        ior(json, &all[0], Contender::Pfs, 2, &mut table).unwrap();
        let names = all.iter().find(|workload| workload.name == "names").unwrap();
        let rates =
            ["creation", "stat", "read", "removal"].map(|name| format!("   File {name}   9.0 7.0 8.0 1.0\n")).concat();
        mdtest(&rates, names, Contender::Gluster, 1, &mut table).unwrap();
        table.note("two\nlines").unwrap();
        table.end().unwrap();
        let text = fs::read_to_string(directory.path().join("samples.csv")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "easy,0,write,pfs,2,5.5000,0.1,0.2,0.3");
        assert_eq!(lines[2], "names,0,create,Gluster,1,8.0000,0,0,0");
        assert_eq!(lines.len(), 6);
        assert_eq!(fs::read_to_string(directory.path().join("notes.txt")).unwrap(), "two lines\n");
    }
}
