//! What one run is: mdtest's parameters and its defaults, and what does not fit together.

use crate::aiori::Api;
use crate::ior::pattern::Packet;

/// The parameters. Numbers named like switches are switches: 0 is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The interface.
    pub api: Api,
    /// Directories to work in.
    pub paths: Vec<String>,
    /// Branches of each directory of the tree.
    pub branch_factor: u64,
    /// Levels below the root of the tree.
    pub depth: u64,
    /// Items of each rank.
    pub items: u64,
    /// Items of each rank in each directory.
    pub items_per_dir: u64,
    /// Items in the leaves of the tree only.
    pub leaf_only: u32,
    /// No barriers between phases.
    pub no_barriers: u32,
    /// Make.
    pub create: u32,
    /// Look at.
    pub stat: u32,
    /// Read.
    pub read: u32,
    /// Remove.
    pub remove: u32,
    /// Rename directories.
    pub rename: u32,
    /// Directories only.
    pub dirs_only: u32,
    /// Files only.
    pub files_only: u32,
    /// Rank 0 makes and removes everything first.
    pub collective: u32,
    /// All ranks use the same files.
    pub shared: u32,
    /// A tree for each rank.
    pub unique: u32,
    /// The time counts in which a rank comes to its tree.
    pub time_unique: u32,
    /// `mknod` instead of an open.
    pub make_node: u32,
    /// Bytes to write to each file.
    pub write_bytes: u64,
    /// Bytes to read of each file.
    pub read_bytes: u64,
    /// Compare what is read.
    pub verify_read: u32,
    /// Read what was written at once, and compare it.
    pub verify_write: u32,
    /// Sync each file.
    pub sync_file: u32,
    /// Sync everything after each phase.
    pub call_sync: u32,
    /// Signature of the data.
    pub signature: Option<u64>,
    /// Kind of data.
    pub packet: Packet,
    /// First number of ranks.
    pub first: u64,
    /// Last number of ranks.
    pub last: u64,
    /// From one number of ranks to the next.
    pub step: u64,
    /// How far on the rank is whose items are looked at.
    pub stride: u64,
    /// Repetitions.
    pub iterations: u64,
    /// Seconds before each repetition.
    pub delay_s: u64,
    /// Items are looked at and read in random order.
    pub random: u32,
    /// Seed of that.
    pub random_seed: u64,
    /// Seconds after which files are no longer made.
    pub stonewall_s: u64,
    /// Keeps the number of files of that.
    pub status_file: Option<String>,
    /// Print times instead of rates.
    pub print_time: u32,
    /// Print both.
    pub print_both: u32,
    /// Print what each rank has measured.
    pub print_all: u32,
    /// Print extremes over ranks, too.
    pub rank_statistics: u32,
    /// How much to tell.
    pub verbose: u32,
    /// A command before each phase.
    pub before: String,
    /// A command after each phase.
    pub after: String,
    /// Warnings are errors.
    pub warnings_as_errors: u32,
    /// Where each rank's performance goes.
    pub rank_details: Option<String>,
    /// Where each operation's time goes.
    pub operation_details: Option<String>,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            api: Api::Pfs,
            paths: Vec::new(),
            branch_factor: 1,
            depth: 0,
            items: 0,
            items_per_dir: 0,
            leaf_only: 0,
            no_barriers: 0,
            create: 0,
            stat: 0,
            read: 0,
            remove: 0,
            rename: 0,
            dirs_only: 0,
            files_only: 0,
            collective: 0,
            shared: 0,
            unique: 0,
            time_unique: 0,
            make_node: 0,
            write_bytes: 0,
            read_bytes: 0,
            verify_read: 0,
            verify_write: 0,
            sync_file: 0,
            call_sync: 0,
            signature: None,
            packet: Packet::Timestamp,
            first: 1,
            last: 0,
            step: 1,
            stride: 0,
            iterations: 1,
            delay_s: 0,
            random: 0,
            random_seed: 0,
            stonewall_s: 0,
            status_file: None,
            print_time: 0,
            print_both: 0,
            print_all: 0,
            rank_statistics: 0,
            verbose: 0,
            before: String::new(),
            after: String::new(),
            warnings_as_errors: 0,
            rank_details: None,
            operation_details: None,
        }
    }
}

impl Params {
    /// Fills in what mdtest takes for granted, and checks what belongs together, for a job of so many ranks.
    pub fn checked(mut self, ranks: u64) -> Result<Params, String> {
        if self.create == 0 && self.stat == 0 && self.read == 0 && self.remove == 0 && self.rename == 0 {
            (self.create, self.stat, self.read, self.remove, self.rename) = (1, 1, 1, 1, 1);
        }
        if self.dirs_only == 0 && self.files_only == 0 {
            (self.dirs_only, self.files_only) = (1, 1);
        }
        if self.shared > 0 {
            self.dirs_only = 0;
        }
        if self.last == 0 {
            (self.first, self.last) = (ranks, ranks);
        }
        for (is_wrong, message) in self.mistakes(ranks) {
            if is_wrong {
                return Err(message.to_owned());
            }
        }
        Ok(self)
    }

    fn mistakes(&self, ranks: u64) -> [(bool, &'static str); 24] {
        let (barriers, many) = (self.no_barriers == 0, self.paths.len() > 1);
        let (collective, shared, unique) = (self.collective > 0, self.shared > 0, self.unique > 0);
        let both = self.items > 0 && self.items_per_dir > 0;
        [
            (self.paths.is_empty(), "no directory is named; use -d"),
            (self.items == 0 && self.items_per_dir == 0, "no number of items is named; use -n or -I"),
            (
                self.stonewall_s > 0 && (self.branch_factor > 1 || !barriers),
                "stone wall timer does only work with a branch factor <= 1 and with barriers",
            ),
            (!barriers && self.stride > 0, "Possible race conditions will occur: -B not compatible with -N"),
            (shared && collective, "-c not compatible with -S"),
            (many && collective, "-c not compatible with multiple test directories"),
            (collective && !barriers, "-c not compatible with -B"),
            (unique && shared, "-u not compatible with -S"),
            (many && self.stride > 0, "cannot have multiple directory paths with -N strides between neighbor tasks"),
            (many && !unique, "shared directory mode is not compatible with multiple directory paths"),
            (self.paths.len() as u64 > ranks, "cannot have more directory paths than MPI tasks"),
            (self.branch_factor < 1 && self.depth > 0, "branch factor must be greater than zero"),
            (both && unique, "only specify the number of items or the number of items per directory"),
            (
                both && !unique && !self.items.is_multiple_of(self.items_per_dir),
                "items must be a multiple of items per directory",
            ),
            (self.write_bytes > 0 && self.make_node > 0, "-k not compatible with -w"),
            (self.make_node > 0 && self.api != Api::Posix, "mknod (-k) is not available with this API; take POSIX"),
            (self.verify_read > 0 && self.read == 0, "Verify read requires that the read test is used"),
            (self.verify_read > 0 && self.read_bytes == 0, "Verify read requires that read bytes is > 0"),
            (
                self.create > 0 && self.read > 0 && self.read_bytes > self.write_bytes,
                "When writing and reading files, read bytes must be smaller than write bytes",
            ),
            (
                !self.write_bytes.is_multiple_of(8) && (self.verify_write > 0 || self.verify_read > 0),
                "to be verified, the bytes to write must be a multiple of 8",
            ),
            (
                !self.read_bytes.is_multiple_of(8) && self.verify_read > 0,
                "to be verified, the bytes to read must be a multiple of 8",
            ),
            (self.first > self.last, "process number: first > last doesn't make sense"),
            (self.last > ranks, "process number: last > number of processes doesn't make sense"),
            (self.step == 0 || self.iterations == 0 || self.first == 0, "numbers of tasks and iterations begin at 1"),
        ]
    }
}
