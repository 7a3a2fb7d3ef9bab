//! What programs that read IOR's output look for: the table of results, the summary, the JSON object, the lines for a
//! spreadsheet.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A line of the table of results.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub access: String,
    pub bandwidth_mib_s: f64,
    pub repetition: u32,
}

/// The default output.
#[derive(Debug)]
pub struct Table {
    pub lines: Vec<Line>,
    pub max_write_mib_s: Option<f64>,
    pub max_read_mib_s: Option<f64>,
    /// The long summary: each line's fields, by the column's name.
    pub summary: Vec<Vec<(String, String)>>,
}

/// Reads the default output.
pub fn table(text: &str) -> Result<Table> {
    ensure!(text.contains("MPI Coordinated Test of Parallel I/O"), "no first line");
    for key in ["Began", "Command line", "Machine", "TestID", "StartTime", "api", "xfersize", "aggregate filesize"] {
        ensure!(text.lines().any(|line| line.starts_with(&format!("{key:<20}: "))), "no line of {key}");
    }
    let mut results = text.lines().skip_while(|line| !line.starts_with("access    bw(MiB/s)  IOPS"));
    let columns = results.next().context("no head of the results")?.split_whitespace().count();
    let lines = results
        .skip(1)
        .take_while(|line| !line.starts_with("Max") && !line.is_empty())
        .filter(|line| line.starts_with("write") || line.starts_with("read"))
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            ensure!(fields.len() == columns, "{} fields in {line:?}, {columns} columns", fields.len());
            Ok(Line {
                access: fields[0].to_owned(),
                bandwidth_mib_s: fields[1].parse()?,
                repetition: fields[columns - 1].parse()?,
            })
        })
        .collect::<Result<_>>()?;
    let max = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (max_write_mib_s, max_read_mib_s) = (max("Max Write:"), max("Max Read:"));
    Ok(Table { lines, max_write_mib_s, max_read_mib_s, summary: summary(text)? })
}

fn summary(text: &str) -> Result<Vec<Vec<(String, String)>>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("Summary of all tests:")).skip(1);
    let columns: Vec<&str> = lines.next().context("no summary of all tests")?.split_whitespace().collect();
    lines
        .take_while(|line| line.starts_with("write") || line.starts_with("read"))
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            ensure!(fields.len() == columns.len(), "{} fields in {line:?}, columns {columns:?}", fields.len());
            Ok(columns.iter().zip(fields).map(|(name, field)| (name.to_string(), field.to_owned())).collect())
        })
        .collect()
}

/// Reads the JSON object, and checks that it has what IOR's has.
pub fn json(text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text).context("the output is no JSON")?;
    for pointer in [
        "/Version",
        "/Command line",
        "/tests/0/TestID",
        "/tests/0/Parameters/transferSize",
        "/tests/0/Options/aggregate filesize",
        "/tests/0/Results/0/access",
        "/tests/0/Results/0/bwMiB",
        "/tests/0/Results/0/iops",
        "/tests/0/Results/0/latency",
        "/tests/0/Results/0/openTime",
        "/tests/0/Results/0/wrRdTime",
        "/tests/0/Results/0/closeTime",
        "/tests/0/Results/0/totalTime",
        "/summary/0/operation",
        "/summary/0/API",
        "/summary/0/bwMaxMIB",
        "/summary/0/OPsMean",
        "/summary/0/MeanTime",
        "/summary/0/xsizeMiB",
        "/Finished",
    ] {
        ensure!(value.pointer(pointer).is_some(), "the JSON has no {pointer}");
    }
    Ok(value)
}

/// Reads the lines for a spreadsheet: each line's first field.
pub fn csv(text: &str) -> Result<Vec<String>> {
    let head = "access,bw(MiB/s),IOPS,Latency,block(KiB),xfer(KiB),open(s),wr/rd(s),close(s),total(s),numTasks,iter";
    let lines = text.lines().filter(|line| *line != head);
    ensure!(text.lines().any(|line| line == head), "no head");
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            ensure!(fields.len() == head.split(',').count(), "{line:?} has other fields than the head");
            ensure!(fields[1..].iter().all(|field| field.parse::<f64>().is_ok()), "{line:?} has no numbers");
            Ok(fields[0].to_owned())
        })
        .collect()
}
