//! What a rank did with its files, and how long each phase of it took.
//!
//! Counters have Darshan's names where it has one (its module for MPI-IO, `MPIIO_…`), and names that begin with `PFS_`
//! otherwise; docs/REPORT.md says what each counts.
//!
//! Invariants: what is booked for a file is booked for the process too; a phase costs one look at the clock at its end, which is
//! the next one's begin; nothing here waits or takes a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Makes an enumeration whose values have a name in reports.
macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            /// All of them, in the order of reports.
            pub const ALL: &[$name] = &[$($name::$value,)*];

            /// Its name in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$value => $text,)*
                }
            }
        }
    };
}

named! {
    /// Something that is counted.
    Counter {
        /// Opens by a group of one rank.
        IndependentOpens = "MPIIO_INDEP_OPENS",
        /// Opens by a group of several ranks; each of them counts one.
        CollectiveOpens = "MPIIO_COLL_OPENS",
        /// Blocking reads of this rank alone.
        IndependentReads = "MPIIO_INDEP_READS",
        /// Blocking writes of this rank alone.
        IndependentWrites = "MPIIO_INDEP_WRITES",
        /// Blocking collective reads.
        CollectiveReads = "MPIIO_COLL_READS",
        /// Blocking collective writes.
        CollectiveWrites = "MPIIO_COLL_WRITES",
        /// Split collective reads.
        SplitReads = "MPIIO_SPLIT_READS",
        /// Split collective writes.
        SplitWrites = "MPIIO_SPLIT_WRITES",
        /// Nonblocking reads, collective or not.
        NonblockingReads = "MPIIO_NB_READS",
        /// Nonblocking writes, collective or not.
        NonblockingWrites = "MPIIO_NB_WRITES",
        /// Syncs.
        Syncs = "MPIIO_SYNCS",
        /// Opens and changes with hints.
        Hints = "MPIIO_HINTS",
        /// Views that were set.
        Views = "MPIIO_VIEWS",
        /// Bytes that were read for this rank.
        BytesRead = "MPIIO_BYTES_READ",
        /// Bytes that this rank had written.
        BytesWritten = "MPIIO_BYTES_WRITTEN",
        /// Collective accesses in which every rank moved its own bytes.
        Direct = "PFS_COLL_DIRECT",
        /// Collective accesses that went by way of few ranks.
        Exchanges = "PFS_COLL_EXCHANGE",
        /// Bytes that this rank sent to others in those.
        BytesSent = "PFS_EXCHANGE_BYTES_SENT",
        /// Bytes that this rank read from file servers or the cache, for whomever.
        ServerBytesRead = "PFS_SERVER_BYTES_READ",
        /// Bytes that this rank gave to file servers or the cache, for whomever.
        ServerBytesWritten = "PFS_SERVER_BYTES_WRITTEN",
    }
}

named! {
    /// Something that takes time.
    Phase {
        /// Reads, as wholes.
        Read = "MPIIO_F_READ_TIME",
        /// Writes, as wholes.
        Write = "MPIIO_F_WRITE_TIME",
        /// Opens, closes, and whatever else moves no bytes, as wholes; but for syncs.
        Meta = "MPIIO_F_META_TIME",
        /// Waiting for the other ranks to enter a call and to agree about its end.
        Agree = "PFS_F_AGREE_TIME",
        /// Planning a collective access.
        Plan = "PFS_F_PLAN_TIME",
        /// Waiting for a token that was not held.
        TokenWait = "PFS_F_TOKEN_WAIT_TIME",
        /// Passing bytes between ranks.
        Exchange = "PFS_F_EXCHANGE_TIME",
        /// Copying bytes in memory: into messages and out of them, and of buffers with gaps or of other representations.
        Pack = "PFS_F_PACK_TIME",
        /// Reading from file servers or the cache.
        ServerRead = "PFS_F_SERVER_READ_TIME",
        /// Writing to file servers or the cache.
        ServerWrite = "PFS_F_SERVER_WRITE_TIME",
        /// Making bytes durable, at syncs and at closes.
        Sync = "PFS_F_SYNC_TIME",
    }
}

const COUNTERS: usize = Counter::ALL.len();
const PHASES: usize = Phase::ALL.len();
/// How many numbers [`Times::numbers`] has.
pub(crate) const NUMBERS: usize = COUNTERS + PHASES;

/// What this rank did, and how long its phases took, up to some moment.
///
/// Phases of one access may go on at the same time (bytes pass between ranks while others are written), so they can add up to
/// more than the whole access. Of a nonblocking access the time counts from when it begins to when it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    counts: [u64; COUNTERS],
    nanoseconds: [u64; PHASES],
}

impl Times {
    /// How often, or how many bytes.
    pub fn count(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// How long.
    pub fn time(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.nanoseconds[phase as usize])
    }

    /// All of it on its way to another rank: the counters, then the phases in nanoseconds.
    pub(crate) fn numbers(&self) -> [u64; NUMBERS] {
        let mut numbers = [0; NUMBERS];
        numbers[..COUNTERS].copy_from_slice(&self.counts);
        numbers[COUNTERS..].copy_from_slice(&self.nanoseconds);
        numbers
    }
}

/// Where the times are booked.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [AtomicU64; COUNTERS],
    nanoseconds: [AtomicU64; PHASES],
    is_process: bool,
}

static PROCESS: Recorder = Recorder::new(true);

/// What this process did with all of its files since it began.
pub fn process_times() -> Times {
    PROCESS.times()
}

impl Recorder {
    const fn new(is_process: bool) -> Recorder {
        let (counts, nanoseconds) = ([const { AtomicU64::new(0) }; COUNTERS], [const { AtomicU64::new(0) }; PHASES]);
        Recorder { counts, nanoseconds, is_process }
    }

    /// That of one file.
    pub(crate) fn of_file() -> Recorder {
        Recorder::new(false)
    }

    pub(crate) fn times(&self) -> Times {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Times { counts: self.counts.each_ref().map(read), nanoseconds: self.nanoseconds.each_ref().map(read) }
    }

    /// Counts once.
    pub(crate) fn note(&self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&self, counter: Counter, by: u64) {
        self.counts[counter as usize].fetch_add(by, Ordering::Relaxed);
        if !self.is_process {
            PROCESS.add(counter, by);
        }
    }

    pub(crate) fn book(&self, phase: Phase, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds[phase as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        if !self.is_process {
            PROCESS.book(phase, time);
        }
    }

    /// Runs something that is all of one phase.
    pub(crate) fn within<T>(&self, phase: Phase, run: impl FnOnce() -> T) -> T {
        let _watch = self.watch(phase);
        run()
    }

    /// The same for a future.
    pub(crate) async fn during<F: Future>(&self, phase: Phase, future: F) -> F::Output {
        let _watch = self.watch(phase);
        future.await
    }

    /// Begins something whose time as a whole is booked when what is returned is dropped, however it ends.
    pub(crate) fn watch(&self, whole: Phase) -> Watch<'_> {
        let mut watch = self.laps();
        watch.whole = Some(whole);
        watch
    }

    /// The same without a time for the whole.
    pub(crate) fn laps(&self) -> Watch<'_> {
        let begun = Instant::now();
        Watch { recorder: self, whole: None, begun, lap: begun }
    }
}

/// Something whose phases follow each other.
pub(crate) struct Watch<'a> {
    recorder: &'a Recorder,
    whole: Option<Phase>,
    begun: Instant,
    lap: Instant,
}

impl Watch<'_> {
    /// A phase is over that began with the end of the last one.
    pub(crate) fn end(&mut self, phase: Phase) {
        let now = Instant::now();
        self.recorder.book(phase, now - self.lap);
        self.lap = now;
    }

    /// What lies between the end of the last phase and now has booked its times itself.
    pub(crate) fn skip(&mut self) {
        self.lap = Instant::now();
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(whole) = self.whole {
            self.recorder.book(whole, self.begun.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::drive;

    #[test]
    fn phases_are_parts_of_the_whole_and_of_the_process() {
        let (before, recorder) = (process_times(), Recorder::of_file());
        {
            let mut watch = recorder.watch(Phase::Write);
            watch.end(Phase::Agree);
            recorder.within(Phase::Pack, || std::hint::black_box(0));
            watch.skip();
            drive(recorder.during(Phase::ServerWrite, async { recorder.add(Counter::BytesWritten, 7) }));
            watch.end(Phase::TokenWait);
            recorder.note(Counter::CollectiveWrites);
        }
        let times = recorder.times();
        let parts = [Phase::Agree, Phase::Pack, Phase::ServerWrite].map(|phase| times.time(phase));
        assert!(times.time(Phase::Write) >= parts.iter().sum());
        assert_eq!([Counter::BytesWritten, Counter::CollectiveWrites].map(|counter| times.count(counter)), [7, 1]);
        assert_eq!(times.time(Phase::Read), Duration::ZERO);
        let process = process_times();
        assert!(process.count(Counter::BytesWritten) >= before.count(Counter::BytesWritten) + 7);
        assert!(process.time(Phase::Write) >= before.time(Phase::Write) + times.time(Phase::Write));
        assert_eq!(times.numbers()[Counter::BytesWritten as usize], 7);
    }

    #[test]
    fn every_name_is_explained() {
        let text = include_str!("../../docs/REPORT.md");
        let names =
            Counter::ALL.iter().map(|counter| counter.name()).chain(Phase::ALL.iter().map(|phase| phase.name()));
        for name in names {
            assert!(text.contains(&format!("`{name}`")), "docs/REPORT.md does not explain {name}");
        }
    }
}
