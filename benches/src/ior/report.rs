//! Results, and their form in tables, JSON and CSV. Names, order and digits are IOR's, so that what reads IOR's output reads
//! this one.

use crate::ior::params::Params;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt::Write as _;

const MIB: f64 = 1_048_576.0;

/// Which way the bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To the file.
    Write,
    /// From the file.
    Read,
}

impl Access {
    /// IOR's word.
    pub fn name(self) -> &'static str {
        match self {
            Access::Write => "write",
            Access::Read => "read",
        }
    }
}

/// One phase of one repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Which way.
    pub access: Access,
    /// Repetition, from 0.
    pub repetition: u32,
    /// Bytes that all ranks moved.
    pub bytes: u64,
    /// From the first rank's start of the open to the last one's end, in seconds.
    pub open_s: f64,
    /// The same of the transfers.
    pub access_s: f64,
    /// The same of the close.
    pub close_s: f64,
    /// From the first start of an open to the last end of a close.
    pub total_s: f64,
    /// The mean time of a transfer on the rank where it is the shortest.
    pub latency_s: f64,
    /// Seconds until the deadline, and bytes of a rank on average by then, if it counts.
    pub stonewall: Option<(f64, u64)>,
}

impl Point {
    /// Bytes per second of the whole, open and close included.
    pub fn bandwidth(&self) -> f64 {
        self.bytes as f64 / self.total_s
    }

    /// Transfers per second while transferring.
    pub fn iops(&self, transfer_bytes: u64) -> f64 {
        self.bytes as f64 / transfer_bytes as f64 / self.access_s
    }
}

/// Everything about a test that its results are printed with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its parameters.
    pub params: Params,
    /// Ranks.
    pub tasks: u64,
    /// Ranks on the first node.
    pub tasks_on_node0: u64,
    /// Nodes.
    pub nodes: u64,
    /// The interface's version.
    pub api_version: String,
}

/// A value of the output; objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number with four decimals.
    Real(f64),
    /// Names and values.
    Object(Vec<(&'static str, Item)>),
    /// A list.
    List(Vec<Item>),
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Item::Text(text) => serializer.serialize_str(text),
            Item::Whole(number) => serializer.serialize_i64(*number),
            Item::Real(number) if number.is_finite() => serializer.serialize_f64((number * 1e4).round() / 1e4),
            Item::Real(number) => serializer.serialize_str(&number.to_string()),
            Item::List(items) => serializer.collect_seq(items),
            Item::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Item {
        Item::Text(text.to_owned())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Item {
        Item::Text(text)
    }
}

impl From<u64> for Item {
    fn from(number: u64) -> Item {
        Item::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Item {
    fn from(number: u32) -> Item {
        Item::Whole(i64::from(number))
    }
}

impl From<i64> for Item {
    fn from(number: i64) -> Item {
        Item::Whole(number)
    }
}

impl From<f64> for Item {
    fn from(number: f64) -> Item {
        Item::Real(number)
    }
}

/// Names and values as lines.
pub fn lines(fields: &[(&'static str, Item)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let value = match value {
            Item::Text(text) => text.clone(),
            Item::Whole(number) => number.to_string(),
            Item::Real(number) => format!("{number:.4}"),
            Item::Object(_) | Item::List(_) => continue,
        };
        writeln!(text, "{name:<20}: {value}").expect("to a string");
    }
    text
}

/// What every test shows of itself.
pub fn options(context: &Context) -> Vec<(&'static str, Item)> {
    let params = &context.params;
    let yes = |condition: bool, yes: &str, no: &str| Item::from(if condition { yes } else { no });
    let mut fields = vec![
        ("api", params.api.name().into()),
        ("apiVersion", context.api_version.as_str().into()),
        ("test filename", params.file.as_str().into()),
        ("access", yes(params.file_per_rank > 0, "file-per-process", "single-shared-file")),
        ("type", yes(params.collective > 0, "collective", "independent")),
        ("segments", params.segments.into()),
        ("ordering in a file", yes(params.random > 0, "random", "sequential")),
    ];
    if params.reorder > 0 {
        fields.push(("ordering inter file", "constant task offset".into()));
        fields.push(("task offset", params.task_offset.into()));
    } else if params.reorder_random > 0 {
        fields.push(("ordering inter file", "random task offset".into()));
        fields.push(("task offset", params.task_offset.into()));
        fields.push(("reorder random seed", params.reorder_seed.into()));
    } else {
        fields.push(("ordering inter file", "no tasks offsets".into()));
    }
    fields.push(("nodes", context.nodes.into()));
    fields.push(("tasks", context.tasks.into()));
    fields.push(("clients per node", context.tasks_on_node0.into()));
    if params.memory_per_task > 0 {
        fields.push(("memoryPerTask", human(params.memory_per_task).into()));
    }
    if params.memory_per_node > 0 {
        fields.push(("memoryPerNode", human(params.memory_per_node).into()));
    }
    fields.extend([("memoryBuffer", "CPU".into()), ("dataAccess", "CPU".into()), ("GPUDirect", "0".into())]);
    fields.push(("repetitions", params.repetitions.into()));
    fields.push(("xfersize", human(params.transfer_bytes).into()));
    fields.push(("blocksize", human(params.block_bytes).into()));
    fields.push(("aggregate filesize", human(params.aggregate_bytes(context.tasks).unwrap_or(0)).into()));
    if params.segments_per_call > 1 {
        fields.push(("segments per call", params.segments_per_call.into()));
    }
    if params.dry_run > 0 {
        fields.push(("dryRun", params.dry_run.into()));
    }
    if params.verbose > 0 {
        fields.push(("verbose", params.verbose.into()));
    }
    if params.deadline_s > 0 {
        fields.push(("stonewallingTime", params.deadline_s.into()));
        fields.push(("stoneWallingWearOut", params.wear_out.into()));
    }
    fields
}

/// All parameters, as IOR lists them.
pub fn parameters(context: &Context) -> Vec<(&'static str, Item)> {
    let params = &context.params;
    vec![
        ("testID", params.id.into()),
        ("refnum", params.reference.into()),
        ("api", params.api.name().into()),
        ("platform", params.platform.as_str().into()),
        ("testFileName", params.file.as_str().into()),
        ("deadlineForStonewall", params.deadline_s.into()),
        ("stoneWallingWearOut", params.wear_out.into()),
        ("maxTimeDuration", params.max_minutes.into()),
        ("outlierThreshold", params.outlier_s.into()),
        ("options", params.options.as_str().into()),
        ("dryRun", params.dry_run.into()),
        ("nodes", context.nodes.into()),
        ("memoryPerTask", params.memory_per_task.into()),
        ("memoryPerNode", params.memory_per_node.into()),
        ("tasksPerNode", context.tasks_on_node0.into()),
        ("repetitions", params.repetitions.into()),
        ("multiFile", params.multi_file.into()),
        ("interTestDelay", params.delay_s.into()),
        ("fsync", params.fsync.into()),
        ("fsyncperwrite", params.fsync_per_write.into()),
        ("useExistingTestFile", params.existing.into()),
        ("uniqueDir", params.unique_dir.into()),
        ("singleXferAttempt", params.single_attempt.into()),
        ("readFile", params.read.into()),
        ("writeFile", params.write.into()),
        ("filePerProc", params.file_per_rank.into()),
        ("reorderTasks", params.reorder.into()),
        ("reorderTasksRandom", params.reorder_random.into()),
        ("reorderTasksRandomSeed", params.reorder_seed.into()),
        ("randomOffset", params.random.into()),
        ("checkWrite", params.check_write.into()),
        ("checkRead", params.check_read.into()),
        ("dataPacketType", params.packet.number().into()),
        ("keepFile", params.keep.into()),
        ("keepFileWithError", params.keep_with_error.into()),
        ("warningAsErrors", params.warnings_as_errors.into()),
        ("verbose", params.verbose.into()),
        ("data packet type", params.packet.letter().into()),
        ("setTimeStampSignature/incompressibleSeed", params.signature.into()),
        ("collective", params.collective.into()),
        ("segmentCount", params.segments.into()),
        ("transferSize", params.transfer_bytes.into()),
        ("blockSize", params.block_bytes.into()),
    ]
}

/// The lines above the results.
pub const HEADER: &str = "\
\naccess    bw(MiB/s)  IOPS       Latency(s)  block(KiB) xfer(KiB)  open(s)    wr/rd(s)   close(s)   total(s)   iter
------    ---------  ----       ----------  ---------- ---------  --------   --------   --------   --------   ----
";

/// The same for a spreadsheet.
pub const CSV_HEADER: &str =
    "access,bw(MiB/s),IOPS,Latency,block(KiB),xfer(KiB),open(s),wr/rd(s),close(s),total(s),numTasks,iter\n";

/// The numbers of a result in the order of the table, from the bandwidth to the total.
fn numbers(context: &Context, point: &Point) -> [f64; 9] {
    let params = &context.params;
    [
        point.bandwidth() / MIB,
        point.iops(params.transfer_bytes),
        point.latency_s,
        params.block_bytes as f64 / 1024.0,
        params.transfer_bytes as f64 / 1024.0,
        point.open_s,
        point.access_s,
        point.close_s,
        point.total_s,
    ]
}

/// A line of the table.
pub fn table_line(context: &Context, point: &Point) -> String {
    let mut line = format!("{:<10}", point.access.name());
    for (i, number) in numbers(context, point).into_iter().enumerate() {
        let gap = if i == 2 { "  " } else { " " };
        write!(line, "{:<10}{gap}", padded(number)).expect("to a string");
    }
    format!("{line}{:<4}\n", point.repetition)
}

/// The line of a removal.
pub fn remove_line(seconds: f64, repetition: u32) -> String {
    let blanks = "remove    -          -          -           -          -          -          -          -          ";
    format!("{blanks}{:<10} {repetition:<4}\n", padded(seconds))
}

/// A line for a spreadsheet.
pub fn csv_line(context: &Context, point: &Point) -> String {
    let mut line = format!("{},", point.access.name());
    for number in numbers(context, point) {
        write!(line, "{number:.4},").expect("to a string");
    }
    format!("{line}{},{}\n", context.tasks, point.repetition)
}

/// A result as an object.
pub fn object(context: &Context, point: &Point) -> Item {
    let [bandwidth, iops, latency, block, transfer, open, access, close, total] = numbers(context, point);
    Item::Object(vec![
        ("access", point.access.name().into()),
        ("bwMiB", bandwidth.into()),
        ("blockKiB", block.into()),
        ("xferKiB", transfer.into()),
        ("iops", iops.into()),
        ("latency", latency.into()),
        ("openTime", open.into()),
        ("wrRdTime", access.into()),
        ("closeTime", close.into()),
        ("totalTime", total.into()),
    ])
}

/// A number of the table: more decimals for smaller ones.
fn padded(number: f64) -> String {
    match number {
        n if n < 0.0 => "   -      ".to_owned(),
        n if n < 1.0 => format!("{n:.6}"),
        n if n < 3600.0 => format!("{n:.2}"),
        n => format!("{n:.0}"),
    }
}

/// Bytes as IOR writes them: `4 MiB`, `1.50 GiB`, `47008 bytes`, with no unit in between.
pub fn human(bytes: u64) -> String {
    for (unit, power) in [("TiB", 40u32), ("GiB", 30), ("MiB", 20)] {
        let one = 1u64 << power;
        if bytes >= one {
            return match bytes % one {
                0 => format!("{} {unit}", bytes / one),
                _ => format!("{:.2} {unit}", bytes as f64 / one as f64),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let params = Params { block_bytes: 16 << 20, transfer_bytes: 4 << 20, segments: 4, ..Params::default() };
        Context { params, tasks: 4, tasks_on_node0: 4, nodes: 1, api_version: String::new() }
    }

    fn point(access: Access, total_s: f64) -> Point {
        let bytes = 256 << 20;
        let (access_s, latency_s) = (total_s - 0.02, 0.0305);
        Point {
            access,
            repetition: 0,
            bytes,
            open_s: 0.01,
            access_s,
            close_s: 0.01,
            total_s,
            latency_s,
            stonewall: None,
        }
    }

    #[test]
    fn a_table_as_ior_prints_it() {
        let table = format!("{HEADER}{}{}", table_line(&context(), &point(Access::Write, 0.5)), remove_line(0.001, 0));
        let expected = "
access    bw(MiB/s)  IOPS       Latency(s)  block(KiB) xfer(KiB)  open(s)    wr/rd(s)   close(s)   total(s)   iter
------    ---------  ----       ----------  ---------- ---------  --------   --------   --------   --------   ----
write     512.00     133.33     0.030500    16384      4096       0.010000   0.480000   0.010000   0.500000   0   
remove    -          -          -           -          -          -          -          -          0.001000   0   
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_line_for_a_spreadsheet_has_as_many_fields_as_the_header() {
        let line = csv_line(&context(), &point(Access::Read, 0.5));
        assert_eq!(line.matches(',').count(), CSV_HEADER.matches(',').count());
        assert!(line.starts_with("read,512.0000,133.3333,0.0305,16384.0000,4096.0000,0.0100,0.4800,"), "{line}");
    }

    #[test]
    fn objects_keep_their_order_and_four_decimals() {
        let json = serde_json::to_string(&object(&context(), &point(Access::Write, 0.3))).unwrap();
        assert!(json.starts_with(r#"{"access":"write","bwMiB":853.3333,"blockKiB":16384.0,"#), "{json}");
        assert_eq!(serde_json::to_string(&Item::Real(f64::INFINITY)).unwrap(), "\"inf\"");
    }

    #[test]
    fn bytes_are_written_for_people() {
        let shown = [8, 4 << 20, 47_008, 3 << 29, 5 << 40].map(human);
        assert_eq!(shown, ["8 bytes", "4 MiB", "47008 bytes", "1.50 GiB", "5 TiB"]);
    }

    #[test]
    fn lines_are_aligned_as_iors() {
        let text = lines(&options(&context()));
        assert!(text.contains("aggregate filesize  : 256 MiB\n") && text.contains("xfersize            : 4 MiB\n"));
    }
}
