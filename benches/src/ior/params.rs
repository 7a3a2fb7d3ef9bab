//! What one test is: IOR's parameters, with IOR's names in the JSON output and its defaults.

use crate::aiori::Api;
use crate::ior::pattern::Packet;
use crate::ior::presets::Preset;

/// The parameters of one test. Numbers named like switches are switches: 0 is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Number of the test, from 0.
    pub id: u32,
    /// A number for the user's own use (`-A`).
    pub reference: i64,
    /// The interface.
    pub api: Api,
    /// The machine, as IOR names it.
    pub platform: String,
    /// Name of the test file; several with `@` between them.
    pub file: String,
    /// The options as they were given.
    pub options: String,
    /// Bytes that each rank has in one segment.
    pub block_bytes: u64,
    /// Bytes of one transfer.
    pub transfer_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Segments that one call moves, in a view.
    pub segments_per_call: u64,
    /// Each segment is an array of three dimensions that all ranks have boxes of.
    pub array: u32,
    /// Repetitions.
    pub repetitions: u32,
    /// A file for each repetition.
    pub multi_file: u32,
    /// Collective calls.
    pub collective: u32,
    /// A file for each rank.
    pub file_per_rank: u32,
    /// A directory for each rank's file.
    pub unique_dir: u32,
    /// Write.
    pub write: u32,
    /// Read.
    pub read: u32,
    /// Check what was written.
    pub check_write: u32,
    /// Check what is read.
    pub check_read: u32,
    /// Keep the files.
    pub keep: u32,
    /// Keep files with errors.
    pub keep_with_error: u32,
    /// Stop at the first wrong data.
    pub quit_on_error: u32,
    /// Do not remove the file before it is written.
    pub existing: u32,
    /// Sync after the phase.
    pub fsync: u32,
    /// Sync after each write.
    pub fsync_per_write: u32,
    /// Barriers between open, transfers and close.
    pub barriers: u32,
    /// Do not go on with what a transfer left out.
    pub single_attempt: u32,
    /// Read a neighbour's data.
    pub reorder: u32,
    /// Read a random rank's data; 2 for a permutation.
    pub reorder_random: u32,
    /// Seed of that; a negative one gives another order to each repetition.
    pub reorder_seed: i64,
    /// How far away the neighbour is.
    pub task_offset: u64,
    /// Random order of transfers; 2 for random places.
    pub random: u32,
    /// Seed of that.
    pub random_seed: Option<u64>,
    /// Fill the file with this block size before a random write.
    pub prefill_bytes: u64,
    /// Seconds between phases.
    pub delay_s: u64,
    /// Microseconds between transfers.
    pub transfer_delay_us: u64,
    /// Seconds after which a phase ends.
    pub deadline_s: u64,
    /// All ranks come to the number of transfers of the fastest.
    pub wear_out: u32,
    /// So many transfers of each rank.
    pub wear_out_transfers: u64,
    /// Keeps that number from one run to the next.
    pub status_file: Option<String>,
    /// The least seconds of a phase.
    pub min_s: u64,
    /// The most minutes of all repetitions.
    pub max_minutes: u64,
    /// Warn of ranks that are so many seconds from the mean.
    pub outlier_s: u64,
    /// Signature of the data, or seed of incompressible data; 0 for a new one.
    pub signature: u64,
    /// Kind of data.
    pub packet: Packet,
    /// Ranks that take part; all if absent.
    pub tasks: Option<u64>,
    /// Nodes, if they are to be taken for another number than they are.
    pub nodes: Option<u64>,
    /// The same of the ranks on the first node.
    pub tasks_on_node0: Option<u64>,
    /// Memory to fill on each node, in bytes.
    pub memory_per_node: u64,
    /// Memory to fill by each rank, in bytes.
    pub memory_per_task: u64,
    /// A file of hints.
    pub hints_file: Option<String>,
    /// Show hints that are given and that are in effect.
    pub show_hints: u32,
    /// Access through a file view.
    pub view: u32,
    /// All segments of a transfer in one call, by a datatype.
    pub strided: u32,
    /// Reserve the file's space.
    pub preallocate: u32,
    /// Past the page cache.
    pub direct: u32,
    /// How much to tell.
    pub verbose: u32,
    /// Warnings are errors.
    pub warnings_as_errors: u32,
    /// Print the long summary after each test.
    pub summary_always: u32,
    /// Nothing is read or written.
    pub dry_run: u32,
    /// Where each rank's performance goes.
    pub rank_details: Option<String>,
    /// Where each transfer's time goes.
    pub operation_details: Option<String>,
}

/// How the summary is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Tables.
    #[default]
    Default,
    /// One JSON object.
    Json,
    /// Lines for a spreadsheet.
    Csv,
}

/// When a line of progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// If the error output is a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a command line says: parameters, and what concerns all tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// The parameters that tests begin with.
    pub params: Params,
    /// A script of tests.
    pub script: Option<String>,
    /// How the summary is printed.
    pub format: Format,
    /// Where it goes instead of the output.
    pub summary_file: Option<String>,
    /// When progress is shown.
    pub progress: Progress,
    /// The preset that was taken last.
    pub preset: Option<Preset>,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            id: 0,
            reference: 0,
            api: Api::Pfs,
            platform: String::new(),
            file: "testFile".to_owned(),
            options: String::new(),
            block_bytes: 1 << 20,
            transfer_bytes: 256 << 10,
            segments: 1,
            segments_per_call: 1,
            array: 0,
            repetitions: 1,
            multi_file: 0,
            collective: 0,
            file_per_rank: 0,
            unique_dir: 0,
            write: 0,
            read: 0,
            check_write: 0,
            check_read: 0,
            keep: 0,
            keep_with_error: 0,
            quit_on_error: 0,
            existing: 0,
            fsync: 0,
            fsync_per_write: 0,
            barriers: 0,
            single_attempt: 0,
            reorder: 0,
            reorder_random: 0,
            reorder_seed: 0,
            task_offset: 1,
            random: 0,
            random_seed: None,
            prefill_bytes: 0,
            delay_s: 0,
            transfer_delay_us: 0,
            deadline_s: 0,
            wear_out: 0,
            wear_out_transfers: 0,
            status_file: None,
            min_s: 0,
            max_minutes: 0,
            outlier_s: 0,
            signature: 0,
            packet: Packet::Timestamp,
            tasks: None,
            nodes: None,
            tasks_on_node0: None,
            memory_per_node: 0,
            memory_per_task: 0,
            hints_file: None,
            show_hints: 0,
            view: 0,
            strided: 0,
            preallocate: 0,
            direct: 0,
            verbose: 0,
            warnings_as_errors: 0,
            summary_always: 0,
            dry_run: 0,
            rank_details: None,
            operation_details: None,
        }
    }
}

impl Params {
    /// Transfers of a rank in one block.
    pub fn transfers_per_block(&self) -> u64 {
        self.block_bytes / self.transfer_bytes
    }

    /// Bytes of all ranks together, or nothing when that is too many.
    pub fn aggregate_bytes(&self, tasks: u64) -> Option<u64> {
        let bytes = self.block_bytes.checked_mul(self.segments)?.checked_mul(tasks)?;
        (bytes <= i64::MAX as u64).then_some(bytes)
    }

    /// Whether something is compared with what should be there.
    pub fn checks(&self) -> bool {
        self.check_read > 0 || self.check_write > 0
    }
}
