//! Every option and directive, with IOR's letters and names. `-O` and scripts set the same parameters as options do.

use crate::aiori::Api;
use crate::ior::params::{Format, Line, Progress};
use crate::ior::pattern::Packet;
use crate::ior::presets::Preset;
use crate::settings::{self, Asked, Setting, number, size};
use std::ffi::OsString;

type S = Setting<Line>;

/// A setting with a value that goes to a place.
macro_rules! value {
    ($letter:expr, $name:literal, $word:literal, $help:literal, $($field:ident).+, $parse:expr) => {
        S::value($letter, $name, $word, $help, |line: &mut Line, text: &str| {
            line.$($field).+ = $parse(text)?;
            Ok(())
        })
    };
}

/// A switch, or something that counts.
macro_rules! count {
    ($letter:expr, $name:literal, $help:literal, $field:ident) => {
        S::count($letter, $name, $help, |line: &mut Line| &mut line.params.$field)
    };
}

/// Something that is refused, and why.
macro_rules! refused {
    ($letter:expr, $name:literal, $why:literal) => {
        S::value($letter, $name, "…", concat!("not available: ", $why), |_, _| Err($why.to_owned()))
    };
}

static TABLE: &[S] = &[
    value!(
        Some('a'),
        "api",
        "API",
        "interface: PFS, PFSCLIENT, MPIIO, POSIX, RAWTCP or RAWTCPSHARED",
        params.api,
        Api::parse
    ),
    value!(Some('A'), "refNum", "N", "reference number to include in the summary", params.reference, number),
    value!(Some('b'), "blockSize", "N", "contiguous bytes of each task (8, 4k, 2m, 1g)", params.block_bytes, size),
    count!(Some('B'), "useO_DIRECT", "use O_DIRECT for POSIX", direct),
    count!(None, "posix.odirect", "the same", direct),
    count!(Some('c'), "collective", "collective calls", collective),
    count!(Some('C'), "reorderTasksConstant", "read what a neighbour wrote, so that no cache helps", reorder),
    count!(None, "reorderTasks", "the same", reorder),
    value!(Some('d'), "interTestDelay", "N", "seconds between phases", params.delay_s, number_of),
    value!(None, "interIODelay", "N", "microseconds after each transfer", params.transfer_delay_us, number_of),
    value!(Some('D'), "deadlineForStonewalling", "N", "seconds after which a phase ends", params.deadline_s, number_of),
    count!(None, "stoneWallingWearOut", "after the deadline all ranks come to what the fastest did", wear_out),
    value!(
        None,
        "stoneWallingWearOutIterations",
        "N",
        "stop after N transfers of each rank",
        params.wear_out_transfers,
        number_of
    ),
    value!(
        None,
        "stoneWallingStatusFile",
        "FILE",
        "keeps that number of a write for a later read",
        params.status_file,
        name
    ),
    value!(
        None,
        "minTimeDuration",
        "N",
        "least seconds of a phase, which starts again from the file's begin",
        params.min_s,
        number_of
    ),
    count!(Some('e'), "fsync", "sync at the end of each write", fsync),
    count!(Some('E'), "useExistingTestFile", "do not remove the file before it is written", existing),
    value!(Some('f'), "scriptFile", "FILE", "a script of tests", script, name),
    count!(Some('F'), "filePerProc", "a file for each task", file_per_rank),
    count!(Some('g'), "intraTestBarriers", "barriers between open, transfers and close", barriers),
    value!(
        Some('G'),
        "setTimeStampSignature",
        "N",
        "signature of the data, or seed of incompressible data",
        params.signature,
        number_of
    ),
    count!(Some('H'), "showHints", "show the hints that are given and those in effect", show_hints),
    count!(None, "mpiio.showHints", "the same", show_hints),
    value!(Some('i'), "repetitions", "N", "number of repetitions", params.repetitions, number),
    refused!(Some('I'), "individualDataSets", "it is of HDF5"),
    value!(
        Some('j'),
        "outlierThreshold",
        "N",
        "warn of tasks that are N seconds from the mean",
        params.outlier_s,
        number_of
    ),
    refused!(Some('J'), "setAlignment", "it is of HDF5"),
    count!(Some('k'), "keepFile", "keep the files", keep),
    count!(Some('K'), "keepFileWithError", "keep files with wrong data", keep_with_error),
    value!(
        Some('l'),
        "dataPacketType",
        "TYPE",
        "data: timestamp, offset, incompressible or random (t, o, i, r)",
        params.packet,
        Packet::parse
    ),
    count!(Some('m'), "multiFile", "a file for each repetition", multi_file),
    S::value(Some('M'), "memoryPerNode", "N", "memory to fill on each node (2g, 75%)", |line, text| {
        (line.params.memory_per_node, line.params.memory_per_task) = (node_memory(text)?, 0);
        Ok(())
    }),
    S::value(None, "memoryPerTask", "N", "memory to fill by each task", |line, text| {
        (line.params.memory_per_task, line.params.memory_per_node) = (size(text)?, 0);
        Ok(())
    }),
    refused!(Some('n'), "noFill", "it is of HDF5"),
    value!(Some('N'), "numTasks", "N", "tasks that take part", params.tasks, some_number),
    value!(None, "numNodes", "N", "nodes, instead of those that MPI tells", params.nodes, some_number),
    value!(None, "numTasksOnNode0", "N", "the same of tasks on the first node", params.tasks_on_node0, some_number),
    value!(Some('o'), "testFile", "FILE", "the test file; with -F several, with @ between them", params.file, owned),
    S::value(Some('O'), "directives", "A=1,B=2", "directives: any long name in this list", directives),
    count!(Some('p'), "preallocate", "reserve the whole file before it is written", preallocate),
    count!(None, "mpiio.preallocate", "the same", preallocate),
    refused!(Some('P'), "useSharedFilePointer", "the transfers of the ranks would have no known place"),
    count!(Some('q'), "quitOnError", "stop at the first wrong data", quit_on_error),
    value!(
        Some('Q'),
        "taskPerNodeOffset",
        "N",
        "how far away the neighbour of -C and -Z is",
        params.task_offset,
        number_of
    ),
    count!(Some('r'), "readFile", "read the file", read),
    count!(Some('R'), "checkRead", "check what is read (of another run with -G)", check_read),
    value!(Some('s'), "segmentCount", "N", "number of segments", params.segments, size),
    count!(Some('S'), "useStridedDatatype", "all segments of a transfer in one call, by a datatype; with -V", strided),
    count!(None, "mpiio.useStridedDatatype", "the same", strided),
    value!(Some('t'), "transferSize", "N", "bytes of one transfer (8, 4k, 2m, 1g)", params.transfer_bytes, size),
    value!(
        Some('T'),
        "maxTimeDuration",
        "N",
        "most minutes of all repetitions; no phase is cut",
        params.max_minutes,
        number_of
    ),
    count!(Some('u'), "uniqueDir", "a directory for each task's file", unique_dir),
    value!(
        Some('U'),
        "hintsFileName",
        "FILE",
        "file of hints, IOR_HINT__MPI__key=value in lines",
        params.hints_file,
        name
    ),
    value!(None, "mpiio.hintsFileName", "FILE", "the same", params.hints_file, name),
    count!(Some('v'), "verbose", "tell more; repeat it for still more", verbose),
    count!(Some('V'), "useFileView", "access through a file view", view),
    count!(None, "mpiio.useFileView", "the same", view),
    count!(Some('w'), "writeFile", "write the file", write),
    count!(Some('W'), "checkWrite", "read what was written, and check it", check_write),
    count!(Some('x'), "singleXferAttempt", "do not try the rest of a short transfer again", single_attempt),
    value!(
        Some('X'),
        "reorderTasksRandomSeed",
        "N",
        "seed of -Z; below 0 another order in each repetition",
        params.reorder_seed,
        number
    ),
    refused!(Some('y'), "dualMount", "a client has one way to its servers"),
    count!(Some('Y'), "fsyncPerWrite", "sync after each write", fsync_per_write),
    count!(Some('z'), "randomOffset", "transfers in random order; twice: at random places, which may overlap", random),
    value!(None, "random-offset-seed", "N", "seed of -z", params.random_seed, some_number),
    value!(
        None,
        "randomPrefill",
        "N",
        "fill the file in blocks of N bytes before -z writes it",
        params.prefill_bytes,
        size
    ),
    count!(Some('Z'), "reorderTasksRandom", "read a random task's data; twice: each task's data once", reorder_random),
    count!(None, "warningAsErrors", "every warning is an error", warnings_as_errors),
    count!(None, "dryRun", "read and write nothing", dry_run),
    count!(None, "summaryAlways", "print the long summary after each test", summary_always),
    value!(None, "platform", "NAME", "name of the machine in the output", params.platform, owned),
    value!(None, "summaryFile", "FILE", "put the results into this file", summary_file, name),
    value!(None, "summaryFormat", "FORMAT", "default, JSON or CSV", format, format),
    value!(
        None,
        "saveRankPerformanceDetailsCSV",
        "FILE",
        "put each task's performance into this file",
        params.rank_details,
        name
    ),
    value!(
        None,
        "savePerOpDataCSV",
        "PREFIX",
        "put each transfer's time into a file of each task",
        params.operation_details,
        name
    ),
    S::value(
        None,
        "preset",
        "NAME",
        "easy, hard, strided, random or checkpoint-3d; what follows changes it",
        |line, text| {
            let preset = Preset::parse(text)?;
            preset.apply(&mut line.params);
            line.preset = Some(preset);
            Ok(())
        },
    ),
    value!(None, "segmentsPerCall", "N", "segments that one call moves; with -V", params.segments_per_call, number_of),
    value!(
        None,
        "progress",
        "WHEN",
        "a line of progress: auto (if errors go to a terminal), always or never",
        progress,
        progress
    ),
];

/// Reads a command line without the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<(Line, Asked), String> {
    let words: Vec<OsString> = words.into_iter().collect();
    let mut line = Line::default();
    line.params.options = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let asked = settings::arguments(TABLE, &mut line, words)?;
    Ok((line, asked))
}

/// The list of options.
pub fn help() -> String {
    format!(
        "pfs-ior: IOR's test on this file system. Start it by mpirun.\n\n\
         Usage: mpirun -n 4 pfs-ior -a PFS -c -b 16m -t 4m -s 4 -w -r -W -R -o pfs:/x\n\n{}",
        settings::help(TABLE)
    )
}

/// Applies `name=value,name=value`; what follows a `#` is a comment.
pub fn directives(line: &mut Line, text: &str) -> Result<(), String> {
    let text = text.split('#').next().unwrap_or("");
    for directive in text.split(',') {
        let (name, value) = directive
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| format!("Syntax error in configuration options: {directive:?} is not name=value"))?;
        settings::set(TABLE, line, name, value)?;
    }
    Ok(())
}

fn number_of(text: &str) -> Result<u64, String> {
    number(text)
}

fn some_number(text: &str) -> Result<Option<u64>, String> {
    Ok(match number::<i64>(text)? {
        -1 => None,
        value => Some(u64::try_from(value).map_err(|_| format!("{text:?} is out of range"))?),
    })
}

fn name(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()).filter(|name| !name.is_empty()))
}

fn owned(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn format(text: &str) -> Result<Format, String> {
    match text.to_ascii_lowercase().as_str() {
        "default" => Ok(Format::Default),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        _ => Err(format!("Unknown summaryFormat {text:?}; it must be default, JSON or CSV")),
    }
}

fn progress(text: &str) -> Result<Progress, String> {
    match text {
        "auto" => Ok(Progress::Auto),
        "always" => Ok(Progress::Always),
        "never" => Ok(Progress::Never),
        _ => Err(format!("{text:?} is no time for progress; it must be auto, always or never")),
    }
}

/// Bytes, or per cent of the machine's memory.
fn node_memory(text: &str) -> Result<u64, String> {
    let Some(percent) = text.trim().strip_suffix('%') else { return size(text) };
    let percent: u64 = number(percent)?;
    if percent > 100 {
        return Err("percentage must be between 0 and 100".to_owned());
    }
    let info = rustix::system::sysinfo();
    Ok(info.totalram.saturating_mul(u64::from(info.mem_unit)) / 100 * percent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn line(text: &str) -> Result<Line, String> {
        Ok(parse(text.split_whitespace().map(OsString::from))?.0)
    }

    /// Each option changes just the parameter that IOR's documentation names; none is parsed and forgotten.
    #[test]
    fn every_option_changes_its_parameter() {
        for (text, change) in [
            ("-a posix", (|p| p.params.api = Api::Posix) as fn(&mut Line)),
            ("-A 7", |p| p.params.reference = 7),
            ("-b 2m", |p| p.params.block_bytes = 2 << 20),
            ("-B", |p| p.params.direct = 1),
            ("-c", |p| p.params.collective = 1),
            ("-C", |p| p.params.reorder = 1),
            ("-d 3", |p| p.params.delay_s = 3),
            ("-D 4", |p| p.params.deadline_s = 4),
            ("-e", |p| p.params.fsync = 1),
            ("-E", |p| p.params.existing = 1),
            ("-f s", |p| p.script = Some("s".to_owned())),
            ("-F", |p| p.params.file_per_rank = 1),
            ("-g", |p| p.params.barriers = 1),
            ("-G 27", |p| p.params.signature = 27),
            ("-H", |p| p.params.show_hints = 1),
            ("-i 5", |p| p.params.repetitions = 5),
            ("-j 6", |p| p.params.outlier_s = 6),
            ("-k", |p| p.params.keep = 1),
            ("-K", |p| p.params.keep_with_error = 1),
            ("-l o", |p| p.params.packet = Packet::Offset),
            ("-l incompressible", |p| p.params.packet = Packet::Incompressible),
            ("-m", |p| p.params.multi_file = 1),
            ("-M 1m", |p| p.params.memory_per_node = 1 << 20),
            ("-N 3", |p| p.params.tasks = Some(3)),
            ("-o x", |p| p.params.file = "x".to_owned()),
            ("-p", |p| p.params.preallocate = 1),
            ("-q", |p| p.params.quit_on_error = 1),
            ("-Q 2", |p| p.params.task_offset = 2),
            ("-r", |p| p.params.read = 1),
            ("-R", |p| p.params.check_read = 1),
            ("-s 9", |p| p.params.segments = 9),
            ("-S", |p| p.params.strided = 1),
            ("-t 1k", |p| p.params.transfer_bytes = 1024),
            ("-T 8", |p| p.params.max_minutes = 8),
            ("-u", |p| p.params.unique_dir = 1),
            ("-U h", |p| p.params.hints_file = Some("h".to_owned())),
            ("-vv", |p| p.params.verbose = 2),
            ("-V", |p| p.params.view = 1),
            ("-w", |p| p.params.write = 1),
            ("-W", |p| p.params.check_write = 1),
            ("-x", |p| p.params.single_attempt = 1),
            ("-X -4", |p| p.params.reorder_seed = -4),
            ("-Y", |p| p.params.fsync_per_write = 1),
            ("-z -z", |p| p.params.random = 2),
            ("-Z", |p| p.params.reorder_random = 1),
            ("-O summaryFormat=JSON", |p| p.format = Format::Json),
            ("-O summaryFile=f,summaryFormat=csv", |p| {
                (p.summary_file, p.format) = (Some("f".to_owned()), Format::Csv);
            }),
            ("-O stoneWallingWearOut=1,stoneWallingStatusFile=s", |p| {
                (p.params.wear_out, p.params.status_file) = (1, Some("s".to_owned()));
            }),
            ("-O stoneWallingWearOutIterations=12", |p| p.params.wear_out_transfers = 12),
            ("-O minTimeDuration=2", |p| p.params.min_s = 2),
            ("-O interIODelay=50", |p| p.params.transfer_delay_us = 50),
            ("-O numNodes=2,numTasksOnNode0=3", |p| {
                (p.params.nodes, p.params.tasks_on_node0) = (Some(2), Some(3));
            }),
            ("-O memoryPerTask=4k", |p| p.params.memory_per_task = 4096),
            ("-O saveRankPerformanceDetailsCSV=r", |p| p.params.rank_details = Some("r".to_owned())),
            ("-O savePerOpDataCSV=o", |p| p.params.operation_details = Some("o".to_owned())),
            ("-O summaryAlways=1", |p| p.params.summary_always = 1),
            ("--random-offset-seed 5", |p| p.params.random_seed = Some(5)),
            ("--randomPrefill=1m", |p| p.params.prefill_bytes = 1 << 20),
            ("--warningAsErrors --dryRun", |p| (p.params.warnings_as_errors, p.params.dry_run) = (1, 1)),
            ("--platform cray", |p| p.params.platform = "cray".to_owned()),
            ("--segmentsPerCall 4", |p| p.params.segments_per_call = 4),
            ("--progress always", |p| p.progress = Progress::Always),
        ] {
            let mut expected = Line::default();
            expected.params.options = text.to_owned();
            change(&mut expected);
            assert_eq!(line(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn no_name_and_no_letter_is_there_twice() {
        let names: BTreeSet<String> = TABLE.iter().map(|setting| setting.name.to_lowercase()).collect();
        assert_eq!(names.len(), TABLE.len());
        let letters: Vec<char> = TABLE.iter().filter_map(|setting| setting.letter).collect();
        assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
        for letter in "aAbcCdDeEfFgGijkKlmoOQrRstTuUvVwWxXYzZ".chars() {
            assert!(letters.contains(&letter), "{letter}");
        }
    }

    #[test]
    fn the_last_one_counts_wherever_it_stands() {
        assert_eq!(line("-b 1m -O blockSize=2m -b 3m").unwrap().params.block_bytes, 3 << 20);
        assert_eq!(
            line("-t 1m -O transferSize=2m,verbose=3 # no more").unwrap_err(),
            "\"#\" belongs to no option; -h lists them"
        );
        assert_eq!(line("-O transferSize=2m#,verbose=3").unwrap().params.verbose, 0);
        let hard = line("--preset hard -s 10 -G 27").unwrap();
        assert_eq!((hard.params.transfer_bytes, hard.params.segments, hard.params.signature), (47_008, 10, 27));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, why) in [
            ("-O what=1", "Unrecognized parameter \"what\""),
            ("-O blockSize", "Syntax error"),
            ("-O summaryFormat=xml", "Unknown summaryFormat"),
            ("-a NFS", "Unrecognized I/O API"),
            ("-l x", "packet type"),
            ("-M 101%", "percentage"),
            ("-P 1", "not"),
            ("-y 1", "one way"),
            ("--preset nothing", "easy, hard, strided, random, checkpoint-3d"),
        ] {
            let error = line(text).unwrap_err();
            assert!(error.contains(why) || error.contains("no known place"), "{text}: {error}");
        }
    }
}
