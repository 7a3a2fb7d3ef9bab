//! mdtest's options.

use crate::aiori::Api;
use crate::ior::pattern::Packet;
use crate::mdtest::params::Params;
use crate::settings::{self, Asked, Setting, number, size};
use std::ffi::OsString;

type S = Setting<Params>;

/// A setting with a value that goes to a place.
macro_rules! value {
    ($letter:expr, $name:literal, $word:literal, $help:literal, $field:ident, $parse:expr) => {
        S::value($letter, $name, $word, $help, |params: &mut Params, text: &str| {
            params.$field = $parse(text)?;
            Ok(())
        })
    };
}

/// A switch, or something that counts.
macro_rules! count {
    ($letter:expr, $name:literal, $help:literal, $field:ident) => {
        S::count($letter, $name, $help, |params: &mut Params| &mut params.$field)
    };
}

static TABLE: &[S] = &[
    value!(Some('a'), "api", "API", "interface: PFS, PFSCLIENT, MPIIO or POSIX", api, Api::parse),
    value!(Some('b'), "branchFactor", "N", "branches of each directory of the tree", branch_factor, number_of),
    value!(Some('d'), "directory", "DIR", "where to work; several with @ between them", paths, paths),
    count!(Some('B'), "noBarriers", "no barriers between phases", no_barriers),
    count!(Some('C'), "create", "only make files and directories", create),
    count!(Some('T'), "stat", "only look at them", stat),
    count!(Some('E'), "read", "only read them", read),
    count!(Some('r'), "remove", "only remove what a run before has left", remove),
    count!(Some('U'), "rename", "rename directories", rename),
    count!(Some('D'), "directoriesOnly", "no files", dirs_only),
    value!(Some('e'), "readBytes", "N", "bytes to read of each file", read_bytes, size),
    value!(Some('f'), "first", "N", "first number of tasks", first, number_of),
    count!(Some('F'), "filesOnly", "no directories", files_only),
    value!(Some('G'), "signature", "N", "signature of the data", signature, some_number),
    value!(Some('i'), "iterations", "N", "number of iterations", iterations, number_of),
    value!(Some('I'), "itemsPerDirectory", "N", "items of each task in each directory", items_per_dir, size),
    count!(Some('k'), "mknod", "make files by mknod", make_node),
    value!(Some('l'), "last", "N", "last number of tasks", last, number_of),
    count!(Some('L'), "leafOnly", "items in the leaves of the tree only", leaf_only),
    value!(Some('n'), "items", "N", "items of each task", items, size),
    value!(Some('N'), "taskStride", "N", "look at the items of the task so far on (0: one's own)", stride, number_of),
    value!(Some('p'), "delay", "N", "seconds before each iteration", delay_s, number_of),
    count!(Some('P'), "rateAndTime", "print rates and times", print_both),
    count!(None, "print-all-procs", "print what each task has measured", print_all),
    count!(Some('R'), "random", "look at items and read them in random order", random),
    value!(None, "random-seed", "N", "seed of -R", random_seed, number_of),
    value!(Some('s'), "stride", "N", "from one number of tasks to the next", step, number_of),
    count!(Some('S'), "shared", "all tasks use the same files (no directories)", shared),
    count!(Some('c'), "collective", "task 0 makes and removes everything", collective),
    count!(Some('t'), "timeUnique", "count the time in which a task comes to its directory", time_unique),
    count!(Some('u'), "unique", "a tree for each task", unique),
    count!(Some('v'), "verbose", "tell more; repeat it for still more", verbose),
    value!(Some('V'), "verbosity", "N", "how much to tell", verbose, number),
    value!(Some('w'), "writeBytes", "N", "bytes to write to each file", write_bytes, size),
    value!(
        Some('W'),
        "stonewall",
        "N",
        "make files for N seconds, and then on all tasks as many as on the fastest",
        stonewall_s,
        number_of
    ),
    value!(Some('x'), "stoneWallingStatusFile", "FILE", "keeps the number of files of -W", status_file, name),
    count!(Some('X'), "verify-read", "compare what is read", verify_read),
    count!(None, "verify-write", "read what was written at once, and compare it", verify_write),
    count!(Some('y'), "syncFile", "sync each file after it was written", sync_file),
    count!(Some('Y'), "sync", "sync everything after each phase", call_sync),
    value!(Some('z'), "depth", "N", "levels of the tree", depth, number_of),
    count!(Some('Z'), "printTime", "print times instead of rates", print_time),
    value!(
        None,
        "dataPacketType",
        "TYPE",
        "data: timestamp, offset, incompressible or random (t, o, i, r)",
        packet,
        Packet::parse
    ),
    value!(None, "run-cmd-before-phase", "COMMAND", "a command before each phase, not timed", before, owned),
    value!(None, "run-cmd-after-phase", "COMMAND", "a command after each phase, timed", after, owned),
    count!(None, "warningAsErrors", "every warning is an error", warnings_as_errors),
    value!(
        None,
        "saveRankPerformanceDetails",
        "FILE",
        "put each task's performance into this file",
        rank_details,
        name
    ),
    value!(
        None,
        "savePerOpDataCSV",
        "PREFIX",
        "put each operation's time into a file of each task",
        operation_details,
        name
    ),
    count!(None, "showRankStatistics", "print the extremes over tasks, too", rank_statistics),
];

/// Reads a command line without the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<(Params, Asked), String> {
    let mut params = Params::default();
    let asked = settings::arguments(TABLE, &mut params, words)?;
    Ok((params, asked))
}

/// The list of options.
pub fn help() -> String {
    format!(
        "pfs-mdtest: mdtest's metadata test on this file system. Start it by mpirun.\n\n\
         Usage: mpirun -n 4 pfs-mdtest -a PFS -n 1000 -d pfs:/test\n\n{}",
        settings::help(TABLE)
    )
}

fn number_of(text: &str) -> Result<u64, String> {
    number(text)
}

fn some_number(text: &str) -> Result<Option<u64>, String> {
    number(text).map(Some)
}

fn name(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

fn owned(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn paths(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split('@').filter(|path| !path.is_empty()).map(|path| path.trim_end_matches('/').to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn check(text: &str) -> Result<Params, String> {
        parse(text.split_whitespace().map(OsString::from))?.0.checked(4)
    }

    /// Each option changes just the parameter that mdtest's documentation names.
    #[test]
    fn every_option_changes_its_parameter() {
        for (text, change) in [
            ("-a posix", (|p| p.api = Api::Posix) as fn(&mut Params)),
            ("-b 3", |p| p.branch_factor = 3),
            ("-B", |p| p.no_barriers = 1),
            ("-c", |p| p.collective = 1),
            ("-C", |p| p.create = 1),
            ("-d a@b/", |p| p.paths = vec!["a".to_owned(), "b".to_owned()]),
            ("-D", |p| p.dirs_only = 1),
            ("-e 8", |p| p.read_bytes = 8),
            ("-E", |p| p.read = 1),
            ("-f 2", |p| p.first = 2),
            ("-F", |p| p.files_only = 1),
            ("-G 3", |p| p.signature = Some(3)),
            ("-i 4", |p| p.iterations = 4),
            ("-I 5", |p| p.items_per_dir = 5),
            ("-k", |p| p.make_node = 1),
            ("-l 3", |p| p.last = 3),
            ("-L", |p| p.leaf_only = 1),
            ("-n 1k", |p| p.items = 1024),
            ("-N 1", |p| p.stride = 1),
            ("-p 1", |p| p.delay_s = 1),
            ("-P", |p| p.print_both = 1),
            ("-r", |p| p.remove = 1),
            ("-R", |p| p.random = 1),
            ("-s 2", |p| p.step = 2),
            ("-S", |p| p.shared = 1),
            ("-t", |p| p.time_unique = 1),
            ("-T", |p| p.stat = 1),
            ("-u", |p| p.unique = 1),
            ("-U", |p| p.rename = 1),
            ("-vv", |p| p.verbose = 2),
            ("-V 3", |p| p.verbose = 3),
            ("-w 4k", |p| p.write_bytes = 4096),
            ("-W 7", |p| p.stonewall_s = 7),
            ("-x f", |p| p.status_file = Some("f".to_owned())),
            ("-X", |p| p.verify_read = 1),
            ("--verify-write", |p| p.verify_write = 1),
            ("-y", |p| p.sync_file = 1),
            ("-Y", |p| p.call_sync = 1),
            ("-z 2", |p| p.depth = 2),
            ("-Z", |p| p.print_time = 1),
            ("--random-seed 9 --print-all-procs", |p| (p.random_seed, p.print_all) = (9, 1)),
            ("--dataPacketType i", |p| p.packet = Packet::Incompressible),
            ("--run-cmd-before-phase x --run-cmd-after-phase=y", |p| {
                (p.before, p.after) = ("x".to_owned(), "y".to_owned());
            }),
            ("--saveRankPerformanceDetails r --savePerOpDataCSV o", |p| {
                (p.rank_details, p.operation_details) = (Some("r".to_owned()), Some("o".to_owned()));
            }),
            ("--showRankStatistics --warningAsErrors", |p| (p.rank_statistics, p.warnings_as_errors) = (1, 1)),
        ] {
            let mut expected = Params::default();
            change(&mut expected);
            let parsed = parse(text.split_whitespace().map(OsString::from)).unwrap().0;
            assert_eq!(parsed, expected, "{text}");
        }
        let letters: Vec<char> = TABLE.iter().filter_map(|setting| setting.letter).collect();
        assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
    }

    #[test]
    fn without_phases_all_of_them_are_meant() {
        let params = check("-n 3 -d x").unwrap();
        assert_eq!((params.create, params.stat, params.read, params.remove, params.rename), (1, 1, 1, 1, 1));
        assert_eq!((params.files_only, params.dirs_only, params.first, params.last), (1, 1, 4, 4));
        assert_eq!(check("-n 3 -d x -S").unwrap().dirs_only, 0);
        assert_eq!(check("-n 3 -d x -C").unwrap().stat, 0);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (text, why) in [
            ("-n 1", "use -d"),
            ("-d x", "use -n or -I"),
            ("-n 1 -d x -W 1 -b 2 -z 1", "stone wall"),
            ("-n 1 -d x -B -N 1", "-B not compatible with -N"),
            ("-n 1 -d x -S -c", "-c not compatible with -S"),
            ("-n 1 -d x@y -u -c", "multiple test directories"),
            ("-n 1 -d x -c -B", "-c not compatible with -B"),
            ("-n 1 -d x -u -S", "-u not compatible with -S"),
            ("-n 1 -d x@y", "shared directory mode"),
            ("-n 1 -d x@y -u -N 1", "-N strides"),
            ("-n 1 -d a@b@c@d@e -u", "more directory paths than MPI tasks"),
            ("-n 1 -d x -b 0 -z 1", "branch factor"),
            ("-n 3 -I 2 -d x", "multiple of items per directory"),
            ("-n 4 -I 2 -d x -u", "only specify"),
            ("-n 1 -d x -k -w 8 -a POSIX", "-k not compatible with -w"),
            ("-n 1 -d x -k", "take POSIX"),
            ("-n 1 -d x -X", "read bytes is > 0"),
            ("-n 1 -d x -X -C", "read test is used"),
            ("-n 1 -d x -e 8", "smaller than write bytes"),
            ("-n 1 -d x -w 9 --verify-write", "multiple of 8"),
            ("-n 1 -d x -f 3 -l 2", "first > last"),
            ("-n 1 -d x -l 5", "last > number of processes"),
            ("-n 1 -d x -i 0", "begin at 1"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
