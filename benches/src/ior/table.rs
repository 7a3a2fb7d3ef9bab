//! IOR's table of results and its summary.

use crate::ior::options::Options;
use serde::Serialize;
use std::fmt::Write;

/// Which way the bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// To the file.
    Write,
    /// From the file.
    Read,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Write => "write",
            Operation::Read => "read",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Which way.
    pub access: Operation,
    /// Bytes of all ranks.
    pub bytes: u64,
    /// Transfers of all ranks.
    pub transfers: u64,
    /// From the first rank's start of the open to the last one's end, in seconds.
    pub open_s: f64,
    /// The same of the transfers.
    pub access_s: f64,
    /// The same of the close.
    pub close_s: f64,
    /// From the first start of an open to the last end of a close.
    pub total_s: f64,
    /// Mean time of one transfer on one rank.
    pub latency_s: f64,
    /// Repetition, from 0.
    pub iteration: u32,
}

impl Measurement {
    /// MiB per second of the whole, open and close included, as IOR counts.
    pub fn bandwidth_mib_s(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.total_s
    }

    /// Transfers per second while transferring.
    pub fn operations_s(&self) -> f64 {
        self.transfers as f64 / self.access_s
    }
}

/// The two lines above the measurements.
pub fn header() -> String {
    let columns = [
        "access",
        "bw(MiB/s)",
        "IOPS",
        "Latency(s)",
        "block(KiB)",
        "xfer(KiB)",
        "open(s)",
        "wr/rd(s)",
        "close(s)",
        "total(s)",
        "iter",
    ];
    let line = |cell: fn(&str) -> String| {
        let cells: Vec<String> = columns.iter().map(|column| format!("{:<10}", cell(column))).collect();
        cells.join(" ").trim_end().to_owned()
    };
    format!("{}\n{}", line(str::to_owned), line(|column| "-".repeat(column.len())))
}

/// One measurement as a line.
pub fn line(options: &Options, measured: &Measurement) -> String {
    let kib = |bytes: u64| number(bytes as f64 / 1024.0);
    let cells = [
        measured.access.name().to_owned(),
        number(measured.bandwidth_mib_s()),
        number(measured.operations_s()),
        number(measured.latency_s),
        kib(options.block_bytes),
        kib(options.transfer_bytes),
        number(measured.open_s),
        number(measured.access_s),
        number(measured.close_s),
        number(measured.total_s),
        measured.iteration.to_string(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<10}")).collect();
    cells.join(" ").trim_end().to_owned()
}

/// A number in at most 9 characters: more decimals for smaller ones.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e5 => format!("{v:.0}"),
        v if v >= 100.0 => format!("{v:.2}"),
        v if v >= 1.0 => format!("{v:.4}"),
        v => format!("{v:.6}"),
    }
}

/// `Max Write:` and `Max Read:`, for what was measured.
pub fn maxima(measured: &[Measurement]) -> String {
    let mut text = String::new();
    for (access, name) in [(Operation::Write, "Write"), (Operation::Read, "Read")] {
        let rates = measured.iter().filter(|m| m.access == access).map(Measurement::bandwidth_mib_s);
        if let Some(mib) = rates.reduce(f64::max) {
            let mb = mib * f64::from(1 << 20) / 1e6;
            writeln!(text, "Max {:<6} {mib:.2} MiB/sec ({mb:.2} MB/sec)", format!("{name}:")).expect("to a string");
        }
    }
    text
}

/// IOR's summary over all repetitions.
pub fn summary(options: &Options, ranks: u64, ranks_per_node: u64, measured: &[Measurement]) -> String {
    let mut text = String::from("Summary of all tests:\n");
    let columns = "Operation   Max(MiB)   Min(MiB)  Mean(MiB)     StdDev   Max(OPs)   Min(OPs)  Mean(OPs)     StdDev    \
                   Mean(s) #Tasks tPN reps fPP reord segcnt   blksiz    xsize aggs(MiB)   API";
    writeln!(text, "{columns}").expect("to a string");
    for access in [Operation::Write, Operation::Read] {
        let runs: Vec<&Measurement> = measured.iter().filter(|m| m.access == access).collect();
        if let Some(first) = runs.first() {
            let rates = Spread::of(runs.iter().map(|m| m.bandwidth_mib_s()));
            let operations = Spread::of(runs.iter().map(|m| m.transfers as f64 / m.total_s));
            let seconds = Spread::of(runs.iter().map(|m| m.total_s)).mean;
            writeln!(
                text,
                "{:<9} {rates} {operations} {seconds:10.5} {ranks:6} {ranks_per_node:3} {:4} {:3} {:5} {:6} {:8} {:8} {:9.1} {:>5}",
                access.name(),
                options.repetitions,
                u8::from(options.file_per_rank),
                u8::from(options.reorder),
                options.segments,
                options.block_bytes,
                options.transfer_bytes,
                first.bytes as f64 / f64::from(1 << 20),
                options.api.name(),
            )
            .expect("to a string");
        }
    }
    text
}

/// Maximum, minimum, mean and standard deviation.
struct Spread {
    max: f64,
    min: f64,
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Spread {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Spread {
            max: values.clone().fold(f64::MIN, f64::max),
            min: values.fold(f64::MAX, f64::min),
            mean,
            deviation: variance.sqrt(),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:10.2} {:10.2} {:10.2} {:10.2}", self.max, self.min, self.mean, self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options() -> Options {
        Options::try_parse_from("pfs-ior -b 16m -t 4m -s 4 -i 2 -o x".split(' ')).unwrap().checked().unwrap()
    }

    fn measured(access: Operation, total_s: f64, iteration: u32) -> Measurement {
        Measurement {
            access,
            bytes: 256 << 20,
            transfers: 64,
            open_s: 0.01,
            access_s: total_s - 0.02,
            close_s: 0.01,
            total_s,
            latency_s: 0.0305,
            iteration,
        }
    }

    #[test]
    fn a_table_as_ior_prints_it() {
        let table = format!("{}\n{}\n", header(), line(&options(), &measured(Operation::Write, 0.5, 0)));
        let expected = "\
access     bw(MiB/s)  IOPS       Latency(s) block(KiB) xfer(KiB)  open(s)    wr/rd(s)   close(s)   total(s)   iter
------     ---------  ----       ---------- ---------- ---------  -------    --------   --------   --------   ----
write      512.00     133.33     0.030500   16384.00   4096.00    0.010000   0.480000   0.010000   0.500000   0
";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_best_of_all_repetitions_is_the_maximum() {
        let runs =
            [measured(Operation::Write, 1.0, 0), measured(Operation::Write, 0.5, 1), measured(Operation::Read, 2.0, 0)];
        let expected = "Max Write: 512.00 MiB/sec (536.87 MB/sec)\nMax Read:  128.00 MiB/sec (134.22 MB/sec)\n";
        assert_eq!(maxima(&runs), expected);
        let text = summary(&options(), 4, 4, &runs);
        let write = text.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(write[..5], ["write", "512.00", "256.00", "384.00", "128.00"]);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let only_read = [measured(Operation::Read, 1.0, 0)];
        assert!(!maxima(&only_read).contains("Write"));
        assert_eq!(summary(&options(), 4, 4, &only_read).lines().count(), 3);
    }
}
